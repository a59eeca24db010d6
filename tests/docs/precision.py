"""precision.py REPOSITORY PROGRAM: checks that m2bert-precision measures the figures in docs/porting.md, section Precision, within a
factor of 4 (rounding depends on the processor and on the implementation of an operation)."""
import re
import subprocess
import sys
from pathlib import Path

FACTOR, TINY = 4, 1e-7


def table(text):
    """operation -> its figures; None for "none"."""
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    return {r[0]: [None if c == "none" else float(c) for c in r[1:]] for r in rows if len(r) == 7}


def complaints(said, measured):
    for name in sorted(set(said) ^ set(measured)):
        yield f"{name} is {'not measured' if name in said else 'not in the document'}"
    for name in sorted(set(said) & set(measured)):
        for place, (a, b) in enumerate(zip(said[name], measured[name])):
            if (a is None) != (b is None) or a is not None and not (a / FACTOR <= max(b, TINY) and max(b, TINY) <= max(a, TINY) * FACTOR):
                yield f"{name}, figure {place + 1}: the document says {a}, measured is {b}"


def main():
    row = "| `f` | 1e-6 | none | 1e-3 | 1e-3 | 1e-4 | 1e-4 |"
    if list(complaints(table(row), table(row))) or len(list(complaints(table(row), table(row.replace("1e-3", "5e-3"))))) != 2 or \
            len(list(complaints(table(row), {}))) != 1:
        sys.exit("the comparison does not see what it should")
    document = (Path(sys.argv[1]) / "docs/porting.md").read_text(encoding="utf-8").split("## Precision")[1]
    measured = table(subprocess.run([sys.argv[2]], check=True, capture_output=True, text=True).stdout)
    wrong = list(complaints(table(document), measured))
    if wrong or len(measured) < 10:
        sys.exit("\n".join([*wrong, f"{len(measured)} operations were measured"]))
    print(f"the figures of {len(measured)} operations hold")


main()
