"""porting.py REPOSITORY: checks docs/porting.md.

Every upstream file (upstream_files.txt) has a row, and no row names another file. A row names a file of this repository and a test that
proves the claim, or begins with "Not needed:" or "Not yet:" and a reason. Every path exists, and so does every test that is named as
`test_ops --gtest_filter=Suite.Name` (with an optional `*` at an end). Every name of ops::, nn:: and so on in the table of functions is
declared.
"""
import fnmatch
import re
import sys
from pathlib import Path

repository = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(repository / "tools"))
import inventory  # noqa: E402

OURS = re.compile(r"(?:m2bert|cli|cmake|docs|script|tests|tools|bench|examples)/[\w./*-]+|README\.md")
TEST = re.compile(r"^\s*(?:TEST|TEST_F|TEST_P|TYPED_TEST|RC_GTEST_PROP|RC_GTEST_FIXTURE_PROP)\(\s*(\w+),\s*(\w+)", re.M)


def cxx_tests(program):
    """The tests of a program such as test_ops, as Suite.Name."""
    sources = (repository / "tests" / program.removeprefix("test_")).rglob("*.cpp")
    return {f"{suite}.{name}" for path in sources for suite, name in TEST.findall(path.read_text(encoding="utf-8"))}


def wrong_names(code):
    """The files and tests that a piece of `code` names but that do not exist."""
    words = code.split()
    if words[0].startswith("test_") and len(words) == 2 and words[1].startswith("--gtest_filter="):
        tests = cxx_tests(words[0])
        for pattern in words[1].split("=")[1].split(":"):
            if not fnmatch.filter(tests, pattern.removeprefix("*/").removesuffix("/*")):
                yield f"{words[0]} has no test {pattern}"
    elif OURS.fullmatch(words[0]) and not list(repository.glob(words[0])):
        yield f"{words[0]} is not there"


def wrong_row(row):
    here, proof = re.findall(r"`([^`]+)`", row.here), re.findall(r"`([^`]+)`", row.proof)
    for code in here + proof:
        yield from wrong_names(code)
    if re.match(r"Not (needed|yet): \w", row.here):
        if proof:
            yield "names a test for what is not there"
        return
    if not (any(OURS.match(code) for code in here) or re.match(r"the same|the kernel", row.here)):
        yield "names no file of this repository, and does not begin with 'Not needed:' or 'Not yet:'"
    if not any(code.startswith(("tests/", "test_", "bench/")) for code in proof):  # a benchmark compares the results too
        yield "names no test"


def wrong_table(rows, upstream):
    named = {file for row in rows for file in row.files}
    for file in sorted(upstream - named):
        yield f"{file} has no row"
    for file in sorted(named - upstream):
        yield f"{file} is not an upstream file"
    for row in rows:
        yield from (f"line {row.line}: {what}" for what in wrong_row(row))


def declared(layer, name):
    """Whether the headers of m2bert/<layer> declare a function, class or enum `name`."""
    word = re.compile(rf"^(?!\s*//).*(?:\b{name}\(|(?:class|struct) {name}\b)", re.M)
    return any(word.search(path.read_text(encoding="utf-8")) for path in (repository / "m2bert" / layer).glob("*.h"))


def wrong_functions(text):
    """The names in the middle column of the table of functions that no header declares."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| ")]
    named = {match for cells in rows for code in re.findall(r"`([^`]+)`", cells[1]) for match in re.findall(r"^(ops|nn|models|infer|checkpoint)::(\w+)", code)}
    if not named:
        yield "the table of functions names none"
    yield from (f"{layer}::{name} is declared nowhere" for layer, name in sorted(named) if not declared(layer, name))


def check_the_checks():
    """Each check must find a planted error."""
    bad = [
        (["bert/a.py"], "`m2bert/error.h`", "`tests/ops/absent_test.cpp`", "tests/ops/absent_test.cpp is not there"),
        (["bert/a.py"], "`m2bert/absent.h`", "`tests/CMakeLists.txt`", "m2bert/absent.h is not there"),
        (["bert/a.py"], "`m2bert/error.h`", "", "names no test"),
        (["bert/a.py"], "somewhere", "`tests/CMakeLists.txt`", "names no file"),
        (["bert/a.py"], "`m2bert/error.h`", "`test_ops --gtest_filter=Absent.Test`", "test_ops has no test Absent.Test"),
        (["bert/a.py"], "Not yet: training", "`tests/CMakeLists.txt`", "names a test for what is not there"),
        (["bert/b.py"], "Not yet: training", "", "bert/a.py has no row"),
        (["bert/a.py", "bert/b.py"], "Not yet: training", "", "bert/b.py is not an upstream file"),
    ]
    for files, here, proof, says in bad:
        found = list(wrong_table([inventory.Row(1, files, here, proof)], {"bert/a.py"}))
        if not any(says in what for what in found):
            sys.exit(f"the check of docs/porting.md did not find that {says}: {found}")
    if list(wrong_functions("| `a` | `ops::linear`, `ops::absent(x)` | |")) != ["ops::absent is declared nowhere"]:
        sys.exit("the check of docs/porting.md does not see a function that is declared nowhere")
    good = inventory.Row(1, ["bert/a.py"], "`m2bert/ops/monarch.h`", "`test_ops --gtest_filter=BlockdiagMultiply.*`, `tests/ops/*_test.cpp`")
    if list(wrong_table([good], {"bert/a.py"})):
        sys.exit(f"the check of docs/porting.md refuses a good row: {list(wrong_table([good], {'bert/a.py'}))}")


def main():
    check_the_checks()
    rows = inventory.read_rows(repository / "docs/porting.md")
    upstream = set((Path(__file__).parent / "upstream_files.txt").read_text(encoding="utf-8").split())
    functions = (repository / "docs/porting.md").read_text(encoding="utf-8").split("## Functions")[1].split("\n## ")[0]
    wrong = [*wrong_table(rows, upstream), *wrong_functions(functions)]
    if wrong:
        sys.exit("docs/porting.md:\n" + "\n".join(wrong))
    print(f"{len(rows)} rows cover {len(upstream)} files")


main()
