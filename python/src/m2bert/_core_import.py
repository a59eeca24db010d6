"""Imports m2bert._core, and says in one sentence why if that fails."""
from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

MLX_VERSION = "0.32.4"  # exactly, because MLX's C++ interface changes in patch releases
_INSTALL = f"pip install mlx=={MLX_VERSION}" + (f" mlx-cpu=={MLX_VERSION}" if sys.platform == "linux" else "")


def _installed(package: str) -> str | None:
    import importlib.metadata  # not above: it takes a while, and in sub-interpreters of Python 3.12 it can crash

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_interpreter() -> None:
    """MLX's module refuses sub-interpreters from Python 3.12 on; before, models would wait for the main interpreter's lock for ever."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # the second one is that of Python before 3.13
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        if interpreters.get_current() != interpreters.get_main():
            raise ImportError("m2bert works in Python's main interpreter alone, because MLX and NumPy do not support sub-interpreters; use "
                              "processes instead, and with mod_wsgi: WSGIApplicationGroup %{GLOBAL}")
        return


def _import_mlx() -> ModuleType:
    if importlib.util.find_spec("mlx") is None:
        raise ImportError(f"m2bert needs MLX {MLX_VERSION}, which is not installed; run: {_INSTALL}")
    try:
        import mlx.core
    except ImportError as error:
        raise ImportError(f"m2bert needs MLX {MLX_VERSION}, and mlx.core cannot be imported ({error}); run: {_INSTALL}") from error
    version = getattr(mlx.core, "__version__")
    if version != MLX_VERSION:
        raise ImportError(f"m2bert needs MLX {MLX_VERSION}, and this is MLX {version}; run: {_INSTALL}")
    return mlx.core


def _why_not(error: ImportError) -> str:
    if _installed("nanobind-backend") is None:
        return "m2bert needs nanobind-backend, which is not installed; run: pip install nanobind-backend"
    for package in ("mlx", "mlx-cpu"):
        version = _installed(package)
        if version not in (None, MLX_VERSION):
            return f"m2bert needs {package} {MLX_VERSION}, and this is {package} {version}; run: {_INSTALL}"
    return f"m2bert's extension module cannot be loaded: {error}"


def _load() -> ModuleType:
    from . import _core

    return _core


def import_core() -> ModuleType:
    """m2bert._core, after mlx.core, whose arrays it shares."""
    _check_interpreter()
    mx = _import_mlx()
    # GNU's OpenMP lets idle threads spin for milliseconds, which stalls other programs. It reads this variable when it is loaded.
    spins = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ)
    if not spins:
        os.environ["GOMP_SPINCOUNT"] = "5000"
    try:
        core = _load()
    except ImportError as error:
        raise ImportError(_why_not(error)) from error
    finally:
        if not spins:
            del os.environ["GOMP_SPINCOUNT"]
    try:
        core.shares_arrays(mx.array(1.0))
    except TypeError as error:
        raise ImportError(
            f"m2bert and this build of MLX {MLX_VERSION} cannot share arrays, because they use different versions of nanobind; run: "
            f"pip install --force-reinstall m2bert mlx=={MLX_VERSION}") from error
    core.Error.__module__ = "m2bert"
    core.Error.__doc__ = "Bad input, a bad option or a broken file; the message says what to do. A ValueError."
    return core
