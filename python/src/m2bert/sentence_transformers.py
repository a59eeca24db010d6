"""M2Bert: a module for sentence-transformers, so that a SentenceTransformer computes with this package instead of PyTorch.

Needs `pip install 'm2bert[sentence-transformers]'`.
"""
from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

try:
    import torch  # type: ignore[import-not-found, unused-ignore]
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found, unused-ignore]
    from sentence_transformers.base.modules import InputModule  # type: ignore[import-not-found, unused-ignore]
except ImportError as error:
    raise ImportError(f"m2bert.sentence_transformers needs sentence-transformers 6 or newer ({error}); run: "
                      "pip install 'm2bert[sentence-transformers]'") from error

from ._embedder import Embedder
from ._model import find_model

__all__ = ["M2Bert", "load"]

_SAVED = "m2bert"  # the folder in which save() puts the model's files
_NOT_SAVED = shutil.ignore_patterns(".git", ".cache", "*.onnx", "*.h5", "*.msgpack", "*.ot", "onnx", "openvino", "*.gguf")


class M2Bert(InputModule):  # type: ignore[misc, unused-ignore]
    """The first module of a SentenceTransformer: texts to vectors.

    Args:
        model: As in m2bert.Embedder.
        pad: "max" or "bucket". SentenceTransformer sorts texts by length before it divides them into batches, so with "longest" the vectors
            of M2-BERT would depend on the other texts. Default: "max", or "bucket" if padding has no effect.
        options: The other arguments of m2bert.Embedder.

    >>> from sentence_transformers import SentenceTransformer
    >>> from m2bert.sentence_transformers import M2Bert
    >>> transformer = SentenceTransformer(modules=[M2Bert(model)])
    >>> transformer.encode(["Monarchs migrate south."], truncate_dim=64).shape
    (1, 64)
    """

    config_file_name = "m2bert.json"
    save_in_root = True

    def __init__(self, model: str | os.PathLike[str], pad: Literal["max", "bucket"] | None = None, **options: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        if pad not in ("max", "bucket", None):
            raise ValueError(f"pad={pad!r}: it can be 'max' or 'bucket', because SentenceTransformer sorts texts by length")
        embedder = Embedder(model, pad=pad, **options)
        self._pad: Literal["max", "bucket"] = pad or "max"
        if pad is None and embedder._model.dynamic_padding:
            self._pad = "bucket"
            embedder = Embedder(model, pad="bucket", **options)
        self.embedder, self._source = embedder, os.fspath(model)
        self._options = {name: value for name, value in options.items() if value is not None}

    @property
    def max_seq_length(self) -> int:
        """Tokens to which texts are truncated.

        >>> module.max_seq_length = 128
        """
        return self.embedder.max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self._options["max_length"] = value
        self.embedder = Embedder(self._source, pad=self._pad, **self._options)

    @property
    def prompts(self) -> dict[str, str]:
        """The model's prompts by name.

        >>> module.prompts
        {}
        """
        return dict(self.embedder.prompts)

    def get_embedding_dimension(self) -> int:
        """The number of values of a vector.

        >>> module.get_embedding_dimension()
        384
        """
        return self.embedder.dim

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **arguments: Any) -> dict[str, Any]:
        """The texts as they are: forward() tokenizes them. Without a prompt the Embedder's own applies.

        >>> features = module.preprocess(["Monarchs migrate south."], prompt="query: ")
        """
        for text in inputs:
            if not isinstance(text, str):
                raise TypeError(f"M2Bert embeds texts, and this is {type(text).__name__}; Classifier takes pairs")
        return _Features(self.embedder, list(inputs), prompt)

    def forward(self, features: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        """Adds "sentence_embedding" [texts, dim]; "token_embeddings" and "attention_mask" are computed when they are read.

        >>> features = module.eval().forward(module.preprocess(["Monarchs migrate south."]))
        >>> features["sentence_embedding"].shape, features["token_embeddings"].shape
        (torch.Size([1, 384]), torch.Size([1, 6, 384]))
        """
        if self.training and torch.is_grad_enabled():
            raise RuntimeError("M2Bert computes outside PyTorch and has no gradients there: call eval(), or train with `m2bert finetune`")
        if not isinstance(features, _Features):
            raise TypeError("M2Bert must be the first module of its SentenceTransformer")
        features["sentence_embedding"] = torch.from_numpy(features.vectors())
        return features

    def save(self, output_path: str | os.PathLike[str], *arguments: Any, **keywords: Any) -> None:
        """Writes a folder that needs nothing outside it: the options as m2bert.json, and the files of the model.

        >>> module.save(folder)
        """
        folder = Path(output_path, _SAVED)
        values = {name: str(value) if isinstance(value, os.PathLike) else value for name, value in self._options.items()}
        files = {"model": find_model(self._source)}
        files.update({name: os.fspath(values[name]) for name in ("config", "tokenizer") if name in values})
        partial = folder.with_name(_SAVED + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, path in files.items():
            values[name] = _copy(Path(path), partial / name)
        settings = json.dumps({**values, "pad": self._pad}, indent=2) + "\n"
        Path(output_path, self.config_file_name).write_text(settings, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", token: bool | str | None = None, cache_folder: str | None = None,
             revision: str | None = None, local_files_only: bool = False, init_defaults: dict[str, Any] | None = None,
             **arguments: Any) -> M2Bert:
        """Loads what save() wrote, from a folder or the hub.

        >>> module.save(folder)
        >>> again = M2Bert.load(folder)
        """
        where: dict[str, Any] = {"token": token, "cache_folder": cache_folder, "revision": revision, "local_files_only": local_files_only}
        values = {**(init_defaults or {}), **cls.load_config(model_name_or_path, subfolder=subfolder, **where)}
        folder = cls.load_dir_path(model_name_or_path, subfolder=os.path.join(subfolder, _SAVED), **where)
        if "model" not in values or folder is None:
            raise FileNotFoundError(f"{model_name_or_path}: {cls.config_file_name} or the folder {_SAVED}, which M2Bert.save writes, is absent")
        for name in ("model", "config", "tokenizer"):
            if name in values:
                values[name] = os.path.join(folder, values[name])
        return cls(**values)


def load(model: str | os.PathLike[str], *, truncate_dim: int | None = None, **options: Any) -> Any:
    """A SentenceTransformer that computes with M2Bert, and has the prompts and the similarity of the model's folder.

    Args:
        model: As in m2bert.Embedder, or a folder that SentenceTransformer.save wrote.
        truncate_dim: As in SentenceTransformer.
        options: The arguments of M2Bert. None for a saved folder, which has its own.

    >>> import m2bert.sentence_transformers
    >>> transformer = m2bert.sentence_transformers.load(model)
    >>> transformer.similarity_fn_name, transformer.encode("Monarchs migrate south.").shape
    ('cosine', (384,))
    """
    if Path(model, M2Bert.config_file_name).is_file():
        if options:
            raise TypeError(f"{os.fspath(model)} was saved with its options: {', '.join(options)} cannot be given")
        # Its own class, so nothing in the folder is executed.
        return _transformer(os.fspath(model), trust_remote_code=True, truncate_dim=truncate_dim, local_files_only=True)
    module = M2Bert(model, **options)
    core = module.embedder._model
    return _transformer(modules=[module], prompts=module.prompts, default_prompt_name=core.default_prompt or None,
                        similarity_fn_name=core.similarity or None, truncate_dim=truncate_dim)


def _transformer(*arguments: Any, **keywords: Any) -> Any:
    return SentenceTransformer(*arguments, device="cpu", **keywords)  # type: ignore[operator, unused-ignore]


class _Features(dict[str, Any]):
    """The texts of a batch on their way through the modules. What is seldom asked for is computed when it is read."""

    def __init__(self, embedder: Embedder, texts: list[str], prompt: str | None) -> None:
        super().__init__()
        self._embedder, self._texts, self._prompt = embedder, texts, prompt

    def vectors(self) -> Any:
        return self._embedder.encode(self._texts, prompt=self._prompt, show_progress_bar=False)

    def __missing__(self, name: str) -> Any:
        if name not in ("token_embeddings", "attention_mask"):
            raise KeyError(name)
        states = self._embedder.encode(self._texts, prompt=self._prompt, output_value="token_embeddings", convert_to_numpy=False,
                                       show_progress_bar=False)
        self["token_embeddings"] = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        lengths = torch.tensor([len(of_text) for of_text in states])
        self["attention_mask"] = (torch.arange(self["token_embeddings"].shape[1]) < lengths[:, None]).long()
        return self[name]


def _copy(source: Path, target: Path) -> str:
    """Copies a file or folder into the folder `target`; returns its path from the folder above."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=_NOT_SAVED)
        return target.name
    target.mkdir()
    shutil.copyfile(source, target / source.name)
    return f"{target.name}/{source.name}"
