"""docs/map_of_texts.ipynb runs from its first cell to its plot.

M2BERT_NOTEBOOK: the notebook; otherwise that of the checkout in which this file is, or in M2BERT_CHECKOUT."""
import os
import re
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def notebook():
    root = Path(os.environ.get("M2BERT_CHECKOUT", Path(__file__).parents[2]))
    path = Path(os.environ.get("M2BERT_NOTEBOOK", root / "docs/map_of_texts.ipynb"))
    if not path.is_file():
        pytest.skip("neither M2BERT_NOTEBOOK nor M2BERT_CHECKOUT says where the notebook is")
    return nbformat.read(path, as_version=4)


def run(notebook, model, folder, monkeypatch, config=None):
    """What the cells print, and the images that they show."""
    monkeypatch.setenv("M2BERT_MODEL", str(model))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    if config:
        monkeypatch.setenv("M2BERT_CONFIG", str(config))
    done = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    return ("".join(output.text for output in outputs if output.output_type == "stream"),
            [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})])


def test_small_model(notebook, bert, tmp_path, monkeypatch):
    text, images = run(notebook, bert, tmp_path, monkeypatch)
    assert "16 dimensions, at most 256 tokens\n(40, 16) float32\n" in text and len(images) == 1


def test_checkpoint_of_m2(notebook, m2, tmp_path, monkeypatch):
    text, images = run(notebook, m2["model"], tmp_path, monkeypatch, m2["config"])
    assert ") float32\n" in text and len(images) == 1


def test_trained_model_finds_the_groups(notebook, minilm, tmp_path, monkeypatch):
    text, _ = run(notebook, minilm, tmp_path, monkeypatch)
    within, between = map(float, re.search(r"([\d.-]+) within a group, ([\d.-]+) between groups", text).groups())
    assert within > 4 * between
    assert re.search(r"\n0\.\d\d  Monarch butterflies spend the winter in the mountains of Mexico\.\n", text)
