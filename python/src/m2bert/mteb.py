"""M2BertEncoder: an Embedder as a model of mteb, the benchmark of text embeddings. Needs `pip install 'm2bert[mteb]'`."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

try:
    from mteb.models import ModelMeta  # type: ignore[import-not-found, unused-ignore]
    from mteb.models.abs_encoder import AbsEncoder, get_prompt_name  # type: ignore[import-not-found, unused-ignore]
    from mteb.models.model_meta import ScoringFunction  # type: ignore[import-not-found, unused-ignore]
except ImportError as error:
    raise ImportError(f"m2bert.mteb needs mteb 2 or newer ({error}); run: pip install 'm2bert[mteb]'") from error

from ._embedder import Embedder

__all__ = ["M2BertEncoder"]


class M2BertEncoder(AbsEncoder):  # type: ignore[misc, unused-ignore]
    """A model that mteb.evaluate() takes.

    Args:
        model: As in m2bert.Embedder.
        name: For mteb's results, ORGANIZATION/NAME. Default: m2bert/ and the name of the file or folder.
        revision: For mteb's results.
        prompts: Texts by what they are put in front of: "query", "document", the name or type of a task, or "TASK-query". Default: the
            model's prompts.
        options: The other arguments of m2bert.Embedder.

    >>> from m2bert.mteb import M2BertEncoder
    >>> encoder = M2BertEncoder(model)
    >>> encoder.mteb_model_meta.embed_dim
    384
    """

    def __init__(self, model: str | os.PathLike[str], *, name: str | None = None, revision: str | None = None,
                 prompts: Mapping[str, str] | None = None, **options: Any) -> None:
        self.embedder = Embedder(model, **options)
        self.model_prompts = dict(self.embedder.prompts if prompts is None else prompts)
        updates = {"revision": revision, "embed_dim": self.embedder.dim, "max_tokens": self.embedder.max_length,
                   "similarity_fn_name": ScoringFunction(self.embedder._model.similarity or "cosine")}
        self.mteb_model_meta = ModelMeta.create_empty({"name": name or f"m2bert/{Path(model).resolve().name}", **updates})

    def encode(self, inputs: Iterable[Mapping[str, Any]], *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None,
               **arguments: Any) -> Any:
        """The vectors of the texts in mteb's batches.

        Args:
            inputs: Batches {"text": [str, ...]}.
            task_metadata, prompt_type: Choose the prompt, by mteb's rules.
            arguments: Of Embedder.encode: batch_size, show_progress_bar, precision.

        Returns:
            float32 [n, dim].

        >>> import mteb
        >>> task = mteb.get_task("STSBenchmark").metadata
        >>> batches = [{"text": ["Monarchs migrate south."]}]
        >>> encoder.encode(batches, task_metadata=task, hf_split="test", hf_subset="default").shape
        (1, 384)
        """
        texts = (text for batch in inputs for text in batch["text"])
        return self.embedder.encode(texts, prompt=self._prompt(task_metadata, prompt_type), **arguments)

    def _prompt(self, task_metadata: Any, prompt_type: Any) -> str | None:
        """Without a fitting prompt that of Embedder.encode_query, encode_document or encode."""
        prompts = self.model_prompts or {}
        name = get_prompt_name(prompts, task_metadata, prompt_type)
        if name is not None:
            return prompts[name]
        if prompt_type is None:
            return None
        others = ("passage", "corpus") if getattr(prompt_type, "value", prompt_type) == "document" else ()
        return next((prompts[other] for other in others if other in prompts), "")
