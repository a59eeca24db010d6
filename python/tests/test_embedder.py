"""Embedder: its vectors are the program's, bit for bit, from whatever holds the texts."""
import copy
import json
import logging
import pickle
import shutil
from pathlib import Path
import subprocess
import sys
import threading

import m2bert
import numpy as np
import pytest
from conftest import TEXTS


def program_vectors(program, folder, texts, *options):
    folder.mkdir(exist_ok=True)
    lines = folder / "texts.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    output = folder / "vectors.npy"
    subprocess.run([program, "embed", lines, *options, "--output", output, "--overwrite", "--quiet"], check=True)
    return np.load(output)


@pytest.mark.parametrize("pad", ["max", "longest", "bucket"])
@pytest.mark.parametrize("texts", [TEXTS, TEXTS * 150], ids=["few", "many"])
def test_vectors_are_the_programs(pad, texts, bert, m2, program, tmp_path):
    expected = program_vectors(program, tmp_path / "bert", texts, "--model", bert, "--pad", pad, "--batch-size", "8")
    found = m2bert.Embedder(bert, pad=pad, batch_size=8).embed(texts)
    assert found.dtype == np.float32 and np.array_equal(found, expected)
    expected = program_vectors(program, tmp_path / "m2", texts, "--model", m2["model"], "--config", m2["config"], "--pad", pad)
    assert np.array_equal(m2bert.Embedder(**m2, pad=pad).embed(texts), expected)


def test_options_are_the_programs(bert, m2, program, tmp_path):
    options = ["--pooling", "cls+mean", "--no-normalize", "--max-length", "20", "--truncation-side", "left", "--prompt", "query: ",
               "--reference-cut"]
    expected = program_vectors(program, tmp_path, TEXTS, "--model", bert, *options)
    found = m2bert.Embedder(bert, pooling="cls+mean", normalize=False, max_length=20, truncation_side="left", prompt="query: ",
                            reference_cut=True)
    assert found.dim == 32 and found.max_length == 20 and np.array_equal(found.embed(TEXTS), expected)
    expected = program_vectors(program, tmp_path, TEXTS, "--model", bert, "--dimensions", "8", "--dtype", "bfloat16")
    assert np.array_equal(m2bert.Embedder(bert, dimensions=8, dtype="bfloat16").embed(TEXTS), expected)


def test_real_weights(minilm, program, tmp_path):
    texts = [f"Sentence {i} says that monarchs migrate {'south ' * (i % 40)}" for i in range(200)]
    assert np.array_equal(m2bert.Embedder(minilm).embed(texts), program_vectors(program, tmp_path, texts, "--model", minilm))


def test_forms_of_texts(embedder):
    expected = embedder.embed(TEXTS)
    assert np.array_equal(embedder.embed(tuple(TEXTS)), expected)
    assert np.array_equal(embedder.embed(text for text in TEXTS), expected)
    assert np.array_equal(embedder.embed(np.array(TEXTS)), expected)
    assert np.array_equal(embedder.embed(np.array(TEXTS, object)), expected)
    assert np.array_equal(embedder.embed(dict.fromkeys(TEXTS).keys()), expected)
    one = embedder.embed(TEXTS[0])
    assert one.shape == (embedder.dim,) and np.array_equal(one, expected[0])
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_pandas_and_pyarrow(embedder):
    pandas = pytest.importorskip("pandas")
    assert np.array_equal(embedder.embed(pandas.Series(TEXTS, index=range(5, 5 + len(TEXTS)))), embedder.embed(TEXTS))
    with pytest.raises(TypeError, match="text 1 is float, not str"):
        embedder.embed(pandas.Series(["a", float("nan")]))
    pyarrow = pytest.importorskip("pyarrow")
    assert np.array_equal(embedder.embed(pyarrow.array(TEXTS)), embedder.embed(TEXTS))


def test_what_is_no_text(embedder):
    for texts, why in ((b"abc", "texts is bytes"), ({"a": 1}, "texts is dict"), (3, "texts is int"), (None, "texts is NoneType"),
                       (["a", 3], "text 1 is int, not str"), (["a", None], "text 1 is NoneType, not str"), ([b"a"], "text 0 is bytes")):
        with pytest.raises(TypeError, match=why):
            embedder.embed(texts)
    with pytest.raises(ValueError, match="2 dimensions"):
        embedder.embed(np.array([["a"]]))
    with pytest.raises(ValueError, match="text 0 has half of a surrogate pair"):
        embedder.embed(["\ud800"])


def test_the_callers_array_owns_its_memory(bert):
    embedder = m2bert.Embedder(bert)
    vectors = embedder.embed(TEXTS)
    kept = vectors.copy()
    embedder.close()
    del embedder
    assert vectors.flags.writeable and vectors.flags.c_contiguous and np.array_equal(vectors, kept)


def test_generator_runs_on_the_callers_thread(embedder):
    seen = set()

    def texts():
        for i in range(3000):
            seen.add(threading.get_ident())
            yield f"text {i}"

    assert embedder.embed(texts()).shape == (3000, embedder.dim)
    assert seen == {threading.get_ident()}


