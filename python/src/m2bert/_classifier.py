"""Classifier: texts to labels."""
from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _core
from ._model import Model
from ._texts import Progress, Reporter, Source, Texts
from ._tokenizer import Tokenizer


class Classifier(Model["_core.Classifier"]):
    """Texts to labels, with a model that has a classification head. The arguments are those of Embedder.

    >>> classifier = m2bert.Classifier(classification_model)
    >>> classifier.labels
    ['negative', 'positive']
    """

    _kind = _core.Classifier

    def __init__(self, model: str | os.PathLike[str], *, config: str | os.PathLike[str] | None = None,
                 tokenizer: str | os.PathLike[str] | None = None, dtype: str | None = None, allow_missing: bool = False,
                 allow_unexpected: bool = False, pad: Literal["max", "longest", "bucket"] | None = None, max_length: int | None = None,
                 batch_size: int = 32, truncation_side: Literal["right", "left"] | None = None, reference_cut: bool = False,
                 device: Literal["cpu", "gpu"] | None = None, threads: int | None = None) -> None:
        super().__init__(model, threads, config=config, tokenizer=tokenizer, dtype=dtype, allow_missing=allow_missing,
                         allow_unexpected=allow_unexpected, pad=pad, max_length=max_length, batch_size=batch_size,
                         truncation_side=truncation_side, reference_cut=reference_cut, device=device)

    def __call__(self, texts: Texts, text_pairs: Texts | None = None, *, progress: Progress = False) -> Any:
        """The labels of texts, as `m2bert classify --json` says them.

        Args:
            texts: A str or any iterable of str.
            text_pairs: The second texts of pairs.
            progress: As in Embedder.embed.

        Returns:
            A dict for each text, or one dict for one str: "truncated", and "label", "probability" and "probabilities" (one of the labels),
            "labels" and "probabilities" (any of the labels), or "values" (regression).

        >>> sorted(classifier("A lovely film."))
        ['label', 'probabilities', 'probability', 'truncated']
        """
        source, scores, truncated = self._classify(texts, text_pairs, progress)
        task, labels = self.task, self.labels
        results = [_result(task, labels, row, bool(cut)) for row, cut in zip(scores.tolist(), truncated)]
        return results[0] if source.single else results

    def scores(self, texts: Texts, text_pairs: Texts | None = None, *, progress: Progress = False) -> npt.NDArray[np.float32]:
        """The scores of texts: probabilities, or values for regression.

        Returns:
            float32 [n, labels], or [labels] for one str.

        >>> classifier.scores(["A lovely film.", "A bad film."]).shape
        (2, 2)
        """
        source, scores, _ = self._classify(texts, text_pairs, progress)
        return scores[0] if source.single else scores

    def _classify(self, texts: Texts, text_pairs: Texts | None,
                  progress: Progress) -> tuple[Source, npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        model, source = self._model, Source(texts)
        items = iter(source) if text_pairs is None else _pairs(source, Source(text_pairs, "text_pairs"))
        with Reporter(progress, source.count) as reporter:
            scores, truncated = model.classify(items, text_pairs is not None, reporter.function)
        return source, scores, truncated

    @property
    def labels(self) -> list[str]:
        """The names of the labels.

        >>> classifier.labels
        ['negative', 'positive']
        """
        return self._model.labels

    @property
    def task(self) -> str:
        """"single_label", "multi_label" or "regression".

        >>> classifier.task
        'single_label'
        """
        return self._model.task

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        >>> classifier.tokenizer.vocab_size
        30522
        """
        return Tokenizer._of(self._model.tokenizer)


def _pairs(first: Source, second: Source) -> Iterator[tuple[str, str]]:
    if first.single != second.single:
        raise TypeError("texts and text_pairs: both are one str, or both are several")
    return zip(first, second, strict=True)


def _result(task: str, labels: list[str], scores: list[float], truncated: bool) -> dict[str, Any]:
    named = dict(zip(labels, scores))
    if task == "regression":
        return {"truncated": truncated, "values": named}
    if task == "multi_label":
        return {"truncated": truncated, "labels": [label for label, score in named.items() if score >= 0.5], "probabilities": named}
    best = max(range(len(scores)), key=scores.__getitem__)
    return {"truncated": truncated, "label": labels[best], "probability": scores[best], "probabilities": named}
