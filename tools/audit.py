"""Checks that m2bert does not depend on Python. Prints violations and exits with 1 if there are any.

audit.py                    the sources: m2bert/, cli/ and examples/ may not include, link, load or start torch, numpy, triton, apex or Python
audit.py --tree DIR         an installed tree: file names, libraries (including the system libraries that they load), scripts, headers
audit.py --inventory DIR    a Python tree: the files that import a library that m2bert replaces, with their rows in docs/porting.md
  --all                     also the files that import none
  --json                    as JSON

What runs only while building or testing (script/, cmake/, tools/, tests/, bench/) may use Python; what cmake/ links may not.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import binary
import inventory

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("m2bert", "cli", "examples")  # installed code, and examples that users copy

PACKAGES = r"torch|functorch|numpy|triton|apex"
CODE = {".h", ".hpp", ".hh", ".c", ".cc", ".cpp", ".cu", ".cuh", ".metal", ".mm", ".inc"}
INCLUDE = re.compile(r'\s*#\s*(?:include|import|include_next)\s*[<"]([^>"]+)[>"]|.*__has_include\s*\(\s*[<"]([^>"]+)[>"]')
BAD_HEADER = re.compile(rf"(?:.*/)?Python\.h$|(?:python\d[\d.]*|{PACKAGES}|ATen|c10|caffe2|pybind11|nanobind|boost/python)/"
                        r"|(?:boost/python|pybind11|nanobind)\.hpp?$")
INTERPRETER = re.compile(r"(?:^|[\s/;&|(\"'`])(?:python|pypy|ipython)[\d.]*(?:\.exe)?(?=$|[\s;&|)\"'`])")
BAD_LIBRARY = re.compile(r"(?:^|/)(?:lib)?(?:python\d[\w.]*|torch(?:_\w+)?|c10(?:_\w+)?|caffe2\w*|triton|nvfuser\w*)\.(?:so|dylib|dll|framework)"
                         r"|(?:^|/)Python(?:\.framework/|$)|\.cpython-\d+|\.abi3\.so", re.I)
STARTS = re.compile(r"(?<![\w.>])(system|_?popen|exec[lv]p?e?|execvpe|posix_spawnp?"
                    r"|dlopen|dlmopen|LoadLibrary(?:Ex)?[AW]?|CreateProcess[AW]?)\s*\(")
OWN_PROGRAM = re.compile(r"\s*program_file\(\)\.c_str\(\)\s*,")  # the program starts itself (m2bert/threads.h)
COMMAND = re.compile(r"\s*(?:\S*/)?(?:env\s+)?(?:python|pypy)[\d.]*(?:\s+\S|$)")
CMAKE_WORD = re.compile(rf"(?<![\w-])(?:Python\d*|pybind11|nanobind|ATen|c10|libtorch|libpython|{PACKAGES})"
                        r"(?=_(?:EXECUTABLE|LIBRAR|INCLUDE)|[^\w]|$)", re.I)
CMAKE_LINKS = re.compile(r"\b(target_link_libraries|link_libraries|target_include_directories|include_directories|find_package|find_library)"
                         r"\s*\(([^()]*)\)", re.I)
VENV = re.compile(r"site-packages|dist-packages|/\.?venv[^/]*/|/lib/python\d|/(?:mini|ana)?conda\d*/")
BAD_NAME = re.compile(rf"(?:{PACKAGES}|site-packages|dist-packages|__pycache__|pyvenv\.cfg|(?:python|pypy)[\d.]*(?:-config|\.exe)?"
                      rf"|(?:{PACKAGES})-[\d.]+.*-info|.*\.(?:py|pyc|pyo|pyi|pyw|pyd|whl|egg|pxd))$")
BAD_BYTES = re.compile(rb"lib(?:python\d[\w.]*|torch(?:_\w+)?|c10(?:_\w+)?)\.(?:so|dylib)|\0(?:[\w./-]*/)?(?:env )?python[\d.]*[ \0]")


@dataclass
class Finding:
    file: str
    line: int | None
    what: str
    why: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}: {self.why}"


# ---- sources ----
class Code:
    """C++ source of unchanged length: `plain` has no comments, `bare` no contents of strings either; and the strings by offset."""
    TOKEN = re.compile(r'R"(\w*)\((?P<raw>.*?)\)\1"|"(?P<string>(?:[^"\\\n]|\\.)*)"|\'(?:[^\'\\\n]|\\.[^\'\n]{0,8})\'|//[^\n]*|/\*.*?\*/', re.S)

    def __init__(self, text: str) -> None:
        self.strings = []  # (offset, content)
        for match in self.TOKEN.finditer(text):
            inside = match["raw"] if match["raw"] is not None else match["string"]
            if inside is not None:
                self.strings.append((match.start(), inside))
        self.bare = self.TOKEN.sub(lambda m: blank(m[0]), text)
        self.plain = self.TOKEN.sub(lambda m: blank(m[0]) if m[0].startswith("/") else m[0], text)

    def line(self, offset: int) -> int:
        return self.bare.count("\n", 0, offset) + 1

    def end_of_call(self, opening: int) -> int:
        """The offset of the parenthesis that closes the one at `opening`."""
        depth = 0
        for at in range(opening, len(self.bare)):
            depth += {"(": 1, ")": -1}.get(self.bare[at], 0)
            if depth == 0:
                return at
        return len(self.bare)


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def check_includes(file: str, code: Code) -> Iterator[Finding]:
    for number, line in enumerate(code.plain.splitlines(), 1):
        match = INCLUDE.match(line)
        header = match and (match[1] or match[2])
        if header and BAD_HEADER.match(header):
            yield Finding(file, number, f"includes <{header}>", "the product is built without Python and PyTorch")


def check_strings(file: str, code: Code) -> Iterator[Finding]:
    """A call that starts or loads something must name it, and it may not be forbidden; other strings may not name one of these either."""
    in_calls = set()
    for match in STARTS.finditer(code.bare):
        end = code.end_of_call(match.end() - 1)
        strings = [(at, text) for at, text in code.strings if match.end() <= at < end]
        in_calls.update(strings)
        bad = [text for _, text in strings if INTERPRETER.search(text) or BAD_LIBRARY.search(text) or re.search(rf"\b(?:{PACKAGES})\b", text)]
        if bad:
            yield Finding(file, code.line(match.start()), f"{match[1]}() of {bad[0]!r}", "nothing of Python or PyTorch may be started or loaded")
        elif not strings and not OWN_PROGRAM.match(code.bare, match.end()):
            yield Finding(file, code.line(match.start()), f"{match[1]}() of something that is not named here",
                          "what is started or loaded must be a string in the call")
    for at, text in code.strings:
        if (at, text) not in in_calls and (COMMAND.match(text) or BAD_LIBRARY.search(text)):
            yield Finding(file, code.line(at), f"the string {text!r}", "it names a Python interpreter, or a library of Python or PyTorch")


def check_code(file: str, text: str) -> Iterator[Finding]:
    code = Code(text)
    yield from check_includes(file, code)
    yield from check_strings(file, code)


def check_cmake(file: str, text: str, product: bool) -> Iterator[Finding]:
    """The product's folders may not name Python; elsewhere it may run while building, but may not be linked."""
    text = re.sub(r"#[^\n]*", "", text)
    if product:
        for number, line in enumerate(text.splitlines(), 1):
            match = CMAKE_WORD.search(line)
            if match:
                yield Finding(file, number, f"names {match[0]}", "the product's own build lists use neither Python nor PyTorch")
        return
    for command in CMAKE_LINKS.finditer(text):
        match = CMAKE_WORD.search(command[2])
        interpreter = command[1].lower() == "find_package" and match and match[0].lower().startswith("python") and "Development" not in command[2]
        if match and not interpreter:
            yield Finding(file, text.count("\n", 0, command.start()) + 1, f"{command[1]}() of {match[0]}", "it would become part of the product")


