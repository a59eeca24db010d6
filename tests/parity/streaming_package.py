"""Imports mosaicml-streaming, or skips the test. torchvision, which its image encodings import, is replaced by a stub."""
import importlib.machinery
import importlib.util
import sys
import types

import pytest


def load():
    for needed in ("transformers", "torch"):
        pytest.importorskip(needed)
    if importlib.util.find_spec("streaming") is None:
        pytest.skip("mosaicml-streaming is not installed (tests/parity/requirements-streaming.txt)")
    if importlib.util.find_spec("torchvision") is None:
        for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
            module = types.ModuleType(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            module.VisionDataset, module.to_tensor = object, None
            sys.modules.setdefault(name, module)
    import streaming
    return streaming
