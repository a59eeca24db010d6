"""similarity on saved vectors, with each measure, against the similarity functions of sentence-transformers."""
import json

import numpy as np
import pytest
from conftest import program, run

TEXTS = ["Monarchs migrate south.", "Moths fly at night.", "The market fell.", "Rivers run to the sea.", "A butterfly has four wings."]
QUERY = "Which insects are active in the dark?"


@pytest.fixture(scope="module")
def vectors(minilm_folder, tmp_path_factory):
    """The folder with the texts, and their vectors as m2bert embed saves them."""
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    for name in ("v.npy", "v.safetensors", "v.jsonl"):
        run(program("m2bert"), "embed", "--model", minilm_folder, folder / "texts.txt", "-o", folder / name)
    return folder


@pytest.mark.parametrize("measure", ["cosine", "dot", "euclidean", "manhattan"])
def test_measures(vectors, minilm_folder, measure):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    function = sentence_transformers.SimilarityFunction.to_similarity_fn(measure)
    query = json.loads(run(program("m2bert"), "embed", "--model", minilm_folder, "--text", QUERY).stdout)["embedding"]
    expected = function(np.array([query], dtype=np.float32), np.load(vectors / "v.npy"))[0].numpy()
    for name in ("v.npy", "v.safetensors", "v.jsonl"):
        said = run(program("m2bert"), "similarity", "--model", minilm_folder, "--query", QUERY, "--vectors", vectors / name, "--corpus",
                   vectors / "texts.txt", "--measure", measure, "--json").stdout
        hits = json.loads(said)["results"][0]["hits"]
        assert [hit["index"] for hit in hits] == list(np.argsort(-expected))
        assert [hit["text"] for hit in hits] == [TEXTS[i] for i in np.argsort(-expected)]
        np.testing.assert_allclose([hit["score"] for hit in hits], np.sort(expected)[::-1], rtol=1e-6, atol=2e-6)


def test_numpy_and_safetensors_write_what_is_searched(vectors, minilm_folder):
    """Files that other programs write, of every dtype."""
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    matrix = np.load(vectors / "v.npy")
    np.save(vectors / "half.npy", matrix.astype(np.float16))
    np.save(vectors / "double.npy", matrix.astype(np.float64))
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        safetensors.save_file({"any_name": torch.from_numpy(matrix).to(dtype)}, vectors / f"{str(dtype)[6:]}.safetensors")

    def hits(name):
        said = run(program("m2bert"), "similarity", "--model", minilm_folder, "--query", QUERY, "--vectors", vectors / name, "--json").stdout
        return json.loads(said)["results"][0]["hits"]

    exact = hits("v.npy")
    for name in ("half.npy", "double.npy", "bfloat16.safetensors", "float16.safetensors", "float64.safetensors"):
        for hit, wanted in zip(hits(name), exact, strict=True):
            assert hit["index"] == wanted["index"]
            assert abs(hit["score"] - wanted["score"]) < 5e-3