def check_sources(root: Path) -> tuple[int, list[Finding]]:
    findings, count = [], 0
    for path in sorted(p for top in PRODUCT for p in (root / top).rglob("*") if p.is_file()):
        file, name = path.relative_to(root).as_posix(), path.name
        is_cmake = name == "CMakeLists.txt" or path.suffix == ".cmake" or name.endswith(".cmake.in")
        if BAD_NAME.match(name):
            findings.append(Finding(file, None, "a file of Python", "the product has none"))
        elif is_cmake:
            findings += check_cmake(file, path.read_text(encoding="utf-8"), product=True)
        elif path.suffix in CODE or path.suffixes[-2:-1] == [".h"]:
            findings += check_code(file, path.read_text(encoding="utf-8"))
        else:
            findings += check_script(file, path.read_bytes())
        count += 1
    for path in [root / "CMakeLists.txt", *sorted((root / "cmake").glob("*"))]:
        if path.is_file() and path.suffix != ".cpp":
            findings += check_cmake(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"), product=False)
            count += 1
    return count, findings


# ---- an installed tree ----
def check_script(file: str, data: bytes) -> Iterator[Finding]:
    """A script (#!) may not be run by, or run, a Python interpreter."""
    if not data.startswith(b"#!"):
        return
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        said = line[2:] if number == 1 else line.split(" #")[0]
        if not (number > 1 and said.lstrip().startswith("#")) and INTERPRETER.search(said):
            yield Finding(file, number, f"runs {INTERPRETER.search(said)[0].strip(' /')}", "no script of the product runs Python")


def system_libraries() -> dict[str, Path]:
    """The libraries in the loader's cache by name (Linux; empty elsewhere)."""
    for program in ("ldconfig", "/sbin/ldconfig"):
        try:
            said = subprocess.run([program, "-p"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        found: dict[str, Path] = {}
        for name, place in re.findall(r"^\s+(\S+) \([^)]*64[^)]*\) => (\S+)$", said, re.M):
            found.setdefault(name, Path(place))
        return found
    return {}


class Tree:
    """The binaries of a tree and all libraries that the loader loads with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = {path.name: path for path in folder.rglob("*") if path.is_file()}
        self.system = system_libraries()
        self.seen: set[Path] = set()

    def resolve(self, name: str, search: list[str], origin: Path) -> Path | None:
        for folder in search:
            place = Path(folder.replace("$ORIGIN", str(origin)).replace("@loader_path", str(origin))) / name.removeprefix("@rpath/")
            if place.is_file():
                return place
        return self.own.get(Path(name).name) or self.system.get(name)

    def check(self, path: Path, through: list[str]) -> Iterator[Finding]:
        """Checks the binary at `path` and its dependencies; `through`: the chain of binaries that led to it."""
        if path.resolve() in self.seen:
            return
        self.seen.add(path.resolve())
        chain = " -> ".join([*through, path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else str(path)])
        try:
            found = binary.read(path)
        except ValueError as error:
            yield Finding(chain, None, str(error), "what it needs cannot be checked")
            return
        inside = path.resolve().is_relative_to(self.folder)
        for folder in found.search if inside else []:
            if VENV.search(folder + "/"):
                yield Finding(chain, None, f"looks for libraries in {folder}", "a Python environment may not be there")
        python = [s for s in found.imports if re.match(r"_?Py(?:[A-Z][A-Za-z]*)?_\w+$", s)]
        if python:
            yield Finding(chain, None, f"needs {python[0]} and {len(python) - 1} other symbols of Python", "it is a Python module")
        for name in found.needed:
            if BAD_LIBRARY.search(name):
                yield Finding(chain, None, f"is linked with {name}", "nothing of Python or PyTorch may be linked")
                continue
            place = self.resolve(name, found.search, path.parent)
            if place:
                yield from self.check(place, [chain])


def check_bytes(file: str, data: bytes) -> Iterator[Finding]:
    match = BAD_BYTES.search(data)
    if match:
        named = match[0].strip(b" \0").decode()
        yield Finding(file, None, f"holds the string {named!r}", "it could load or start it")


def check_file(tree: Tree, path: Path, file: str) -> Iterator[Finding]:
    leads_out = path.is_symlink() and not path.resolve().is_relative_to(tree.folder)
    if path.is_symlink() and not path.exists() or leads_out and VENV.search(str(path.resolve())):
        yield Finding(file, None, f"is a link to {os.readlink(path)}", "it leads to nothing, or into a Python environment")
        return
    data = path.read_bytes()
    if binary.is_binary(data[:8]):
        findings = list(tree.check(path, []))
        yield from findings or check_bytes(file, data)  # the name of a linked library is also a string of the file
    elif path.suffix in CODE:
        yield from check_includes(file, Code(data.decode("utf-8", "replace")))
    elif path.suffix == ".cmake":
        yield from check_cmake(file, data.decode("utf-8", "replace"), product=True)
    elif path.suffix == ".a":
        yield from check_bytes(file, data)
    else:
        yield from check_script(file, data)


def check_tree(folder: Path) -> tuple[int, list[Finding]]:
    findings, count, tree = [], 0, Tree(folder.resolve())
    for path in sorted(folder.resolve().rglob("*")):
        file = path.relative_to(folder.resolve()).as_posix()
        if BAD_NAME.match(path.name) or BAD_LIBRARY.search(path.name):
            findings.append(Finding(file, None, "is Python's or PyTorch's by its name", "the installed tree needs neither"))
        elif path.is_file() or path.is_symlink():
            findings += check_file(tree, path, file)
        count += path.is_file()
    return count, findings


# ---- inventory ----
def print_inventory(folder: Path, files: list[inventory.File], everything: bool) -> None:
    shown = [f for f in files if f.imports or f.error or everything]
    width = max([len(f.path) for f in shown], default=0)
    for file in shown:
        print(f"{file.path:{width}}  {' '.join(file.imports) or '-'}{'  ' + file.error if file.error else ''}")
        for row in file.rows:
            print(f"    here:  {row.here}" + (f"\n    shown by: {row.proof}" if row.proof else ""))
    missing = [f.path for f in shown if not f.rows]
    used = sum(bool(f.imports) for f in files)
    print(f"\n{len(files)} files in {folder}: {used} import one of {', '.join(inventory.REPLACED)}; {sum(bool(f.error) for f in files)} do not parse")
    print("every file shown has a row in docs/porting.md" if not missing else
          f"{len(missing)} of the {len(shown)} shown have no row in docs/porting.md:\n  " + "\n  ".join(missing))


def take_inventory(folder: Path, everything: bool, as_json: bool) -> int:
    if not folder.is_dir():
        print(f"error: {folder} is no folder", file=sys.stderr)
        return 2
    files = inventory.take(folder, ROOT / "docs/porting.md")
    if as_json:
        print(json.dumps([asdict(f) for f in files if f.imports or f.error or everything], indent=1))
    else:
        print_inventory(folder, files, everything)
    return 0


def main() -> int:
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `audit.py ... | head` is not an error
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--inventory", type=Path)
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout than this file's")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.inventory:
        return take_inventory(asked.inventory, asked.all, asked.json)
    place = asked.tree or asked.root
    count, findings = check_tree(asked.tree) if asked.tree else check_sources(asked.root)
    if count == 0:
        findings = [Finding(str(place), None, "no file to check", "is the folder right?")]
    if asked.json:
        print(json.dumps([asdict(f) for f in findings], indent=1))
    else:
        print("\n".join(map(str, findings)) if findings else f"{count} files need neither Python nor PyTorch")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
