"""ops.py REPOSITORY: checks that docs/ops.md lists every header of m2bert/ops and every function that they declare, and nothing else.

Functions named X_fallback are not listed, nor are the functions of a header that the page calls internal. A header without functions lists its
classes.
"""
import re
import sys
from pathlib import Path

repository = Path(sys.argv[1]).resolve()
FUNCTION = re.compile(r"^(?!using|namespace|template|struct|class|enum|#|//)\w[\w:<>, ]*[ &*](\w+)\(", re.M)

CLASS = re.compile(r"^class (\w+) (?:final )?\{", re.M)
INTERNAL = "internal"


def declared(text):
    names = {n for n in FUNCTION.findall(text) if not n.startswith("operator") and not n.endswith("_fallback")}
    return names or set(CLASS.findall(text))


def listed(text):
    """header -> the functions of its rows, in tables of three columns."""
    found, header = {}, None
    for line in text.splitlines():
        cells = [c.strip() for c in line.split("|")[1:-1]]
        if len(cells) != 3 or cells[0] == "header" or set(cells[0]) == {"-", " "} or cells[0] == "---":
            continue
        if cells[0]:
            header = cells[0].strip("`")
            found[header] = set()
        found[header] |= {INTERNAL} if cells[1] == INTERNAL else set(re.findall(r"`(\w+)`", cells[1]))
    return found


def complaints(headers, rows):
    for header, names in sorted(headers.items()):
        if header not in rows:
            yield f"{header} is not listed"
        elif rows[header] != {INTERNAL}:
            yield from (f"{header}: {name} is not listed" for name in sorted(names - rows[header]))
            yield from (f"{header}: there is no function {name}" for name in sorted(rows[header] - names))
    yield from (f"there is no header {header}" for header in sorted(set(rows) - set(headers)))


def main():
    sample = "mx::array f(const mx::array& x,\n            mx::StreamOrDevice s = {});\nmx::array f_fallback(int);\nstd::pair<mx::array, mx::array> g(int n);\nstruct S {\n  int h(int);\n};\n"
    table = "| header | function | does |\n| --- | --- | --- |\n| `a.h` | `f` | |\n| | `k` | |\n| `b.h` | | |\n"
    if sorted(complaints({"a.h": declared(sample), "c.h": set()}, listed(table))) != sorted(
            ["a.h: g is not listed", "a.h: there is no function k", "c.h is not listed", "there is no header b.h"]):
        sys.exit(f"the check of docs/ops.md does not see what it should: {list(complaints({'a.h': declared(sample)}, listed(table)))}")

    headers = {f"m2bert/ops/{p.name}": declared(p.read_text(encoding="utf-8")) for p in (repository / "m2bert/ops").glob("*.h")}
    rows = listed((repository / "docs/ops.md").read_text(encoding="utf-8"))
    empty = [header for header, names in headers.items() if not names and rows.get(header) != {INTERNAL}]
    if empty:
        sys.exit(f"no function is seen in {', '.join(empty)}: is its layout another one?")
    wrong = list(complaints(headers, rows))
    if wrong:
        sys.exit("docs/ops.md:\n" + "\n".join(wrong))
    print(f"{len(headers)} headers, {sum(map(len, headers.values()))} functions")


main()
