"""m2bert.sentence_transformers: a SentenceTransformer with M2Bert has the Embedder's vectors, bit for bit."""
import json
import shutil
import subprocess
import sys

import m2bert
import numpy as np
import pytest
from conftest import TEXTS

torch = pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers", minversion="6")
from m2bert.sentence_transformers import M2Bert, load  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402


@pytest.fixture(scope="module")
def transformer(bert):
    return load(bert)


def with_prompts(model, folder):
    """A copy with prompts and a similarity."""
    shutil.copytree(model, folder)
    settings = folder / "config_sentence_transformers.json"
    values = json.loads(settings.read_text())
    values.update(prompts={"query": "query: ", "passage": "passage: "}, default_prompt_name="passage", similarity_fn_name="dot")
    settings.write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def prompted(bert, tmp_path_factory):
    return with_prompts(bert, tmp_path_factory.mktemp("prompted") / "model")


@pytest.mark.parametrize("pad", ["max", "bucket", None])
def test_vectors_are_the_embedders(pad, bert):
    texts = [text for i, text in enumerate(TEXTS * 20) if i % 7]
    expected = m2bert.Embedder(bert, pad=pad or "bucket").embed(texts)
    for batch_size in (1, 7, 32):
        found = SentenceTransformer(modules=[M2Bert(bert, pad=pad)], device="cpu").encode(texts, batch_size=batch_size)
        assert found.dtype == np.float32 and np.array_equal(found, expected)


def test_vectors_of_m2(m2):
    """M2-BERT's last bits depend on which texts share a batch, so they are equal where the batches are; the padding is never that of others."""
    transformer, embedder = SentenceTransformer(modules=[M2Bert(**m2)], device="cpu"), m2bert.Embedder(**m2)
    texts = ["one " * n for n in range(70, 0, -1)]  # in SentenceTransformer's order
    expected = embedder.embed(texts)
    assert np.array_equal(transformer.encode(texts), expected)
    for batch_size in (1, 5):
        assert np.abs(transformer.encode(texts[::-1], batch_size=batch_size) - expected[::-1]).max() < 1e-6
    assert np.abs(m2bert.Embedder(**m2, pad="longest").embed(texts) - expected).max() > 1e-4


def test_the_padding_that_depends_on_other_texts_is_refused(bert):
    with pytest.raises(ValueError, match="pad='longest'.*sorts texts by length"):
        M2Bert(bert, pad="longest")


def test_one_text_and_none(transformer, bert):
    vector = transformer.encode(TEXTS[0])
    assert vector.shape == (16,) and np.array_equal(vector, m2bert.Embedder(bert, pad="bucket").embed(TEXTS[0]))
    assert len(transformer.encode([])) == 0
    assert transformer.get_embedding_dimension() == 16 and transformer.max_seq_length == 256


def test_beside_pytorch(minilm):
    theirs, ours = SentenceTransformer(minilm, device="cpu"), load(minilm)
    assert np.abs(ours.encode(TEXTS) - theirs.encode(TEXTS)).max() < 2e-6
    assert torch.abs(ours.similarity(ours.encode(TEXTS), ours.encode(TEXTS)) - theirs.similarity(theirs.encode(TEXTS), theirs.encode(TEXTS))).max() < 1e-5
    for found, expected in zip(ours.encode(TEXTS, output_value="token_embeddings"), theirs.encode(TEXTS, output_value="token_embeddings")):
        assert found.shape == expected.shape and torch.abs(found - expected).max() < 2e-5


def test_arguments_of_encode(transformer, bert):
    embedder = m2bert.Embedder(bert, pad="bucket")
    vectors = embedder.embed(TEXTS)
    cut = transformer.encode(TEXTS, truncate_dim=8)
    assert np.array_equal(cut, vectors[:, :8])
    assert np.allclose(transformer.encode(TEXTS, truncate_dim=8, normalize_embeddings=True), cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)
    assert np.array_equal(transformer.encode(TEXTS, convert_to_tensor=True).numpy(), vectors)
    assert transformer.encode(TEXTS, precision="ubinary").shape == (len(TEXTS), 2)
    with pytest.raises(ValueError, match="does not use"):
        transformer.encode(TEXTS, no_such_argument=1)
    with pytest.raises(TypeError, match="this is tuple"):
        transformer.encode([("a", "b")])


def test_truncate_dim_of_the_model(bert):
    transformer = load(bert, truncate_dim=4)
    assert transformer.encode(TEXTS).shape == (len(TEXTS), 4) and transformer.get_embedding_dimension() == 4
    cut = load(bert, dimensions=4)
    assert cut.get_embedding_dimension() == 4 and np.array_equal(cut.encode(TEXTS), m2bert.Embedder(bert, pad="bucket", dimensions=4).embed(TEXTS))


def test_token_embeddings(transformer, bert):
    found = transformer.encode(TEXTS, output_value="token_embeddings", batch_size=4)
    expected = m2bert.Embedder(bert, pad="bucket").encode(TEXTS, output_value="token_embeddings")
    assert len(found) == len(expected) and all(np.array_equal(a.numpy(), b) for a, b in zip(found, expected))
    everything = transformer.encode(TEXTS[:2], output_value=None)
    assert np.array_equal(everything[1]["sentence_embedding"].numpy(), transformer.encode(TEXTS[1]))


