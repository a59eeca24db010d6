"""m2bert's WordPiece against the `tokenizers` package: ids, types, masks, offsets, truncation and decoding must be equal.

m2bert's offsets are bytes of the input, the package's are characters of the decoded text and are converted. Both decode ill-formed UTF-8
with U+FFFD for each maximal subpart. M2BERT_BUILD names the build folder (default build/release).
"""
import codecs
import functools
import json
import os
import pathlib
import random
import subprocess

import pytest

tokenizers = pytest.importorskip("tokenizers")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("M2BERT_BUILD", "build/release"))
RUNNER = (BUILD if BUILD.is_absolute() else ROOT / BUILD) / "tests/tokenize/m2bert-parity-tokenize"
VOCABULARY = ROOT / "m2bert/tokenize/bert_base_uncased_vocab.txt"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

pytestmark = pytest.mark.skipif(not RUNNER.exists(), reason=f"{RUNNER} is not built")


# ---- the package's side ----

def peer(vocabulary=None, added=(), **normalizer):
  """BERT's tokenizer as transformers builds it."""
  vocabulary = vocabulary or {t: i for i, t in enumerate(VOCABULARY.read_text().split("\n")[:-1])}
  out = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
  out.normalizer = tokenizers.normalizers.BertNormalizer(**normalizer)
  out.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
  out.post_processor = tokenizers.processors.TemplateProcessing(
      single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
      special_tokens=[(t, vocabulary[t]) for t in ("[CLS]", "[SEP]")])
  out.decoder = tokenizers.decoders.WordPiece()
  out.add_special_tokens(SPECIALS)
  out.add_tokens(list(added))
  return out


def note_ill_formed(error):
  note_ill_formed.ranges.append((error.start, error.end))
  return "\ufffd", error.end


codecs.register_error("m2bert_note", note_ill_formed)


def decode_with_places(raw):
  """The text, and the byte offsets of its characters and of its end."""
  note_ill_formed.ranges = []
  text = raw.decode("utf-8", errors="m2bert_note")
  ill_formed = dict(note_ill_formed.ranges)
  places, at = [], 0
  for char in text:
    places.append(at)
    at = ill_formed.get(at) or at + len(char.encode())
  assert at == len(raw)
  return text, places + [at]


def expected_line(encoding, places, pair_places=None):
  ranges = []
  for (begin, end), special, type_id in zip(encoding.offsets, encoding.special_tokens_mask, encoding.type_ids):
    where = pair_places if type_id and not special else places
    ranges.append("0:0" if special else f"{where[begin]}:{where[end]}")
  join = lambda values: ",".join(map(str, values))
  return "\t".join([join(encoding.ids), join(encoding.type_ids), join(encoding.attention_mask), join(encoding.special_tokens_mask),
                    ",".join(ranges), "1" if encoding.overflowing else "0"])