def test_generator_that_fails_or_embeds(embedder):
    def failing():
        yield "a"
        raise KeyError("the database is gone")

    with pytest.raises(KeyError, match="the database is gone"):
        embedder.embed(failing())
    inner = embedder.embed(["a", "b"])
    assert np.array_equal(embedder.embed(str(i) for i in range(2) if embedder.embed(["a", "b"])[0, 0] == inner[0, 0]),
                          embedder.embed(["0", "1"]))


def test_generator_is_not_read_to_its_end_first(embedder):
    produced, done_at = [], []

    def texts():
        for i in range(20000):
            produced.append(i)
            yield "a"

    embedder.embed(texts(), progress=lambda done: done_at.append((done, len(produced))))
    assert done_at[0][1] < 20000 and done_at[-1] == (20000, 20000)


def test_progress(embedder, capsys, monkeypatch):
    counts = []
    embedder.embed(TEXTS * 200, progress=counts.append)
    assert counts == sorted(counts) and counts[-1] == len(TEXTS) * 200
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr("time.monotonic", iter(range(0, 10**6, 3)).__next__)
    embedder.embed(TEXTS, progress=True)
    assert "6 of 6 texts, " in capsys.readouterr().err


def test_progress_function_that_raises(embedder):
    def stop(done):
        raise StopAsyncIteration(done)

    with pytest.raises(StopAsyncIteration):
        embedder.embed(TEXTS, progress=stop)
    assert embedder.embed("a").shape == (embedder.dim,)


@pytest.fixture(scope="module")
def prompted(bert, tmp_path_factory):
    """A folder with prompts."""
    folder = tmp_path_factory.mktemp("prompted") / "model"
    shutil.copytree(bert, folder)
    settings = folder / "config_sentence_transformers.json"
    values = json.loads(settings.read_text())
    values.update(prompts={"query": "query: ", "passage": "passage: "}, default_prompt_name="passage", similarity_fn_name="dot")
    settings.write_text(json.dumps(values))
    return m2bert.Embedder(folder)


def test_prompts(prompted, bert):
    plain = m2bert.Embedder(bert)
    assert prompted.prompts == {"query": "query: ", "passage": "passage: "}
    assert np.array_equal(prompted.embed(["x"]), plain.embed(["passage: x"]))
    assert np.array_equal(prompted.embed(["x"], prompt="query"), plain.embed(["query: x"]))
    assert np.array_equal(prompted.embed(["x"], prompt=""), plain.embed(["x"]))
    assert np.array_equal(prompted.encode(["x"], prompt_name="query"), plain.embed(["query: x"]))
    assert np.array_equal(prompted.encode(["x"], prompt="query"), plain.embed(["queryx"]))
    assert np.array_equal(prompted.encode_query(["x"]), plain.embed(["query: x"]))
    assert np.array_equal(prompted.encode_document(["x"]), plain.embed(["passage: x"]))
    assert np.array_equal(plain.encode_query(["x"]), plain.embed(["x"]))
    with pytest.raises(ValueError, match=r"prompt_name='other': the model's prompts are \['passage', 'query'\]"):
        prompted.encode(["x"], prompt_name="other")


def test_similarity(prompted, embedder):
    a, b = embedder.embed(["one two"]), embedder.embed(["one", "two three"])
    found = embedder.similarity(a, b)
    assert found.shape == (1, 2) and found.dtype == np.float32
    assert np.allclose(found, [[a[0] @ b[0], a[0] @ b[1]]], atol=1e-6)
    assert embedder.similarity(a[0] * 3, b[0]).shape == (1, 1) and np.allclose(embedder.similarity(a[0] * 3, a[0]), 1, atol=1e-6)
    assert np.allclose(prompted.similarity(a * 3, b), 3 * found, atol=1e-5)  # dot


def test_encode_as_sentence_transformers(embedder):
    vectors = embedder.embed(TEXTS)
    assert np.array_equal(embedder.encode(TEXTS, batch_size=4, show_progress_bar=False), vectors)
    cut = embedder.encode(TEXTS, truncate_dim=8)
    assert np.array_equal(cut, vectors[:, :8])
    unit = embedder.encode(TEXTS, truncate_dim=8, normalize_embeddings=True)
    assert np.allclose(unit, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)
    assert embedder.encode(TEXTS[0]).shape == (embedder.dim,)
    states = embedder.encode(TEXTS, output_value="token_embeddings")
    assert [len(of_text) for of_text in states] == [min(len(e), 256) for e in embedder.tokenizer(TEXTS)]
    assert all(of_text.shape[1] == 16 for of_text in states)


def test_normalize_embeddings_of_a_model_that_does_not(bert):
    embedder = m2bert.Embedder(bert, normalize=False)
    vectors, unit = embedder.encode(TEXTS), embedder.encode(TEXTS, normalize_embeddings=True)
    assert not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert np.allclose(unit, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=1e-6)


