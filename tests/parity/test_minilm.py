"""Trained weights: `m2bert embed` computes the same vectors as sentence-transformers for 1,000 real sentences."""
import json

import english
import numpy
import pytest
from conftest import program, run

COUNT = 1000
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def texts():
    return english.passages(COUNT)


@pytest.fixture(scope="module")
def golden(minilm_folder, texts):
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(str(minilm_folder), device="cpu")
    lengths = [len(ids) for ids in model.tokenizer(texts, truncation=False)["input_ids"]]
    return model.encode(texts, batch_size=32, show_progress_bar=False), lengths


def embed(minilm_folder, texts, out, *options):
    source = out.parent / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    run(program("m2bert"), "embed", "--quiet", "--model", minilm_folder, source, "--output", out, "--overwrite", *options)


def test_some_texts_are_long(golden):
    _, lengths = golden
    assert sum(129 <= n <= 400 for n in lengths) >= 100
    assert sum(257 <= n <= 400 for n in lengths) >= 20, "some must be longer than the model's 256 tokens"
    assert len(lengths) == COUNT


def test_vectors(minilm_folder, texts, golden, tmp_path):
    embed(minilm_folder, texts, tmp_path / "vectors.npy")
    ours = numpy.load(tmp_path / "vectors.npy")
    expected, lengths = golden
    assert ours.shape == expected.shape and ours.dtype == numpy.float32
    difference = numpy.abs(ours - expected).max(axis=1)
    worst = int(difference.argmax())
    assert difference[worst] <= TOLERANCE, f"text {worst} ({lengths[worst]} tokens) differs by {difference[worst]:.2e}"


@pytest.mark.parametrize("dtype,least", [("bfloat16", 0.9998), ("int8", 0.999)])
def test_low_precision_stays_close(minilm_folder, texts, golden, tmp_path, dtype, least):
    embed(minilm_folder, texts, tmp_path / "vectors.npy", "--dtype", dtype)
    cosines = (numpy.load(tmp_path / "vectors.npy") * golden[0]).sum(axis=1)
    assert cosines.min() >= least, f"smallest cosine {cosines.min():.5f}, mean {cosines.mean():.5f}"


@pytest.mark.parametrize("options", [["--batch-size", "7"], ["--pad", "longest"], ["--pad", "bucket"]])
def test_batches_and_padding_change_nothing(minilm_folder, texts, golden, tmp_path, options):
    embed(minilm_folder, texts[:60], tmp_path / "vectors.npy", *options)
    assert numpy.abs(numpy.load(tmp_path / "vectors.npy") - golden[0][:60]).max() <= TOLERANCE


def test_json_lines_hold_the_same_numbers(minilm_folder, texts, golden, tmp_path):
    embed(minilm_folder, texts[:40], tmp_path / "vectors.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "vectors.jsonl").read_text().splitlines()]
    vectors = numpy.array([row["embedding"] for row in rows], dtype=numpy.float32)
    assert numpy.abs(vectors - golden[0][:40]).max() <= TOLERANCE
    assert [bool(row.get("truncated")) for row in rows] == [n > 256 for n in golden[1][:40]]
