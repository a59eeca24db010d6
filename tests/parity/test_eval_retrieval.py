"""eval beir on a small random data set with MiniLM: its scores against trec_eval on its run file and against sentence-transformers'
InformationRetrievalEvaluator, and BM25 against bm25s."""
import json
import random

import numpy as np
import pytest
from conftest import program, run

WORDS = ("monarch butterfly migrates south winter mountain forest river market price falls rises engine wing flight storm garden milkweed "
         "bank loan river-bank theorem proof music violin painter colour signal noise").split()
CUTOFFS = (1, 3, 5, 10, 100)


def text(draw, low, high):
    return " ".join(draw.choices(WORDS, k=draw.randint(low, high)))


def write_beir(folder, corpus, queries, qrels):
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": k, **v}) + "\n" for k, v in corpus.items()))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": k, "text": v}) + "\n" for k, v in queries.items()))
    lines = [f"{q}\t{d}\t{grade}\n" for q, grades in qrels.items() for d, grade in grades.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


@pytest.fixture(scope="module")
def beir(tmp_path_factory):
    """A folder in BEIR's layout: 240 documents with ties among them, 40 queries, graded judgements, and ids that queries and documents share."""
    draw, folder = random.Random(0), tmp_path_factory.mktemp("beir")
    corpus = {f"d{i}": {"title": text(draw, 0, 3), "text": text(draw, 3, 40)} for i in range(200)}
    for i in range(40):  # the same documents again
        corpus[f"d{200 + i}"] = dict(corpus[f"d{i}"])
    queries = {f"d{i}" if i % 8 == 0 else f"q{i}": text(draw, 2, 6) for i in range(40)}
    qrels = {q: {d: draw.choice([0, 1, 1, 2]) for d in draw.sample(list(corpus), 6)} for q in queries}
    write_beir(folder, corpus, queries, qrels)
    return folder, corpus, queries, qrels


def evaluate(folder, minilm_folder, *more):
    said = run(program("m2bert"), "eval", "beir", folder, "--model", minilm_folder, "--json", "--overwrite", *more).stdout
    return {row["system"]: row["scores"] for row in json.loads(said)["results"]}


def read_run(file):
    ranking = {}
    for line in file.read_text().splitlines():
        query, _, document, _, score, _ = line.split(" ")
        ranking.setdefault(query, {})[document] = float(score)
    return ranking


def test_scores_are_those_of_trec_eval(beir, minilm_folder, tmp_path):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    folder, _, _, qrels = beir
    scores = evaluate(folder, minilm_folder, "--run", tmp_path / "run.txt", "--bm25-run", tmp_path / "bm25.txt")
    cuts = ",".join(map(str, CUTOFFS))
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {f"ndcg_cut.{cuts}", f"map_cut.{cuts}", f"recall.{cuts}", f"P.{cuts}", "recip_rank"})
    for system, file in (("model", "run.txt"), ("BM25", "bm25.txt")):
        ranking = read_run(tmp_path / file)
        assert all(query not in found for query, found in ranking.items())  # a query's own document is dropped
        expected = evaluator.evaluate(ranking)
        for name, theirs in (("nDCG", "ndcg_cut"), ("MAP", "map_cut"), ("Recall", "recall"), ("P", "P")):
            for k in CUTOFFS:
                mean = sum(expected[q][f"{theirs}_{k}"] if q in expected else 0.0 for q in qrels) / len(qrels)
                assert abs(scores[system][f"{name}@{k}"] - mean) < 1e-12, (system, name, k)
        mean = sum(expected[q]["recip_rank"] if q in expected else 0.0 for q in qrels) / len(qrels)
        assert abs(scores[system]["MRR@100"] - mean) < 1e-12, system


def test_scores_are_those_of_sentence_transformers(minilm_folder, tmp_path):
    """Its metrics know no grades, and it keeps a query's own document. The texts are few enough that rounding changes no ranking."""
    st = pytest.importorskip("sentence_transformers")
    evaluation = pytest.importorskip("sentence_transformers.evaluation")
    draw = random.Random(1)
    corpus = {f"d{i}": {"title": text(draw, 0, 3), "text": text(draw, 6, 40)} for i in range(40)}
    queries = {f"d{i}" if i % 4 == 0 else f"q{i}": text(draw, 2, 6) for i in range(16)}
    qrels = {q: {d: 1 for d in draw.sample(list(corpus), 5)} for q in queries}
    write_beir(tmp_path, corpus, queries, qrels)
    documents = {d: (fields["title"] + " " + fields["text"]).strip() for d, fields in corpus.items()}
    evaluator = evaluation.InformationRetrievalEvaluator(queries, documents, {q: set(grades) for q, grades in qrels.items()}, name="x",
                                                         mrr_at_k=[10], ndcg_at_k=[10], precision_recall_at_k=[1, 10], map_at_k=[100])
    model = st.SentenceTransformer(str(minilm_folder), device="cpu")
    similarities = model.similarity(model.encode(list(queries.values())), model.encode(list(documents.values())))
    assert similarities.sort(1).values.diff(dim=1).min() > 5e-6
    expected = evaluator(model)
    ours = evaluate(tmp_path, minilm_folder, "--keep-own-id", "--title", "always")["model"]
    for name, theirs in (("nDCG@10", "ndcg@10"), ("MRR@10", "mrr@10"), ("P@1", "precision@1"), ("P@10", "precision@10"), ("Recall@10", "recall@10"),
                         ("MAP@100", "map@100")):
        assert abs(ours[name] - expected[f"x_cosine_{theirs}"]) < 1e-9, name


@pytest.mark.parametrize("k1, b", [(0.9, 0.4), (1.2, 0.75)])
def test_bm25_is_that_of_bm25s(beir, minilm_folder, tmp_path, k1, b):
    bm25s = pytest.importorskip("bm25s")
    folder, corpus, queries, _ = beir
    evaluate(folder, minilm_folder, "--bm25-analyzer", "words", "--bm25-k1", str(k1), "--bm25-b", str(b), "--bm25-run", tmp_path / "run.txt")
    ranking = read_run(tmp_path / "run.txt")

    def terms(string):
        return string.lower().replace("-", " ").split()

    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    ids = list(corpus)
    index.index([terms(corpus[d]["title"] + " " + corpus[d]["text"]) for d in ids], show_progress=False)
    for query, string in queries.items():
        expected = index.get_scores(terms(string))
        for document, score in ranking[query].items():
            np.testing.assert_allclose(score, expected[ids.index(document)], rtol=1e-5)
        best = sorted((expected[i] for i, d in enumerate(ids) if d != query), reverse=True)[: len(ranking[query])]
        np.testing.assert_allclose(sorted(ranking[query].values(), reverse=True), best, rtol=1e-5)
