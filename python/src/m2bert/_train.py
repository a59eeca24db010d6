"""Training runs."""
from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from . import _core
from ._model import existing

Record = dict[str, float]


@dataclass(frozen=True)
class TrainingResult:
    """What a training run left.

    >>> result.batches, result.stopped
    (2, False)
    """

    folder: Path  #: recipe.yaml, metrics.jsonl and checkpoints
    model: Path | None  #: The folder of the trained model; None if the run was stopped.
    stopped: bool  #: By the callback: the checkpoint in the folder is that of the last batch.
    parameters: int
    batches: int
    epochs: int
    samples: int
    tokens: int
    loss: float  #: Of the last batch; NaN if there was none.
    seconds: float  #: Of training, over all sessions.
    metrics: dict[str, float] = field(default_factory=dict)  #: The last evaluation's; those of the best model, if one is kept.
    best_batch: int | None = None  #: With metric_for_best_model.


def _text_of(recipe: Any) -> str:
    return json.dumps(recipe, default=os.fspath, ensure_ascii=False)


def _overrides(values: Mapping[str, Any] | Iterable[str]) -> list[str]:
    if isinstance(values, Mapping):
        return [f"{key}={_text_of(value)}" for key, value in values.items()]
    if isinstance(values, str):
        raise TypeError("overrides is a str; give a dict, or a list of 'KEY=VALUE'")
    return list(values)


def train(recipe: str | os.PathLike[str] | Mapping[str, Any], *, overrides: Mapping[str, Any] | Iterable[str] = (),
          callback: Callable[[Record], object] | None = None, retrieval: bool = False, device: Literal["cpu", "gpu"] | None = None,
          threads: int | None = None, allow_unknown: bool = False, verbose: bool = False) -> TrainingResult:
    """Trains a model by a recipe, in this process, as `m2bert pretrain` and, with retrieval=True, `m2bert finetune retrieval` do.

    Args:
        recipe: The path of a recipe (YAML), or its content as a dict. docs/pretraining.md and docs/finetuning.md describe the keys.
        overrides: Values in place of the recipe's: {"optimizer.lr": 1e-4}, or ["optimizer.lr=1e-4"] as for the command.
        callback: Called with each line of metrics.jsonl as a dict: "batch", "epoch", "sample", "token", and "loss/train/total",
            "metrics/eval/MaskedAccuracy", .... If it returns True, the run saves a checkpoint and ends. What it raises ends the run in the
            same way, and is raised here.
        retrieval: Train an embedder by a recipe of `m2bert finetune retrieval`.
        device: "cpu" or "gpu"; otherwise the recipe's.
        threads: As set_threads.
        allow_unknown: Ignore keys that look like misspelt ones.
        verbose: Show progress and losses on stderr, as the command does.

    Returns:
        The result. Everything that the run leaves is in the recipe's save_folder.

    Ctrl-C saves a checkpoint after the current batch and raises KeyboardInterrupt. With autoresume: true in the recipe, the same call goes
    on from the checkpoint.

    >>> records = []
    >>> result = m2bert.train(training_recipe, callback=records.append)
    >>> result.batches, [record["batch"] for record in records if "loss/train/total" in record]
    (2, [1, 2])
    """
    if isinstance(recipe, Mapping):
        text, name = _text_of(recipe), "recipe"
    else:
        name = existing(recipe)
        with open(name, encoding="utf-8") as file:
            text = file.read()
    if threads is not None:
        _core.set_threads(threads)
    values = _core.train(text, name, _overrides(overrides), retrieval, allow_unknown, device, verbose, callback)
    model = values.pop("model")
    return TrainingResult(folder=Path(values.pop("folder")), model=None if model is None else Path(model), **values)
