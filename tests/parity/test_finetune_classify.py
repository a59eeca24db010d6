"""Whole runs of `m2bert finetune classify` against torch: 50 steps from the same weights on the same batches, without dropout."""
import json
import random

import pytest
from conftest import program, run

torch = pytest.importorskip("torch")
import torch_model  # noqa: E402

STEPS, BATCH, LENGTH, CLIP, DECAY, WARMUP = 50, 4, 16, 1.0, 0.01, 0.06
RATE = 5e-4  # at 2e-3, torch in float32 and in float64 are 1e-3 apart after 50 steps
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [first + second for first in "abcdefg" for second in "hijklmn"]
M2 = dict(monarch_mixer_sequence_mixing=True, long_conv_l_max=LENGTH, long_conv_kernel_learning_rate=1e-3, hyena_lr_pos_emb=1e-5, hyena_w=10,
          hyena_wd=0.1, hyena_emb_dim=5, hyena_filter_order=16, bidirectional=True, residual_long_conv=True, use_glu_mlp=True,
          use_monarch_mlp=True, monarch_mlp_nblocks=4, use_positional_encodings=True, pool_all=True)
SIZES = dict(vocab_size=56, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, hidden_dropout_prob=0.0,
             attention_probs_dropout_prob=0.0, max_position_embeddings=LENGTH)
MODELS = {"m2": ("bert", {**SIZES, **M2}), "attention": ("hf_bert", SIZES)}
PROBLEMS = {"single": "single_label_classification", "multi": "multi_label_classification", "number": "regression"}
NAMES = ["birds", "moths", "stones"]


def samples(kind):
    """Texts and labels that depend on the first word, and not on it alone."""
    draw = random.Random(5)
    for _ in range(STEPS * BATCH):
        words = draw.choices(WORDS, k=draw.randint(3, LENGTH - 4))
        number = WORDS.index(words[0])
        if kind == "single":
            yield words, NAMES[(number + draw.choice([0, 0, 1])) % 3]
        elif kind == "multi":
            yield words, ",".join(name for i, name in enumerate(NAMES) if (number >> i) & 1 or draw.random() < 0.2) or NAMES[0]
        else:
            yield words, f"{number / 49 + 0.1 * draw.random():.4f}"


def target_of(kind, label):
    if kind == "single":
        return NAMES.index(label)
    return [float(name in label.split(",")) for name in NAMES] if kind == "multi" else float(label)


def write_inputs(folder, model_name, model_config, data):
    """checkpoint.pt, its configuration, the vocabulary and the table of texts."""
    (folder / "vocab.txt").write_text("\n".join(SPECIAL + WORDS) + "\n")
    (folder / "train.csv").write_text("text,label\n" + "".join(f'{" ".join(words)},"{label}"\n' for words, label in data))
    (folder / "config.yaml").write_text(json.dumps({"max_seq_len": LENGTH, "model": {"name": model_name, "model_config": model_config}}))


def batches(kind, data):
    ids = torch.zeros(len(data), LENGTH, dtype=torch.long)
    for row, (words, _) in zip(ids, data, strict=True):
        row[:len(words) + 2] = torch.tensor([SPECIAL.index("[CLS]"), *(len(SPECIAL) + WORDS.index(w) for w in words), SPECIAL.index("[SEP]")])
    targets = torch.tensor([target_of(kind, label) for _, label in data])
    return list(zip(ids.split(BATCH), targets.split(BATCH), strict=True))


def torch_losses(model, kind, data):
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    rise = WARMUP * STEPS
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: n / rise if n < rise else (STEPS - n) / (STEPS - rise))
    losses = []
    for ids, targets in batches(kind, data):
        loss = model(ids, (ids != 0).long(), torch.zeros_like(ids), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("name", MODELS)
def test_a_run_is_torchs(tmp_path, name, kind):
    model_name, model_config = MODELS[name]
    model_config = {**model_config, "num_labels": 1 if kind == "number" else len(NAMES)}
    model = torch_model.build(model_name, {**model_config, "problem_type": PROBLEMS[kind]}, "classification").train()
    torch_model.randomize(model, 3)
    torch_model.save_composer(tmp_path / "checkpoint.pt", model)
    data = list(samples(kind))
    write_inputs(tmp_path, model_name, model_config, data)
    run(program("m2bert"), "finetune", "classify", tmp_path / "checkpoint.pt", "--config", tmp_path / "config.yaml", "--tokenizer",
        tmp_path / "vocab.txt", "--train", tmp_path / "train.csv", "--kind", kind, "--max-length", LENGTH, "--batch-size", BATCH, "--epochs", 1,
        "--lr", RATE, "--weight-decay", DECAY, "--output", tmp_path / "run", "--quiet", "train_loader.shuffle=false",
        f"scheduler.t_warmup={WARMUP}dur", f"algorithms.gradient_clipping.clipping_threshold={CLIP}")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    ours = [line["loss/train/total"] for line in lines if "loss/train/total" in line]
    theirs = torch_losses(model, kind, data)
    assert len(ours) == STEPS
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert sum(theirs[-10:]) < sum(theirs[:10])  # it learns
