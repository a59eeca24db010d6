"""`m2bert data build` and `split` against upstream's src/convert_dataset.py and src/utils/create_val_split.py, reimplemented here with
Hugging Face's tokenizer. The data sets are read back by mosaicml-streaming."""
import json
import math

import numpy as np
import pytest

import english
import streaming_package
from conftest import REPOSITORY, program, run

streaming = streaming_package.load()
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def m2bert():
    return program("m2bert")


@pytest.fixture(scope="module")
def tokenizer():
    vocab = str(REPOSITORY / "m2bert/tokenize/bert_base_uncased_vocab.txt")
    return transformers.BertTokenizerFast(vocab=vocab, vocab_file=vocab)


@pytest.fixture(scope="module")
def documents():
    pool = english.sentences()
    texts = [" ".join(pool[(i * 13 + k) % len(pool)] for k in range(1 + i % 90)) for i in range(300)]
    return texts + ["Grüße aus 東京 \U0001f98b " * 900, "short"]


def build(m2bert, tmp_path, documents, *options):
    lines = tmp_path / "in.jsonl"
    lines.write_text("".join(json.dumps({"text": t}) + "\n" for t in documents))
    run(m2bert, "data", "build", lines, "--out", tmp_path / "out", "--shard-size", "100kb", *options)
    return tmp_path / "out"


def samples(folder):
    dataset = streaming.StreamingDataset(local=str(folder), shuffle=False, batch_size=1, validate_hash="xxh64")
    return [dataset[i] for i in range(dataset.num_samples)]


@pytest.mark.parametrize("compression", ["none", "zstd", "gz"])
def test_texts_are_truncated_to_characters_as_in_python(m2bert, tmp_path, documents, compression):
    out = build(m2bert, tmp_path, documents, "--max-chars", 4000, "--compression", compression)
    assert any(len(d) > 4000 for d in documents)
    assert samples(out / "train") == [{"text": d[:4000]} for d in documents]


def upstream_tokens(documents, tokenizer, length, bos_text, eos_text, wrap):
    """ConcatTokensDataset: concatenates the tokens of the first 8,000 characters; while `length` tokens wait, makes a sample."""
    bos, eos = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (bos_text, eos_text))
    assert len(bos) == len(eos) == 1
    waiting, found = [], []
    for text in documents:
        waiting += tokenizer(text[:8000], add_special_tokens=False)["input_ids"]
        while len(waiting) >= length:
            found.append(bos + waiting[: length - 2] + eos)
            waiting = waiting[length - 2 :] if wrap else []
    return found


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("length,bos,eos", [(128, "[CLS]", "[SEP]"), (64, "[MASK]", "the"), (512, "[CLS]", "[SEP]")])
def test_token_samples_are_upstreams(m2bert, tokenizer, tmp_path, documents, length, bos, eos, wrap):
    options = ["--concat-tokens", length, "--bos-text", bos, "--eos-text", eos, "--max-chars", 8000, *([] if wrap else ["--no-wrap"])]
    out = build(m2bert, tmp_path, documents, *options)
    got = [np.frombuffer(s["tokens"], np.int64).tolist() for s in samples(out / "train")]
    assert got == upstream_tokens(documents, tokenizer, length, bos, eos, wrap)


@pytest.mark.parametrize("fraction", [0.0005, 0.1, 0.5])
def test_shards_are_split_as_upstream_does(m2bert, tmp_path, documents, fraction):
    out = build(m2bert, tmp_path, documents)
    index = json.loads((out / "train" / "index.json").read_text())
    run(m2bert, "data", "split", out / "train", "--out", tmp_path / "split", "--val-fraction", fraction)
    shards = index["shards"]
    train = math.floor((1 - fraction) * len(shards))
    assert 0 < train < len(shards)
    for name, expected in (("train", shards[:train]), ("val", shards[train:])):
        assert json.loads((tmp_path / "split" / name / "index.json").read_text()) == {"version": 2, "shards": expected}
    assert samples(tmp_path / "split" / "train") + samples(tmp_path / "split" / "val") == samples(out / "train")
