"""The checkpoint readers and writers against PyTorch and safetensors."""
import collections
import datetime
import json
import random
import subprocess

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


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_lazy_bits_are_applied(runner, tmp_path, zip_format):
    values = some(5, 3, dtype="complex64")
    state = {"plain": values, "conj": values.conj(), "transposed": values.conj().t(), "neg": torch._neg_view(some(4)),
             "half": torch._neg_view(some(4, dtype="float16")), "bfloat": torch._neg_view(some(4, dtype="bfloat16")),
             "double": torch._neg_view(some(4, dtype="float64")), "imag": some(7, dtype="complex64").conj().imag,
             "both": torch._neg_view(some(6, dtype="complex64").conj()), "parameter": torch.nn.Parameter(some(2, dtype="complex64").conj())}
    torch.save(state, tmp_path / "in.pt", _use_new_zipfile_serialization=zip_format)
    ours, _ = dump(runner, tmp_path, tmp_path / "in.pt")
    assert set(ours) == set(state)
    for name, tensor in state.items():
        assert torch.equal(ours[name], tensor.detach().resolve_conj().resolve_neg()), name


class Subclass(torch.Tensor):
    pass


# Tensors that are not a strided view of a storage, and what the error calls them. Plain subclasses are read.
UNREADABLE = {
    "sparse": (lambda: some(4, 4).to_sparse(), "a sparse tensor"),
    "csr": (lambda: some(4, 4).to_sparse_csr(), "a sparse tensor"),
    "nested": (lambda: torch.nested.nested_tensor([some(2), some(3)]), "a nested tensor"),
    "jagged": (lambda: torch.nested.nested_tensor([some(2), some(3)], layout=torch.jagged), "a nested tensor"),
    "meta": (lambda: torch.empty(4, device="meta"), "meta device"),
    "quantized": (lambda: torch.quantize_per_tensor(some(4, 4), 0.1, 0, torch.qint8), "qint8"),
    "per_channel": (lambda: torch.quantize_per_channel(some(4, 4), torch.ones(4), torch.zeros(4), 0, torch.quint8), "quint8"),
    "numpy": (lambda: np.ones(4, np.float32), "a NumPy array"),
    "float8": (lambda: some(4).to(torch.float8_e4m3fn), "float8_e4m3fn"),
    "float4": (lambda: torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "float4_e2m1fn_x2"),
}


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_other_tensors_are_named_not_dropped(runner, tmp_path, kind, zip_format):
    make, what = UNREADABLE[kind]
    name = "bert.pooler.dense.weight"
    torch.save({"bert.pooler.dense.bias": some(4), name: make(), "optimizer": {"other": make()}}, tmp_path / "in.pt",
               _use_new_zipfile_serialization=zip_format)
    done = subprocess.run([runner, "convert", tmp_path / "in.pt", tmp_path / "out.safetensors"], capture_output=True, text=True)
    assert done.returncode == 1 and name in done.stderr and what in done.stderr, done.stderr
    assert not (tmp_path / "out.safetensors").exists()
    torch.save({"bert.pooler.dense.bias": some(4), "optimizer": {"other": make()}}, tmp_path / "in.pt",
               _use_new_zipfile_serialization=zip_format)
    ours, _ = dump(runner, tmp_path, tmp_path / "in.pt", "weights")  # what is no weight is not missed
    assert set(ours) == {"bert.pooler.dense.bias"}


def test_subclasses_are_read(runner, tmp_path):
    attribute = some(3)
    attribute.note = "with a __dict__"
    state = {"bert.subclass": some(4).as_subclass(Subclass), "bert.attribute": attribute}
    torch.save(state, tmp_path / "in.pt")
    ours, _ = dump(runner, tmp_path, tmp_path / "in.pt", "weights")
    for name, tensor in state.items():
        assert torch.equal(ours[name], tensor.as_subclass(torch.Tensor)), name


def test_lists_every_dtype_of_safetensors(tmp_path):
    """What safetensors writes is listed; what MLX lacks is refused by name."""
    m2bert = program("m2bert")
    dtypes = [dtype for dtype in safetensors_torch._SIZE]
    assert len(dtypes) >= 18
    for dtype in dtypes:
        name = str(dtype).removeprefix("torch.")
        plain = torch.arange(8, dtype=torch.uint8) if name.startswith("float") and dtype.itemsize == 1 else torch.ones(8)
        tensor = plain.view(dtype) if plain.dtype == torch.uint8 else plain.to(dtype)
        safetensors_torch.save_file({"bert.w": tensor}, tmp_path / "in.safetensors")
        torch.save({"bert.w": tensor}, tmp_path / "in.pt")
        for file in ("in.safetensors", "in.pt"):
            shown = json.loads(run(m2bert, "inspect", "--json", tmp_path / file).stdout)["tensors"][0]
            assert shown["bytes"] == tensor.untyped_storage().nbytes(), name
            # safetensors counts the two values that torch packs into a byte
            assert shown["dtype"] == (name.removesuffix("_x2") if file == "in.safetensors" else name)
            done = subprocess.run([m2bert, "convert", tmp_path / file, tmp_path / "out.safetensors", "--overwrite"], capture_output=True, text=True)
            if name.startswith(("float8", "float4")):
                assert done.returncode == 1 and name.removesuffix("_x2") in done.stderr, name
            else:
                assert done.returncode == 0, done.stderr


