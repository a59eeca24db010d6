"""FillMask: predictions for [MASK]."""
from __future__ import annotations

import os
import warnings
from typing import Any, Literal

from . import _core
from ._model import Model
from ._texts import Progress, Reporter, Source, Texts
from ._tokenizer import Tokenizer


class FillMask(Model["_core.FillMask"]):
    """Predictions for the tokens at [MASK], with a model that has a masked-LM head. The arguments are those of Embedder.

    >>> fill_mask = m2bert.FillMask(checkpoint, config=recipe)
    >>> masks = fill_mask("Monarchs [MASK] south.", top_k=3)
    >>> len(masks), len(masks[0]["guesses"])
    (1, 3)
    """

    _kind = _core.FillMask

    def __init__(self, model: str | os.PathLike[str], *, config: str | os.PathLike[str] | None = None,
                 tokenizer: str | os.PathLike[str] | None = None, dtype: str | None = None, allow_missing: bool = False,
                 allow_unexpected: bool = False, pad: Literal["max", "longest", "bucket"] | None = None, max_length: int | None = None,
                 batch_size: int = 32, truncation_side: Literal["right", "left"] | None = None, reference_cut: bool = False,
                 device: Literal["cpu", "gpu"] | None = None, threads: int | None = None) -> None:
        super().__init__(model, threads, config=config, tokenizer=tokenizer, dtype=dtype, allow_missing=allow_missing,
                         allow_unexpected=allow_unexpected, pad=pad, max_length=max_length, batch_size=batch_size,
                         truncation_side=truncation_side, reference_cut=reference_cut, device=device)

    def __call__(self, texts: Texts, top_k: int = 5, *, progress: Progress = False) -> Any:
        """The likeliest tokens for each [MASK].

        Args:
            texts: A str or any iterable of str.
            top_k: Predictions for each [MASK].
            progress: As in Embedder.embed.

        Returns:
            For one str a list of its masks, for several a list of such lists. A mask is {"position": int, "guesses": [{"token": str,
            "id": int, "probability": float}, ...]}, best first; the position counts tokens, and [CLS] is 0. A text without [MASK] has an
            empty list, and a warning says so.

        >>> [mask["position"] for mask in fill_mask("[MASK] migrate [MASK].")]
        [1, 3]
        """
        model, source = self._model, Source(texts)
        with Reporter(progress, source.count) as reporter:
            results = model.fill(iter(source), top_k, reporter.function)
        empty = sum(not masks for masks in results)
        if empty:
            warnings.warn(f"{empty} of {len(results)} texts have no [MASK] within the first {model.max_length} tokens", stacklevel=2)
        return results[0] if source.single else results

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        >>> fill_mask.tokenizer.token_to_id("[MASK]")
        103
        """
        return Tokenizer._of(self._model.tokenizer)
