"""m2bert.evaluate: the program's scores."""
import json
import subprocess

import m2bert
import pytest


def write_pairs(path):
    """Pairs of texts with scores."""
    rows = [("a cat sits", "a cat is sitting", 5), ("rain falls", "a dog barks", 0), ("two men talk", "men are talking", 4), ("a plane", "an apple", 1)]
    path.write_text("sentence1,sentence2,score\n" + "".join(f"{a},{b},{score}\n" for a, b, score in rows))
    return path


@pytest.fixture
def retrieval(tmp_path):
    """A data set in the layout of BEIR."""
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    texts = {"d1": "monarchs migrate south", "d2": "milkweed is their food", "d3": "trains run on rails"}
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "title": "", "text": text}) + "\n" for i, text in texts.items()))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "food of monarchs"}) + "\n")
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    return folder


def printed(program, *words):
    return json.loads(subprocess.run([program, "eval", *words, "--json", "--quiet"], check=True, capture_output=True, text=True).stdout)


def test_sts_equals_the_program(bert, program, tmp_path):
    pairs = write_pairs(tmp_path / "pairs.csv")
    ours = m2bert.evaluate(bert, pairs, "sts", max_length=16, resamples=10)
    assert ours == printed(program, "sts", pairs, "--model", bert, "--max-length", "16", "--resamples", "10")
    assert ours["settings"]["max_length"] == 16
    assert set(ours["results"][0]["scores"]) == {"Spearman", "Pearson"}


def test_the_scores_are_those_of_the_vectors(bert, tmp_path):
    pairs = write_pairs(tmp_path / "pairs.csv")
    rows = [line.split(",") for line in pairs.read_text().splitlines()[1:]]
    embedder = m2bert.Embedder(bert)
    first, second = (embedder.embed([row[i] for row in rows]) for i in (0, 1))
    expected = m2bert.metrics.spearmanr((first * second).sum(1), [float(row[2]) for row in rows])
    assert m2bert.evaluate(bert, pairs, "sts", resamples=0)["results"][1]["scores"]["Spearman"] == pytest.approx(expected)


def test_retrieval_equals_the_program(bert, program, retrieval):
    ours = m2bert.evaluate(bert, [retrieval], "retrieval", cutoffs="1,10", resamples=0)
    assert ours == printed(program, "beir", retrieval, "--model", bert, "--cutoffs", "1,10", "--resamples", "0")
    assert "nDCG@10" in ours["results"][0]["scores"]
    alone = m2bert.evaluate(None, retrieval, "retrieval", bm25_only=True, resamples=0)
    assert [row["system"] for row in alone["results"]] == ["BM25"]


def test_errors(bert, tmp_path):
    with pytest.raises(FileNotFoundError):
        m2bert.evaluate(bert, tmp_path / "absent.csv", "sts")
    (tmp_path / "one.csv").write_text("sentence1,sentence2,score\na,b,1\n")
    with pytest.raises(m2bert.Error, match="one pair"):
        m2bert.evaluate(bert, tmp_path / "one.csv", "sts")
    with pytest.raises(ValueError, match="'sts'"):
        m2bert.evaluate(bert, tmp_path / "one.csv", "glue")
    with pytest.raises(m2bert.Error, match="maximum-length"):
        m2bert.evaluate(bert, tmp_path / "one.csv", "sts", maximum_length=3)
