"""Evaluation on the data of benchmarks."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Literal

from . import _core
from ._model import existing

_Path = str | os.PathLike[str]
_PROGRAM = "import m2bert_program; m2bert_program.main()"


def _words(options: dict[str, Any]) -> list[str]:
    """The options of the command: max_length=128 is --max-length 128, and no_bm25=True is --no-bm25."""
    words = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        option = "--" + name.replace("_", "-")
        words += [option] if value is True else [f"{option}={os.fspath(value) if isinstance(value, os.PathLike) else value}"]
    return words


def evaluate(model: _Path | None, data: _Path | Sequence[_Path], task: Literal["retrieval", "sts", "classification", "clustering"],
             **options: Any) -> dict[str, Any]:
    """Scores a model on the data of a benchmark, in a process of the program `m2bert eval`, whose --json this is.

    Args:
        model: A folder, checkpoint or name on the hub; None for retrieval by BM25 alone (bm25_only=True).
        data: "retrieval": folders in the layout of BEIR. "sts": files of pairs with scores. "classification": folders with train.jsonl and
            test.jsonl. "clustering": files of texts with labels. One or several.
        task: What the model is scored at.
        options: Those of `m2bert eval beir|sts|classification|clustering`, with _ for -: max_length=128, pad="bucket", query_prompt="query: ",
            no_bm25=True, cache="vectors", resamples=0, seed=1, config="recipe.yaml", threads=4, .... `m2bert eval sts --help` lists them.

    Returns:
        {"settings": {...}, "results": [{"data_set": str, ..., "scores": {"nDCG@10": float, ...}, "intervals": {...}}, ...]}; a score that is
        not defined is None.

    Raises:
        m2bert.Error: Bad data or options; the message is the program's.

    >>> results = m2bert.evaluate(model, pairs, "sts", resamples=0)["results"]
    >>> [row["similarity"] for row in results]
    ['cosine', 'dot', 'euclidean', 'manhattan']
    """
    names = {"retrieval": "beir", "sts": "sts", "classification": "classification", "clustering": "clustering"}
    if task not in names:
        raise ValueError(f"task {task!r}: it can be {', '.join(map(repr, names))}")
    inputs = [data] if isinstance(data, (str, os.PathLike)) else list(data)
    words = ["eval", names[task], *map(existing, inputs), *_words({"model": model, **options}), "--json", "--quiet"]
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise _core.Error(done.stderr.strip().removeprefix("error: ") or f"m2bert eval ended with code {done.returncode}")
    results: dict[str, Any] = json.loads(done.stdout)
    return results
