"""m2bert.train: the program's runs, callbacks, and stopping."""
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import m2bert
import mlx.core as mx
import pytest
from training import recipe_of


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return m2bert.load_checkpoint(Path(folder) / "model", numpy=True)


def test_a_run_equals_the_programs(models, program, tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    records = []
    result = m2bert.train(recipe_of(models, tmp_path / "ours"), callback=records.append)
    recipe = tmp_path / "theirs/recipe.yaml"
    recipe.write_text(json.dumps(recipe_of(models, tmp_path / "theirs"), default=os.fspath))
    said = subprocess.run([program, "pretrain", recipe, "--json", "--quiet"], check=True, capture_output=True, text=True).stdout
    theirs = json.loads(said)
    assert records == lines(result.folder) == lines(tmp_path / "theirs/run")
    assert (result.batches, result.epochs, result.samples, result.tokens) == tuple(theirs[k] for k in ("batches", "epochs", "samples", "tokens"))
    assert result.loss == theirs["loss"]
    assert result.metrics == {name: value for name, value in theirs["evaluation"].items() if name != "samples"}
    ours, programs = weights(result.folder), weights(tmp_path / "theirs/run")
    assert all((ours[name] == programs[name]).all() for name in ours)
    assert m2bert.Classifier(result.model)("a lovely film")["label"] in ("negative", "positive")


def test_a_recipe_in_a_file_with_overrides(models, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(recipe_of(models, tmp_path), default=os.fspath))
    result = m2bert.train(recipe, overrides={"max_duration": "1ba", "optimizer.lr": 1e-5, "eval_loader": None})
    assert (result.batches, result.metrics) == (1, {})
    again = m2bert.train(str(recipe), overrides=["max_duration=1ba", f"save_folder={tmp_path}/again"])
    assert again.batches == 1


def test_the_callback_stops_the_run_and_it_goes_on(models, tmp_path):
    recipe = recipe_of(models, tmp_path, autoresume=True, max_duration="3ep")
    stopped = m2bert.train(recipe, callback=lambda record: record["batch"] == 3)
    assert stopped.stopped and stopped.model is None and stopped.batches == 3
    assert any(stopped.folder.glob("*ba3.safetensors"))
    result = m2bert.train(recipe)
    assert not result.stopped and result.batches == 6
    straight = m2bert.train({**recipe, "save_folder": tmp_path / "straight"})
    ours, expected = weights(result.folder), weights(straight.folder)
    assert all((ours[name] == expected[name]).all() for name in ours)


def test_an_error_of_the_callback_ends_the_run(models, tmp_path):
    def fails(record):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        m2bert.train(recipe_of(models, tmp_path), callback=fails)
    assert any((tmp_path / "run").glob("*ba1.safetensors"))


def test_the_callback_may_use_models(models, bert, tmp_path):
    embedder = m2bert.Embedder(bert)
    expected = embedder.embed("a lovely film")
    vectors = []
    m2bert.train(recipe_of(models, tmp_path), callback=lambda record: vectors.append(embedder.embed("a lovely film")))
    assert len(vectors) == 3 and all((vector == expected).all() for vector in vectors)
    assert mx.ones((2,)).sum().item() == 2


def test_other_threads_run_meanwhile(models, tmp_path):
    done = threading.Event()
    count = 0

    def work():
        nonlocal count
        while not done.is_set():
            count += 1
            time.sleep(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    before = count
    m2bert.train(recipe_of(models, tmp_path, max_duration="4ep"))
    assert count > before + 20
    done.set()
    thread.join()


STOPPED = """
import json, pathlib, signal, sys, m2bert
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
recipe = json.loads(pathlib.Path(sys.argv[1]).read_text())
def started(record):
    if record["batch"] == 2:
        print("running", flush=True)
try:
    m2bert.train(recipe, callback=started)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_saves_a_checkpoint(models, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(recipe_of(models, tmp_path, max_duration="100000ep", eval_interval="100000ep",
                                                               save_interval="100000ep"), default=os.fspath))
    process = subprocess.Popen([sys.executable, "-X", "dev", "-c", STOPPED, tmp_path / "recipe.json"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert out == "interrupted\n" and err == ""
    last = lines(tmp_path / "run")[-1]["batch"]
    assert any((tmp_path / "run").glob(f"*ba{last}.safetensors"))


def test_retrieval(bert, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"query": f"question {i}", "positive": f"answer {i} of many"}) + "\n" for i in range(8)))
    recipe = {"run_name": "retrieval", "base_model": bert, "seed": 1, "precision": "fp32",
              "task": {"loss": {"name": "multiple_negatives_ranking_loss"}}, "train_loader": {"data": pairs},
              "global_train_batch_size": 4, "device_train_microbatch_size": 4, "max_duration": "1ep",
              "optimizer": {"name": "adamw", "lr": 1e-4}, "scheduler": {"name": "constant_with_warmup", "t_warmup": "0ba"},
              "save_folder": tmp_path / "run"}
    result = m2bert.train(recipe, retrieval=True)
    assert result.batches == 2
    assert m2bert.Embedder(result.model).embed("question 1").shape == (16,)


def test_errors(models, tmp_path):
    with pytest.raises(FileNotFoundError):
        m2bert.train(tmp_path / "absent.yaml")
    with pytest.raises(m2bert.Error, match="max_duraton"):
        m2bert.train(recipe_of(models, tmp_path, max_duraton="1ep"))
    with pytest.raises(TypeError, match="overrides"):
        m2bert.train(recipe_of(models, tmp_path), overrides="a=b")
    with pytest.raises(m2bert.Error, match="device"):
        m2bert.train(recipe_of(models, tmp_path), device="tpu")
    assert not (tmp_path / "run").exists()
