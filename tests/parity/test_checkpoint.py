"""The checkpoint readers and writers against PyTorch and safetensors."""
import collections
import datetime
import random

import numpy as np
import pytest

from conftest import program, run, shared

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")
safetensors_torch = pytest.importorskip("safetensors.torch")

MLX_DTYPES = ["float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool", "complex64"]
OTHER_DTYPES = ["complex128", "float8_e4m3fn", "float8_e5m2"]


@pytest.fixture(scope="module")
def runner():
    return program("m2bert-parity-checkpoint")


def dump(runner, tmp_path, file, what="dump"):
    out = tmp_path / "out.safetensors"
    done = run(runner, what, file, out)
    tensors = safetensors_torch.load_file(out)
    with safetensors.safe_open(out, "pt") as f:
        metadata = f.metadata()
    for name, kept in (metadata or {}).items():  # tied tensors are stored once
        if kept in tensors:
            tensors[name] = tensors[kept]
    return tensors, done.stdout


def flatten(value, prefix=""):
    if isinstance(value, torch.Tensor):
        yield prefix, value
    elif isinstance(value, (dict, list, tuple)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flatten(child, f"{prefix}.{key}" if prefix else str(key))


def some(*shape, dtype="float32"):
    generator = torch.Generator().manual_seed(sum(shape) + len(shape))
    values = torch.randn(shape, generator=generator, dtype=torch.float64) * 50
    if dtype == "bool":
        return values > 0
    if dtype.startswith("uint"):
        values = values.abs()
    return values.to(getattr(torch, dtype))


def composer_state():
    embedding = torch.nn.Parameter(some(40, 8))
    base = some(12, 10)
    model = collections.OrderedDict(
        {"model.bert.embeddings.word_embeddings.weight": embedding, "model.cls.predictions.decoder.weight": embedding,
         "model.bert.transposed": base.t(), "model.bert.sliced": base[2:7, 1:9:3], "model.bert.expanded": some(1, 6).expand(5, 6),
         "model.bert.scalar": torch.tensor(3.25), "model.bert.empty": torch.zeros(0, 4), "model.bert.offset": base.flatten()[17:29].reshape(3, 4),
         "model.bert.permuted": some(3, 4, 5).permute(2, 0, 1)})
    optimizer = torch.optim.AdamW([embedding], lr=1e-3)
    embedding.grad = torch.ones_like(embedding)
    optimizer.step()
    return {"state": {"model": model, "optimizers": {"AdamW": optimizer.state_dict()}, "timestamp": datetime.datetime(2024, 1, 2),
                      "elapsed": datetime.timedelta(1), "numpy": np.float64(1.5), "array": np.arange(5), "seed": 1 << 90},
            "rng": [{"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}]}


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_torch_saves(runner, tmp_path, zip_format, protocol):
    state = composer_state()
    torch.save(state, tmp_path / "in.pt", _use_new_zipfile_serialization=zip_format, pickle_protocol=protocol)
    ours, text = dump(runner, tmp_path, tmp_path / "in.pt")
    wanted = dict(flatten(state))
    assert set(ours) == set(wanted)
    for name, tensor in wanted.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor.detach()), name
    assert "datetime.timedelta" in text and "numpy" in text


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_every_dtype(runner, tmp_path, zip_format):
    state = {name: some(3, 5, dtype=name) for name in MLX_DTYPES + OTHER_DTYPES}
    torch.save(state, tmp_path / "in.pt", _use_new_zipfile_serialization=zip_format)
    ours, text = dump(runner, tmp_path, tmp_path / "in.pt")
    assert set(ours) == set(MLX_DTYPES)
    for name in MLX_DTYPES:
        assert ours[name].dtype == getattr(torch, name) and torch.equal(ours[name], state[name]), name
    for name in OTHER_DTYPES:
        assert f"refused {name} {name}" in text


def test_torch_reads_what_we_write(runner, tmp_path):
    state = composer_state()
    torch.save(state, tmp_path / "in.pt")
    run(runner, "convert", tmp_path / "in.pt", tmp_path / "out.pt")
    back = torch.load(tmp_path / "out.pt", weights_only=True)
    assert set(back) == {"state", "rng"} and set(back["state"]) == {"model"}
    model = back["state"]["model"]
    assert list(model) == list(state["state"]["model"])
    for name, tensor in state["state"]["model"].items():
        assert model[name].dtype == tensor.dtype and torch.equal(model[name], tensor.detach()), name
    tied = model["model.bert.embeddings.word_embeddings.weight"], model["model.cls.predictions.decoder.weight"]
    assert tied[0].untyped_storage().data_ptr() == tied[1].untyped_storage().data_ptr()


def test_torch_reads_every_dtype_we_write(runner, tmp_path):
    state = {f"bert.{name}": some(3, 5, dtype=name) for name in MLX_DTYPES if name != "float64"}
    torch.save(state, tmp_path / "in.pt")
    run(runner, "convert", tmp_path / "in.pt", tmp_path / "out.pt")
    model = torch.load(tmp_path / "out.pt", weights_only=True)["state"]["model"]
    for name, tensor in state.items():
        assert model["model." + name].dtype == tensor.dtype and torch.equal(model["model." + name], tensor), name


def test_float64_weights_become_float32(runner, tmp_path):
    torch.save({"bert.w": some(4, 4, dtype="float64")}, tmp_path / "in.pt")
    ours, _ = dump(runner, tmp_path, tmp_path / "in.pt", "weights")
    assert torch.equal(ours["bert.w"], some(4, 4, dtype="float64").float())


def test_safetensors_both_ways(runner, tmp_path):
    state = {name: some(3, 5, dtype=name) for name in MLX_DTYPES}
    safetensors_torch.save_file(state, tmp_path / "in.safetensors", {"format": "pt"})
    ours, _ = dump(runner, tmp_path, tmp_path / "in.safetensors")
    for name in MLX_DTYPES:
        assert ours[name].dtype == state[name].dtype and torch.equal(ours[name], state[name]), name


def test_save_model_layout_is_equal(runner, tmp_path):
    """Tied tensors are stored as by safetensors.torch.save_model: once, with the other name in the metadata."""

    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = torch.nn.Embedding(6, 4)
            self.cls = torch.nn.Linear(4, 6)
            self.cls.weight = self.bert.weight

    module = Tied()
    safetensors_torch.save_model(module, str(tmp_path / "theirs.safetensors"))
    torch.save(module.state_dict(), tmp_path / "in.pt")
    run(runner, "convert", tmp_path / "in.pt", tmp_path / "ours.safetensors")
    other = Tied()
    assert safetensors_torch.load_model(other, str(tmp_path / "ours.safetensors")) == (set(), [])
    assert torch.equal(other.bert.weight, module.bert.weight)
    keys = [set(safetensors_torch.load_file(tmp_path / f"{who}.safetensors")) for who in ("theirs", "ours")]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("fixture", ["tiny-attn", "tiny-mlm", "tiny-embed", "tiny-glue-3", "tiny-embed-additions"])
def test_fixtures_survive_the_round_trip(runner, tmp_path, fixture):
    source = shared("fixtures", fixture, "checkpoint.pt")
    run(runner, "convert", source, tmp_path / "out.pt")
    theirs = torch.load(source, weights_only=True)["state"]["model"]
    ours = torch.load(tmp_path / "out.pt", weights_only=True)["state"]["model"]
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
