"""Random models of full size, saved by torch in Composer's layout, agree with the torch model."""
import json
import shutil

import english
import numpy
import pytest
import torch
import torch_model
from conftest import program, run, shared
from safetensors.torch import load_file, save_file
from tolerance import complaint
from transformers import BertTokenizerFast

M80 = ("finetune-glue", "monarch-mixer-finetune-glue-768dim-80m-parameters.yaml")
M80_2K = ("embeddings", "m2-bert-80M-2k-retrieval.yaml")
M341 = ("pretrain", "monarch-mixer-large-pretrain-1792dim-341m-parameters.yaml")


def write_checkpoint(path, model):
    """Composer's layout, with optimizer and random state as after a training run."""
    state = {"model." + name: tensor.detach() for name, tensor, _ in torch_model.roles(model)}
    first = next(model.parameters()).detach()
    optimizer = {"DecoupledAdamW": {"state": {"0": {"step": torch.tensor(7), "exp_avg": torch.zeros_like(first)}}}}
    rng = [{"python": (3, (1, 2, 3), None), "numpy": numpy.random.RandomState(0).get_state(), "torch": torch.get_rng_state()}]
    torch.save({"state": {"model": state, "optimizers": optimizer, "timestamp": {"Timestamp": {"batch": 7}}}, "rng": rng}, path)


def random_model(recipe, head):
    kind, model_config = torch_model.read_yaml(recipe)
    torch.manual_seed(3)
    model = torch_model.build(kind, model_config, head).eval()
    torch_model.randomize(model, 3)
    return model


def noise(single, double):
    return (single.double() - double).abs().max().item()


@pytest.mark.parametrize("parts", [M80, M341], ids=["80M", "341M"])
def test_runner(parts, tmp_path):
    """Hidden states and logits of the masked-LM model."""
    recipe, runner = shared("yamls", *parts), program("m2bert-parity-model")
    model = random_model(recipe, "mlm")
    write_checkpoint(tmp_path / "checkpoint.pt", model)
    (tmp_path / "config.yaml").write_text(recipe.read_text() + "\nhead: mlm\n")
    ids = torch.randint(1000, 30000, (2, 128), generator=torch.Generator().manual_seed(5))
    mask = torch.ones_like(ids)
    mask[1, 90:] = 0
    save_file({"input_ids": ids * mask, "attention_mask": mask}, tmp_path / "inputs.safetensors")
    run(runner, "--forward", tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    with torch.inference_mode():
        single = model(ids * mask, mask)
        double = model.double()(ids * mask, mask)
    ours = load_file(tmp_path / "ours.safetensors")
    lines = [complaint(k, ours[k], single[k], noise(single[k], double[k])) for k in ("sequence_output", "logits")]
    assert not any(lines), lines


@pytest.mark.parametrize("parts", [M80, M341], ids=["80M", "341M"])
def test_embed(parts, tmp_path, minilm_folder):
    """Vectors of real text, from a Composer checkpoint and its recipe."""
    recipe, embed = shared("yamls", *parts), program("m2bert")
    tokenizer = BertTokenizerFast.from_pretrained(str(minilm_folder), model_max_length=128)
    model = random_model(recipe, "embedding")
    write_checkpoint(tmp_path / "checkpoint.pt", model)
    texts = english.passages(10, longest_words=140)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    run(embed, "embed", "--quiet", "--model", tmp_path / "checkpoint.pt", "--config", recipe, tmp_path / "texts.jsonl",
        "--output", tmp_path / "vectors.safetensors", "--batch-size", 5)
    (tmp_path / "checkpoint.pt").unlink()
    batch = tokenizer(texts, padding="max_length", truncation=True, max_length=128, return_tensors="pt")
    with torch.inference_mode():
        single = model(batch["input_ids"], batch["attention_mask"])["embedding"]
        double = model.double()(batch["input_ids"], batch["attention_mask"])["embedding"]
    ours = load_file(tmp_path / "vectors.safetensors")["embeddings"]
    line = complaint("embedding", ours, single, noise(single, double))
    assert line is None, line


@pytest.fixture(autouse=True)
def leave_no_large_files(tmp_path):
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("parts,length", [(M80, 128), (M341, 128), (M80_2K, 512)], ids=["80M", "341M", "80M-2k"])
def test_int8(parts, length):
    """With the reference's initial weights, int8 is within three times bfloat16's distance from float32."""
    table = run(program("m2bert-model-precision"), shared("yamls", *parts), 1, length).stdout
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    distance = {row[0]: float(row[1]) for row in rows if row[0] in ("bfloat16", "int8")}
    assert 1e-6 < distance["bfloat16"] and distance["int8"] < 3 * distance["bfloat16"], table
