"""m2bert.mteb: mteb's own evaluation of small tasks, whose data is local, gives the scores of `m2bert eval`."""
import csv
import json
import shutil
import subprocess
import sys

import m2bert
import numpy as np
import pytest
from conftest import TEXTS


def test_without_the_library(tmp_path):
    code = "import sys\nsys.modules['mteb'] = None\nimport m2bert.mteb"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr.splitlines()[-1].startswith("ImportError: m2bert.mteb needs mteb 2 or newer (")
    assert done.stderr.strip().endswith("run: pip install 'm2bert[mteb]'")


DOCUMENTS = {
    "d1": "Monarch butterflies spend the winter in the mountains of Mexico.", "d2": "Most moths fly at night and rest during the day.",
    "d3": "Honey bees dance to tell where flowers are.", "d4": "Stocks fell after the bank raised its rates.",
    "d5": "A caterpillar eats leaves until it becomes a chrysalis.", "d6": "The bank approved the loan for the new house.",
    "d7": "Ants follow a trail of scent to their food.", "d8": "Birds fly south before the first snow.",
}
QUERIES = {"q1": "Where do monarchs go when it is cold?", "q2": "Which insects are active in the dark?", "q3": "Who shows others the way to food?",
           "q4": "What happened on the markets?", "q5": "animals that travel in autumn"}
RELEVANT = {"q1": {"d1": 2, "d8": 1}, "q2": {"d2": 1}, "q3": {"d3": 1, "d7": 1}, "q4": {"d4": 1, "d6": 1}, "q5": {"d1": 1, "d8": 2}}
PAIRS = [("A man plays the guitar.", "Someone plays an instrument.", 3.8), ("A dog runs in the park.", "The stock market fell.", 0.1),
         ("The cat sleeps on the sofa.", "A cat lies on the couch.", 4.6), ("She cooks a soup.", "She prepares a meal.", 3.5),
         ("The train is late.", "The bus arrived early.", 1.4), ("Snow fell all night.", "It snowed until the morning.", 4.4),
         ("He reads a book.", "He writes a letter.", 1.9), ("Bees make honey.", "The bank raised its rates.", 0.0)]


