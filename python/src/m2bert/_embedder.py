"""Embedder: texts to vectors."""
from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _core
from ._model import Model
from ._texts import Progress, Reporter, Source, Texts
from ._tokenizer import Tokenizer

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
        return self._embed(Source(texts), progress, prompt=self._literal(prompt))

    def encode(self, sentences: Texts, prompt_name: str | None = None, prompt: str | None = None, batch_size: int | None = None,
               show_progress_bar: bool | None = None,
               output_value: Literal["sentence_embedding", "token_embeddings"] = "sentence_embedding",
               precision: Precision = "float32", convert_to_numpy: bool = True, convert_to_tensor: bool = False, device: str | None = None,
               normalize_embeddings: bool = False, truncate_dim: int | None = None) -> Any:
        """The vectors of sentences, with the arguments of sentence-transformers' encode.

        Args:
            sentences: A str or any iterable of str.
            prompt_name: One of the model's prompts.
            prompt: A text put in front of each sentence; `prompt_name` is ignored then.
            batch_size: Default: that of the constructor.
            show_progress_bar: Default: shown if the logger "m2bert" shows INFO.
            output_value: "token_embeddings": a list of arrays [tokens, hidden size], the states of each sentence's tokens.
            precision: Of the values: "float32", "int8", "uint8", "binary" or "ubinary". int8 and uint8 divide the range of these vectors.
            convert_to_numpy: False returns a list of torch tensors.
            convert_to_tensor: Returns one torch tensor.
            device: Only the model's own; a model computes where it was loaded.
            normalize_embeddings: Scales vectors to length 1, also where the model does not.
            truncate_dim: The first values only.

        Returns:
            float32 [n, dim], or [dim] for one str.

        >>> embedder.encode(["Monarchs migrate south."], normalize_embeddings=True, truncate_dim=64).shape
        (1, 64)
        """
        if device is not None and device != self._device:
            raise ValueError(f"device={device!r}: the model computes on {self._device!r}; Embedder(device=...) chooses")
        if show_progress_bar is None:
            show_progress_bar = _logger.isEnabledFor(logging.INFO)
        literal = prompt if prompt is not None else self._named(prompt_name)
        source = Source(sentences, "sentences")
        result: Any
        if output_value == "token_embeddings":
            result = self._token_embeddings(source, show_progress_bar, precision, literal, batch_size, normalize_embeddings, truncate_dim)
            to_torch = convert_to_tensor or not convert_to_numpy
            if to_torch:
                result = [_tensor(states) for states in result]
            return result[0] if source.single else result
        if output_value != "sentence_embedding":
            raise ValueError(f"output_value={output_value!r}: it can be 'sentence_embedding' or 'token_embeddings'")
        result = self._embed(source, show_progress_bar, prompt=literal, batch_size=batch_size, dimensions=truncate_dim,
                             normalize=True if normalize_embeddings and truncate_dim is None else None,
                             normalize_cut=None if truncate_dim is None else normalize_embeddings)
        if precision != "float32":
            result = quantize(result[None], precision)[0] if source.single else quantize(result, precision)
        if convert_to_tensor:
            return _tensor(result)
        return result if convert_to_numpy else _tensor(result) if source.single else list(_tensor(result))

    def encode_query(self, sentences: Texts, **arguments: Any) -> Any:
        """encode() with the model's prompt "query", if it has one.

        >>> embedder.encode_query("Where do monarchs go?").shape
        (384,)
        """
        return self._encode_as(("query",), sentences, arguments)

    def encode_document(self, sentences: Texts, **arguments: Any) -> Any:
        """encode() with the model's prompt "document", "passage" or "corpus", if it has one.

        >>> embedder.encode_document(["Monarchs migrate south."]).shape
        (1, 384)
        """
        return self._encode_as(("document", "passage", "corpus"), sentences, arguments)

    def _encode_as(self, names: tuple[str, ...], sentences: Texts, arguments: dict[str, Any]) -> Any:
        if arguments.get("prompt") is None and arguments.get("prompt_name") is None:
            arguments["prompt"] = next((self.prompts[name] for name in names if name in self.prompts), "")
        return self.encode(sentences, **arguments)

    def similarity(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Vectors:
        """How similar each vector of `a` [n, dim] is to each of `b` [m, dim], by the model's measure: cosine unless its folder says dot,
        euclidean or manhattan (distances, negated).

        Returns:
            float32 [n, m].

        >>> vectors = embedder.embed(["A king.", "A queen.", "A tractor."])
        >>> similarity = embedder.similarity(vectors, vectors)
        >>> bool(similarity[0, 1] > similarity[0, 2])
        True
        """
        return _similarity(self._model.similarity or "cosine", _rows(a), _rows(b))

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        >>> embedder.tokenizer("Monarchs").tokens
        ['[CLS]', 'monarchs', '[SEP]']
        """
        return Tokenizer._of(self._model.tokenizer)

    @property
    def _device(self) -> str:
        return self._model.device

    def _literal(self, prompt: str | None) -> str | None:
        return None if prompt is None else self.prompts.get(prompt, prompt)

    def _named(self, prompt_name: str | None) -> str | None:
        if prompt_name is not None and prompt_name not in self.prompts:
            raise ValueError(f"prompt_name={prompt_name!r}: the model's prompts are {sorted(self.prompts)}")
        return None if prompt_name is None else self.prompts[prompt_name]

    def _embed(self, source: Source, progress: Progress, **call: Any) -> Vectors:
        model = self._model
        with Reporter(progress, source.count) as reporter:
            vectors = model.embed(iter(source), call, source.count or 0, reporter.function)
        return vectors[0] if source.single else vectors

    def _token_embeddings(self, source: Source, progress: Progress, precision: Precision, prompt: str | None, batch_size: int | None,
                          normalize: bool, dimensions: int | None) -> list[Vectors]:
        if precision != "float32" or normalize or dimensions is not None:
            raise ValueError("token_embeddings are the states of tokens as they are: precision, normalize_embeddings and truncate_dim do "
                             "not go with them")
        model = self._model
        with Reporter(progress, source.count) as reporter:
            return model.token_embeddings(iter(source), {"prompt": prompt, "batch_size": batch_size}, reporter.function)


def quantize(vectors: Vectors, precision: Precision, ranges: Vectors | None = None) -> npt.NDArray[Any]:
    """float32 vectors [n, dim] in fewer bytes, as sentence-transformers' quantize_embeddings makes them.

    Args:
        vectors: float32 [n, dim].
        precision: "int8" or "uint8": [n, dim]; "binary" or "ubinary": a bit a value, [n, dim / 8].
        ranges: For int8 and uint8 the lowest and highest value of each dimension, [2, dim]. Default: those of the vectors.

    >>> m2bert.quantize(embedder.embed(["Monarchs migrate south."]), "binary").shape
    (1, 48)
    """
    if precision == "float32":
        return vectors
    if precision in ("int8", "uint8") and ranges is None and len(vectors) < 100:
        _logger.warning("%s values divide the range of %d vectors, which is little to go by; quantize(ranges=...) gives another",
                        precision, len(vectors))
    floats = None if ranges is None else np.ascontiguousarray(ranges, np.float32)
    return _core.quantize(np.ascontiguousarray(vectors, np.float32), precision, floats)


def _rows(vectors: npt.ArrayLike) -> Vectors:
    array = np.asarray(vectors, np.float32)
    return array[None] if array.ndim == 1 else array


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


def _similarity(measure: str, a: Vectors, b: Vectors) -> Vectors:
    if measure == "cosine":
        return _unit(a) @ _unit(b).T
    if measure == "dot":
        return a @ b.T
    order = {"euclidean": 2, "manhattan": 1}[measure]
    return -np.stack([np.linalg.norm(b - row, ord=order, axis=1) for row in a])


def _tensor(array: npt.NDArray[Any]) -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise ImportError("tensors need torch, which is not installed; convert_to_numpy=True returns numpy arrays") from None
    return torch.from_numpy(array)
