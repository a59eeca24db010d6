"""Lists the files of a Python tree that import a library that m2bert replaces, with their rows in docs/porting.md."""
from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

REPLACED = ("torch", "numpy", "triton", "apex", "einops", "composer", "streaming")
SHEBANG = re.compile(rb"#!.*\bpython")


@dataclass
class Row:
    """A row of docs/porting.md."""
    line: int
    files: list[str]  # of upstream
    here: str
    proof: str


@dataclass
class File:
    path: str  # relative to the tree
    imports: dict[str, list[int]] = field(default_factory=dict)  # one of REPLACED -> the lines that import it
    error: str = ""  # why it could not be parsed
    rows: list[Row] = field(default_factory=list)


def read_rows(document: Path) -> list[Row]:
    """The rows whose first cell names upstream's files in backticks."""
    rows = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3:
            files = re.findall(r"`((?:bert|csrc)/[^`]+)`", cells[0])
            if files:
                rows.append(Row(number, files, cells[1], cells[2]))
    return rows


def imported(node: ast.AST) -> list[str]:
    """The modules that a node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        if called in ("import_module", "__import__"):
            return [node.args[0].value]
    return []


def replaced_imports(source: bytes) -> dict[str, list[int]]:
    """Library -> lines. Raises SyntaxError or ValueError if the source is not Python 3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    found: dict[str, list[int]] = {}
    for node in ast.walk(tree):
        for module in imported(node):
            top = module.split(".")[0]
            if top in REPLACED:
                found.setdefault(top, []).append(node.lineno)
    return {name: sorted(found[name]) for name in REPLACED if name in found}


def rows_of(tree: Path, path: str, rows: dict[str, list[Row]]) -> list[Row]:
    """The tree may be upstream's checkout, its bert/ folder, or a parent folder."""
    parts = path.split("/")
    names = [f"{tree.name}/{path}"] + ["/".join(parts[i:]) for i in range(max(1, len(parts) - 1))]
    return next((rows[name] for name in names if name in rows), [])


def is_python(path: Path) -> bool:
    if path.suffix in (".py", ".pyw"):
        return True
    if path.suffix:
        return False
    with path.open("rb") as file:
        return bool(SHEBANG.match(file.readline(200)))


def take(tree: Path, document: Path) -> list[File]:
    """All files in `tree`, except .git and bytecode."""
    rows: dict[str, list[Row]] = {}
    for row in read_rows(document):
        for name in row.files:
            rows.setdefault(name, []).append(row)
    files = []
    for path in sorted(tree.rglob("*")):
        place = path.relative_to(tree)
        if not path.is_file() or {".git", "__pycache__"} & set(place.parts):
            continue
        file = File(place.as_posix(), rows=rows_of(tree.resolve(), place.as_posix(), rows))
        if is_python(path):
            try:
                file.imports = replaced_imports(path.read_bytes())
            except (SyntaxError, ValueError) as error:
                file.error = f"does not parse as Python 3: {error}"
        files.append(file)
    return files
