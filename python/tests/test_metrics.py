"""m2bert.metrics against plain definitions."""
import doctest
import inspect

import m2bert
import numpy as np
import pytest
from m2bert import metrics

LABELS, PREDICTIONS = [0, 1, 2, 2, 1, 0, 2], [0, 2, 2, 2, 1, 1, 0]


def test_classification():
    assert metrics.accuracy_score(LABELS, PREDICTIONS) == 4 / 7
    assert metrics.balanced_accuracy_score(LABELS, PREDICTIONS) == pytest.approx((1 / 2 + 1 / 2 + 2 / 3) / 3)
    assert metrics.precision_recall_f1(LABELS, PREDICTIONS, "micro") == (4 / 7,) * 3
    assert metrics.matthews_corrcoef([0, 1], [1, 0]) == -1
    assert metrics.accuracy_score(np.eye(3, dtype=bool), np.eye(3, dtype=bool)) == 1
    assert metrics.roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert metrics.average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == pytest.approx(0.8333333333)


def test_equal_to_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    for average in ("micro", "macro", "weighted"):
        expected = sklearn.precision_recall_fscore_support(LABELS, PREDICTIONS, average=average, zero_division=0)[:3]
        assert metrics.precision_recall_f1(LABELS, PREDICTIONS, average) == pytest.approx(expected)
    assert metrics.matthews_corrcoef(LABELS, PREDICTIONS) == pytest.approx(sklearn.matthews_corrcoef(LABELS, PREDICTIONS))
    assert metrics.v_measure(LABELS, PREDICTIONS) == pytest.approx(sklearn.homogeneity_completeness_v_measure(LABELS, PREDICTIONS))


def test_rankings():
    ranked, judged = [0, 2, 0, 1], [2, 1, 1]
    gains = np.array(ranked) / np.log2(np.arange(4) + 2)
    ideal = np.array([2, 1, 1]) / np.log2(np.arange(3) + 2)
    assert metrics.ndcg(ranked, judged) == pytest.approx(gains.sum() / ideal.sum())
    assert metrics.reciprocal_rank(ranked) == 0.5
    assert metrics.reciprocal_rank(ranked, 1) == 0
    assert metrics.average_precision(ranked, judged) == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert (metrics.precision(ranked, 4), metrics.recall(ranked, judged, 2)) == (0.5, pytest.approx(1 / 3))


def test_numbers():
    x, y = np.random.default_rng(1).normal(size=(2, 50))
    assert metrics.pearsonr(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    ranks = [np.argsort(np.argsort(v)) for v in (x, y)]
    assert metrics.spearmanr(x, y) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert metrics.mean_squared_error(x, y) == pytest.approx(((x - y) ** 2).mean())
    assert metrics.r2_score(x, y) == pytest.approx(1 - ((x - y) ** 2).sum() / ((x - x.mean()) ** 2).sum())
    assert np.isnan(metrics.pearsonr([1, 1], [1, 2]))


def test_errors():
    with pytest.raises(m2bert.Error):
        metrics.accuracy_score([0, 1], [0])
    with pytest.raises(m2bert.Error, match="average 'mean'"):
        metrics.precision_recall_f1([0], [0], "mean")
    with pytest.raises(TypeError, match="integers"):
        metrics.accuracy_score([0.5], [1])
    with pytest.raises(m2bert.Error):
        metrics.accuracy_score([-1], [0])


@pytest.mark.parametrize("name", metrics.__all__)
def test_examples(name):
    doc = inspect.getdoc(getattr(metrics, name))
    assert ">>>" in doc
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(doc, {"m2bert": m2bert}, name, None, 0))
    assert runner.summarize(verbose=False).failed == 0
