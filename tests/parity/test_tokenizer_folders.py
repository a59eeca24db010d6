"""The ids of tokenizer folders against AutoTokenizer of Transformers: every field that changes ids is applied or refused.

Each folder is one that Transformers saved, with a few fields changed. M2BERT_BUILD names the build folder (default build/release).
"""
import json
import re
import shutil
import subprocess

import pytest

from conftest import REPOSITORY, program

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789éüABCDEFGHIJKLMNOPQRSTUVWXYZÜ"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "the a of moon river stone cafe café Moon River Paris paris ! ? . , ' - [ ] : < > 株 式 drift".split()
TOKENS = list(dict.fromkeys(SPECIALS + WORDS + list(LETTERS) + ["##" + c for c in LETTERS] + ["##s", "##ing"]
                            + ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "bos"]))
NEW = len(TOKENS)  # the first id that the vocabulary lacks
TEXTS = ["The Moon and CAFÉ café Élan", "株式会社 moon", "a [MASK] b [SEP] c [mask]", "<s> moon </s> <mask> <pad> <unk>",
         "drift <new> drifts <NEW> fox", "bos Foxes fox", "é\u0301 x\u200dy tab\tz", "a" * 12 + " river rivers",
         "[unused] <extra> <image>", "  ", "New moon <new2>b", "x  <new> y", "İstanbul ẞ Ǆ Σας K"]


def flags(content, **changed):
    return dict(dict(content=content, single_word=False, lstrip=False, rstrip=False, normalized=True, special=False), **changed)


def decoder(*tokens):
    """added_tokens_decoder with BERT's special tokens and more, (id, flags)."""
    special = {str(i): flags(t, special=True, normalized=False) for i, t in enumerate(SPECIALS)}
    return special | {str(i): f for i, f in tokens}


def edit(name, **fields):
    def apply(folder):
        path = folder / name
        content = json.loads(path.read_text()) if path.exists() else {}
        content.update(fields)
        path.write_text(json.dumps({k: v for k, v in content.items() if v != "absent"}))
    return apply


def config(**fields):
    return edit("tokenizer_config.json", **fields)


def in_json(section, **fields):
    """Changes a section of tokenizer.json."""
    def apply(folder):
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text())
        content[section].update(fields)
        path.write_text(json.dumps(content))
    return apply


def more_tokens(*tokens):
    def apply(folder):
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text())
        content["added_tokens"] += tokens
        path.write_text(json.dumps(content))
    return apply


