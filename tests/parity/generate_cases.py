"""Writes small random models of every kind that the config allows, with the results of the torch model.

    python tests/parity/generate_cases.py OUT [--only NAME ...] [--golden]

A case is a folder:
    config.yaml           model: {name, model_config}, head: mlm | classification | embedding (upstream's layout)
    model.safetensors     weights with upstream's names, shared tensors once
    inputs.safetensors    input_ids, attention_mask, token_type_ids, labels or cotangent
    expected.safetensors  sequence_output, logits, logits_labels_path, pooled_output, embedding, loss, grad.NAME
    tolerances.json       tensor -> [noise, max |value|]: max |fp32 - fp64| over three fp32 runs, two of them with perturbed weights
                          (a single run may be accurate by chance)
The loss of an embedding model is sum(embedding * cotangent). --golden writes a few small ones, which the C++ tests use without Python.
"""
import argparse
import copy
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
import torch_model

MIXER = {"monarch_mixer_sequence_mixing": True, "long_conv_kernel_learning_rate": "1e-3", "hyena_lr_pos_emb": "1e-5", "hyena_w": 10,
         "hyena_wd": 0.1, "hyena_emb_dim": 5, "hyena_filter_order": 8}
# Widths that are and widths that are not multiples of 4 and 2 blocks.
SIZES = [dict(hidden_size=16, intermediate_size=32), dict(hidden_size=18, intermediate_size=30), dict(hidden_size=24, intermediate_size=40),
         dict(hidden_size=21, intermediate_size=45)]


def base(length, **model_config):
    return {"num_hidden_layers": 2, "num_attention_heads": 1, "vocab_size": 64, "max_position_embeddings": length, **model_config}


def mixer_case(length, l_max=None, **model_config):
    return base(length, **{**MIXER, "long_conv_l_max": l_max or length, **model_config})


def mixer_cross():
    """Every combination of sequence mixer and channel mixer; the other settings vary with the case."""
    number = 0
    for bidirectional in (True, False):
        for residual in (True, False):
            for additions in (False, True):
                for glu in (True, False):
                    for monarch in (True, False):
                        blocks = (4, 2, 3)[number % 3]
                        length = (16, 12, 17, 32, 9)[number % 5]
                        head = ("mlm", "classification", "embedding")[number % 3 if number % 7 else 0]
                        shorter = head == "mlm" and number % 2 == 1
                        settings = dict(bidirectional=bidirectional, residual_long_conv=residual, hyena_training_additions=additions,
                                        use_glu_mlp=glu, use_monarch_mlp=monarch, monarch_mlp_nblocks=blocks,
                                        use_positional_encodings=number % 4 != 2, hyena_emb_dim=(5, 3, 7)[number % 3],
                                        hyena_w_mod=(1, 1, 2)[number % 3], **SIZES[number % 4])
                        if head == "classification":
                            settings["num_labels"] = (3, 2, 1)[number % 3]
                        name = "-".join(["mixer", "bi" if bidirectional else "causal", "residual" if residual else "plain",
                                         "additions" if additions else "bare", ("monarch" if monarch else "dense") + f"{blocks}",
                                         "glu" if glu else "mlp", head, f"L{length}"] + (["short"] if shorter else []))
                        yield name, "bert", head, mixer_case(length, length + (7 if shorter else 0), **settings,
                                                             **({"max_position_embeddings": length + 7} if shorter else {})), length
                        number += 1


