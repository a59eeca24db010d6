"""Monarch Mixer BERT and BERT models on MLX: vectors, labels and words from texts, without PyTorch.

>>> embedder = m2bert.Embedder(model)
>>> embedder.embed(["Monarchs migrate south.", "Milkweed is their food."]).shape
(2, 384)
"""
import sys as _sys

from ._core_import import import_core as _import_core

_import_core()

from . import metrics  # noqa: E402
from ._checkpoint import load_checkpoint, read_config, save_checkpoint  # noqa: E402
from ._classifier import Classifier  # noqa: E402
from ._core import Encoding, Error, __version__, ops, set_threads, threads  # noqa: E402
from ._embedder import Embedder, quantize  # noqa: E402
from ._evaluate import evaluate  # noqa: E402
from ._fill_mask import FillMask  # noqa: E402
from ._tokenizer import Tokenizer  # noqa: E402
from ._train import TrainingResult, train  # noqa: E402

_sys.modules["m2bert.ops"] = ops  # for `import m2bert.ops`

__all__ = ["Classifier", "Embedder", "Encoding", "Error", "FillMask", "Tokenizer", "TrainingResult", "__version__", "evaluate",
           "load_checkpoint", "metrics", "ops", "quantize", "read_config", "save_checkpoint", "set_threads", "threads", "train"]
