"""How fast is m2bert on an NVIDIA GPU? Beside PyTorch, in the same run. Called by `script/bench gpu`, or by `run bench gpu` of a bundle.

    M2BERT_BUILD=build/release-cuda python bench/gpu.py [--stages inference text padding mixer training two steps] [--lengths 128 2048]
                                                        [--limit SECONDS] [--no-compile] [--out bench/results] [--merge RECORD.json]

Stages, in this order; each is written when it is done, and what a limit stops is noted:
  inference  the 80M encoder in bfloat16 by length, 65,536 tokens a batch; PyTorch with bfloat16 weights and kept filter spectra
  text       one text: 12 words at the 2k model's padding (2048 tokens), and 128 tokens
  padding    the encoder of a model with mask_padding: texts of an eighth to all of the length, beside full ones; m2bert alone
  mixer      one sequence mixer, 65,536 tokens: its core forward; with backward, the block's time minus that of its two products. PyTorch:
             the core alone, with torch's FFT
  training   whole steps, 32,768 tokens a batch, amp_bf16: tokens/s and peak memory
  two        m2bert pretrain with --launch 1 and 2, 32,768 tokens a batch and GPU
  steps      the losses of 200 steps of 4 layers, amp_bf16 on the GPU beside float32 on the CPU: the same weights, batches and dropout masks
PyTorch runs eager and compiled, and the faster counts. Results are compared with PyTorch in float32 before anything is timed. --merge adds
the stages of an earlier record, which this run did not measure.
"""
import argparse
import concurrent.futures
import contextlib
import datetime
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import chart
import gpu_record
import harness
from harness import BUILD, OURS, REPOSITORY, Program, RequestFailed, find_program, write_record, hidden_states, random_ids, write_ids

DEVICE = "cuda"
PEERS = REPOSITORY / "bench" / "peers"
RECIPE = REPOSITORY / "recipes" / "pretrain" / "m2-bert-80m-128.yaml"
STAGES = ["inference", "text", "padding", "mixer", "training", "two", "steps"]
LENGTHS = [128, 512, 2048, 8192, 32768]
TRAINED_LENGTHS = [128, 2048]
PADDED_LENGTHS = [512, 2048]
TEXT_LENGTHS = [2048, 128]
TOKENS, TRAINED_TOKENS, CHECKED_TOKENS = 65536, 32768, 8192
RUNS, TEXT_RUNS, STEPS, REPEATS, BATCHES_OF_TWO, RUNS_OF_TWO = 12, 100, 8, 5, 60, 3
COMPARED_STEPS, COMPARED_LAYERS, COMPARED_ROWS, LAST_STEPS = 200, 4, 16, 20
COMPARED_RATE = 1e-4  # the recipe's, for batches of 4096 sequences, is unstable with 16 of them, in float32 too
LEAST_COSINE = 0.999  # of hidden states in bfloat16 to those in float32, on average
MIXER_TOLERANCE = 0.03  # relative L2 error of a mixer's result and of its gradients in bfloat16
TRAINING_TOLERANCE = (2e-3, 3e-2)  # relative differences of the first loss and of its gradient's norm

# As in the program itself (cli/runtime.cpp); MLX's CUDA library, which the benchmarks' programs do not choose themselves.
CUDA_MLX = BUILD / "lib" / "m2bert" / "cuda" / "mlx" / "lib"
LIBRARIES = os.environ.get("LD_LIBRARY_PATH", "")
JEMALLOC = [Path(folder) / "libjemalloc.so.2" for folder in [BUILD / "lib", *LIBRARIES.split(":"), "/usr/lib/x86_64-linux-gnu"] if folder]
ENVIRONMENT = {**OURS, "MLX_ENABLE_TF32": "0", "MLX_USE_CUDA_GRAPHS": "0", "MLX_MAX_OPS_PER_BUFFER": "20",
               "LD_LIBRARY_PATH": f"{CUDA_MLX}:{LIBRARIES}".rstrip(":"),
               "LD_PRELOAD": next((str(file) for file in JEMALLOC if file.exists()), "")}