def poolings():
    width = dict(SIZES[0], use_monarch_mlp=True, use_positional_encodings=True, residual_long_conv=True)
    kinds = {"pooler": {}, "mean": {"pool_all": True}, "attention": {"attention_pooling": True}, "cls": {"use_cls_token": True},
             "planted": {"sequence_token_planting": True, "sequence_token_planting_pooling": "reference"},
             "plantedrow": {"sequence_token_planting": True, "sequence_token_planting_pooling": "row"},
             "plantedmean": {"sequence_token_planting": True, "pool_all": True}}
    heads = {"cls1": ("classification", {"num_labels": 1}), "cls2": ("classification", {"num_labels": 2}),
             "cls3": ("classification", {"num_labels": 3}),
             "multi": ("classification", {"num_labels": 4, "problem_type": "multi_label_classification"}),
             "embed": ("embedding", {}), "unit": ("embedding", {"use_normalized_embeddings": True, "gather_sentence_embeddings": True})}
    for at, (kind, flags) in enumerate(kinds.items()):
        planted = kind.startswith("planted")
        for turn, (label, (head, more)) in enumerate(heads.items()):
            if planted and turn % 2 != at % 2 and label != "embed":
                continue
            length = ((256, 384)[turn % 2]) if planted else 16
            # The planted [CLS] has id 101, which the vocabulary must contain.
            settings = {**width, **flags, **more, **({"vocab_size": 112} if planted else {})}
            yield f"pool-{kind}-{label}", "bert", head, mixer_case(length, **settings), length
    for label in ("cls2", "embed"):
        head, more = heads[label]
        yield f"pool-mean-longer-filter-{label}", "bert", head, mixer_case(16, 40, **width, pool_all=True, **more), 16


