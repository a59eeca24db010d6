"""Model folders that sentence-transformers and Transformers save: `m2bert embed` gives the packages' vectors for every setting."""
import json
import re
import shutil
import subprocess

import numpy
import pytest
from conftest import REPOSITORY, program, run

TOLERANCE = 2e-5
HIDDEN = 32
WORDS = """the a of and in to over under near moon river stone harbor garden winter summer quiet slow old light wind rain fox heron
query passage text : . , ' - cafe café élan Paris paris Moon River OLD The""".split()
TEXTS = ["a quiet harbor", "The OLD Moon River, near Paris", "a quiet café of élan", "",
         "the quiet river and the old stone garden under a slow summer moon near the harbor in winter rain and wind of the fox"]
PROMPT = "query: the old river "


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def edit_json(path, **fields):
    value = json.loads(path.read_text()) if path.is_file() else {}
    write_json(path, {key: v for key, v in {**value, **fields}.items() if v is not ...})


def vocabulary():
    letters = list("abcdefghijklmnopqrstuvwxyzéABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return list(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *("##" + c for c in letters)]))


def save_bert(folder, lower=True, model_max_length=None, model_class="BertModel", dtype=None, max_shard_size=None, **fields):
    """A Transformers folder of a small random BERT with 64 positions."""
    import torch
    import transformers
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": lower})
    limit = {"model_max_length": model_max_length} if model_max_length else {}
    transformers.AutoTokenizer.from_pretrained(folder, **limit).save_pretrained(folder)
    config = {"vocab_size": len(vocabulary()), "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4,
              "intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.3, **fields}
    torch.manual_seed(3)
    model = getattr(transformers, model_class)(transformers.BertConfig(**config)).eval()
    if dtype:
        model = model.to(getattr(torch, dtype))
    model.save_pretrained(folder, **({"max_shard_size": max_shard_size} if max_shard_size else {}))
    return folder


def save_sentence(folder, pooling="mean", include_prompt=True, more=(), max_seq_length=None, prompts=None, default_prompt=None,
                  similarity=None, truncate_dim=None, **bert):
    """A folder that sentence-transformers saves. more: functions from the size of the vectors to a module."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    source = save_bert(folder.parent / "source", **bert)
    modules = [Transformer(str(source))]
    if pooling:
        modules.append(Pooling(HIDDEN, pooling_mode=pooling, include_prompt=include_prompt))
    for make in more:
        modules.append(make(modules[-1].get_embedding_dimension() if hasattr(modules[-1], "get_embedding_dimension") else HIDDEN))
    model = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name=default_prompt, similarity_fn_name=similarity,
                                truncate_dim=truncate_dim, device="cpu")
    if max_seq_length:
        model.max_seq_length = max_seq_length
    model.save(str(folder), create_model_card=False)
    shutil.rmtree(source)
    return folder


def dense(out, activation="Tanh", **options):
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense

    def make(size):
        torch.manual_seed(out)
        return Dense(size, out, activation_function=getattr(torch.nn, activation)(), **options)
    return make


def normalize(_):
    from sentence_transformers.sentence_transformer.modules import Normalize
    return Normalize()


def layer_norm(size):
    import torch
    from sentence_transformers.sentence_transformer.modules import LayerNorm
    module = LayerNorm(size)
    torch.manual_seed(5)
    torch.nn.init.normal_(module.norm.weight)
    torch.nn.init.normal_(module.norm.bias)
    return module


def dropout(_):
    from sentence_transformers.sentence_transformer.modules import Dropout
    return Dropout(0.5)


def package_vectors(folder, texts=TEXTS, **options):
    """One text at a time, so that no text is padded."""
    import torch
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    return model.encode(texts, batch_size=1, convert_to_numpy=True, show_progress_bar=False, **options)


def embed(folder, *options, texts=TEXTS):
    source = folder.parent / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    done = run(program("m2bert"), "embed", "--threads", "1", "--quiet", "--model", folder, source, *options)
    return numpy.array([json.loads(line)["embedding"] for line in done.stdout.splitlines()], dtype=numpy.float32)


def compare(folder, *options, texts=TEXTS, **encode):
    ours, expected = embed(folder, *options, texts=texts), package_vectors(folder, texts, **encode)
    assert ours.shape == expected.shape
    difference = numpy.abs(ours - expected).max(axis=1)
    assert difference.max() <= TOLERANCE, f"differences by text: {difference}"


def refusal(folder, *options, command="embed"):
    """What the program says of a folder that it does not read."""
    done = subprocess.run([program("m2bert"), command, "--quiet", "--model", folder, "--text", "a", *options], capture_output=True,
                          text=True)
    assert done.returncode != 0, done.stdout
    return done.stderr.replace(str(folder), "")


MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
PROMPTS = {"query": PROMPT, "passage": "passage: "}

SAVED = {
    "limit": {"max_seq_length": 16},
    "limit_in_the_tokenizer": {"model_max_length": 12},
    "limit_above_the_positions": {"model_max_length": 512},
    "dot": {"similarity": "dot"},
    "normalized": {"more": [normalize]},
    "dense": {"more": [dense(8)]},
    "dense_without_bias": {"more": [dense(40, "Identity", bias=False)]},
    "dense_residual": {"more": [dense(HIDDEN, "ReLU", use_residual=True)]},
    "dense_projected_residual": {"more": [dense(8, "GELU", use_residual=True)]},
    "dense_silu_sigmoid": {"more": [dense(24, "SiLU"), dense(8, "Sigmoid")]},
    "dense_leaky_elu_relu6": {"more": [dense(24, "LeakyReLU"), dense(16, "ELU"), dense(8, "ReLU6")]},
    "normalized_before_dense": {"more": [normalize, dense(8)]},
    "dense_normalized": {"more": [dense(8), normalize]},
    "concatenated_dense": {"pooling": ["cls", "mean"], "more": [dense(8)]},
    "layer_norm": {"more": [layer_norm]},
    "dropout": {"more": [dropout]},
    "truncated_vectors": {"truncate_dim": 8},
    "truncated_normalized": {"truncate_dim": 8, "more": [normalize]},
    "float16": {"dtype": "float16"},
    "bfloat16": {"dtype": "bfloat16"},
    "shards": {"max_shard_size": "60KB"},
    "cased": {"lower": False},
    "masked_lm": {"model_class": "BertForMaskedLM"},
    "one_token_type": {"type_vocab_size": 1},
    "layer_norm_eps": {"layer_norm_eps": 1e-2},
    **{"act_" + act: {"hidden_act": act}
       for act in ("gelu_new", "gelu_python", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate", "relu", "silu", "swish", "tanh")},
    **{mode: {"pooling": mode} for mode in MODES},
    "cls_mean": {"pooling": ["cls", "mean"]},
    "mean_cls": {"pooling": ["mean", "cls"]},
    "mean_mean": {"pooling": ["mean", "mean"]},
    "all_modes": {"pooling": MODES},
    "all_modes_reversed": {"pooling": MODES[::-1]},
}


@pytest.mark.parametrize("name", SAVED)
def test_saved_by_sentence_transformers(tmp_path, name):
    compare(save_sentence(tmp_path / "model", **SAVED[name]))


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("pooling", [*MODES, MODES], ids=str)
def test_prompts(tmp_path, pooling, include_prompt):
    folder = save_sentence(tmp_path / "model", pooling, include_prompt, prompts=PROMPTS, default_prompt="passage", max_seq_length=20)
    compare(folder)
    compare(folder, "--prompt", "query", prompt_name="query")
    compare(folder, "--prompt", PROMPT, prompt=PROMPT)
    compare(folder, "--prompt", "", prompt="")


def test_a_prompt_as_long_as_the_limit(tmp_path):
    folder = save_sentence(tmp_path / "model", MODES, False, prompts=PROMPTS, max_seq_length=5)
    compare(folder, "--prompt", "query", prompt_name="query")


def test_similarity_leaves_prompts_out_of_the_pooling(tmp_path):
    from sentence_transformers import SentenceTransformer
    folder = save_sentence(tmp_path / "model", "mean", False, prompts=PROMPTS, default_prompt="query")
    for measure in ("cosine", "dot", "euclidean", "manhattan"):
        edit_json(folder / "config_sentence_transformers.json", similarity_fn_name=measure)
        model = SentenceTransformer(str(folder), device="cpu")
        expected = model.similarity(model.encode(TEXTS[:1]), model.encode(TEXTS[1:3])).numpy()
        pairs = ["--a", TEXTS[0], "--b", TEXTS[1], "--b", TEXTS[2]]
        done = run(program("m2bert"), "similarity", "--quiet", "--json", "--model", folder, *pairs)
        ours = json.loads(done.stdout)
        assert ours["measure"] == measure
        assert numpy.abs(numpy.array(ours["similarity"]) - expected).max() <= 1e-4


# What older versions wrote, and edits by hand.
def old_flags(folder):
    edit_json(folder / "1_Pooling/config.json", pooling_mode=..., embedding_dimension=..., word_embedding_dimension=HIDDEN,
              pooling_mode_cls_token=True, pooling_mode_mean_tokens=True, pooling_mode_max_tokens=False)


def no_flags(folder):
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": False})


def without_modules(folder):
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "1_Pooling")


def modules_json_alone_removed(folder):
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": False})
    (folder / "modules.json").unlink()


def options_named(kind):
    def edit(folder):
        (folder / "sentence_bert_config.json").unlink()
        write_json(folder / f"sentence_{kind}_config.json", {"max_seq_length": 9, "do_lower_case": False})
    return edit


def in_subfolder(folder):
    inner = folder / "0_Transformer"
    inner.mkdir()
    for file in list(folder.iterdir()):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            shutil.move(str(file), inner / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write_json(folder / "modules.json", modules)


def pooler_output(folder):
    edit_json(folder / "sentence_bert_config.json", module_output_name="sentence_embedding",
              modality_config={"text": {"method": "forward", "method_output_name": "pooler_output"}})
    write_json(folder / "modules.json", json.loads((folder / "modules.json").read_text())[:1])


def options(**fields):
    return lambda folder: write_json(folder / "sentence_bert_config.json", fields)


def tokenizer_config(**fields):
    return lambda folder: edit_json(folder / "tokenizer_config.json", **fields)


EDITED = {
    "old_flags": (old_flags, {}),
    "no_flags": (no_flags, {}),
    "without_modules": (without_modules, {"max_seq_length": 16}),
    "without_modules_of_masked_lm": (without_modules, {"model_class": "BertForMaskedLM"}),
    "modules_json_alone_removed": (modules_json_alone_removed, {"pooling": "cls"}),
    "in_subfolder": (in_subfolder, {"max_seq_length": 16}),
    "pooler_output": (pooler_output, {}),
    "null_limit": (options(max_seq_length=None, do_lower_case=False), {"model_max_length": 11}),
    "options_above_the_tokenizers_limit": (options(max_seq_length=20, do_lower_case=False), {"model_max_length": 11}),
    "tokenizer_argument": (options(max_seq_length=20, tokenizer_args={"model_max_length": 10}), {}),
    "lower_case_of_cased": (options(max_seq_length=32, do_lower_case=True), {"lower": False}),
    "lower_case_of_uncased": (options(max_seq_length=32, do_lower_case=True), {"lower": True}),
    "lower_case_that_strips": (lambda f: (options(do_lower_case=True)(f), tokenizer_config(strip_accents=True)(f)), {"lower": False}),
    "left_padding": (tokenizer_config(padding_side="left"), {}),
    "pickled": (lambda f: pickle_weights(f), {}),
    **{"options_of_" + kind: (options_named(kind), {})
       for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")},
}


def pickle_weights(folder):
    import torch
    from safetensors.torch import load_file
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("name", EDITED)
def test_edited(tmp_path, name):
    edit, saved = EDITED[name]
    folder = save_sentence(tmp_path / "model", **saved)
    edit(folder)
    compare(folder)


@pytest.mark.parametrize("limit", [None, 16])
def test_plain_transformers_folder(tmp_path, limit):
    compare(save_bert(tmp_path / "model", model_max_length=limit))


@pytest.mark.parametrize("pooling", ["cls", "cls+mean", "mean+cls+lasttoken"])
def test_the_pooling_option_wins(tmp_path, pooling):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    folder = save_sentence(tmp_path / "model", "max")
    model = SentenceTransformer(str(folder), device="cpu")
    model[1] = Pooling(HIDDEN, pooling_mode=pooling.split("+"))
    assert numpy.abs(embed(folder, "--pooling", pooling) - model.encode(TEXTS, batch_size=1)).max() <= TOLERANCE
    edit_json(folder / "1_Pooling/config.json", pooling_mode="median")
    assert "median" in refusal(folder)
    assert numpy.abs(embed(folder, "--pooling", pooling) - model.encode(TEXTS, batch_size=1)).max() <= TOLERANCE


def test_longer_than_the_folder(tmp_path):
    folder = save_sentence(tmp_path / "model", max_seq_length=8)
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = 40
    assert numpy.abs(embed(folder, "--max-length", "40") - model.encode(TEXTS, batch_size=1)).max() <= TOLERANCE
    assert "at most 64" in refusal(folder, "--max-length", "65")


@pytest.mark.parametrize("saved", [{"similarity": "manhattan", "max_seq_length": 12, "prompts": PROMPTS, "default_prompt": "query",
                                    "include_prompt": False, "pooling": ["mean", "cls"], "truncate_dim": 40},
                                   {"more": [normalize, dense(8), layer_norm, normalize]}], ids=["settings", "modules"])
def test_convert_keeps_everything(tmp_path, saved):
    folder, out = save_sentence(tmp_path / "model", **saved), tmp_path / "out"
    run(program("m2bert"), "convert", folder, out, "--to", "sentence-transformers", "--quiet")
    before = package_vectors(folder)
    assert numpy.array_equal(package_vectors(out), before)
    assert numpy.abs(embed(out) - before).max() <= TOLERANCE
    named = [json.loads((f / "config_sentence_transformers.json").read_text())["similarity_fn_name"] for f in (folder, out)]
    assert named[0] == named[1]


@pytest.mark.parametrize("target", ["sentence-transformers", "hugging-face"])
@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer.json", ""], ids=["vocabulary", "json", "folder"])
def test_another_tokenizer_keeps_the_limit(tmp_path, name, target):
    folder, other, out = save_sentence(tmp_path / "model", model_max_length=12), tmp_path / "other", tmp_path / "out"
    other.mkdir()
    (other / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    if name == "vocab.txt":  # it has words with capitals, and says nothing of the casing
        (other / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    shutil.copy(folder / "tokenizer.json", other)
    expected = package_vectors(folder)
    assert numpy.abs(embed(folder, "--tokenizer", other / name) - expected).max() <= TOLERANCE
    run(program("m2bert"), "convert", folder, out, "--to", target, "--tokenizer", other / name, "--quiet")
    assert numpy.abs(embed(out) - expected).max() <= TOLERANCE
    assert numpy.abs(package_vectors(out) - expected).max() <= TOLERANCE


@pytest.mark.parametrize("options", [[], ["--pooling", "pooler", "--normalize"], ["--pooling", "weightedmean+cls"]], ids=["default", "pooler", "two"])
def test_convert_of_a_plain_folder_keeps_the_vectors(tmp_path, options):
    folder, out = save_bert(tmp_path / "model", model_max_length=16), tmp_path / "out"
    run(program("m2bert"), "convert", folder, out, "--to", "sentence-transformers", "--quiet", *options)
    compare(out)
    assert numpy.array_equal(embed(out), embed(folder, *options))


# Fields that change the packages' vectors, or that the packages cannot read, with what the refusal says.
REFUSED = {
    "is_decoder": ("config.json", {"is_decoder": True}),
    "add_cross_attention": ("config.json", {"is_decoder": True, "add_cross_attention": True}),
    "is_encoder_decoder": ("config.json", {"is_encoder_decoder": True}),
    "pruned_heads": ("config.json", {"pruned_heads": {"0": [1]}}),
    "quantization_config": ("config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}),
    "per_layer_config": ("config.json", {"per_layer_config": {"0": {"hidden_act": "relu"}}}),
    "position_embedding_type": ("config.json", {"position_embedding_type": "relative_key"}),
    "hidden_act": ("config.json", {"hidden_act": "quick_gelu"}),
    "model_type": ("config.json", {"model_type": "roberta"}),
    "tokenizer_class": ("config.json", {"tokenizer_class": "RobertaTokenizer"}),
    "vocab_size": ("config.json", {"vocab_size": 300}),
    "transformer_task": ("sentence_bert_config.json", {"transformer_task": "fill-mask"}),
    "modality_config": ("sentence_bert_config.json",
                        {"modality_config": {"text": {"method": "forward", "method_output_name": "attentions"}}}),
    "module_output_name": ("sentence_bert_config.json", {"module_output_name": "sentence_embedding"}),
    "processing_kwargs": ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 5}}}),
    "config_args": ("sentence_bert_config.json", {"config_args": {"hidden_act": "relu"}}),
    "model_kwargs": ("sentence_bert_config.json", {"model_kwargs": {"ignore_mismatched_sizes": True}}),
    "max_len": ("sentence_bert_config.json", {"max_len": 5}),
    "pooling_mode_median": ("1_Pooling/config.json", {"pooling_mode_median": True}),
    "pooling_mode": ("1_Pooling/config.json", {"pooling_mode": None}),
    "pooling_mode: wants": ("1_Pooling/config.json", {"pooling_mode": []}),
    "include_prompt": ("1_Pooling/config.json", {"include_prompt": None}),
    "SparseEncoder": ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}),
    "default_prompt_name": ("config_sentence_transformers.json", {"default_prompt_name": "other"}),
    "adapter_config.json": ("adapter_config.json", {"peft_type": "LORA"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    file, fields = REFUSED[name]
    folder = save_sentence(tmp_path / "model")
    edit_json(folder / file, **fields)
    said = refusal(folder)
    assert name in said or (name == "add_cross_attention" and "is_decoder" in said)
    assert said.count("error:") == 1


@pytest.mark.parametrize("kind", ["WeightedLayerPooling", "Router", "CNN", "LSTM", "WordWeights", "BoW", "Median"])
def test_modules_refused_by_name(tmp_path, kind):
    folder = save_sentence(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    module = {"idx": 2, "name": "2", "path": "2_" + kind, "type": "sentence_transformers.models." + kind}
    write_json(folder / "modules.json", [*modules, module])
    assert kind in refusal(folder)


@pytest.mark.parametrize("fields", [{"num_labels": 1}, {"num_labels": 3}, {"num_labels": 3, "problem_type": "multi_label_classification"},
                                    {"num_labels": 2, "problem_type": "regression"}], ids=str)
def test_scores_of_the_pipeline(tmp_path, fields):
    import transformers
    folder = save_bert(tmp_path / "model", model_class="BertForSequenceClassification", **fields)
    pipeline = transformers.pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    text = "a quiet harbor"
    expected = {each["label"]: each["score"] for each in pipeline([text])[0]}
    done = run(program("m2bert"), "classify", "--quiet", "--json", "--model", folder, "--text", text)
    ours = json.loads(done.stdout)
    ours = ours.get("probabilities", ours.get("values"))
    assert ours.keys() == expected.keys() and all(abs(ours[label] - expected[label]) <= TOLERANCE for label in ours)


def test_labels_that_do_not_fit(tmp_path):
    folder = save_bert(tmp_path / "model", model_class="BertForSequenceClassification", num_labels=3)
    edit_json(folder / "config.json", id2label=..., label2id=..., num_labels=2)
    said = refusal(folder, command="classify")
    assert "2 labels" in said and "3 rows" in said


# A value of each harmless field that is not its default.
VALUES = {
    "_attn_implementation": "eager", "_attn_implementation_autoset": True, "_commit_hash": "0", "_name_or_path": "x",
    "name_or_path": "x", "architectures": ["BertForMaskedLM"], "attn_implementation": "eager",
    "auto_map": {"AutoModel": "code.Model"}, "bad_words_ids": [[5]], "begin_suppress_tokens": [5], "bos_token_id": 7,
    "chunk_size_feed_forward": 1, "cross_attention_hidden_size": 8, "decoder_start_token_id": 7, "diversity_penalty": 0.5,
    "do_sample": True, "dtype": "bfloat16", "early_stopping": True, "encoder_no_repeat_ngram_size": 2, "eos_token_id": 8,
    "exponential_decay_length_penalty": [1, 2.0], "finetuning_task": "x", "forced_bos_token_id": 7, "forced_eos_token_id": 7,
    "function_to_apply": "sigmoid", "gradient_checkpointing": True, "label2id": {"b": 0, "a": 1}, "length_penalty": 2.0,
    "max_length": 4, "min_length": 3, "no_repeat_ngram_size": 2, "num_beam_groups": 2, "num_beams": 3, "num_return_sequences": 2,
    "output_attentions": True, "output_hidden_states": True, "output_past": True, "output_scores": True, "prefix": "query: ",
    "remove_invalid_values": True, "repetition_penalty": 1.5, "return_dict": False, "return_dict_in_generate": True,
    "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity", "sentence_transformers": {"version": "9.0.0"},
    "sep_token_id": 9, "suppress_tokens": [5], "task_specific_params": {"x": {"max_length": 3}}, "temperature": 0.5,
    "tf_legacy_loss": True, "tie_encoder_decoder": True, "top_k": 5, "top_p": 0.5, "torch_dtype": "float16", "torchscript": True,
    "transformers_version": "4.0.0", "typical_p": 0.5, "use_bfloat16": True, "use_cache": False,
    "__version__": {"sentence_transformers": "2.0.0"}, "requirements": {"transformers": ">=4"}, "idx": 7, "name": "part",
    "document_length": 5, "query_length": 5, "unpad_inputs": False, "dropout": 0.9, "word_embedding_dimension": 99,
    "embedding_dimension": 99, "model_args.add_pooling_layer": False, "model_args.attn_implementation": "eager",
    "model_args.dtype": "bfloat16", "model_args.torch_dtype": "bfloat16", "model_args.trust_remote_code": True,
    "model_args.use_safetensors": True, "tokenizer_args.trust_remote_code": True, "tokenizer_args.use_fast": True,
    "config_args.output_hidden_states": True, "config_args.trust_remote_code": True, "config_args.use_cache": True,
}
UNREAD = {("LayerNorm", "dimension")}  # the package refuses another value


def harmless_fields():
    """The table of m2bert/checkpoint/folder_fields.cpp."""
    source = (REPOSITORY / "m2bert/checkpoint/folder_fields.cpp").read_text()
    fields = re.findall(r'^    \{"([^"]+)", "([^"]+)",', source, re.MULTILINE)
    assert len(fields) > 70
    return sorted(set(fields) - UNREAD)


def set_field(folder, file, field):
    value = VALUES[field]
    if file == "modules.json":
        modules = json.loads((folder / file).read_text())
        for i, module in enumerate(modules):
            module[field] = value + i if field == "idx" else f"{value}{i}"
        write_json(folder / file, modules)
    elif file == "Pooling":
        edit_json(folder / "1_Pooling/config.json", embedding_dimension=..., word_embedding_dimension=...)
        edit_json(folder / "1_Pooling/config.json", **{field: value})
    elif file == "Dropout":
        edit_json(folder / "2_Dropout/config.json", **{field: value})
    elif "." in field:
        group, key = field.split(".")
        old = json.loads((folder / file).read_text()).get(group, {})
        edit_json(folder / file, **{group: {**old, key: value}})
    else:
        edit_json(folder / file, **{field: value})


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = save_sentence(tmp_path_factory.mktemp("base") / "model", more=[dropout])
    return folder, package_vectors(folder)


@pytest.mark.parametrize("file,field", harmless_fields())
def test_harmless_field(base, tmp_path, file, field):
    folder = tmp_path / "model"
    shutil.copytree(base[0], folder)
    set_field(folder, file, field)
    assert numpy.abs(package_vectors(folder) - base[1]).max() <= TOLERANCE, "the package's vectors depend on this field"


def test_all_harmless_fields_at_once(base, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(base[0], folder)
    for file, field in harmless_fields():
        set_field(folder, file, field)
    done = subprocess.run([program("m2bert"), "embed", "--model", folder, "--text", "a"], capture_output=True, text=True)
    assert done.returncode == 0 and "ignored" not in done.stderr, done.stderr
    assert numpy.abs(embed(folder) - base[1]).max() <= TOLERANCE


def test_unknown_fields_are_named(base, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(base[0], folder)
    edit_json(folder / "config.json", new_attention="x")
    edit_json(folder / "config_sentence_transformers.json", new_setting="y")
    done = subprocess.run([program("m2bert"), "embed", "--model", folder, "--text", "a"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.count("new_attention") == 1 and done.stderr.count("new_setting") == 1
