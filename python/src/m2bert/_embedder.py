"""Embedder: texts to vectors."""
from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _core
from ._model import Model
from ._texts import Progress, Reporter, Source, Texts

Vectors = npt.NDArray[np.float32]
Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
_logger = logging.getLogger("m2bert")


class Embedder(Model["_core.Embedder"]):
    """Texts to vectors.

    Args:
        model: A folder (Hugging Face or sentence-transformers), a checkpoint of M2-BERT with `config`, or a name on Hugging Face's hub,
            ORG/NAME or ORG/NAME@REVISION (needs `pip install 'm2bert[hub]'`).
        config: The recipe (YAML) or config.json of a checkpoint file.
        tokenizer: vocab.txt, tokenizer.json or a folder. Default: the model's, else bert-base-uncased.
        dtype: Of the weights: "float32", "bfloat16", "float16" or "int8". Default: float32, or int8 if the file holds int8.
        allow_missing: Gives weights that the file lacks random values.
        allow_unexpected: Ignores weights that the model does not have.
        pad: The length to which texts are padded: "max" (the maximum length, as M2-BERT was trained), "longest" (of the batch) or "bucket"
            (8, 12, 16, 24, ...). M2-BERT's vectors depend on the padding. Default: "max", or "longest" if padding has no effect.
        max_length: Texts are truncated to so many tokens. Default: the model's.
        pooling: "pooler", "cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean" or "lasttoken"; several are joined by "+".
            Default: the model's.
        normalize: Whether vectors are scaled to length 1. Default: the model's.
        dimensions: Only the first values of each vector, for models with Matryoshka losses.
        prompt: Put in front of each text: the name of one of the model's prompts, or a text. Default: the model's.
        batch_size: Texts a batch.
        truncation_side: The end at which long texts are truncated, "right" or "left". Default: the tokenizer's.
        reference_cut: Truncates long texts after [SEP] was added, so that they lose it, as upstream's scripts do.
        device: "cpu" or "gpu". Default: MLX's.
        threads: Of the processor, for all models of the process (see set_threads). Default: all that the process may use.

    Several threads may use one Embedder; they take turns.

    >>> embedder = m2bert.Embedder(model)
    >>> embedder.embed(["Monarchs migrate south.", "Milkweed is their food."]).shape
    (2, 384)
    """

    _kind = _core.Embedder

    def __init__(self, model: str | os.PathLike[str], *, config: str | os.PathLike[str] | None = None,
                 tokenizer: str | os.PathLike[str] | None = None, dtype: str | None = None, allow_missing: bool = False,
                 allow_unexpected: bool = False, pad: Literal["max", "longest", "bucket"] | None = None, max_length: int | None = None,
                 pooling: str | None = None, normalize: bool | None = None, dimensions: int | None = None, prompt: str | None = None,
                 batch_size: int = 32, truncation_side: Literal["right", "left"] | None = None, reference_cut: bool = False,
                 device: Literal["cpu", "gpu"] | None = None, threads: int | None = None) -> None:
        super().__init__(model, threads, config=config, tokenizer=tokenizer, dtype=dtype, allow_missing=allow_missing,
                         allow_unexpected=allow_unexpected, pad=pad, max_length=max_length, pooling=pooling, normalize=normalize,
                         dimensions=dimensions, prompt=prompt, batch_size=batch_size, truncation_side=truncation_side,
                         reference_cut=reference_cut, device=device)

    @property
    def dim(self) -> int:
        """The number of values of a vector.

        >>> m2bert.Embedder(model).dim
        384
        """
        return self._model.dim

    @property
    def max_length(self) -> int:
        """Tokens, with [CLS] and [SEP], to which texts are truncated.

        >>> m2bert.Embedder(model).max_length
        256
        """
        return self._model.max_length

    @property
    def prompts(self) -> Mapping[str, str]:
        """The model's prompts by name.

        >>> m2bert.Embedder(model).prompts
        {}
        """
        return self._model.prompts

    def embed(self, texts: Texts, *, prompt: str | None = None, progress: Progress = False) -> Vectors:
        """The vectors of texts.

        Args:
            texts: A str, or any iterable of str: list, tuple, generator, numpy array, pandas Series. Batches are made in the background.
            prompt: The name of one of the model's prompts, or a text. Default: that of the constructor.
            progress: True shows a bar (tqdm, if it is installed, otherwise lines on stderr); a function is called with the number of texts
                that are done.

        Returns:
            float32 [n, dim], or [dim] for one str.

        >>> embedder.embed("Monarchs migrate south.").shape
        (384,)
        >>> embedder.embed(f"Butterfly {i}" for i in range(3)).shape
        (3, 384)
        """
        literal = None if prompt is None else self.prompts.get(prompt, prompt)
        return self._embed(Source(texts), prompt=literal, progress=progress)

    def _embed(self, source: Source, progress: Progress, **call: Any) -> Vectors:
        model = self._model
        with Reporter(progress, source.count) as reporter:
            vectors = model.embed(iter(source), source.count or 0, progress=reporter.function, **call)
        return vectors[0] if source.single else vectors