TRAINING_ENVIRONMENT = {**ENVIRONMENT, "MLX_USE_CUDA_GRAPHS": "1", "MLX_MAX_OPS_PER_BUFFER": "60", "MLX_MAX_MB_PER_BUFFER": "600"}


STARTED = time.perf_counter()


def log(*words):
    print(f"[{time.perf_counter() - STARTED:5.0f} s]", *words, file=sys.stderr, flush=True)


class Failed(Exception):
    """A part of the benchmark that cannot be measured; the others can."""


class Programs:
    """Starts programs, and kills those that run when the time is up."""

    def __init__(self, seconds):
        self.sides, self.late = [], False
        self.timer = threading.Timer(seconds, self.stop)
        self.timer.daemon = True
        self.timer.start()

    def stop(self):
        self.late = True
        self.kill()

    def kill(self, *sides):
        for side in sides or self.sides:
            if side.process.poll() is None:
                side.process.kill()
                side.process.wait()

    def start(self, label, command, environment=None):
        if self.late:
            raise Failed("the time was up")
        return Program(label, command, environment, on_start=self.sides.append)

    def ours(self, program, *words, environment=ENVIRONMENT):
        return self.start("m2bert", [find_program(program), *words], environment)

    def peer(self, script, *words):
        return self.start("PyTorch", [sys.executable, PEERS / script, *words, "--device", DEVICE])

    def run(self, command, environment=None):
        """The standard output of a program that ends by itself."""
        if self.late:
            raise Failed("the time was up")
        process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, **(environment or {})})
        self.sides.append(argparse.Namespace(process=process))
        out, err = process.communicate()
        if process.returncode != 0:
            raise Failed(f"{Path(str(command[0])).name} ended with {process.returncode}: {err.strip()[-500:]}")
        return out


def times(seconds):
    return {"best": min(seconds), "median": statistics.median(seconds), "runs": len(seconds)}


# ---- inference ----

def make_model(programs, folder, length):
    from omegaconf import OmegaConf
    recipe = OmegaConf.load(RECIPE)
    recipe.max_seq_len = length
    OmegaConf.save(recipe, folder / "recipe.yaml")
    programs.run([sys.executable, PEERS / "torch_inference.py", folder, "--make", folder / "recipe.yaml"])


def agreement(states, expected):
    """Mean cosine over the tokens, and relative L2 error."""
    import numpy
    if states.shape != expected.shape or not numpy.isfinite(states).all():
        raise Failed(f"hidden states {states.shape} are not finite, or not {expected.shape}")
    lengths = numpy.sqrt((states * states).sum(-1) * (expected * expected).sum(-1))
    cosine = float(((states * expected).sum(-1) / lengths).mean())
    return {"cosine": cosine, "error": float(numpy.linalg.norm(states - expected) / numpy.linalg.norm(expected))}


def times_of(side, runs):
    for _ in range(3):
        side.run()
    side.times.clear()
    for _ in range(runs):
        side.run()
    return times(side.times)


def check_agreement(label, states, expected):
    found = agreement(states, expected)
    if not found["cosine"] >= LEAST_COSINE:
        raise Failed(f"{label}: mean cosine to float32 {found['cosine']:.5f}, less than {LEAST_COSINE}; not timed")
    return found


def time_side(side, folder, expected, runs):
    found = check_agreement(side.label, hidden_states(side, folder), expected)
    return {**times_of(side, runs), **found, "memory": int(side.ask("memory")), "version": side.version}


