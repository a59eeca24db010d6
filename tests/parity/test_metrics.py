"""The metrics on 1,000 random inputs each, with ties, empty classes and constant vectors, against scikit-learn, SciPy and pytrec_eval."""
import warnings

import numpy as np
import pytest
from conftest import program, run

CASES = 1000
TOLERANCE = 1e-12


def line(name, *vectors):
    """A case as the runner reads it."""
    words = [name]
    for vector in vectors:
        values = np.asarray(vector).ravel().tolist()
        words += [str(len(values)), *(repr(value) for value in values)]
    return " ".join(words)


def computed(lines):
    """The runner's values of each case, None for an error."""
    said = run(program("m2bert-parity-metrics"), input="\n".join(lines) + "\n").stdout.splitlines()
    return [None if text == "error" else [float(word) for word in text.split()] for text in said]


def value(function):
    """The values of a reference; None where it refuses its input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.atleast_1d(function()).astype(float).ravel()
        except ValueError:
            return None


def compare(cases):
    """cases: (line, reference) of each."""
    for (text, reference), found in zip(cases, computed([text for text, _ in cases]), strict=True):
        wanted = value(reference)
        if wanted is None or found is None:
            assert wanted is None and found is None, f"{text}\nwants {wanted}, got {found}"
        else:
            np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True, err_msg=text)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def classes_and_predictions(rng):
    """Labels and predictions of up to 8 classes: often some without labels, some without predictions, or only one class."""
    classes = int(rng.integers(2, 9))
    used = [rng.choice(classes, size=rng.integers(1, classes + 1), replace=False) for _ in range(2)]
    n = int(rng.integers(1, 60))
    labels, predictions = (rng.choice(some, size=n) for some in used)
    right = rng.random(n) < rng.random()
    return classes, labels, np.where(right, labels, predictions)


def numbers(rng, n):
    """A vector that is smooth, has ties, is constant, or is far from 0."""
    kind = rng.integers(0, 6)
    if kind == 0:
        return np.full(n, rng.integers(-8, 9) / 4)  # NumPy computes their mean exactly
    if kind <= 2:
        return rng.integers(0, 4, n).astype(float)
    if kind == 3:
        return rng.normal(size=n) * 10.0 ** rng.integers(-8, 8)
    return rng.normal(size=n) + (50 if kind == 4 else 0)


def pairs(rng, least=0):
    n = int(rng.integers(least, 50))
    x = numbers(rng, n)
    return x, x * rng.normal() + numbers(rng, n) if rng.random() < 0.5 else numbers(rng, n)


def test_confusion_matrix(rng):
    m = pytest.importorskip("sklearn.metrics")
    cases = []
    for _ in range(CASES):
        k, y, p = classes_and_predictions(rng)
        cases.append((line("confusion_matrix", y, p, [k]), lambda y=y, p=p, k=k: m.confusion_matrix(y, p, labels=range(k))))
    compare(cases)


@pytest.mark.parametrize(("name", "reference"), [("accuracy", "accuracy_score"), ("balanced_accuracy", "balanced_accuracy_score"),
                                                 ("matthews", "matthews_corrcoef")])
def test_scores_of_classes(rng, name, reference):
    function = getattr(pytest.importorskip("sklearn.metrics"), reference)
    cases = []
    for _ in range(CASES):
        k, y, p = classes_and_predictions(rng)
        cases.append((line(name, y, p, [k]), lambda y=y, p=p: function(y, p)))
    compare(cases)


def of_averages(m, y, p, **options):
    each = np.stack(m.precision_recall_fscore_support(y, p, average=None, **options)[:3], axis=1)
    averages = [m.precision_recall_fscore_support(y, p, average=a)[:3] for a in ("micro", "macro", "weighted")]
    return np.concatenate([each.ravel(), np.ravel(averages)])


def test_precision_recall_f1(rng):
    m = pytest.importorskip("sklearn.metrics")
    cases = []
    for _ in range(CASES):
        k, y, p = classes_and_predictions(rng)
        cases.append((line("averages", y, p, [k]), lambda y=y, p=p, k=k: of_averages(m, y, p, labels=range(k))))
        y, p = y % 2, p % 2
        cases.append((line("binary", y, p, [2]), lambda y=y, p=p: m.precision_recall_fscore_support(y, p, average="binary")[:3]))
    compare(cases)


def test_several_labels(rng):
    m = pytest.importorskip("sklearn.metrics")
    cases = []
    for _ in range(CASES):
        shape = (int(rng.integers(1, 20)), int(rng.integers(2, 6)))
        y, p = (rng.random(shape) < rng.random(shape[1]) * (rng.random(shape[1]) < 0.8) for _ in range(2))
        y, p = y.astype(int), p.astype(int)
        cases.append((line("multilabel", y, p, [shape[1]]), lambda y=y, p=p: np.append(of_averages(m, y, p), m.accuracy_score(y, p))))
    compare(cases)


@pytest.mark.parametrize(("name", "reference"), [("roc_auc", "roc_auc_score"), ("average_precision", "average_precision_score")])
def test_scores_of_a_ranking_of_samples(rng, name, reference):
    function = getattr(pytest.importorskip("sklearn.metrics"), reference)
    cases = []
    for _ in range(CASES):
        n = int(rng.integers(1, 60))
        y, s = (rng.random(n) < rng.choice([0, 0.1, 0.5, 0.9, 1])).astype(int), numbers(rng, n)
        if len(set(y)) == 2 or name == "roc_auc":
            cases.append((line(name, y, s), lambda y=y, s=s: function(y, s)))
        else:  # scikit-learn takes labels of one kind only with the positive label spelt out
            cases.append((line(name, y, s), lambda y=y, s=s: function(y, s, pos_label=1)))
    compare(cases)


def test_log_loss(rng):
    m, special = pytest.importorskip("sklearn.metrics"), pytest.importorskip("scipy.special")
    cases = []
    for _ in range(CASES):
        k, y, _p = classes_and_predictions(rng)
        logits = rng.normal(size=(len(y), k)) * 10.0 ** rng.integers(-3, 3)
        probabilities = special.softmax(logits, axis=1)
        cases.append((line("log_loss", y, probabilities, [k]), lambda y=y, p=probabilities, k=k: m.log_loss(y, p, labels=range(k))))
        cases.append((line("cross_entropy", y, logits, [k]),
                      lambda y=y, z=logits: -special.log_softmax(z, axis=1)[np.arange(len(y)), y].mean()))
    compare(cases)


@pytest.mark.parametrize("name", ["pearsonr", "spearmanr"])
def test_correlations(rng, name):
    function = getattr(pytest.importorskip("scipy.stats"), name)
    cases = []
    for _ in range(CASES):
        x, y = pairs(rng)
        cases.append((line(name, x, y), lambda x=x, y=y: function(x, y).statistic))
    x, y = pairs(rng, 5)
    for bad in (np.nan, np.inf, -np.inf):
        z = np.append(x, bad)
        cases.append((line(name, z, np.append(y, 1.0)), lambda z=z: function(z, np.append(y, 1.0)).statistic))
    compare(cases)


@pytest.mark.parametrize(("name", "reference"), [("mse", "mean_squared_error"), ("mae", "mean_absolute_error"), ("r2", "r2_score")])
def test_errors(rng, name, reference):
    function = getattr(pytest.importorskip("sklearn.metrics"), reference)
    cases = []
    for _ in range(CASES):
        x, y = pairs(rng)
        cases.append((line(name, x, y), lambda x=x, y=y: function(x, y)))
        cases.append((line(name, x, x), lambda x=x: function(x, x)))
    cases.append((line(name, [1.0, np.nan], [1.0, 2.0]), lambda: function([1.0, np.nan], [1.0, 2.0])))
    compare(cases)


def trec_case(rng):
    """qrels with grades from -2 to 3, and a run that finds some of them and others, with ties."""
    judged = {f"d{i}": int(g) for i, g in enumerate(rng.integers(-2, 4, rng.integers(1, 20))) if rng.random() < 0.8}
    judged["d0"] = int(rng.integers(0, 4))  # trec_eval may crash on a query whose documents are all below 0
    if rng.random() < 0.1:
        judged = dict.fromkeys(judged, 0)
    scores = rng.integers(0, 6, rng.integers(1, 30)).astype(float) if rng.random() < 0.5 else rng.normal(size=rng.integers(1, 30))
    return judged, scores


def test_ranking(rng):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    cases, orders = [], []
    for _ in range(CASES):
        judged, scores = trec_case(rng)
        orders.append((judged, scores, int(rng.integers(1, 12))))
    found = computed([line("trec_order", scores) for _, scores, _ in orders])
    for (judged, scores, k), order in zip(orders, found, strict=True):
        run_of = {f"d{i}": float(s) for i, s in enumerate(scores)}
        ranked = [judged.get(f"d{int(i)}", 0) for i in order]
        best = {f"d{int(i)}": run_of[f"d{int(i)}"] for i in order[:k]}
        names = [f"ndcg_cut_{k}", "recip_rank", f"map_cut_{k}", f"P_{k}", f"recall_{k}", "Rprec"]

        def reference(judged=judged, run_of=run_of, best=best, names=names, k=k):
            measures = {f"ndcg_cut.{k}", "recip_rank", f"map_cut.{k}", f"P.{k}", f"recall.{k}", "Rprec", "ndcg", "map"}
            evaluator = pytrec_eval.RelevanceEvaluator({"q": judged}, measures)
            whole, cut = (evaluator.evaluate({"q": some})["q"] for some in (run_of, best))
            values = {**whole, "recip_rank": cut["recip_rank"]}
            return [*(values[name] for name in names), whole["ndcg"], whole["recip_rank"], whole["map"]]

        cases.append((line("ranking", ranked, list(judged.values()), [k]), reference))
    compare(cases)


def test_scores_that_are_equal_as_floats_are_ties():
    pytrec_eval = pytest.importorskip("pytrec_eval")
    scores = [1 + 1e-12, 1.0]
    assert computed([line("trec_order", scores)]) == [[1, 0]]
    evaluator = pytrec_eval.RelevanceEvaluator({"q": {"d0": 1}}, {"recip_rank"})
    assert evaluator.evaluate({"q": {f"d{i}": s for i, s in enumerate(scores)}})["q"]["recip_rank"] == 0.5


def test_v_measure(rng):
    m = pytest.importorskip("sklearn.metrics")
    cases = []
    for _ in range(CASES):
        _k, y, p = classes_and_predictions(rng)
        cases.append((line("v_measure", y, p - 3), lambda y=y, p=p: m.homogeneity_completeness_v_measure(y, p - 3)))
    compare(cases)
    y, p = rng.integers(0, 4, 40), rng.integers(0, 5, 40)
    np.testing.assert_allclose(computed([line("v_measure", y, p)])[0][2], m.normalized_mutual_info_score(y, p), rtol=TOLERANCE)


def test_quantile(rng):
    cases = []
    for _ in range(CASES):
        x, q = numbers(rng, int(rng.integers(1, 40))), rng.random()
        cases.append((line("quantile", x, [q]), lambda x=x, q=q: np.quantile(x, q)))
    compare(cases)


def test_bootstrap_interval_is_that_of_scipy(rng):
    """Other random numbers, so the ends agree within the noise of 4,000 resamples."""
    stats = pytest.importorskip("scipy.stats")
    x = rng.normal(size=300)
    low, high = computed([line("bootstrap", x, [4000])])[0]
    wanted = stats.bootstrap((x,), np.mean, n_resamples=4000, method="percentile", rng=rng).confidence_interval
    np.testing.assert_allclose([low, high], [wanted.low, wanted.high], atol=0.1 * x.std() / np.sqrt(len(x)) * 2)
