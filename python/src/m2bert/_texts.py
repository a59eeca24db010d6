"""Texts in the forms in which users have them, and the progress of work on them."""
from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

Texts = str | Iterable[str]
Progress = bool | Callable[[int], object]


class Source:
    """An iterator over texts, their number if it is known, and whether it was one str."""

    def __init__(self, texts: Any, what: str = "texts") -> None:
        self.single = isinstance(texts, str)
        if self.single:
            texts = [texts]
        elif isinstance(texts, (bytes, Mapping)) or not hasattr(texts, "__iter__"):
            raise TypeError(f"{what} is {type(texts).__name__}, not a str or an iterable of str")
        if hasattr(texts, "to_pylist"):  # pyarrow
            texts = texts.to_pylist()
        elif hasattr(texts, "tolist"):  # numpy, pandas
            if getattr(texts, "ndim", 1) != 1:
                raise ValueError(f"{what} has {texts.ndim} dimensions, not one")
            texts = texts.tolist()
        self.count: int | None = len(texts) if hasattr(texts, "__len__") else None
        self._texts = texts

    def __iter__(self) -> Iterator[Any]:
        return iter(self._texts)


class _Lines:
    """A line on stderr every few seconds."""

    def __init__(self, total: int | None) -> None:
        self.total, self.done, self.begin = total, 0, time.monotonic()
        self.shown = self.begin

    def update(self, texts: int) -> None:
        self.done += texts
        now = time.monotonic()
        if now - self.shown >= 2 or (self.done == self.total and self.shown > self.begin):
            self.shown = now
            of = "" if self.total is None else f" of {self.total:,}"
            print(f"{self.done:,}{of} texts, {self.done / (now - self.begin):,.0f} a second", file=sys.stderr)

    def close(self) -> None:
        pass


def _bar(total: int | None) -> Any:
    try:
        tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return _Lines(total)
    return tqdm(total=total, unit="text")


class Reporter:
    """Shows the progress of a call: nothing (False), a bar of tqdm or lines (True), or calls a function with the texts done."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._function = progress if callable(progress) else None
        self._bar: Any = _bar(total) if progress is True else None
        self._done = 0

    @property
    def function(self) -> Callable[[int], object] | None:
        return self._update if self._bar is not None else self._function

    def _update(self, done: int) -> None:
        self._bar.update(done - self._done)
        self._done = done

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