def bert(seed=0):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                                               intermediate_size=32, max_position_embeddings=16))


def checkpointed(model):
    wrapper = pytest.importorskip("torch.distributed.algorithms._checkpoint.checkpoint_wrapper")
    for layer in range(len(model.bert.encoder.layer)):
        model.bert.encoder.layer[layer] = wrapper.checkpoint_wrapper(model.bert.encoder.layer[layer])
    return model


class Holder(torch.nn.Module):
    """A module that keeps the model in an attribute, as Lightning modules do."""

    def __init__(self, name, model):
        super().__init__()
        setattr(self, name, model)


def averaged(model):
    return torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))


WRAPPED = {
    "plain": lambda m: m.state_dict(),
    "compile": lambda m: torch.compile(m).state_dict(),
    "data_parallel": lambda m: torch.nn.DataParallel(m).state_dict(),
    "compile_in_data_parallel": lambda m: torch.nn.DataParallel(torch.compile(m)).state_dict(),
    "data_parallel_in_compile": lambda m: torch.compile(torch.nn.DataParallel(m)).state_dict(),
    "compiled_layer": lambda m: (setattr(m.bert, "encoder", torch.compile(m.bert.encoder)), m.state_dict())[1],
    "fsdp_names": lambda m: {k.replace("bert.", "_fsdp_wrapped_module.bert._fsdp_wrapped_module.", 1): v for k, v in m.state_dict().items()},
    "activation_checkpointing": lambda m: {f"_checkpoint_wrapped_module.{k}": v for k, v in checkpointed(m).state_dict().items()},
    "lightning": lambda m: {"state_dict": Holder("model", m).state_dict(), "epoch": 1, "hyper_parameters": {"lr": 0.1}},
    "lightning_net": lambda m: {"state_dict": Holder("net", torch.compile(m)).state_dict(), "global_step": 3},
    "deepspeed": lambda m: {"module": m.state_dict(), "optimizer": None, "ds_config": {}},
    "timm": lambda m: {"state_dict": m.state_dict(), "state_dict_ema": bert(1).state_dict(), "epoch": 2},
    "ema_beside": lambda m: {"model": m.state_dict(), "ema": bert(1).state_dict()},
    "averaged_beside": lambda m: {"model": m.state_dict(), "swa_model": averaged(bert(1)).state_dict()},
    "averaged_other_name": lambda m: {"model": m.state_dict(), "second": averaged(bert(1)).state_dict()},
    "averaged_alone": lambda m: averaged(m).state_dict(),
    "ema_alone": lambda m: {"ema": m.state_dict()},
    "composer": lambda m: {"state": {"model": Holder("model", torch.compile(m)).state_dict(), "algorithms": {"EMA": {"ema_model": bert(1).state_dict()}}}},
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_weights_within_wrappers(runner, tmp_path, wrapper):
    wanted = {name: tensor.clone() for name, tensor in bert().state_dict().items()}
    torch.save(WRAPPED[wrapper](bert()), tmp_path / "in.pt")
    ours, _ = dump(runner, tmp_path, tmp_path / "in.pt", "weights")
    assert set(ours) == set(wanted)
    for name, tensor in wanted.items():
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("wrapper", ["timm", "ema_beside", "averaged_beside", "composer"])
def test_averages_are_taken_by_their_prefix(tmp_path, wrapper):
    m2bert = program("m2bert")
    prefix = {"timm": "state_dict_ema", "ema_beside": "ema", "averaged_beside": "swa_model", "composer": "state.algorithms.EMA"}[wrapper]
    torch.save(WRAPPED[wrapper](bert()), tmp_path / "in.pt")
    run(m2bert, "convert", tmp_path / "in.pt", tmp_path / "out.pt", "--weights", prefix)
    ours = torch.load(tmp_path / "out.pt", weights_only=True)["state"]["model"]
    for name, tensor in bert(1).state_dict().items():
        assert torch.equal(ours["model." + name], tensor), name


def test_transformers_reads_the_built_in_vocabulary(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel(transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32))
    model.save_pretrained(tmp_path / "in")
    run(program("m2bert"), "convert", tmp_path / "in" / "model.safetensors", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "Monarchs [MASK] South, très loin!"
    ours = json.loads(run(program("m2bert"), "tokenize", "--json", "--text", text).stdout.splitlines()[0])
    assert tokenizer(text)["input_ids"] == ours["ids"]
    assert tokenizer.model_max_length == 512
    again = transformers.AutoModel.from_pretrained(tmp_path / "out")
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
