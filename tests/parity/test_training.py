"""Other programs read the output of a training run: TensorBoard the events, torch the checkpoints."""
import json

import pytest
from conftest import REPOSITORY, program, run

GOLDEN = REPOSITORY / "tests" / "golden" / "trainlog"


def recipe(tmp_path):
    text = (GOLDEN / "config.yaml").read_text()
    text += f"train_loader: {{name: batches, file: {GOLDEN / 'inputs.safetensors'}}}\nload_path: {GOLDEN / 'checkpoint.pt'}\n"
    text += f"eval_loader: ${{train_loader}}\neval_subset_num_batches: 1\neval_interval: 4ba\nsave_folder: {tmp_path / 'run'}\n"
    text += "save_interval: 4ba\nloggers: {tensorboard: {}}\ncallbacks: {lr_monitor: {}}\nautoresume: true\nprogress_bar: false\n"
    (tmp_path / "recipe.yaml").write_text(text)
    return tmp_path / "recipe.yaml"


def metrics(tmp_path, name):
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    return [(line["batch"], line[name]) for line in lines if name in line]


def events(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return found


@pytest.mark.parametrize("name", ["loss/train/total", "l2_norm/grad/global", "lr-AdamW/all", "metrics/eval/MaskedAccuracy"])
def test_tensorboard_shows_the_metrics(tmp_path, name):
    run(program("m2bert"), "pretrain", recipe(tmp_path), "max_duration=10ba", "--quiet")
    ours = metrics(tmp_path, name)
    theirs = [(event.step, event.value) for event in events(tmp_path).Scalars(name)]
    assert [step for step, _ in theirs] == [step for step, _ in ours]
    assert [value for _, value in theirs] == pytest.approx([value for _, value in ours], rel=1e-6)
    assert len(ours) == (3 if name.startswith("metrics/eval") else 10)


def test_a_resumed_run_is_one_curve(tmp_path):
    """Steps that the first session logged after its last checkpoint are not shown twice."""
    file = recipe(tmp_path)
    run(program("m2bert"), "pretrain", file, "max_duration=10ba", "--quiet")
    (tmp_path / "run" / "ep0-ba10.safetensors").unlink()  # as if killed after batch 10, with the last checkpoint at 8
    run(program("m2bert"), "pretrain", file, "max_duration=12ba", "--quiet")
    steps = [event.step for event in events(tmp_path).Scalars("loss/train/total")]
    assert steps == list(range(1, 13))


def test_torch_reads_the_exported_checkpoint(tmp_path):
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    run(program("m2bert"), "pretrain", recipe(tmp_path), "max_duration=4ba", "--quiet")
    run(program("m2bert"), "convert", tmp_path / "run" / "latest.safetensors", tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)["state"]["model"]
    ours = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name, value in ours.items():
        assert torch.equal(state["model." + name], value), name
    moments = load_file(tmp_path / "run" / "latest.safetensors")
    assert any(name.startswith("optimizer.m.") for name in moments)
    assert not any(name.startswith("model.optimizer") for name in state)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adamw_is_torchs(tmp_path, weight_decay):
    """Runs torch's AdamW on m2bert's gradients, which follow from its moments: m = b1 m + (1 - b1) g."""
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    run(program("m2bert"), "pretrain", recipe(tmp_path), "max_duration=6ba", "save_interval=1ba", "optimizer.name=adamw",
        f"optimizer.weight_decay={weight_decay}", "scheduler={name: constant, t_warmup: 0ba}", "algorithms=null", "--quiet")
    states = [load_file(tmp_path / "run" / f"ep0-ba{i}.safetensors") for i in range(1, 7)]
    names = [name[len("optimizer.m."):] for name in states[0] if name.startswith("optimizer.m.")]
    parameters = {name: torch.nn.Parameter(states[0][name].clone()) for name in names}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.003, betas=(0.9, 0.98), eps=1e-6, weight_decay=weight_decay)
    for name, p in parameters.items():
        optimizer.state[p] = {"step": torch.tensor(1.0), "exp_avg": states[0]["optimizer.m." + name].clone(),
                              "exp_avg_sq": states[0]["optimizer.v." + name].clone()}
    for before, after in zip(states, states[1:]):
        for name, p in parameters.items():
            p.grad = ((after["optimizer.m." + name].double() - 0.9 * before["optimizer.m." + name].double()) / 0.1).float()
        optimizer.step()
        for name, p in parameters.items():
            scale = max(after[name].abs().max().item(), 1e-3)
            assert (p.detach() - after[name]).abs().max().item() <= 2e-5 * scale, name
            p.data.copy_(after[name])
            optimizer.state[p]["exp_avg"].copy_(after["optimizer.m." + name])
            optimizer.state[p]["exp_avg_sq"].copy_(after["optimizer.v." + name])


@pytest.fixture(scope="module")
def attention_run(tmp_path_factory):
    """A run of recipes/pretrain/bert-small.yaml with a smaller model."""
    folder = tmp_path_factory.mktemp("attention")
    texts = folder / "texts.txt"
    texts.write_text("".join(f"Monarch number {i} flies south in the autumn, and {3 * i} others follow.\n" for i in range(60)))
    run(program("m2bert"), "data", "build", texts, "--out", folder / "data", "--val-count", "8")
    run(program("m2bert"), "pretrain", REPOSITORY / "recipes" / "pretrain" / "bert-small.yaml", f"data_local={folder / 'data'}",
        f"save_folder={folder / 'run'}", "max_duration=4ba", "model.model_config.hidden_size=64", "model.model_config.intermediate_size=128",
        "optimizer.lr=1e-2", "--quiet")
    return folder


def test_transformers_reads_the_trained_model(attention_run):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = attention_run / "run" / "model"
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), vocab_file=str(folder / "vocab.txt"))
    text = "Monarchs fly [MASK] in the autumn."
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[0, inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)]
    best = torch.topk(logits.softmax(-1), 5)
    answer = run(program("m2bert"), "fill-mask", "--model", folder, "--text", text, "--top-k", "5", "--json", "--quiet").stdout
    ours = json.loads(answer.splitlines()[0])["masks"][0]["guesses"]
    assert [c["probability"] for c in ours] == pytest.approx(best.values.tolist(), rel=1e-4)
    assert ours[0]["token"] == tokenizer.convert_ids_to_tokens(best.indices[:1].tolist())[0]


def test_sentence_transformers_reads_an_export_of_a_run(attention_run):
    sentence_transformers, numpy = pytest.importorskip("sentence_transformers"), pytest.importorskip("numpy")
    out = attention_run / "sentences"
    run(program("m2bert"), "convert", attention_run / "run" / "model", out, "--to", "sentence-transformers", "--pooling", "mean", "--quiet")
    texts = ["Monarchs fly south.", "Moths fly at night, and others follow in the autumn."]
    golden = sentence_transformers.SentenceTransformer(str(out), device="cpu").encode(texts, show_progress_bar=False)
    lines = (attention_run / "lines.txt")
    lines.write_text("\n".join(texts) + "\n")
    run(program("m2bert"), "embed", "--quiet", "--model", out, lines, "--output", attention_run / "vectors.npy", "--overwrite")
    ours = numpy.load(attention_run / "vectors.npy")
    assert ours.shape == golden.shape
    assert numpy.abs(ours - golden).max() <= 1e-5 * max(1, numpy.abs(golden).max())