def start_together(starts):
    """Futures of programs, which take seconds to start."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return {name: pool.submit(start) for name, start in starts.items()}


def time_encoder(programs, folder, runs, kinds):
    def peer(dtype, *words):
        return lambda: programs.peer("torch_inference.py", folder, "--dtype", dtype, *words)
    sides = start_together({"exact": peer("float32"), "ours": lambda: programs.ours("m2bert-bench-inference", folder, "bfloat16"),
                            **{kind: peer("bfloat16", *(["--compile"] if kind == "compiled" else [])) for kind in kinds}})
    expected = hidden_states(sides["exact"].result(), folder)
    programs.kill(sides["exact"].result())
    result = {"ours": time_side(sides["ours"].result(), folder, expected, runs), "peers": {}}
    for kind in kinds:
        try:
            result["peers"][kind] = time_side(sides[kind].result(), folder, expected, runs)
        except (Failed, SystemExit, RequestFailed) as error:
            result["peers"][kind] = {"failed": str(error)[:300]}
    programs.kill()
    return result


def encoder_case(programs, length, batch, runs, kinds):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(programs, folder, length)
        write_ids(folder, random_ids(batch, length))
        return {"batch": batch, "length": length, **time_encoder(programs, folder, runs, kinds)}


def measure_inference(programs, options, keep):
    for length in options.lengths:
        batch = max(1, TOKENS // length)
        keep(length, lambda: encoder_case(programs, length, batch, RUNS, options.kinds))


def measure_text(programs, options, keep):
    for length in TEXT_LENGTHS:
        keep(length, lambda: encoder_case(programs, length, 1, TEXT_RUNS, options.kinds))


# ---- padding ----

def padded_case(programs, length, batch):
    """The times of a batch of texts that are padded, and of one whose texts have the full length."""
    import numpy
    from omegaconf import OmegaConf
    ids = random_ids(batch, length)
    mask = numpy.arange(length) < numpy.random.default_rng(2).integers(length // 8, length + 1, (batch, 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(programs, folder, length)
        config = OmegaConf.load(folder / "config.yaml")
        config.model.model_config.mask_padding = True
        OmegaConf.save(config, folder / "config.yaml")
        write_ids(folder, ids, mask)
        exact, ours = (programs.ours("m2bert-bench-inference", folder, dtype) for dtype in ("float32", "bfloat16"))
        expected = hidden_states(exact, folder)
        programs.kill(exact)
        found = check_agreement("m2bert", hidden_states(ours, folder)[mask][None], expected[mask][None])
        shortest = int(mask.sum(1).argmin())
        write_ids(folder, ids[shortest:shortest + 1, :mask[shortest].sum()])
        alone = programs.ours("m2bert-bench-inference", folder, "float32")
        check_agreement("a padded text beside itself alone", expected[shortest][mask[shortest]][None], hidden_states(alone, folder))
        programs.kill(alone)
        write_ids(folder, ids)
        full, padded = times_of(programs.ours("m2bert-bench-inference", folder, "bfloat16"), RUNS), times_of(ours, RUNS)
    programs.kill()
    return {"length": length, "batch": batch, "tokens": int(mask.sum()), "share": float(mask.mean()), "padded": {**padded, **found}, "full": full}


def measure_padding(programs, options, keep):
    for length in [n for n in PADDED_LENGTHS if n in options.lengths]:
        keep(length, lambda: padded_case(programs, length, max(1, TOKENS // length)))


# ---- the mixer ----

@functools.lru_cache(maxsize=3)  # those of a length: drawing them takes longer than what is timed
def mixer_inputs(name, length, tokens):
    import torch

    import operations
    operations.TOKENS = tokens
    draw = operations.Draw(name, length, torch.bfloat16)
    case = next(case for case in operations.CASES if case.name == name)
    return {key: value.contiguous() for key, value in case.inputs(draw).items()}, case.gradients


def write_tensors(folder, name, tensors):
    from safetensors.torch import save_file
    file = folder / f"{name}.safetensors"
    save_file(tensors, file)
    return file


def largest_error(mine, exact):
    errors = {name: float((mine[name].double() - exact[name].double()).norm() / exact[name].double().norm()) for name in exact}
    worst = max(errors, key=errors.get)
    if not errors[worst] <= MIXER_TOLERANCE:
        raise Failed(f"the mixer's {worst} differs by {errors[worst]:.1e} in L2, {MIXER_TOLERANCE} are allowed; not timed")
    return errors[worst]


def check_mixer(ours, peer, folder, length):
    """Worst relative L2 error of the block's result and gradients to PyTorch's in float32, with few texts."""
    import torch
    from safetensors.torch import load_file
    inputs, wanted = mixer_inputs("mixer_block", length, max(length, CHECKED_TOKENS))
    cotangent = write_tensors(folder, "narrow_cotangent", {"cotangent": torch.randn_like(inputs["u"])})
    wide = write_tensors(folder, "wide", {name: t.float() for name, t in inputs.items()})
    wide_cotangent = write_tensors(folder, "wide_cotangent", {"cotangent": load_file(cotangent)["cotangent"].float()})
    narrow = write_tensors(folder, "narrow", inputs)
    results = []  # of files of their own: load_file maps them
    for name, side, file, by in (("exact", peer, wide, wide_cotangent), ("ours", ours, narrow, cotangent)):
        side.ask(f"load mixer_block {file} {wanted}")
        side.ask(f"gradients {by} {folder / name}.safetensors")
        results.append(load_file(folder / f"{name}.safetensors"))
    ours.ask(f"load mixer_block_packed {narrow}")
    ours.ask(f"forward {folder / 'packed.safetensors'}")
    packed = load_file(folder / "packed.safetensors")
    found = {"error": largest_error(results[1], results[0]), "error_packed": largest_error(packed, {"output": results[0]["output"]})}
    try:
        return {**found, "error_core": check_core(ours, peer, folder, length)}
    except RequestFailed as error:  # there is no kernel of this length; the core is then what is left of the block
        log(f"  the core is not measured by itself: {error}")
        return found


def check_core(ours, peer, folder, length):
    """Relative L2 error of the core's result to PyTorch's in float32."""
    from safetensors.torch import load_file
    inputs, _ = mixer_inputs("monarch_mix", length, max(length, CHECKED_TOKENS))
    wide = write_tensors(folder, "wide_core", {name: t.float() for name, t in inputs.items()})
    for name, side, operation, file in (("exact_core", peer, "monarch_mix", wide),
                                        ("our_core", ours, "mixer_core", write_tensors(folder, "narrow_core", inputs))):
        side.ask(f"load {operation} {file}")
        side.ask(f"forward {folder / name}.safetensors")
    return largest_error(load_file(folder / "our_core.safetensors"), load_file(folder / "exact_core.safetensors"))


def case_of(folder, name, length, backward):
    """The operation's name, the file of its inputs, the inputs to differentiate by, and the shape of its output."""
    source = {"monarch_mix_with_spectra": "monarch_mix", "mixer_core": "monarch_mix", "mixer_block_packed": "mixer_block"}.get(name, name)
    width = int(name.removeprefix("linear")) if name.startswith("linear") else 0
    source = "linear" if width else source
    inputs, wanted = mixer_inputs(source, length, TOKENS)
    if width:
        inputs = {**inputs, "weight": inputs["weight"][:width].contiguous(), "bias": inputs["bias"][:width].contiguous()}
    shape = (*inputs["x"].shape[:-1], width) if width else inputs["u"].shape
    file = folder / f"{source}{width or ''}.safetensors"
    if not file.exists():
        write_tensors(folder, file.stem, inputs)
    return source if width else name, file, wanted if backward else "", shape


