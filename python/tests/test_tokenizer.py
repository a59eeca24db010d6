"""Tokenizer: the ids of the program, and offsets that count characters as Python does."""
import json
import subprocess
import time

import m2bert
import numpy as np
import pytest
from conftest import TEXTS

TEXT = "Caf\u00e9 \u5317\u4eac \U0001f98b is NA\u00cfVE, isn't it?"


def test_offsets_are_characters():
    encoding = m2bert.Tokenizer()(TEXT)
    assert encoding.tokens == ["[CLS]", "cafe", "北", "京", "[UNK]", "is", "naive", ",", "isn", "'", "t", "it", "?", "[SEP]"]
    words = [TEXT[begin:end] for begin, end in encoding.offsets]
    assert words == ["", "Café", "北", "京", "\U0001f98b", "is", "NAÏVE", ",", "isn", "'", "t", "it", "?", ""]
    assert encoding.ids.dtype == np.int32 and encoding.offsets.dtype == np.uint32 and encoding.offsets.shape == (len(encoding), 2)


def test_pairs():
    encoding = m2bert.Tokenizer()("é one", "ü two")
    assert encoding.type_ids.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert encoding.offsets.tolist() == [[0, 0], [0, 1], [2, 5], [0, 0], [0, 1], [2, 5], [0, 0]]
    assert encoding.special_tokens_mask.tolist() == [1, 0, 0, 1, 0, 0, 1] and encoding.attention_mask.tolist() == [1] * 7
    both = m2bert.Tokenizer()(["a", "b"], ["c", "d e"])
    assert [len(one) for one in both] == [5, 6]
    with pytest.raises(m2bert.Error, match="2 texts, and 1"):
        m2bert.Tokenizer()(["a", "b"], ["c"])
    with pytest.raises(TypeError, match="both"):
        m2bert.Tokenizer()("a", ["c"])


def test_ids_are_the_programs(program):
    texts = [text for text in [*TEXTS, TEXT] if text]
    options = [option for text in texts for option in ("--text", text)]
    lines = subprocess.run([program, "tokenize", "--json", "--max-length", "50", "--truncation-side", "left", *options], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    for encoding, line in zip(m2bert.Tokenizer()(texts, max_length=50, truncation_side="left"), lines, strict=True):
        expected = json.loads(line)
        assert encoding.ids.tolist() == expected["ids"] and encoding.tokens == expected["tokens"]
        assert encoding.type_ids.tolist() == expected["type_ids"] and encoding.truncated == expected["truncated"]


def test_decode_and_vocabulary(tmp_path):
    tokenizer = m2bert.Tokenizer()
    ids = tokenizer("Monarch butterflies, fluttering.").ids
    assert tokenizer.decode(ids) == "monarch butterflies, fluttering." == tokenizer.decode(ids.tolist())
    assert tokenizer.decode(ids, skip_special_tokens=False).startswith("[CLS] ")
    assert tokenizer.token_to_id("[MASK]") == 103 and tokenizer.id_to_token(103) == "[MASK]" and tokenizer.token_to_id("zzzz") is None
    assert len(tokenizer) == tokenizer.vocab_size == 30522
    with pytest.raises(m2bert.Error):
        tokenizer.id_to_token(30522)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Éa", "ea"]))
    assert m2bert.Tokenizer(vocabulary)("ÉA").tokens == ["[CLS]", "ea", "[SEP]"]
    assert m2bert.Tokenizer(vocabulary, lowercase=False, strip_accents=False)("Éa").tokens == ["[CLS]", "Éa", "[SEP]"]


def test_encodings_outlive_their_source():
    ids = m2bert.Tokenizer()(["one two"])[0].ids
    assert ids.tolist() == [101, 2028, 2048, 102] and not ids.flags.writeable


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        m2bert.Tokenizer(tmp_path / "vocab.txt")
    with pytest.raises(m2bert.Error, match="built in"):
        m2bert.Tokenizer(lowercase=False)
    with pytest.raises(TypeError, match="text 1 is int, not str"):
        m2bert.Tokenizer()(["a", 1])
    with pytest.raises(TypeError, match="texts? is bytes"):
        m2bert.Tokenizer()(b"a")
    with pytest.raises(m2bert.Error, match="truncation_side 'up'"):
        m2bert.Tokenizer()("a", truncation_side="up")
    assert m2bert.Tokenizer()([]) == []


def test_speed_of_tokenizers():
    """At least as fast as Hugging Face's tokenizers, which is the fastest that Python has, on one thread each."""
    tokenizers = pytest.importorskip("tokenizers")
    ours = m2bert.Tokenizer()
    vocabulary = {ours.id_to_token(i): i for i in range(ours.vocab_size)}
    theirs = tokenizers.BertWordPieceTokenizer(vocabulary)
    texts = [f"Sentence {i} says that monarch butterflies migrate south {'again and ' * (i % 20)}" for i in range(5000)]

    def seconds(work):
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    assert [e.ids.tolist() for e in ours(texts[:50])] == [e.ids for e in theirs.encode_batch(texts[:50])]
    assert min(seconds(lambda: ours(texts)) for _ in range(3)) < min(seconds(lambda: theirs.encode_batch(texts)) for _ in range(3))