def test_modules_behind_it(bert):
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    unit = SentenceTransformer(modules=[M2Bert(bert, normalize=False), Normalize()], device="cpu").encode(TEXTS)
    assert np.allclose(unit, load(bert).encode(TEXTS), atol=1e-6)
    pooled = SentenceTransformer(modules=[M2Bert(bert), Pooling(16, "mean"), Normalize()], device="cpu").encode(TEXTS)
    assert np.allclose(pooled, m2bert.Embedder(bert, pooling="mean", normalize=True).embed(TEXTS), atol=1e-6)


def test_prompts(prompted, bert):
    transformer, plain = load(prompted), m2bert.Embedder(bert, pad="bucket")
    assert transformer.similarity_fn_name == "dot"
    assert np.array_equal(transformer.encode(["x"]), plain.embed(["passage: x"]))
    assert np.array_equal(transformer.encode(["x"], prompt_name="query"), plain.embed(["query: x"]))
    assert np.array_equal(transformer.encode(["x"], prompt="query"), plain.embed(["queryx"]))
    assert np.array_equal(transformer.encode(["x"], prompt=""), plain.embed(["x"]))
    assert np.array_equal(transformer.encode_query(["x"]), plain.embed(["query: x"]))
    # Made by hand, without prompts: the Embedder's own default still applies.
    assert np.array_equal(SentenceTransformer(modules=[M2Bert(prompted)], device="cpu").encode(["x"]), plain.embed(["passage: x"]))


def test_prompts_are_those_of_the_same_folder_in_pytorch(minilm, tmp_path):
    folder = with_prompts(minilm, tmp_path / "model")
    ours, theirs = load(folder), SentenceTransformer(str(folder), device="cpu")
    assert ours.prompts == theirs.prompts and ours.default_prompt_name == theirs.default_prompt_name
    for encode in ("encode", "encode_query", "encode_document"):
        assert np.allclose(getattr(ours, encode)(TEXTS), getattr(theirs, encode)(TEXTS), atol=1e-5), encode


def test_max_seq_length_can_be_set(bert):
    transformer = load(bert)
    transformer.max_seq_length = 8
    assert transformer.max_seq_length == 8
    assert np.array_equal(transformer.encode(TEXTS), m2bert.Embedder(bert, pad="bucket", max_length=8).embed(TEXTS))


def test_similarity(transformer):
    vectors = transformer.encode(TEXTS)
    assert np.allclose(transformer.similarity(vectors, vectors).numpy(), transformer[0].embedder.similarity(vectors, vectors), atol=1e-6)


def test_save_and_load(bert, m2, prompted, tmp_path):
    for name, model in (("bert", {"model": bert, "max_length": 10}), ("m2", m2), ("prompted", {"model": prompted})):
        folder = tmp_path / name
        transformer = load(**model)
        transformer.save(str(folder))
        moved = tmp_path / f"{name} moved"
        folder.rename(moved)
        settings = (moved / "m2bert.json").read_text()
        assert str(tmp_path) not in settings and str(bert) not in settings
        for again in (load(moved), SentenceTransformer(str(moved), device="cpu", trust_remote_code=True, local_files_only=True)):
            assert isinstance(again[0], M2Bert) and np.array_equal(again.encode(TEXTS), transformer.encode(TEXTS))
            assert again.max_seq_length == transformer.max_seq_length and again.similarity_fn_name == transformer.similarity_fn_name
            assert np.array_equal(again.encode_query(TEXTS), transformer.encode_query(TEXTS))
        again.save(str(moved))  # onto itself
        assert np.array_equal(load(moved).encode(TEXTS), transformer.encode(TEXTS)) and not list(moved.glob("*.partial"))
    with pytest.raises(TypeError, match="pad cannot be given"):
        load(moved, pad="max")


def test_a_folder_that_was_not_saved_by_it(tmp_path):
    (tmp_path / "m2bert.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="m2bert.json"):
        M2Bert.load(str(tmp_path))


def test_training_is_refused(bert):
    transformer = load(bert).train()
    with pytest.raises(RuntimeError, match="m2bert finetune"):
        transformer(transformer.preprocess(TEXTS))
    with torch.no_grad():
        assert transformer(transformer.preprocess(TEXTS))["sentence_embedding"].shape == (len(TEXTS), 16)


def test_another_process(bert, tmp_path):
    """What SentenceTransformer's own pool does: the model is pickled."""
    import pickle
    transformer = load(bert)
    assert np.array_equal(pickle.loads(pickle.dumps(transformer)).encode(TEXTS), transformer.encode(TEXTS))


def test_without_the_library(tmp_path):
    code = "import sys\nsys.modules['sentence_transformers'] = None\nimport m2bert.sentence_transformers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr.splitlines()[-1].startswith("ImportError: m2bert.sentence_transformers needs sentence-transformers 6 or newer (")
    assert done.stderr.strip().endswith("run: pip install 'm2bert[sentence-transformers]'")