def time_operation(side, folder, case, backward):
    """Seconds of an operation's pass, forward alone or with its gradients."""
    import torch
    name, file, wanted, shape = case
    side.ask(f"load {name} {file} {wanted}".strip())
    what = "gradients" if backward else "forward"
    if backward:
        cotangent = write_tensors(folder, "cotangent", {"cotangent": torch.randn(shape, dtype=torch.bfloat16)})
        side.ask(f"gradients {cotangent} {folder / 'ignored.safetensors'}")
    for _ in range(2):
        side.ask(f"run {what} {REPEATS}")
    return min(float(side.ask(f"run {what} {REPEATS}")) for _ in range(4))


def time_mixer(programs, folder, length, kinds):
    import operations
    hidden = operations.HIDDEN
    peers = start_together({kind: lambda words=(["--compile"] if kind == "compiled" else []): programs.peer("torch_operations.py", *words)
                            for kind in kinds})
    peers = {kind: future.result() for kind, future in peers.items()}
    ours = programs.ours("m2bert-bench-operations")
    result = {"length": length, "batch": max(1, TOKENS // length), **check_mixer(ours, next(iter(peers.values())), folder, length)}
    for backward, block, core in ((False, "mixer_block_packed", "monarch_mix_with_spectra"), (True, "mixer_block", "monarch_mix")):
        block, *products = (time_operation(ours, folder, case_of(folder, name, length, backward), backward)
                            for name in (block, f"linear{3 * hidden}", f"linear{hidden}"))
        found = {"block": block, "products": sum(products), "core": block - sum(products), "peers": {}}
        if not backward and "error_core" in result:
            found["core"] = time_operation(ours, folder, case_of(folder, "mixer_core", length, False), False)
        case = case_of(folder, core, length, backward)
        for kind, peer in peers.items():
            try:
                found["peers"][kind] = {"best": time_operation(peer, folder, case, backward)}
            except (Failed, SystemExit, RequestFailed) as error:
                found["peers"][kind] = {"failed": str(error)[:300]}
        result["with_backward" if backward else "forward"] = found
    programs.kill(ours, *peers.values())
    return result


def measure_mixer(programs, options, keep):
    def case(length):
        with tempfile.TemporaryDirectory() as name:
            return time_mixer(programs, Path(name), length, options.kinds)
    for length in options.lengths:
        keep(length, lambda: case(length))


# ---- training ----

def write_training_recipe(folder, length, rows, exact):
    from omegaconf import OmegaConf
    recipe = OmegaConf.load(RECIPE)
    recipe.max_seq_len = length
    recipe.train_loader = {"name": "batches", "file": str(folder / "batches.safetensors")}
    recipe.callbacks = {"speed_monitor": {"window_size": 40}}
    for key in ("eval_loader", "eval_interval", "loggers"):
        recipe.pop(key, None)
    recipe.update({"load_path": str(folder / "model.safetensors"), "load_weights_only": True, "global_train_batch_size": rows,
                   "device_train_microbatch_size": rows, "precision": "amp_bf16", "save_folder": str(folder / "run"), "autoresume": False})
    if exact:
        recipe.model.model_config.hidden_dropout_prob = 0.0
    path = folder / ("exact.yaml" if exact else "recipe.yaml")
    OmegaConf.save(recipe, path)
    return path


def first_step(programs, side):
    side.run()
    loss, norm = json.loads(side.ask("losses"))[0]
    programs.kill(side)
    return loss, norm


def check_training(programs, exact):
    ours = first_step(programs, programs.ours("m2bert-bench-training", exact, environment=TRAINING_ENVIRONMENT))
    theirs = first_step(programs, programs.peer("torch_training.py", exact, "--mode", "fp32"))
    differences = [abs(a - b) / abs(b) for a, b in zip(ours, theirs)]
    if not all(d <= allowed for d, allowed in zip(differences, TRAINING_TOLERANCE)):
        raise Failed(f"[loss, gradient norm] of the first step: {ours} and in float32 {theirs}; not timed")
    return differences


def time_steps(programs, side):
    for _ in range(3):
        side.run()
    side.times.clear()
    for _ in range(STEPS):
        side.run()
    result = {**times(side.times), "memory": int(side.ask("memory")), "parts": json.loads(side.ask("parts")), "version": side.version}
    programs.kill(side)
    return result


def training_case(programs, length, kinds):
    rows = max(1, TRAINED_TOKENS // length)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exact, recipe = (write_training_recipe(folder, length, rows, exact) for exact in (True, False))
        programs.run([sys.executable, PEERS / "torch_training.py", exact, "--make", 4, rows])
        result = {"length": length, "rows": rows, "differences": check_training(programs, exact), "peers": {}}
        result["ours"] = time_steps(programs, programs.ours("m2bert-bench-training", recipe, environment=TRAINING_ENVIRONMENT))
        for kind in kinds:
            try:
                side = programs.peer("torch_training.py", recipe, "--mode", "amp", *(["--compile"] if kind == "compiled" else []))
                result["peers"][kind] = time_steps(programs, side)
            except (Failed, SystemExit, RequestFailed) as error:
                result["peers"][kind] = {"failed": str(error)[:300]}
        return result


def measure_training(programs, options, keep):
    for length in [n for n in TRAINED_LENGTHS if n in options.lengths]:
        keep(length, lambda: training_case(programs, length, options.kinds))


# ---- two GPUs ----

def metric_of(run, name):
    """Of each batch of a run for which there is one."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def our_device():
    return "gpu" if DEVICE == "cuda" else DEVICE


def pretrain(programs, recipe, batches, device, *options):
    programs.run([find_program("m2bert"), "pretrain", recipe, "--device", device, "--quiet", f"max_duration={batches}ba",
                  "save_interval=1000ba", *options])


def write_batches(programs, folder, length, rows):
    """A recipe with batches for it; rows: of a batch."""
    folder.mkdir()
    recipe = write_training_recipe(folder, length, rows, False)
    programs.run([sys.executable, PEERS / "torch_training.py", recipe, "--make", BATCHES_OF_TWO, rows])
    return recipe


def pretrain_rate(programs, recipe, run, rows, processes):
    """Tokens/s of all processes together over the last batches, and the last loss."""
    pretrain(programs, recipe, BATCHES_OF_TWO, our_device(), *(["--launch", processes] if processes > 1 else []),
             f"device_train_microbatch_size={rows}", f"save_folder={run}")
    return {"tokens_s": metric_of(run, "throughput/tokens_per_sec")[-1], "loss": metric_of(run, "loss/train/total")[-1]}


def two_case(programs, length):
    rows = max(1, TRAINED_TOKENS // length)
    with tempfile.TemporaryDirectory() as name:
        recipes = {count: write_batches(programs, Path(name) / str(count), length, rows * count) for count in (1, 2)}
        runs = [{count: pretrain_rate(programs, recipe, recipe.parent / f"run-{i}", rows, count) for count, recipe in recipes.items()}
                for i in range(RUNS_OF_TWO)]
    one, two = (max((run[count] for run in runs), key=lambda rate: rate["tokens_s"]) for count in (1, 2))
    return {"length": length, "rows": rows, "runs": runs, "one": one, "two": two, "ratio": two["tokens_s"] / one["tokens_s"]}


def measure_two(programs, options, keep):
    for length in [n for n in TRAINED_LENGTHS if n in options.lengths]:
        keep(length, lambda: two_case(programs, length))


# ---- 200 steps ----

def losses_of(programs, recipe, run, device, precision):
    pretrain(programs, recipe, COMPARED_STEPS, device, f"precision={precision}", f"save_folder={run}")
    return metric_of(run, "loss/train/total")


def compare_steps(programs, length):
    from omegaconf import OmegaConf
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_training_recipe(folder, length, COMPARED_ROWS, False)
        recipe = OmegaConf.load(path)
        recipe.model.model_config.num_hidden_layers, recipe.optimizer.lr = COMPARED_LAYERS, COMPARED_RATE
        OmegaConf.save(recipe, path)
        programs.run([sys.executable, PEERS / "torch_training.py", path, "--make", COMPARED_STEPS, COMPARED_ROWS, "--zipf"])
        ours = losses_of(programs, path, folder / "ours", our_device(), "amp_bf16")
        exact = losses_of(programs, path, folder / "exact", "cpu", "fp32")
    differences = [abs(a - b) / b for a, b in zip(ours, exact)]
    last = [sum(losses[-LAST_STEPS:]) / LAST_STEPS for losses in (ours, exact)]
    return {"length": length, "steps": len(exact), "layers": COMPARED_LAYERS, "rows": COMPARED_ROWS, "lr": COMPARED_RATE, "tokens": "zipf",
            "first": [ours[0], exact[0]], "last": last,
            "difference_of_last": abs(last[0] - last[1]) / last[1], "largest_difference": max(differences),
            "mean_difference": sum(differences) / len(differences)}


def measure_steps(programs, options, keep):
    length = TRAINED_LENGTHS[0]
    keep(length, lambda: compare_steps(programs, length))


# ---- the run ----

def gpus():
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    return [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines()]


def machine():
    found = gpus()
    if not found:
        sys.exit("nvidia-smi shows no GPU")
    name, driver, memory = found[0]
    return {**harness.hardware(), "gpu": name, "gpus": len(found), "driver": driver, "gpu_memory": memory}


def run_stage(name, results, options, write):
    """Measures the cases of a stage one after another. Each is written when it is done, and why one could not be measured is noted."""
    log(f"stage {name}, at most {options.limit} s")
    programs = Programs(options.limit)

    def keep(length, case):
        try:
            if programs.late:
                raise Failed("the time was up")
            results.setdefault(name, {})[str(length)] = case()
            log(f"  {name}, length {length}: {gpu_record.short(name, results[name][str(length)])}")
        except (Failed, SystemExit, RequestFailed, subprocess.SubprocessError, OSError, KeyError, ValueError, IndexError) as error:
            why = f"{options.limit} s were over" if programs.late else str(error) or type(error).__name__
            results.setdefault("notes", []).append(f"{name}, length {length}: not measured: {why}")
            log("  " + results["notes"][-1])
            if not isinstance(error, (Failed, SystemExit)):
                traceback.print_exc()
            programs.kill()
        write()

    with contextlib.ExitStack() as stack:
        stack.callback(programs.kill)
        stack.callback(programs.timer.cancel)
        globals()[f"measure_{name}"](programs, options, keep)


def merged(files):
    results = {}
    for file in files:
        for stage, cases in json.loads(file.read_text())["results"].items():
            if stage == "notes":
                results.setdefault("notes", []).extend(cases)
            else:
                results.setdefault(stage, {}).update(cases)
    return results


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    arguments.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    arguments.add_argument("--limit", type=int, default=540, help="seconds for each stage")
    arguments.add_argument("--no-compile", action="store_true", help="do not try torch.compile")
    arguments.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    arguments.add_argument("--merge", type=Path, nargs="+", default=[], metavar="RECORD.json")
    options = arguments.parse_args()
    options.kinds = ["eager"] if options.no_compile else ["eager", "compiled"]
    here, today, results = machine(), datetime.date.today().isoformat(), merged(options.merge)
    command = "script/bench " + " ".join(["gpu", *sys.argv[1:]])

    def write():
        stem = write_record(options.out, "gpu", here, today, gpu_record.report(results, here, command, today, harness.commit()), results)
        if results.get("inference"):
            Path(f"{stem}.svg").write_text(chart.draw(*gpu_record.chart_lines(results, here)))
    for stage in [stage for stage in STAGES if stage in options.stages]:
        if stage == "two" and here["gpus"] < 2:
            log("stage two: there is one GPU")
            continue
        run_stage(stage, results, options, write)
    print(gpu_record.report(results, here, command, today, harness.commit()))


if __name__ == "__main__":
    main()
