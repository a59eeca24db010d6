"""Checkpoints as dicts of arrays, and configurations."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from . import _core
from ._model import existing, find_model


def _to_numpy(array: mx.array) -> npt.NDArray[Any]:
    return np.asarray(array.astype(mx.float32) if array.dtype == mx.bfloat16 else array)


@overload
def load_checkpoint(path: str | os.PathLike[str], *, numpy: Literal[False] = False, stored_names: bool = False,
                    copy: str = "") -> dict[str, mx.array]: ...


@overload
def load_checkpoint(path: str | os.PathLike[str], *, numpy: Literal[True], stored_names: bool = False,
                    copy: str = "") -> dict[str, npt.NDArray[Any]]: ...


def load_checkpoint(path: str | os.PathLike[str], *, numpy: bool = False, stored_names: bool = False,
                    copy: str = "") -> dict[str, mx.array] | dict[str, npt.NDArray[Any]]:
    """The weights of a checkpoint: .pt, .pth, .bin, .safetensors, or a folder. Pickled code is never run, and PyTorch is not needed.

    Args:
        path: The file or folder, or a model's name on the hub.
        numpy: Arrays of numpy in place of mx.array. They share the memory, except bfloat16, which becomes float32.
        stored_names: Every tensor of the file under its own name. Otherwise only the weights of the model, under the names of M2-BERT
            ("bert.embeddings.word_embeddings.weight") whatever wrappers they were saved in; float64 becomes float32.
        copy: For files that hold averaged weights beside the others, the prefix of those to read ("ema").

    Returns:
        A dict in the order of the file.

    >>> weights = m2bert.load_checkpoint(checkpoint)
    >>> weights["bert.embeddings.word_embeddings.weight"].shape
    (30528, 16)
    """
    if stored_names and copy:
        raise ValueError("copy chooses among the names of the model, and stored_names reads them all; give one of them")
    tensors = dict(_core.load_checkpoint(find_model(path), copy, stored_names))
    return {name: _to_numpy(array) for name, array in tensors.items()} if numpy else tensors


def save_checkpoint(path: str | os.PathLike[str], tensors: Mapping[str, mx.array | npt.NDArray[Any]],
                    metadata: Mapping[str, str] | None = None) -> None:
    """Writes a checkpoint: all of it or nothing.

    Args:
        path: Ends in .safetensors, or in .pt, .pth or .bin for a file that torch.load and upstream's programs read (as Composer writes it:
            {"state": {"model": {"model." + name: tensor}}}).
        tensors: The arrays by name. Arrays that share their memory are stored once.
        metadata: Texts to store with them; for .safetensors.

    >>> m2bert.save_checkpoint(folder / "weights.safetensors", {"scale": mx.ones((2, 3))})
    >>> m2bert.load_checkpoint(folder / "weights.safetensors", stored_names=True)["scale"].shape
    (2, 3)
    """
    arrays = [(name, value if isinstance(value, mx.array) else mx.array(value)) for name, value in tensors.items()]
    mx.eval([array for _, array in arrays])
    _core.save_checkpoint(os.fspath(path), arrays, dict(metadata or {}))


def read_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration of a model, every field with its value.

    Args:
        path: A folder, a checkpoint with its configuration beside it, a config.json, or a recipe (YAML).
        overrides: Values in place of the recipe's: ["max_seq_len=512"].

    >>> m2bert.read_config(recipe)["hidden_size"]
    16
    """
    fields: dict[str, Any] = json.loads(_core.read_config(existing(path), list(overrides)))
    return fields
