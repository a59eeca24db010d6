"""What all models have in common: finding their files, and closing."""
from __future__ import annotations

import errno
import importlib
import os
import re
from types import TracebackType
from typing import Any, Generic, TypeVar

from . import _core

_Core = TypeVar("_Core")
_Self = TypeVar("_Self", bound="Model[Any]")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def existing(path: str | os.PathLike[str]) -> str:
    """The path as str. FileNotFoundError if nothing is there."""
    text = os.fspath(path)
    if not os.path.exists(text):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
    return text


def find_model(model: str | os.PathLike[str]) -> str:
    """The file or folder of a model. A name on Hugging Face's hub, ORG/NAME or ORG/NAME@REVISION, is downloaded once."""
    text = os.fspath(model)
    if os.path.exists(text) or not _HUB_NAME.fullmatch(text):
        return existing(text)
    try:
        snapshot_download = importlib.import_module("huggingface_hub").snapshot_download
    except ImportError:
        raise FileNotFoundError(
            errno.ENOENT, "No such file or folder. If it is a model on Hugging Face's hub, run: pip install 'm2bert[hub]'", text) from None
    name, _, revision = text.partition("@")
    return str(snapshot_download(name, revision=revision or None,
                                 ignore_patterns=["*.onnx", "*.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*", "*.gguf"]))


def _from_anywhere(path: str) -> str:
    """The same for a process in another folder; names on the hub stay as they are."""
    return os.path.abspath(path) if os.path.exists(path) else path


class Model(Generic[_Core]):
    """A loaded model. `with` closes it at its end."""

    _kind: Any

    def __init__(self, model: str | os.PathLike[str], threads: int | None, **options: Any) -> None:
        for name in ("config", "tokenizer"):
            if options.get(name) is not None:
                options[name] = existing(options[name])
        if threads is not None:
            _core.set_threads(threads)
        self._name = os.fspath(model)
        files = {name: _from_anywhere(options[name]) for name in ("config", "tokenizer") if options.get(name) is not None}
        self._arguments = (_from_anywhere(self._name), {"threads": threads, **options, **files})
        self._loaded: _Core | None = self._kind(find_model(model), options)

    @property
    def _model(self) -> _Core:
        if self._loaded is None:
            raise ValueError("the model is closed")
        return self._loaded

    def close(self) -> None:
        """Frees the model's memory. What it computed stays valid."""
        self._loaded = None

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process loads the model again.
        return _load_again, (type(self), *self._arguments)

    def __repr__(self) -> str:
        return f"m2bert.{type(self).__name__}({self._name!r})"


def _load_again(kind: type[Model[Any]], model: str, options: dict[str, Any]) -> Model[Any]:
    return kind(model, **options)