def run(mode, model, lines):
  done = subprocess.run([str(RUNNER), mode, str(model)], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
  return done.stdout.splitlines()


def requests(raws, options):
  for raw in raws:
    first, second = raw if isinstance(raw, tuple) else (raw, b"")
    yield "\t".join([str(int(isinstance(raw, tuple)))] + options + [first.hex(), second.hex()])


def compare(tokenizer, model, raws, max_length=None, side="right", strategy="longest_first", specials=True):
  """raws: bytes, or pairs of bytes. Returns the number compared."""
  if max_length is None:
    tokenizer.no_truncation()
  else:
    tokenizer.enable_truncation(max_length, strategy=strategy, direction=side)
  decoded = [[decode_with_places(r) for r in (raw if isinstance(raw, tuple) else (raw,))] for raw in raws]
  inputs = [tuple(text for text, _ in d) if len(d) == 2 else d[0][0] for d in decoded]
  encodings = tokenizer.encode_batch(inputs, add_special_tokens=specials)
  options = ["-" if max_length is None else str(max_length), side, strategy, str(int(specials))]
  results = run("encode", model, requests(raws, options))
  assert len(results) == len(raws)
  for raw, places, encoding, result in zip(raws, decoded, encodings, results):
    wanted = expected_line(encoding, *(p for _, p in places))
    assert result == wanted, f"{raw!r} with {options}\nours   {result}\ntheirs {wanted}"
  return len(raws)


# ---- the strings ----

WORDS = VOCABULARY.read_text().split("\n")[1000:-1]
SPACES = " \t\n\r\v\f\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
MARKS = "\u0300\u0301\u0308\u0323\u0327\u0328\u0334\u0345\u05b0\u064b\u0e38\u0f71\u0f72\u302e\u3099\u20dd\u1dce\u1df6\U0001d165\U0001d16d\U00016ff0"
COMPOSED = "éÅñçßİıŞșǅΐΰὌᾖᾳßẞſΆΣςÆŒøŁðÞąęžḝḗṩ각한글값뷁ガゔ々豈福\ufa30\U0002f800\u1e9b\u0344\u0f73\u0f81\u2126\u212a\u1fef\u037e"
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202a\u202e\u2066\u0000\u0001\u001b\u007f\u0080\ufffd\ufffe\uffff\ue000\U000e0061\ufe0f\u0378\U0010ffff"
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡§«·¿‐–—‘’“”…‰※⁇、。「」〈〉・！？～￥\u061f\u0964\u166e\u1400\u2e52\U0001f670$+<^`|~¢°±×÷€™→∑"
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "☺️", "1️⃣", "🧑🏿‍🚀", "\U0001faf7", "❤️‍🔥", "#️⃣"]
SCRIPTS = [(0x41, 0x7A), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x52F), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F),
           (0xF00, 0xFFF), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF),
           (0xFF00, 0xFFEF), (0x10400, 0x1044F), (0x1D100, 0x1D1FF), (0x1E900, 0x1E95F), (0x20000, 0x2A6FF)]
SPECIAL_TEXTS = SPECIALS + ["[mask]", "[MASK", "MASK]", "[[MASK]]", "[ MASK ]", "[CLS][SEP]", "[Mask]", "[UNK", "[", "]", "##", "##ing", "[unused1]"]
ILL_FORMED = [b"\x80", b"\xff", b"\xc0\xaf", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xf8\x88\x80\x80\x80"]


def piece(rng):
  kind = rng.randrange(14)
  if kind < 3:
    word = rng.choice(WORDS)
    return rng.choice([word, word.upper(), word.title(), word + rng.choice(WORDS)]).encode()
  if kind == 3:
    low, high = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8))).encode()
  if kind == 4:
    plane = rng.choice([0, 0, 1, 1, 2, 3, 14, 15, 16])
    codes = [plane * 0x10000 + rng.randrange(0x10000) for _ in range(rng.randint(1, 4))]
    return "".join(chr(c) for c in codes if not 0xD800 <= c <= 0xDFFF).encode()
  if kind == 5:
    letters = rng.choice("aeioucnsx" + COMPOSED)
    return (letters + "".join(rng.choice(MARKS + COMPOSED * (rng.random() < .3)) for _ in range(rng.randint(1, 6)))).encode()
  if kind == 6:
    return "".join(rng.choice(COMPOSED) for _ in range(rng.randint(1, 6))).encode()
  if kind == 7:
    return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 3))).encode()
  if kind == 8:
    return "".join(rng.choice(INVISIBLE) for _ in range(rng.randint(1, 3))).encode()
  if kind == 9:
    return "".join(rng.choice(PUNCTUATION) for _ in range(rng.randint(1, 4))).encode()
  if kind == 10:
    return rng.choice(EMOJI).encode()
  if kind == 11:
    return rng.choice(SPECIAL_TEXTS).encode()
  if kind == 12:
    return rng.choice([rng.choice(ILL_FORMED), rng.randbytes(rng.randint(1, 5))])
  if rng.random() < .2:
    return (rng.choice("aZ9éж字\u0301") * rng.randint(95, 105)).encode()
  return "".join(rng.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789") for _ in range(rng.randint(1, 15))).encode()


def text(rng, longest=25):
  glue = [b"", b"", b" "] if rng.random() < .5 else [b"", b" ", b" ", b"  "]
  return b"".join(piece(rng) + rng.choice(glue) for _ in range(rng.randint(0, longest)))


@functools.cache
def pool(longest, count):
  rng = random.Random(longest)
  return [text(rng, longest) for _ in range(count)]


def texts(seed, count):
  return random.Random(seed).sample(pool(25, 100_000), count)


def pairs(seed, count):
  rng, some = random.Random(seed), pool(12, 6_000)
  return [(rng.choice(some), rng.choice(some)) for _ in range(count)]


@pytest.fixture(scope="module")
def uncased():
  return peer()


# ---- the tests ----

def test_random_and_adversarial_strings(uncased):
  assert compare(uncased, "-", pool(25, 100_000)) == 100_000


@pytest.mark.parametrize("form", ["{}", "x{}y"])
def test_every_code_point(uncased, form):
  codes = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
  lines = [" ".join(form.format(chr(c)) for c in codes[i:i + 64]).encode() for i in range(0, len(codes), 64)]
  compare(uncased, "-", lines)


def test_every_pair_of_marks_after_a_letter(uncased):
  marks = MARKS + "\u0344\u0f73\u0340\u0958\ufb1d\u1d7c"
  compare(uncased, "-", [("a" + a + b + c).encode() for a in marks for b in marks for c in marks])


@pytest.mark.parametrize("normalizer", [
    {"lowercase": False}, {"strip_accents": False, "handle_chinese_chars": False}, {"lowercase": False, "strip_accents": True},
    {"clean_text": False, "handle_chinese_chars": False}, {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}], ids=str)
def test_normalizer_settings(normalizer, tmp_path):
  tokenizer = peer(**normalizer)
  tokenizer.save(str(tmp_path / "tokenizer.json"))
  compare(tokenizer, tmp_path, texts(2, 5_000))
  if len(normalizer) == 2:
    return  # testing all code points would add nothing here
  codes = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
  compare(tokenizer, tmp_path, [" ".join(f"x{chr(c)}y" for c in codes[i:i + 256]).encode() for i in range(0, len(codes), 256)])


def test_cased_model_folder(tmp_path):
  # A cased vocabulary, with the settings of a folder without tokenizer.json.
  vocabulary = {t: i for i, t in enumerate(SPECIALS + sorted({w.title() for w in WORDS if not w.startswith("##")} | set(WORDS)))}
  (tmp_path / "vocab.txt").write_text("".join(t + "\n" for t in vocabulary))
  (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "tokenizer_class": "BertTokenizer"}))
  compare(peer(vocabulary, lowercase=False), tmp_path, texts(3, 10_000))


def test_added_tokens_with_flags(tmp_path):
  new = tokenizers.AddedToken
  added = [new("<a>", normalized=False), new("<a><b>", normalized=False), new("word", single_word=True, normalized=False),
           new("<l>", lstrip=True, normalized=False), new("<r>", rstrip=True, normalized=False), new("Élan", normalized=True),
           new("<n>", lstrip=True, rstrip=True, single_word=True, normalized=True)]
  tokenizer = peer(added=added)
  tokenizer.save(str(tmp_path / "tokenizer.json"))
  rng = random.Random(4)
  parts = [a.content.encode() for a in added] + ["élan".encode(), "Word".encode(), b" ", b"  ", "\u3000\xa0".encode(), b"[MASK]", "é".encode(), b"_", b"\xff"]
  mix = lambda: b"".join(rng.choice(parts) if rng.random() < .7 else piece(rng) for _ in range(rng.randint(1, 12)))
  compare(tokenizer, tmp_path, [mix() for _ in range(20_000)])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [2, 3, 4, 7, 16, 64])
def test_truncation_of_single_texts(uncased, max_length, side):
  compare(uncased, "-", texts(max_length, 1_000), max_length, side)
  compare(uncased, "-", texts(max_length, 300), max_length, side, specials=False)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [None, 3, 4, 5, 8, 17, 32, 128])
def test_pairs_longest_first(uncased, max_length, side):
  few = max_length is not None and max_length < 10  # slow: the package builds every combination of the overflowing parts
  compare(uncased, "-", pairs(max_length or 1, 400 if few else 2_000), max_length, side)
  compare(uncased, "-", pairs(max_length or 1, 300), max_length, side, specials=False)


@pytest.mark.parametrize("strategy", ["only_first", "only_second"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_pairs_that_cut_one_text(uncased, strategy, side):
  uncased.no_truncation()
  some = [p for p in pairs(9, 4_000)]
  uncut = uncased.encode_batch([tuple(r.decode(errors="replace") for r in p) for p in some])
  for max_length in (12, 40):
    fits, fails = [], []
    for pair, encoding in zip(some, uncut):
      other = sum(t == (strategy == "only_first") and not s for t, s in zip(encoding.type_ids, encoding.special_tokens_mask))
      (fits if len(encoding.ids) <= max_length or other < max_length - 3 else fails).append(pair)
    assert len(fits) > 100 and len(fails) > 10
    compare(uncased, "-", fits, max_length, side, strategy)
    assert all(line.startswith("error\t") for line in run("encode", "-", requests(fails, [str(max_length), side, strategy, "1"])))


def test_decode(uncased):
  rng = random.Random(5)
  cases = []
  uncased.no_truncation()
  for encoding in uncased.encode_batch([t.decode(errors="replace") for t in texts(6, 5_000)]):
    cases.append(encoding.ids)
  cases += [[rng.randrange(30522 + 100) for _ in range(rng.randint(0, 20))] for _ in range(5_000)]
  for skip in (True, False):
    ours = run("decode", "-", [f"{int(skip)}\t{','.join(map(str, ids))}" for ids in cases])
    for ids, line in zip(cases, ours):
      assert bytes.fromhex(line).decode() == uncased.decode(ids, skip_special_tokens=skip), ids


def test_transformers_reads_the_same_folder(tmp_path):
  transformers = pytest.importorskip("transformers")
  tokenizer = peer()
  tokenizer.save(str(tmp_path / "tokenizer.json"))
  (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": False}))
  theirs = transformers.BertTokenizerFast.from_pretrained(tmp_path)
  raws = texts(7, 2_000)
  ours = run("encode", tmp_path, requests(raws, ["-", "right", "longest_first", "1"]))
  for raw, line in zip(raws, ours):
    assert line.split("\t")[0] == ",".join(map(str, theirs(raw.decode(errors="replace"))["input_ids"]))
