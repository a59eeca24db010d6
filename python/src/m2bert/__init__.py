"""Monarch Mixer BERT and BERT models on MLX: vectors, labels and words from texts, without PyTorch.

>>> embedder = m2bert.Embedder(model)
>>> embedder.embed(["Monarchs migrate south.", "Milkweed is their food."]).shape
(2, 384)
"""
from ._core_import import import_core as _import_core

_import_core()

from ._classifier import Classifier  # noqa: E402
from ._core import Encoding, Error, __version__, set_threads, threads  # noqa: E402
from ._embedder import Embedder, quantize  # noqa: E402
from ._fill_mask import FillMask  # noqa: E402
from ._tokenizer import Tokenizer  # noqa: E402

__all__ = ["Classifier", "Embedder", "Encoding", "Error", "FillMask", "Tokenizer", "__version__", "quantize", "set_threads", "threads"]
