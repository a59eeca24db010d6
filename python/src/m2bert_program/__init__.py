"""Starts the program m2bert that the wheel brings. A package of its own, so that no Python module is loaded before it."""
from __future__ import annotations

import os
import sys
from importlib.util import find_spec


def _folder(package: str) -> str | None:
    spec = find_spec(package)
    return spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else None


def main() -> None:
    folder, mlx = _folder("m2bert"), _folder("mlx")
    if folder is None or mlx is None:
        sys.exit(f"error: {'m2bert' if folder is None else 'mlx'} is not installed for {sys.executable}")
    if os.path.dirname(folder) != os.path.dirname(mlx):  # the program looks for MLX's library beside its own package
        name = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
        given = os.environ.get(name)
        os.environ[name] = os.path.join(mlx, "lib") + (os.pathsep + given if given else "")
    program = os.path.join(folder, "bin", "m2bert")
    os.execv(program, [program, *sys.argv[1:]])
