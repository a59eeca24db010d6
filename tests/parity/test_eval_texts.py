"""eval sts, classification and clustering against sentence-transformers and scikit-learn, on the vectors of MiniLM."""
import json

import numpy as np
import pytest
from conftest import program, run

TOPICS = {
    "weather": ["It rains in {}.", "Snow fell over {} last night.", "The sun shines in {}.", "A storm is coming to {}.", "It is windy in {}."],
    "food": ["The bread of {} is famous.", "We ate soup in {}.", "A cook from {} bakes cakes.", "Dinner in {} was cheap.",
             "They sell cheese in {}."],
    "trains": ["The train to {} is late.", "The station of {} was rebuilt.", "A ticket to {} costs ten euros.", "Platform four, to {}.",
               "The night train from {} arrived."],
}
PLACES = ["Paris", "Rome", "Oslo", "Lima", "Kyoto", "Dublin", "Cairo", "Boston"]


def texts():
    rng = np.random.default_rng(3)
    rows = [(sentence.format(place), topic) for topic, sentences in TOPICS.items() for sentence in sentences for place in PLACES]
    return [rows[i] for i in rng.permutation(len(rows))]


def results(kind, path, model, *more):
    said = run(program("m2bert"), "eval", kind, path, "--model", model, "--json", "--quiet", *more).stdout
    return json.loads(said)["results"]


def embeddings(model, folder, some):
    (folder / "some.txt").write_text("".join(text + "\n" for text in some))
    run(program("m2bert"), "embed", "--model", model, folder / "some.txt", "-o", folder / "some.npy", "--overwrite")
    return np.load(folder / "some.npy")


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_sts_is_the_evaluator_of_sentence_transformers(minilm_folder, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    some, rng = texts(), np.random.default_rng(5)
    pairs = [(a, b, float(rng.integers(0, 11) / 2 + 2 * (x == y))) for (a, x), (b, y) in zip(some, some[7:])]
    pairs += [(a, a + " indeed", 5.0) for a, _ in some[:5]]
    write_lines(tmp_path / "pairs.jsonl", [{"sentence1": a, "sentence2": b, "score": s} for a, b, s in pairs])
    model = sentence_transformers.SentenceTransformer(str(minilm_folder), device="cpu")
    names = ["cosine", "dot", "euclidean", "manhattan"]
    wanted = EmbeddingSimilarityEvaluator(*map(list, zip(*pairs)), similarity_fn_names=names, write_csv=False)(model)
    found = results("sts", tmp_path / "pairs.jsonl", minilm_folder)
    assert [row["similarity"] for row in found] == names
    for row in found:
        assert abs(row["scores"]["Pearson"] - wanted[f"pearson_{row['similarity']}"]) < 1e-5
        assert abs(row["scores"]["Spearman"] - wanted[f"spearman_{row['similarity']}"]) < 1e-4


def logistic(vectors, labels, classes):
    """The runner's weights [outputs, dim + 1] after training to the end."""
    text = f"{vectors.shape[1]} {classes} {len(labels)}\n" + " ".join(map(str, labels)) + "\n" + " ".join(repr(float(v)) for v in vectors.ravel())
    return np.array(run(program("m2bert-parity-eval"), "logistic", input=text).stdout.split(), float).reshape(-1, vectors.shape[1] + 1)


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_has_the_coefficients_of_scikit_learn(minilm_folder, tmp_path, classes):
    linear_model = pytest.importorskip("sklearn.linear_model")
    names = list(TOPICS)[:classes]
    rows = [row for row in texts() if row[1] in names]
    vectors, labels = embeddings(minilm_folder, tmp_path, [text for text, _ in rows]), [names.index(topic) for _, topic in rows]
    wanted = linear_model.LogisticRegression(max_iter=10000, tol=1e-10).fit(vectors.astype(np.float64), labels)
    found = logistic(vectors, labels, classes)
    np.testing.assert_allclose(found[:, :-1], wanted.coef_, atol=1e-4)
    np.testing.assert_allclose(found[:, -1] - found[:, -1].mean() * (classes > 2), wanted.intercept_ - wanted.intercept_.mean() * (classes > 2),
                               atol=1e-4)


def test_classification_has_the_accuracy_of_scikit_learn(minilm_folder, tmp_path):
    """With all training texts in each experiment, both see the same samples."""
    linear_model, metrics = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.metrics")
    rows = texts()
    train, test = rows[:30], rows[30:]
    for name, some in (("train", train), ("test", test)):
        write_lines(tmp_path / f"{name}.jsonl", [{"text": text, "label": topic} for text, topic in some])
    found = results("classification", tmp_path, minilm_folder, "--samples-per-label", 1000, "--experiments", 2)[0]["scores"]
    model = linear_model.LogisticRegression(max_iter=100).fit(embeddings(minilm_folder, tmp_path, [t for t, _ in train]), [y for _, y in train])
    predicted = model.predict(embeddings(minilm_folder, tmp_path, [t for t, _ in test]))
    labels = [y for _, y in test]
    assert abs(found["Accuracy"] - metrics.accuracy_score(labels, predicted)) < 1e-9
    assert abs(found["F1"] - metrics.f1_score(labels, predicted, average="macro")) < 1e-9


def test_clustering_finds_what_scikit_learn_finds(minilm_folder, tmp_path):
    cluster, metrics = pytest.importorskip("sklearn.cluster"), pytest.importorskip("sklearn.metrics")
    rows = texts()
    write_lines(tmp_path / "texts.jsonl", [{"text": text, "label": topic} for text, topic in rows])
    found = results("clustering", tmp_path / "texts.jsonl", minilm_folder)[0]["scores"]
    clusters = cluster.KMeans(n_clusters=len(TOPICS), n_init=50, random_state=0).fit(embeddings(minilm_folder, tmp_path, [t for t, _ in rows]))
    assert abs(found["V-measure"] - metrics.v_measure_score([y for _, y in rows], clusters.labels_)) < 0.05