def test_encode_refuses_what_has_no_meaning(embedder):
    for arguments, why in (({"output_value": "all"}, "output_value='all'"), ({"device": "cuda:1"}, "device='cuda:1'"),
                           ({"precision": "int4"}, "int4"), ({"truncate_dim": 1000}, "1000"), ({"batch_size": 0}, "batch size 0"),
                           ({"output_value": "token_embeddings", "normalize_embeddings": True}, "token_embeddings")):
        with pytest.raises(ValueError, match=why):
            embedder.encode(TEXTS, **arguments)
    with pytest.raises(TypeError):
        embedder.encode(TEXTS, pool=object())


def test_precision(embedder, caplog):
    vectors = embedder.embed([f"text {i}" for i in range(200)])
    low, high = vectors.min(0), vectors.max(0)
    expected = (((vectors - low) / ((high - low) / 255)).astype(np.uint8).astype(int) - 128).astype(np.int8)
    found = m2bert.quantize(vectors, "int8")
    assert found.dtype == np.int8 and np.array_equal(found, expected)
    expected = ((vectors - low) / ((high - low) / 255)).astype(np.uint8)
    assert np.array_equal(m2bert.quantize(vectors, "uint8", np.stack([low, high])), expected)
    assert np.array_equal(m2bert.quantize(vectors, "ubinary"), np.packbits(vectors > 0, axis=1))
    binary = embedder.encode(["text 1", "text 2"], precision="binary")
    assert binary.dtype == np.int8 and np.array_equal(binary, (np.packbits(vectors[1:3] > 0, axis=1).astype(int) - 128).astype(np.int8))
    assert embedder.encode("text 1", precision="ubinary").shape == (2,)
    with caplog.at_level(logging.WARNING, "m2bert"):
        m2bert.quantize(vectors[:10], "int8")
    assert "10 vectors" in caplog.text
    with pytest.raises(m2bert.Error, match="ranges"):
        m2bert.quantize(vectors, "int8", np.zeros((2, 3), np.float32))


def test_tensors(embedder):
    torch = pytest.importorskip("torch")
    vectors = embedder.embed(TEXTS)
    found = embedder.encode(TEXTS, convert_to_tensor=True)
    assert isinstance(found, torch.Tensor) and np.array_equal(found.numpy(), vectors)
    rows = embedder.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(rows, list) and np.array_equal(rows[1].numpy(), vectors[1])


def test_tensors_without_torch(embedder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="need torch"):
        embedder.encode(TEXTS, convert_to_tensor=True)


def test_errors(bert, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        m2bert.Embedder(tmp_path / "nothing-here")
    with pytest.raises(FileNotFoundError, match="no.yaml"):
        m2bert.Embedder(bert, config=tmp_path / "no.yaml")
    with pytest.raises(m2bert.Error, match="pad 'none'"):
        m2bert.Embedder(bert, pad="none")
    with pytest.raises(TypeError, match="max_length is of type str"):
        m2bert.Embedder(bert, max_length="8")
    with pytest.raises(ValueError, match="dtype 'float8': it can be 'float32'"):
        m2bert.Embedder(bert, dtype="float8")
    broken = tmp_path / "broken"
    shutil.copytree(bert, broken)
    (broken / "config.json").write_text("{")
    with pytest.raises(m2bert.Error, match="config.json"):
        m2bert.Embedder(broken)
    assert m2bert.Error.__module__ == "m2bert" and issubclass(m2bert.Error, ValueError)


def test_hub_names(monkeypatch, bert):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match=r"m2bert\[hub\]"):
        m2bert.Embedder("some-org/some-model")

    class Hub:
        @staticmethod
        def snapshot_download(name, revision, ignore_patterns):
            assert (name, revision) == ("some-org/some-model", "v1") and "*.onnx" in ignore_patterns
            return bert

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert m2bert.Embedder("some-org/some-model@v1").dim == 16


def test_pickle_of_paths_that_are_relative(m2, tmp_path, monkeypatch):
    for name, file in m2.items():
        shutil.copy(file, tmp_path / Path(file).name)
    monkeypatch.chdir(tmp_path)
    embedder = m2bert.Embedder(**{name: Path(file).name for name, file in m2.items()})
    pickled = pickle.dumps(embedder)
    monkeypatch.chdir("/")
    assert np.array_equal(pickle.loads(pickled).embed("a"), embedder.embed("a"))


def test_close_and_pickle(bert):
    with m2bert.Embedder(bert, max_length=10) as embedder:
        again = pickle.loads(pickle.dumps(embedder))
        assert again.max_length == 10 and np.array_equal(again.embed(TEXTS), embedder.embed(TEXTS))
        assert np.array_equal(copy.deepcopy(embedder).embed("a"), embedder.embed("a"))
    with pytest.raises(ValueError, match="closed"):
        embedder.embed(TEXTS)
    embedder.close()


def test_threads_option(bert):
    before = m2bert.threads()
    expected = m2bert.Embedder(bert).embed(TEXTS)
    assert np.array_equal(m2bert.Embedder(bert, threads=1).embed(TEXTS), expected)
    assert m2bert.threads() == 1
    m2bert.set_threads(before)
    with pytest.raises(m2bert.Error, match="threads"):
        m2bert.set_threads(-1)