@pytest.fixture(scope="module")
def mteb(tmp_path_factory):
    mteb = pytest.importorskip("mteb", minversion="2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTEB_CACHE", str(tmp_path_factory.mktemp("mteb")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield mteb


def metadata(mteb, name, kind, main_score):
    return mteb.TaskMetadata(name=name, description="", reference=None, dataset={"path": "local/local", "revision": "1"}, type=kind, category="t2t",
                             modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score=main_score)


@pytest.fixture(scope="module")
def retrieval(mteb):
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval

    class Insects(AbsTaskRetrieval):
        metadata = metadata(mteb, "Insects", "Retrieval", "ndcg_at_10")

        def load_data(self, *arguments, **keywords):
            rows = [Dataset.from_list([{"id": key, "text": text} for key, text in texts.items()]) for texts in (DOCUMENTS, QUERIES)]
            self.dataset = {"default": {"test": {"corpus": rows[0], "queries": rows[1], "relevant_docs": RELEVANT, "top_ranked": None}}}
            self.data_loaded = True

    return Insects()


@pytest.fixture(scope="module")
def similarities(mteb):
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskSTS

    class Pairs(AbsTaskSTS):
        metadata = metadata(mteb, "Pairs", "STS", "cosine_spearman")

        def load_data(self, *arguments, **keywords):
            rows = [{"sentence1": first, "sentence2": second, "score": score} for first, second, score in PAIRS]
            self.dataset = DatasetDict(test=Dataset.from_list(rows))
            self.data_loaded = True

    return Pairs()


@pytest.fixture(scope="module")
def our_scores(program, tmp_path_factory):
    """Writes the same data in the layouts of `m2bert eval`; a function to a model's scores."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "insects/qrels").mkdir(parents=True)
    for name, texts in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        (folder / f"insects/{name}.jsonl").write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()))
    (folder / "insects/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(
        f"{query}\t{document}\t{score}\n" for query, scores in RELEVANT.items() for document, score in scores.items()))
    with open(folder / "pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows([("sentence1", "sentence2", "score"), *PAIRS])

    def scores(*model):
        def run(*words):
            done = subprocess.run([program, "eval", *words, "--model", *model, "--json", "--quiet"], check=True, capture_output=True, text=True)
            return json.loads(done.stdout)["results"]
        cosine = next(row for row in run("sts", folder / "pairs.csv") if row["similarity"] == "cosine")
        return {"Insects": run("beir", folder / "insects", "--no-bm25", "--cutoffs", "1,3,10")[0]["scores"], "Pairs": cosine["scores"]}

    return scores


def mteb_scores(mteb, model, *tasks):
    results = mteb.evaluate(model, tasks, cache=None, overwrite_strategy="always", show_progress_bar=False)
    return {result.task_name: result.scores["test"][0] for result in results.task_results}


def same_scores(found, expected):
    """mteb rounds to five digits."""
    for theirs, ours in (("ndcg_at_10", "nDCG@10"), ("ndcg_at_3", "nDCG@3"), ("recall_at_1", "Recall@1"), ("mrr_at_10", "MRR@10"), ("map_at_10", "MAP@10")):
        assert found["Insects"][theirs] == pytest.approx(expected["Insects"][ours], abs=1e-5), theirs
    for kind in ("Spearman", "Pearson"):
        assert found["Pairs"][f"cosine_{kind.lower()}"] == pytest.approx(expected["Pairs"][kind], abs=1e-5)
    assert found["Insects"]["main_score"] == found["Insects"]["ndcg_at_10"] and 0 < found["Insects"]["main_score"] < 1


def test_scores_are_those_of_eval(mteb, retrieval, similarities, our_scores, bert, m2):
    from m2bert.mteb import M2BertEncoder
    same_scores(mteb_scores(mteb, M2BertEncoder(bert), retrieval, similarities), our_scores(bert))
    same_scores(mteb_scores(mteb, M2BertEncoder(**m2), retrieval, similarities), our_scores(m2["model"], "--config", m2["config"]))


def test_scores_of_real_weights(mteb, retrieval, similarities, our_scores, minilm):
    from m2bert.mteb import M2BertEncoder
    same_scores(mteb_scores(mteb, M2BertEncoder(minilm), retrieval, similarities), our_scores(minilm))


def test_scores_through_sentence_transformers(mteb, retrieval, similarities, our_scores, bert, minilm):
    pytest.importorskip("sentence_transformers", minversion="6")
    import m2bert.sentence_transformers
    for model in (bert, minilm):
        same_scores(mteb_scores(mteb, m2bert.sentence_transformers.load(model), retrieval, similarities), our_scores(model))


def test_vectors_and_prompts(mteb, bert, tmp_path):
    from m2bert.mteb import M2BertEncoder
    from mteb.types import PromptType
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    settings = folder / "config_sentence_transformers.json"
    prompts = {"query": "query: ", "passage": "passage: ", "STS": "same: "}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "prompts": prompts, "similarity_fn_name": "dot"}))
    encoder, plain = M2BertEncoder(folder, name="org/name", revision="7"), m2bert.Embedder(bert)
    assert (encoder.mteb_model_meta.name, encoder.mteb_model_meta.revision) == ("org/name", "7")

    def encode(kind, prompt_type=None, model=encoder, **arguments):
        task = metadata(mteb, "SomeTask", kind, "main_score")
        return model.encode([{"text": TEXTS[:2]}, {"text": TEXTS[2:]}], task_metadata=task, hf_split="test", hf_subset="default", prompt_type=prompt_type,
                            **arguments)

    def expected(prompt):
        return plain.embed([prompt + text for text in TEXTS])

    assert np.array_equal(encode("Retrieval", PromptType.query), expected("query: "))
    assert np.array_equal(encode("Retrieval", PromptType.document, batch_size=2, show_progress_bar=False), expected("passage: "))
    assert np.array_equal(encode("STS"), expected("same: "))
    assert np.array_equal(encode("Classification"), expected(""))
    own = M2BertEncoder(folder, prompts={"SomeTask-query": "Q "})
    assert np.array_equal(encode("Retrieval", PromptType.query, own), expected("Q "))
    assert np.array_equal(encode("Retrieval", PromptType.document, own), expected(""))
    a, b = expected("")[:2], expected("")[2:]
    assert np.allclose(encoder.similarity(a, b), a @ b.T, atol=1e-6)
    with pytest.raises(TypeError, match="no_such"):
        encode("STS", no_such=1)
