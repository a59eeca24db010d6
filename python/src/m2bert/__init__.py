"""Monarch Mixer BERT and BERT models on MLX: vectors, labels and words from texts, without PyTorch.

>>> embedder = m2bert.Embedder("path/to/model")      # doctest: +SKIP
>>> embedder.embed(["Monarchs migrate south."]).shape  # doctest: +SKIP
(1, 384)
"""
from ._core_import import import_core as _import_core

_core = _import_core()

from ._core import Error, __version__, set_threads, threads  # noqa: E402
from ._embedder import Embedder  # noqa: E402

__all__ = ["Embedder", "Error", "__version__", "set_threads", "threads"]
