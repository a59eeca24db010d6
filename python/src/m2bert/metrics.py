"""Metrics of classification, rankings, numbers and clusterings, equal to those of the same names in scikit-learn, SciPy and trec_eval.

Arguments are anything that numpy makes an array of. Bad values raise m2bert.Error.

>>> m2bert.metrics.accuracy_score([0, 1, 1], [0, 1, 0])
0.6666666666666666
"""
from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _core

Average = Literal["binary", "micro", "macro", "weighted"]

__all__ = [
    "accuracy_score", "average_precision", "average_precision_score", "balanced_accuracy_score", "cross_entropy", "higher_is_better",
    "log_loss", "matthews_corrcoef", "mean_absolute_error", "mean_squared_error", "ndcg", "pearsonr", "perplexity", "precision",
    "precision_recall_f1", "r2_score", "r_precision", "recall", "reciprocal_rank", "roc_auc_score", "spearmanr", "v_measure",
]


def _integers(values: npt.ArrayLike) -> npt.NDArray[np.int32]:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "biu":
        raise TypeError(f"wants integers, got an array of {array.dtype}")
    integers = array.astype(np.int32)
    if not np.array_equal(integers, array):
        raise ValueError("wants integers of 32 bits")
    return np.ascontiguousarray(integers)


def _numbers(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.ascontiguousarray(values, np.float64)


def accuracy_score(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """The fraction of right predictions: classes [n] from 0; or 0/1 matrices [n, classes], where all labels of a sample must be right.

    >>> m2bert.metrics.accuracy_score([[1, 0], [1, 1]], [[1, 0], [1, 0]])
    0.5
    """
    return _core.metrics.accuracy_score(_integers(labels), _integers(predictions))


def balanced_accuracy_score(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """The mean of the recalls of the classes: labels and predictions [n].

    >>> m2bert.metrics.balanced_accuracy_score([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    return _core.metrics.balanced_accuracy_score(_integers(labels), _integers(predictions))


def matthews_corrcoef(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Matthews correlation of classes [n].

    >>> m2bert.metrics.matthews_corrcoef([0, 1, 1, 0], [0, 1, 1, 0])
    1.0
    """
    return _core.metrics.matthews_corrcoef(_integers(labels), _integers(predictions))


def precision_recall_f1(labels: npt.ArrayLike, predictions: npt.ArrayLike, average: Average = "macro") -> tuple[float, float, float]:
    """(precision, recall, F1) of classes [n], or of 0/1 matrices [n, classes].

    >>> m2bert.metrics.precision_recall_f1([0, 1, 1, 0], [0, 1, 0, 0], "micro")
    (0.75, 0.75, 0.75)
    """
    return _core.metrics.precision_recall_f1(_integers(labels), _integers(predictions), average)


def roc_auc_score(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: labels 0 or 1 [n], scores [n]. NaN if all labels are the same.

    >>> m2bert.metrics.roc_auc_score([0, 1, 1], [0.1, 0.9, 0.4])
    1.0
    """
    return _core.metrics.roc_auc_score(_integers(labels), _numbers(scores))


def average_precision_score(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Average precision of labels 0 or 1 [n] and scores [n].

    >>> m2bert.metrics.average_precision_score([0, 1], [0.9, 0.1])
    0.5
    """
    return _core.metrics.average_precision_score(_integers(labels), _numbers(scores))


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of -ln(probability of the label): labels [n], probabilities [n, classes].

    >>> round(m2bert.metrics.log_loss([0], [[0.5, 0.5]]), 4)
    0.6931
    """
    return _core.metrics.log_loss(_integers(labels), _numbers(probabilities))


def cross_entropy(labels: npt.ArrayLike, logits: npt.ArrayLike) -> float:
    """log_loss of logits [n, classes].

    >>> round(m2bert.metrics.cross_entropy([0], [[0.0, 0.0]]), 4)
    0.6931
    """
    return _core.metrics.cross_entropy(_integers(labels), _numbers(logits))


def ndcg(ranked: npt.ArrayLike, judged: npt.ArrayLike, k: int | None = None) -> float:
    """nDCG@k of one query: the relevances of its ranked documents, best first, and those of all its judged documents.

    >>> round(m2bert.metrics.ndcg([0, 1], [1], k=10), 4)
    0.6309
    """
    return _core.metrics.ndcg(_integers(ranked), _integers(judged), k)


def reciprocal_rank(ranked: npt.ArrayLike, k: int | None = None) -> float:
    """1 / rank of the first relevant document among the k best of one query; 0 without one.

    >>> m2bert.metrics.reciprocal_rank([0, 1])
    0.5
    """
    return _core.metrics.reciprocal_rank(_integers(ranked), k)


def average_precision(ranked: npt.ArrayLike, judged: npt.ArrayLike, k: int | None = None) -> float:
    """The term of a query in MAP@k, with relevances as in ndcg.

    >>> m2bert.metrics.average_precision([0, 1], [1])
    0.5
    """
    return _core.metrics.average_precision(_integers(ranked), _integers(judged), k)


def precision(ranked: npt.ArrayLike, k: int) -> float:
    """The relevant among the k best documents of one query, divided by k.

    >>> m2bert.metrics.precision([0, 1], 2)
    0.5
    """
    return _core.metrics.precision(_integers(ranked), k)


def recall(ranked: npt.ArrayLike, judged: npt.ArrayLike, k: int) -> float:
    """The relevant among the k best documents of one query, divided by all its relevant ones.

    >>> m2bert.metrics.recall([0, 1], [1, 1], 2)
    0.5
    """
    return _core.metrics.recall(_integers(ranked), _integers(judged), k)


def r_precision(ranked: npt.ArrayLike, judged: npt.ArrayLike) -> float:
    """The precision at rank R, the number of relevant documents.

    >>> m2bert.metrics.r_precision([1, 0], [1, 1])
    0.5
    """
    return _core.metrics.r_precision(_integers(ranked), _integers(judged))


def pearsonr(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Pearson correlation of x [n] and y [n].

    >>> round(m2bert.metrics.pearsonr([1, 2, 3], [2, 4, 6]), 4)
    1.0
    """
    return _core.metrics.pearsonr(_numbers(x), _numbers(y))


def spearmanr(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Spearman correlation of x [n] and y [n].

    >>> round(m2bert.metrics.spearmanr([1, 2, 3], [1, 10, 100]), 4)
    1.0
    """
    return _core.metrics.spearmanr(_numbers(x), _numbers(y))


def mean_squared_error(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Of labels [n] and predictions [n].

    >>> m2bert.metrics.mean_squared_error([1, 2], [1, 4])
    2.0
    """
    return _core.metrics.mean_squared_error(_numbers(labels), _numbers(predictions))


def mean_absolute_error(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Of labels [n] and predictions [n].

    >>> m2bert.metrics.mean_absolute_error([1, 2], [1, 4])
    1.0
    """
    return _core.metrics.mean_absolute_error(_numbers(labels), _numbers(predictions))


def r2_score(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """R², the coefficient of determination, of labels [n] and predictions [n].

    >>> m2bert.metrics.r2_score([1, 2], [1, 2])
    1.0
    """
    return _core.metrics.r2_score(_numbers(labels), _numbers(predictions))


def v_measure(classes: npt.ArrayLike, clusters: npt.ArrayLike) -> tuple[float, float, float]:
    """(homogeneity, completeness, V-measure) of a clustering: classes [n], clusters [n].

    >>> m2bert.metrics.v_measure([0, 0, 1, 1], [5, 5, 3, 3])
    (1.0, 1.0, 1.0)
    """
    return _core.metrics.v_measure(_integers(classes), _integers(clusters))


def perplexity(cross_entropy: float) -> float:
    """exp of a mean cross entropy; infinity on overflow.

    >>> m2bert.metrics.perplexity(0.0)
    1.0
    """
    return _core.metrics.perplexity(cross_entropy)


def higher_is_better(name: str) -> bool:
    """Whether a higher value of the metric with this name is the better one.

    >>> m2bert.metrics.higher_is_better("LanguageCrossEntropy"), m2bert.metrics.higher_is_better("nDCG@10")
    (False, True)
    """
    return _core.metrics.higher_is_better(name)