def attention_models():
    number = 0
    for heads, width in ((4, 16), (6, 24), (12, 24), (3, 18), (1, 16)):
        for glu in (False, True):
            for positions in (False, True):
                head = ("mlm", "classification", "embedding")[number % 3]
                length = (16, 13, 24)[number % 3]
                more = {"num_labels": (3, 1, 2)[number % 3]} if head == "classification" else {}
                if head == "embedding":
                    more = [{}, {"pool_all": True}, {"attention_pooling": True}][number // 3 % 3]
                name = f"alibi-h{heads}-{'glu' if glu else 'mlp'}-{'positions' if positions else 'bare'}-{head}"
                yield name, "bert", head, {**base(length, hidden_size=width, intermediate_size=2 * width, use_glu_mlp=glu,
                                                  use_positional_encodings=positions, **more), "num_attention_heads": heads}, length
                number += 1
    yield "alibi-h4-monarch-cls-token", "bert", "embedding", {
        **base(16, hidden_size=16, intermediate_size=32, use_monarch_mlp=True, use_cls_token=True), "num_attention_heads": 4}, 16


def hugging_face_models():
    width = dict(hidden_size=24, intermediate_size=48, hidden_dropout_prob=0.0)
    for label, head, more in (("mlm", "mlm", {}), ("mlm-shorter", "mlm", {}), ("cls1", "classification", {"num_labels": 1}),
                              ("cls2", "classification", {"num_labels": 2}), ("cls3", "classification", {"num_labels": 3}),
                              ("multi", "classification", {"num_labels": 3, "problem_type": "multi_label_classification"}),
                              ("pooler", "embedding", {}), ("pooler-odd-vocabulary", "embedding", {"vocab_size": 61})):
        length = 11 if label == "mlm-shorter" else 16
        yield f"hf-{label}", "hf_bert", head, {**base(16, **width), **more, "num_attention_heads": 4}, length


def special_cases():
    small = dict(SIZES[0], use_monarch_mlp=True)
    yield "fixed-positions-of-the-filter", "bert", "mlm", mixer_case(16, **small, hyena_lr_pos_emb=0, residual_long_conv=True), 16
    yield "vocabulary-padded-to-8", "bert", "mlm", mixer_case(16, **small, vocab_size=61), 16
    yield "three-segments-norm-1e-5", "bert", "mlm", mixer_case(16, **small, type_vocab_size=3, layer_norm_eps=1e-5), 16
    yield "one-layer-one-block", "bert", "classification", mixer_case(8, **{**small, "monarch_mlp_nblocks": 1, "num_hidden_layers": 1}), 8
    yield "three-layers", "bert", "mlm", mixer_case(20, **{**small, "num_hidden_layers": 3}, use_positional_encodings=True), 20
    yield "length-2", "bert", "embedding", mixer_case(2, **small, residual_long_conv=True), 2
    yield "odd-length-65", "bert", "mlm", mixer_case(65, **small, residual_long_conv=True, use_positional_encodings=True), 65
    yield "wide-order", "bert", "mlm", mixer_case(16, **{**small, "hyena_filter_order": 33}), 16


def masked_padding():
    """mask_padding: its rows are padded to different lengths."""
    small = dict(SIZES[0], use_monarch_mlp=True, use_positional_encodings=True, residual_long_conv=True)
    settings = {"mlm": {}, "causal": {"bidirectional": False}, "additions": {"hyena_training_additions": True},
                "bare": {"residual_long_conv": False, "use_positional_encodings": False}, "width-without-kernel": SIZES[1],
                "width-48": {"hidden_size": 48, "intermediate_size": 96}}
    for at, (label, more) in enumerate(settings.items()):
        length = (16, 33, 24, 65, 17, 50)[at]
        yield f"masked-{label}", "bert", "mlm", mixer_case(length, length + 7 * (at % 2), **{**small, **more}, mask_padding=True,
                                                           **({"max_position_embeddings": length + 7} if at % 2 else {})), length
    poolings = {"pooler": {}, "mean": {"pool_all": True}, "attention": {"attention_pooling": True}, "cls": {"use_cls_token": True},
                "planted": {"sequence_token_planting": True, "sequence_token_planting_pooling": "row"}}
    for at, (label, more) in enumerate(poolings.items()):
        planted = label == "planted"
        length = 300 if planted else 20
        yield f"masked-{label}", "bert", ("embedding", "classification")[at % 2], mixer_case(
            length, **small, **more, mask_padding=True, **({"vocab_size": 112} if planted else {})), length


# The cases of --golden and their widths, small enough for the repository.
GOLDEN = {"mixer-bi-residual-bare-monarch4-glu-mlm-L16": 8, "mixer-causal-residual-additions-monarch3-glu-embedding-L16": 8,
          "pool-mean-cls3": 8, "pool-attention-unit": 8, "pool-cls-multi": 8, "alibi-h4-mlp-bare-mlm": 8, "alibi-h6-glu-positions-classification": 12,
          "hf-mlm-shorter": 8}


def cases():
    result = {}
    for family in (mixer_cross, poolings, attention_models, hugging_face_models, special_cases, masked_padding):
        for name, kind, head, model_config, length in family():
            assert name not in result, name
            result[name] = (kind, head, model_config, length)
    return result


def make_inputs(kind, head, model_config, length, g):
    """A batch of 3 rows with different numbers of pads, the first row full."""
    batch, vocab = 3, model_config["vocab_size"]
    ids = torch.randint(5, min(vocab, 60), (batch, length), generator=g)
    mask = torch.ones(batch, length, dtype=torch.int64)
    for row in range(1, batch):
        mask[row, max(2, length - row * max(1, length // 4)):] = 0
    ids[:, 0] = 2
    ids = ids * mask
    inputs = {"input_ids": ids, "attention_mask": mask}
    if kind == "hf_bert" or head != "mlm" or model_config.get("type_vocab_size", 2) > 2:
        inputs["token_type_ids"] = torch.randint(0, model_config.get("type_vocab_size", 2), (batch, length), generator=g) * mask
    if head == "mlm":
        labels = torch.full((batch, length), -100)
        chosen = (torch.rand(batch, length, generator=g) < 0.4) & (mask == 1)
        chosen[0, 1] = True
        labels[chosen] = torch.randint(1, min(vocab, 60), (int(chosen.sum()),), generator=g)
        labels[0, 2] = 0  # upstream predicts where labels > 0; Hugging Face's BERT counts this one
        inputs["labels"] = labels
    elif head == "classification":
        count = model_config.get("num_labels", 2)
        if model_config.get("problem_type") == "multi_label_classification":
            inputs["labels"] = torch.randint(0, 2, (batch, count), generator=g).float()
        elif count == 1:
            inputs["labels"] = torch.randn(batch, generator=g)
        else:
            inputs["labels"] = torch.randint(0, count, (batch,), generator=g)
    else:
        inputs["cotangent"] = torch.randn(batch, model_config["hidden_size"], generator=g)
    return inputs


def compute(model, head, inputs, planting=False):
    """Outputs and gradients by name."""
    ids, mask, types, labels = (inputs.get(k) for k in ("input_ids", "attention_mask", "token_type_ids", "labels"))
    out = model(ids, mask, types, labels)
    found = {}
    if head == "embedding":
        out["loss"] = (out["embedding"] * inputs["cotangent"].to(out["embedding"].dtype)).sum()
    out["loss"].backward()
    if head == "mlm":
        found["logits_labels_path"] = out["logits"]
        with torch.no_grad():
            found["logits"] = model(ids, mask, types)["logits"]
    elif head == "classification":
        found["logits"] = out["logits"]
    else:
        found["embedding"] = out["embedding"]
    if not planting:  # there upstream's pooler writes its sums into the states
        found["sequence_output"] = out["sequence_output"]
    if "pooled_output" in out:
        found["pooled_output"] = out["pooled_output"]
    found["loss"] = out["loss"].reshape(1)
    for name, tensor, role in torch_model.roles(model):
        if role == "parameter" and tensor.grad is not None:
            found["grad." + name] = tensor.grad
    return {name: value.detach().clone().contiguous() for name, value in found.items()}


def yaml_text(kind, head, model_config):
    lines = ["model:", f"  name: {kind}", "  model_config:"]
    lines += [f"    {key}: {value}" for key, value in model_config.items()]
    return "\n".join(lines + [f"head: {head}", ""])


def noise_of(runs, exact):
    """The fp32 noise per tensor, for gradients at least 1e-8 of the largest one, whose rounding errors remain when terms cancel."""
    noise = {name: [max((run[name].double() - value).abs().max().item() for run in runs), value.abs().max().item()]
             for name, value in exact.items()}
    largest = max((high for name, (_, high) in noise.items() if name.startswith("grad.")), default=0.0)
    return {name: [max(low, 1e-8 * largest) if name.startswith("grad.") else low, high] for name, (low, high) in noise.items()}


def perturbed(model, seed):
    """A copy of the model with each weight multiplied by 1 + u, |u| <= 2^-24."""
    g = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(model)
    other.zero_grad()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1 + (2 * torch.rand(parameter.shape, generator=g, dtype=torch.float64) - 1) * 2.0**-24)
    return other


def write_case(folder, name, width=None):
    kind, head, model_config, length = cases()[name]
    if width:
        model_config = {**model_config, "hidden_size": width, "intermediate_size": 2 * width, "vocab_size": 40}
    seed = sum(ord(letter) * (at + 1) for at, letter in enumerate(name))
    torch.manual_seed(seed)
    plain = {k: float(v) if k in ("long_conv_kernel_learning_rate", "hyena_lr_pos_emb") else v for k, v in model_config.items()}
    model = torch_model.build(kind, plain, head).eval()
    torch_model.randomize(model, seed)
    inputs = make_inputs(kind, head, plain, length, torch.Generator().manual_seed(seed + 1))
    state = torch_model.owned_state(model)
    planting = plain.get("sequence_token_planting", False)
    others = [perturbed(model, seed + turn) for turn in (2, 3)]
    found = compute(model, head, inputs, planting)
    model.zero_grad()
    exact = compute(model.double(), head, inputs, planting)
    runs = [found] + [compute(other, head, inputs, planting) for other in others]
    if head == "embedding":
        state = {k: v for k, v in state.items() if not k.startswith("classifier.")}

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml_text(kind, head, model_config))
    save_file(state, folder / "model.safetensors")
    save_file(inputs, folder / "inputs.safetensors")
    save_file(found, folder / "expected.safetensors")
    (folder / "tolerances.json").write_text(json.dumps(noise_of(runs, exact), indent=0) + "\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--only", nargs="*")
    arguments.add_argument("--golden", action="store_true")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    names = options.only or list(cases())
    if options.golden:
        names = [name for name in names if name in GOLDEN]
    for name in names:
        if (options.out / name).exists():
            shutil.rmtree(options.out / name)
        write_case(options.out / name, name, GOLDEN[name] if options.golden else None)
    print(f"{len(names)} cases in {options.out}")


if __name__ == "__main__":
    main()
