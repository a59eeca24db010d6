"""python_stubs.py STUB MODULE: writes the docstrings of a compiled module of the Python package into its stub.

Editors and the documentation site read them there. After a docstring in python/bindings has changed, run it with a Python that has m2bert
(PYTHONPATH=build/release/python):

    python tools/python_stubs.py python/src/m2bert/ops.pyi m2bert.ops
    python tools/python_stubs.py python/src/m2bert/_core.pyi m2bert._core
"""
from __future__ import annotations

import ast
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType


def docstring(module: ModuleType, name: str) -> str:
    """Of a function that of its first overload, without the signature that nanobind puts in front. Empty for what only the stub has."""
    if not hasattr(module, name):
        return ""
    thing = getattr(module, name)
    signatures = getattr(thing, "__nb_signature__", None)
    return inspect.cleandoc((signatures[0][1] if signatures else thing.__doc__) or "")


def literal(text: str, indent: str) -> str:
    lines = [(indent + line).rstrip() for line in text.split("\n")]
    return indent + ('r"""' if "\\" in text else '"""') + "\n".join(lines).lstrip() + ("\n" + indent if len(lines) > 1 else "") + '"""'


def describe(lines: list[str], node: ast.ClassDef | ast.FunctionDef, text: str) -> None:
    """Changes the lines of a stub: the text becomes the docstring of this node, whose body is `...`, a docstring, or that of a class."""
    first = node.body[0]
    begin = min(getattr(part, "lineno") for part in [first, *getattr(first, "decorator_list", [])]) - 1
    if not isinstance(first, ast.Expr):
        lines.insert(begin, literal(text, "    ") + "\n\n")
        return
    head = lines[begin][:first.col_offset].rstrip()
    lines[begin:first.end_lineno] = [(head + "\n" if head else "") + literal(text, "    ") + "\n"]


def main() -> None:
    stub, module = Path(sys.argv[1]), importlib.import_module(sys.argv[2])
    text = stub.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    tree = ast.parse(text)
    named: dict[str, ast.ClassDef | ast.FunctionDef] = {}
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            named.setdefault(node.name, node)  # the first overload
    for name, node in sorted(named.items(), key=lambda item: -item[1].lineno):
        if doc := docstring(module, name):
            describe(lines, node, doc)
    if module.__doc__:
        first = tree.body[0].end_lineno if ast.get_docstring(tree) else 0
        lines[:first] = [literal(inspect.cleandoc(module.__doc__), "") + "\n"]
    stub.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
