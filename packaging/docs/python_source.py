"""An extension of Griffe, which reads the Python package for the documentation site."""
from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^( *)>>> .*(?:\n.*\S.*)*", re.MULTILINE)  # up to an empty line


class PythonSource(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **others: Any) -> None:
        adapt(pkg)


def adapt(thing: griffe.Object) -> None:
    """Makes examples blocks of code. A function of a stub that has only overloads is described by the first of them."""
    if thing.docstring:
        thing.docstring.value = EXAMPLE.sub(lambda found: f"{found[1]}```pycon\n{found[0]}\n{found[1]}```", thing.docstring.value)
    if isinstance(thing, griffe.Module):
        for name, overloads in thing.overloads.items():
            if name not in thing.members:
                thing.set_member(name, overloads[0])
                overloads[0].overloads = overloads
    for member in thing.members.values():
        if isinstance(member, griffe.Object):
            adapt(member)