def vocabulary_only(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("".join(t + "\n" for t in TOKENS), encoding="utf-8")


def remove_config(folder):
    (folder / "tokenizer_config.json").unlink()


def lowercase_first(folder):
    """As sentence-transformers saves do_lower_case."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    backend = tokenizer.backend_tokenizer
    backend.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.Lowercase(), backend.normalizer])
    backend.save(str(folder / "tokenizer.json"))


BACKEND = {"tokenizer_class": "TokenizersBackend"}
EQUAL = {  # the same ids as AutoTokenizer's, from tokenizer.json and from vocab.txt
    "as saved": [],
    "cased": [config(do_lower_case=False)],
    "keeps accents": [config(strip_accents=False)],
    "cased without accents": [config(strip_accents=True, do_lower_case=False)],
    "does not split Chinese": [config(tokenize_chinese_chars=False)],
    "mask and pad renamed": [config(mask_token="<mask>", pad_token="<pad>")],
    "bos and eos": [config(bos_token="bos", eos_token="<s>")],
    "additional_special_tokens": [config(additional_special_tokens=["<extra>", "moon"])],
    "extra_special_tokens, a list": [config(extra_special_tokens=["<extra>", "moon"])],
    "extra_special_tokens, a map": [config(extra_special_tokens={"image_token": "<image>"})],
    "an added token": [config(added_tokens_decoder=decoder((NEW, flags("<new>"))))],
    "an added token, not normalized": [config(added_tokens_decoder=decoder((NEW, flags("<new>", normalized=False))))],
    "an added token of the vocabulary": [config(added_tokens_decoder=decoder((TOKENS.index("drift"), flags("drift", normalized=False))))],
    "a single word": [config(added_tokens_decoder=decoder((TOKENS.index("drift"), flags("drift", single_word=True, normalized=False))))],
    "an added special token": [config(added_tokens_decoder=decoder((NEW, flags("New", special=True))))],
    "a mask that strips": [config(mask_token=dict(flags("[MASK]", lstrip=True, normalized=False), __type="AddedToken"))],
    "added_tokens.json": [edit("added_tokens.json", **{"<new>": NEW, "<new2>": NEW + 1})],
    "added_tokens.json is older than added_tokens_decoder": [config(added_tokens_decoder=decoder()), edit("added_tokens.json", **{"<new>": NEW})],
    "special_tokens_map.json": [edit("special_tokens_map.json", additional_special_tokens=["<extra>", "drift"], bos_token="bos")],
    "special_tokens_map.json strips": [edit("special_tokens_map.json", mask_token=flags("[MASK]", lstrip=True, normalized=False))],
    "special tokens of a text are split": [config(split_special_tokens=True)],
    "truncates on the left": [config(truncation_side="left")],
    "DistilBERT": [config(tokenizer_class="DistilBertTokenizerFast")],
    "the class of config.json": [config(tokenizer_class="absent"), edit("config.json", model_type="bert")],
}
EQUAL_FROM_JSON = {
    "no tokenizer_config.json": [remove_config, in_json("normalizer", lowercase=False)],
    "a cased tokenizer.json, lower case by default": [config(do_lower_case="absent"), in_json("normalizer", lowercase=False)],
    "a cased tokenizer.json, lower case by the class of config.json": [
        config(do_lower_case="absent", tokenizer_class="absent"), edit("config.json", model_type="bert"), in_json("normalizer", lowercase=False)],
    "Chinese split by default": [config(tokenize_chinese_chars="absent"), in_json("normalizer", handle_chinese_chars=False)],
    "a cased tokenizer.json of its own class": [config(do_lower_case="absent", **BACKEND), in_json("normalizer", lowercase=False)],
    "its own class ignores do_lower_case": [config(do_lower_case=False, **BACKEND)],
    "its own class keeps clean_text": [config(**BACKEND), in_json("normalizer", clean_text=False)],
    "its own class keeps the longest word": [config(**BACKEND), in_json("model", max_input_chars_per_word=5)],
    "its own class keeps the prefix": [config(**BACKEND), in_json("model", continuing_subword_prefix="##a")],
    "an added token of tokenizer.json alone": [config(added_tokens_decoder="absent"), more_tokens(dict(id=NEW, **flags("<new>", normalized=False)))],
    "Lowercase before BERT's normalizer": [config(do_lower_case=False, **BACKEND), in_json("normalizer", lowercase=False), lowercase_first],
    "truncates on the left by tokenizer.json": [edit("tokenizer.json", truncation=dict(direction="Left", max_length=5, strategy="LongestFirst", stride=0))],
    "no template of its own class": [config(**BACKEND), edit("tokenizer.json", post_processor=None)],
}
EQUAL_FROM_VOCABULARY = {
    "another unknown token": [config(unk_token="<unk>")],
    "other ends": [config(cls_token="<s>", sep_token="</s>")],
    "special_tokens_map.json overrides": [edit("special_tokens_map.json", cls_token="<s>", sep_token="</s>")],
}
REFUSED = {  # the error names this
    "the unknown token of tokenizer.json differs": ([config(unk_token="<unk>")], "unk_token"),
    "the template of tokenizer.json differs": ([config(cls_token="<s>", sep_token="</s>")], "cls_token"),
    "a token of another model": ([config(image_token="<image>")], "image_token"),
    "an id that is not the next": ([config(added_tokens_decoder=decoder((NEW + 3, flags("<new>"))))], "next free id"),
    "an id that is not the next in added_tokens.json": ([edit("added_tokens.json", **{"<new>": NEW + 3})], "added_tokens.json"),
    "no attention mask": ([config(model_input_names=["input_ids"])], "model_input_names"),
    "another type for padding": ([config(pad_token_type_id=1)], "pad_token_type_id"),
    "code of its own": ([config(auto_map={"AutoTokenizer": ["a.B", None]})], "auto_map"),
    "an unknown field of the model": ([in_json("model", fuse_unk=True)], "fuse_unk"),
    "an unknown normalizer": ([edit("tokenizer.json", normalizer={"type": "NFKC"})], "NFKC"),
}
for name in ("MPNetTokenizer", "RobertaTokenizer", "BertJapaneseTokenizer", "BertweetTokenizer", "BertGenerationTokenizer", "HerbertTokenizer"):
    REFUSED[name] = ([config(tokenizer_class=name)], name)
WARNED = {  # version 5 of Transformers ignores these for BERT's classes, version 4 applies them
    "clean_text": [in_json("normalizer", clean_text=False)],
    "max_input_chars_per_word": [in_json("model", max_input_chars_per_word=5)],
    "continuing_subword_prefix": [in_json("model", continuing_subword_prefix="##a")],
    "post_processor": [edit("tokenizer.json", post_processor=None)],
    "added tokens": [config(added_tokens_decoder=decoder()), more_tokens(dict(id=NEW, **flags("<new>", normalized=False)))],
    "a_new_field": [config(a_new_field=1)],
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    (folder / "vocab.txt").write_text("".join(t + "\n" for t in TOKENS), encoding="utf-8")
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    (folder / "vocab.txt").unlink()
    return folder


def make(saved, tmp_path, changes):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    for change in changes:
        change(folder)
    return folder


def tokenize(folder, *options):
    lines = "".join(json.dumps({"text": t}) + "\n" for t in TEXTS)
    return subprocess.run([program("m2bert"), "tokenize", "--model", folder, "-", "--format", "jsonl", "--json", *options], input=lines,
                          capture_output=True, text=True)


def ids(folder, *options):
    done = tokenize(folder, *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["ids"] for line in done.stdout.splitlines()]


def expect_equal(folder):
    peer = transformers.AutoTokenizer.from_pretrained(folder)
    assert ids(folder) == [peer(t)["input_ids"] for t in TEXTS]
    assert ids(folder, "--max-length", "4") == [peer(t, truncation=True, max_length=4)["input_ids"] for t in TEXTS]


@pytest.mark.parametrize("name", EQUAL)
@pytest.mark.parametrize("source", ["tokenizer.json", "vocab.txt"])
def test_the_same_ids(saved, tmp_path, name, source):
    expect_equal(make(saved, tmp_path, ([vocabulary_only] if source == "vocab.txt" else []) + EQUAL[name]))


@pytest.mark.parametrize("name", EQUAL_FROM_JSON)
def test_the_same_ids_from_tokenizer_json(saved, tmp_path, name):
    expect_equal(make(saved, tmp_path, EQUAL_FROM_JSON[name]))


@pytest.mark.parametrize("name", EQUAL_FROM_VOCABULARY)
def test_the_same_ids_from_vocab_txt(saved, tmp_path, name):
    expect_equal(make(saved, tmp_path, [vocabulary_only] + EQUAL_FROM_VOCABULARY[name]))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(saved, tmp_path, name):
    changes, named = REFUSED[name]
    done = tokenize(make(saved, tmp_path, changes))
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("error: ") and named in done.stderr, done.stderr


@pytest.mark.parametrize("name", WARNED)
def test_warned(saved, tmp_path, name):
    done = tokenize(make(saved, tmp_path, WARNED[name]))
    assert done.returncode == 0
    assert "warning: " in done.stderr and name in done.stderr, done.stderr


HARMLESS = re.findall(r'^    \{"(\w+)", "', (REPOSITORY / "m2bert/tokenize/tokenizer_config.cpp").read_text(), re.MULTILINE)
VALUES = {"backend": "tokenizers", "chat_control_tokens": ["moon"], "chat_template": "moon", "errors": "strict", "init_inputs": [],
          "max_length": 4, "never_split": ["moon"], "pad_to_multiple_of": 8, "stride": 2, "truncation_strategy": "only_first",
          "unk_token_id": 3, "wordpieces_prefix": "@@", "tokenizer_file": "none", "vocab_file": "none", "name_or_path": "moon",
          "special_tokens_map_file": "none", "processor_class": "Moon", "device_map": "auto", "response_template": "moon",
          "response_schema": {}, "files_loaded": ["moon"]}


def test_the_table_of_harmless_fields_is_found():
    assert len(HARMLESS) > 30


@pytest.mark.parametrize("field", HARMLESS)
def test_a_harmless_field_changes_no_id(saved, tmp_path, field):
    folder = make(saved, tmp_path, [config(**{field: VALUES.get(field, True)})])
    before = ids(saved)
    peer = transformers.AutoTokenizer.from_pretrained(folder)
    assert ids(folder) == before == [peer(t)["input_ids"] for t in TEXTS]

