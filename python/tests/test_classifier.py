"""Classifier: the labels of `m2bert classify --json`."""
import json
import subprocess

import m2bert
import numpy as np
import pytest
from conftest import TEXTS


def said(program, folder, texts, pairs=None):
    options = [option for i, text in enumerate(texts)
               for option in ["--text", text, *(["--text-pair", pairs[i]] if pairs else [])]]
    command = [program, "classify", "--model", folder, "--json", "--quiet", *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    results = [json.loads(line) for line in output.splitlines()]
    for result in results:
        del result["index"]
    return results


def same(found, expected):
    """Equal, but for digits that JSON leaves out."""
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    return np.float32(found) == np.float32(expected) if isinstance(expected, float) else found == expected


@pytest.fixture(scope="module")
def sentiment(models):
    return m2bert.Classifier(models / "sentiment")


def test_labels_are_the_programs(sentiment, models, program):
    texts = [text for text in TEXTS if text]
    found, expected = sentiment(texts), said(program, models / "sentiment", texts)
    assert len(found) == len(expected) and all(map(same, found, expected))
    assert sentiment.task == "single_label" and list(found[0]["probabilities"]) == sentiment.labels
    assert same(sentiment(texts[0]), expected[0])
    assert [result["truncated"] for result in found] == [len(encoding) > 128 for encoding in sentiment.tokenizer(texts)]


def test_pairs(models, program):
    reranker = m2bert.Classifier(models / "reranker")
    first, second = ["one", "one"], ["two three", "four"]
    assert all(map(same, reranker(first, second), said(program, models / "reranker", first, second)))
    assert np.array_equal(reranker.scores("one", "four"), reranker.scores(first, second)[1])
    assert reranker.scores(iter(first), iter(second)).shape == (2, 1)
    with pytest.raises(ValueError, match="shorter"):
        reranker(first, second[:1])
    with pytest.raises(TypeError, match="both"):
        reranker("one", second)
    with pytest.raises(TypeError, match="pair 1 is NoneType, not str"):
        reranker(first, ["two", None])


def test_scores(sentiment):
    scores = sentiment.scores(TEXTS)
    assert scores.shape == (len(TEXTS), len(sentiment.labels)) and np.allclose(scores.sum(1), 1, atol=1e-6)
    counts = []
    sentiment.scores(TEXTS * 50, progress=counts.append)
    assert counts[-1] == 50 * len(TEXTS)
    assert sentiment([]) == [] and sentiment.scores([]).shape == (0, len(sentiment.labels))


@pytest.mark.parametrize("problem, keys", [("multi_label_classification", ["truncated", "labels", "probabilities"]),
                                           ("regression", ["truncated", "values"])])
def test_other_tasks(problem, keys, models, program, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    config = json.loads((models / "sentiment/config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": problem}))
    (folder / "model.safetensors").symlink_to(models / "sentiment/model.safetensors")
    found = m2bert.Classifier(folder)(TEXTS[0])
    assert list(found) == keys and same(found, said(program, folder, TEXTS[:1])[0])


def test_a_model_without_the_head(bert):
    with pytest.raises(m2bert.Error, match="no classification head"):
        m2bert.Classifier(bert)
