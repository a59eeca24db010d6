"""How fast is inference? The 80M encoder on the CPU beside PyTorch, in the same run. Called by `script/bench inference`.

    M2BERT_BUILD=build/release python bench/inference.py [--lengths 128 2048] [--dtypes float32 bfloat16 int8] [--runs N] [--no-compile]
                                                   [--only-speed] [--quick] [--out bench/results] [--no-record]

All programs load the same random weights and the same ids, and their hidden states are compared before anything is timed. Then they take
turns, one at a time, and the minimum of the runs counts. PyTorch runs in float32 and with bfloat16 weights, each eager and compiled; the
faster of the two counts. It caches its filter spectra, uses all cores, and its malloc is configured to keep freed memory (otherwise page
faults make it up to 4.5 times slower).

Also measured: memory of one long text, time from start to first vector, latency of one short text, file sizes, and a profile of a forward
pass. The record says which targets are reached.
"""
import argparse
import contextlib
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy
from omegaconf import OmegaConf

import chart
import inference_record
from harness import (MALLOC, OURS, REPOSITORY, SHARED, Exited, Program, RequestFailed, commit, find_program, hardware, hidden_states,
                     random_ids, write_ids, write_record)

PEER = REPOSITORY / "bench" / "peers" / "torch_inference.py"


class Case(NamedTuple):
    recipe: str
    batch: int
    length: int
    runs: int  # turns with each kind of PyTorch


SHORT_RECIPE = "pretrain/monarch-mixer-pretrain-786dim-80m-parameters.yaml"
RECIPE_2K, RECIPE_8K, RECIPE_32K = (f"embeddings/m2-bert-80M-{size}-retrieval.yaml" for size in ("2k", "8k", "32k"))
CASES = [Case(SHORT_RECIPE, 32, 128, 6), Case(RECIPE_2K, 8, 512, 6), Case(RECIPE_2K, 2, 2048, 6), Case(RECIPE_8K, 1, 8192, 4),
         Case(RECIPE_32K, 1, 32768, 3)]
PROFILED = (128, 2048, 32768)
ALONE_FROM = 32768  # from this length on m2bert programs run one at a time: each caches 5 GB of spectra, as PyTorch does
GEMM_LENGTH = 128  # at this length the rate of a large matmul is measured after each turn

# Defaults of the fields that a recipe leaves out.
BERT_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "use_glu_mlp": True}

# float32: largest difference, relative to the largest value. Other dtypes: least mean over the tokens of the cosine similarity of hidden
# states to those in float32; PyTorch's bfloat16 has to reach the same.
FLOAT32_TOLERANCE = 2e-4
LEAST_COSINE = {"bfloat16": 0.9995, "int8": 0.997}

SHORT_TEXT = "Monarch butterflies migrate south in autumn and return north in the spring"  # 12 words
BUCKET = 16  # its length with --pad bucket
LONG_TEXT_WORDS = 40000  # more than 32,768 tokens
START_RUNS, LATENCY_RUNS = 5, 5
COST_TURNS = 7


def log(*words):
    print(*words, file=sys.stderr, flush=True)


# ---- the programs ----

def start_m2bert(folder, dtype):
    return Program(f"m2bert {dtype}", [find_program("m2bert-bench-inference"), folder, dtype], OURS)


def start_pytorch(folder, dtype, *options, environment=MALLOC):
    return Program(f"PyTorch {dtype}", [sys.executable, PEER, folder, "--dtype", dtype, *options], environment)


def kill(side):
    if side is not None and side.process.poll() is None:
        side.process.kill()
        side.process.wait()


def m2bert(*words, **options):
    command = [str(word) for word in (find_program("m2bert"), *words, "--quiet")]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"m2bert {words[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def make_model(recipe, folder):
    source = SHARED / "yamls" / recipe
    if not source.exists():
        sys.exit(f"{source} is absent: M2BERT_SHARED names the folder that holds yamls/")
    subprocess.run([sys.executable, PEER, folder, "--make", source], check=True)


def write_random_ids(folder, case):
    write_ids(folder, random_ids(case.batch, case.length))


# ---- results first ----

def same_shape(label, states, expected):
    if states.shape != expected.shape:
        sys.exit(f"{label}: hidden states {states.shape}, expected {expected.shape}; nothing was timed")


def difference(label, states, expected):
    """Largest difference of float32 states, relative to the largest value."""
    same_shape(label, states, expected)
    found = float(abs(states - expected).max() / abs(expected).max())
    if not found <= FLOAT32_TOLERANCE:
        sys.exit(f"{label}: hidden states differ by {found:.1e} of the largest value, {FLOAT32_TOLERANCE:.0e} are allowed; nothing was timed")
    return found


def cosine(label, states, expected, least):
    """Mean over the tokens of the cosine similarity to the states in float32."""
    same_shape(label, states, expected)
    lengths = numpy.sqrt((states * states).sum(-1) * (expected * expected).sum(-1))
    found = float(((states * expected).sum(-1) / lengths).mean())
    if not found >= least:
        sys.exit(f"{label}: the mean cosine of its hidden states to those in float32 is {found:.5f}, less than {least}; nothing was timed")
    return found


def compare(label, dtype, states, expected):
    return difference(label, states, expected) if dtype == "float32" else cosine(label, states, expected, LEAST_COSINE[dtype])


# ---- m2bert beside PyTorch in one dtype ----

class Comparison:
    """m2bert's programs take turns with eager PyTorch and then with compiled PyTorch: long texts leave no memory for both at once."""

    def __init__(self, folder, dtype, expected):
        self.folder, self.dtype, self.expected = folder, dtype, expected
        self.ours_seconds, self.ours_memory, self.version = {}, {}, ""
        self.peer_seconds, self.peer_failed, self.peer_memory, self.peer_version = {}, {}, {}, ""
        self.agreement = {}
        self.after_turn = lambda ours: None

    def turns(self, ours, peer, kind, runs):
        states = hidden_states(peer, self.folder)  # also warms up
        self.agreement[f"PyTorch {kind}"] = compare(peer.label, self.dtype, states, self.expected)
        for turn in range(runs):
            sides = [*ours.values(), peer]
            for side in sides if turn % 2 == 0 else sides[::-1]:
                side.run()
            self.after_turn(ours)
        self.peer_memory[kind], self.peer_version = int(peer.ask("memory")), peer.version

    def run_against(self, ours, kind, runs):
        peer = None
        try:
            peer = start_pytorch(self.folder, self.dtype, *(["--compile"] if kind == "compiled" else []))
            self.turns(ours, peer, kind, runs)
            self.peer_seconds[kind] = self.peer_seconds.get(kind, []) + peer.times
            peer.stop()
            log(f"  PyTorch {self.dtype}, {kind}: {min(peer.times):.3f} s")
        except (RequestFailed, Exited) as error:
            if isinstance(error, Exited) and peer is not None and peer.process.poll() is None:
                raise  # it was an m2bert program
            self.peer_failed[kind] = str(error)
            log(f"  PyTorch {self.dtype}, {kind} failed: {error}")
        finally:
            kill(peer)

    def run(self, ours, kinds, runs):
        """ours: programs by name, compared and warm."""
        for kind in kinds:
            self.run_against(ours, kind, runs)
        if not all(side.times for side in ours.values()) or not self.peer_seconds:
            sys.exit(f"PyTorch did no pass in {self.dtype}: {self.peer_failed}")
        self.ours_seconds.update({name: side.times for name, side in ours.items()})
        self.ours_memory.update({name: int(side.ask("memory")) for name, side in ours.items()})
        self.version = next(iter(ours.values())).version.rsplit(", ", 1)[0]

    def fastest(self):
        return min(self.peer_seconds, key=lambda kind: min(self.peer_seconds[kind]))

    def result(self):
        kind = self.fastest()
        return {"dtype": self.dtype, "version": self.version, "peer_version": self.peer_version, "ours_seconds": self.ours_seconds,
                "peer_seconds": self.peer_seconds, "peer_failed": self.peer_failed, "peer_kind": kind, "peer_best": min(self.peer_seconds[kind]),
                "agreement": self.agreement, "ours_memory": self.ours_memory, "peer_memory": self.peer_memory[kind]}


@contextlib.contextmanager
def running(sides):
    try:
        yield sides
    finally:
        for side in sides.values():
            kill(side)


# ---- speed over length ----

def compare_float32(folder, case, options):
    """The comparison in float32, or None if it is not wanted, and the hidden states that everything else is compared with."""
    with running({"float32": start_m2bert(folder, "float32")}) as sides:
        expected = hidden_states(sides["float32"], folder)
        if "float32" not in options.dtypes:
            return None, expected
        log(f"L = {case.length}, batch {case.batch}, float32")
        comparison = Comparison(folder, "float32", expected)
        comparison.run(sides, options.kinds, options.runs or case.runs)
    return with_rates(comparison.result(), case), expected


def compare_narrow(folder, case, expected, options):
    """bfloat16 and int8 beside PyTorch's bfloat16, with the profile and the rate of a large matmul."""
    names = [name for name in ("bfloat16", "int8") if name in options.dtypes]
    if not names:
        return None
    log(f"L = {case.length}, batch {case.batch}, " + " and ".join(names))
    comparison, extra, kinds, gemms = Comparison(folder, "bfloat16", expected), {}, options.kinds, []
    if case.length == GEMM_LENGTH:
        comparison.after_turn = lambda ours: gemms.append(float(next(iter(ours.values())).ask("gemm")))
    for group in [names] if case.length < ALONE_FROM else [[name] for name in names]:
        with running({name: start_m2bert(folder, name) for name in group}) as sides:
            for name, side in sides.items():
                comparison.agreement[side.label] = compare(side.label, name, hidden_states(side, folder), expected)
            comparison.run(sides, kinds, options.runs or case.runs)
            if "bfloat16" in sides and case.length in PROFILED:
                extra["profile"] = json.loads(sides["bfloat16"].ask("profile"))
        kinds = [comparison.fastest()]
    if gemms:
        extra["product_gflops"] = max(gemms)
    return with_rates({**comparison.result(), **extra}, case)


def with_rates(result, case):
    tokens = case.batch * case.length
    result["ours_tokens_s"] = {name: tokens / min(times) for name, times in result["ours_seconds"].items()}
    result["peer_tokens_s"] = peer = tokens / result["peer_best"]
    for name, rate in result["ours_tokens_s"].items():
        log(f"  m2bert {name}: {rate:.0f} tokens/s, PyTorch {result['dtype']} {peer:.0f}, ratio {rate / peer:.2f}")
    return result


def measure_speed(folder, case, options):
    write_random_ids(folder, case)
    exact, expected = compare_float32(folder, case, options)
    narrow = compare_narrow(folder, case, expected, options)
    races = {name: race for name, race in (("float32", exact), ("bfloat16", narrow)) if race}
    return {"recipe": case.recipe, "batch": case.batch, "length": case.length, "races": races}


def matmul_mflop(recipe):
    """MFLOP of matmuls per token: the mixer's two linear layers and the MLP's two, block-diagonal or dense."""
    config = {**BERT_BASE, **OmegaConf.load(SHARED / "yamls" / recipe).model.model_config}
    width, inner = config["hidden_size"], config["intermediate_size"]
    blocks = config["monarch_mlp_nblocks"] if config["use_monarch_mlp"] else 1
    mlp = width * inner * (3 if config["use_glu_mlp"] else 2) / blocks
    return 2e-6 * config["num_hidden_layers"] * (4 * width * width + mlp)


# ---- the program: memory, start, latency, files ----

# Runs a program and prints its peak resident bytes. This runs in a small process of its own, because the peak includes the memory of the
# process that starts the program.
WATCH = """
import os, sys
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def convert(folder, dtype):
    file = folder / f"{dtype}.safetensors"
    if not file.exists():
        m2bert("convert", folder / "model.safetensors", file, "--dtype", dtype)
    return file


def measure_memory(folder):
    """Peak resident bytes of `m2bert embed` and of PyTorch for one text of 32,768 tokens, and the size of the weights."""
    log("memory of one long text")
    weights, text, vectors = convert(folder, "bfloat16"), folder / "long.txt", folder / "long.npy"
    text.write_text(" ".join(SHORT_TEXT.split() * (LONG_TEXT_WORDS // 12)) + "\n")
    words = [find_program("m2bert"), "embed", "--quiet", "--model", weights, "--config", folder / "config.yaml", "--dtype", "bfloat16",
             "--pooling", "cls", text, "--output", vectors]
    done = subprocess.run([sys.executable, "-ISc", WATCH, *map(str, words)], capture_output=True, text=True)
    found = numpy.load(vectors) if done.returncode == 0 else numpy.zeros(0)
    if found.size == 0 or not numpy.isfinite(found).all():
        sys.exit(f"m2bert embed of a long text failed: {done.stderr.strip()}")
    write_random_ids(folder, CASES[-1])
    peer = start_pytorch(folder, "bfloat16", "--weights", weights, "--spectra", "computed", environment={})
    peer.run()
    result = {"file": weights.stat().st_size, "ours": int(done.stdout), "peer": int(peer.ask("memory"))}
    peer.stop()
    weights.unlink()
    return result


def measure_cost(folder):
    """Seconds of 32,768 tokens in bfloat16, as many short texts and as one long text, in turns."""
    log("cost of a token in a long text")
    cases = {"short": CASES[0], "long": CASES[-1]}
    folders = {name: linked(folder, name) for name in cases}
    for name, case in cases.items():
        write_random_ids(folders[name], case)
    expected = float32_states(folders["short"])  # the long text's were compared before
    seconds = {name: [] for name in cases}
    with running({name: start_m2bert(f, "bfloat16") for name, f in folders.items()}) as sides:
        compare(sides["short"].label, "bfloat16", hidden_states(sides["short"], folders["short"]), expected)
        for _ in range(2):  # filters are cached from the second pass of a length on
            sides["long"].run()
        for turn in range(COST_TURNS):
            for name in list(cases) if turn % 2 == 0 else list(cases)[::-1]:
                passes = CASES[-1].length // (cases[name].batch * cases[name].length)
                seconds[name].append(sum(sides[name].run() for _ in range(passes)))
    log("  " + ", ".join(f"{name} {min(times):.3f} s" for name, times in seconds.items()))
    return seconds


def float32_states(folder):
    with running({"float32": start_m2bert(folder, "float32")}) as sides:
        return hidden_states(sides["float32"], folder)


def short_ids(length):
    ids = json.loads(m2bert("tokenize", "--json", "--text", SHORT_TEXT))["ids"]
    if len(ids) > BUCKET:
        sys.exit(f"the short text has {len(ids)} tokens, more than {BUCKET}")
    return [ids + [0] * (length - len(ids))]


def linked(folder, name):
    """A folder with links to the same model, for other ids."""
    other = folder / name
    other.mkdir()
    for file in ("config.yaml", "model.safetensors"):
        (other / file).symlink_to(folder / file)
    return other


def measure_latency(folder, options):
    """Seconds of one text of 12 words, padded to 2048 tokens and to the bucket; the bucket's folder and its first hidden state."""
    log("latency of one short text")
    folders = {"max": linked(folder, "max"), "bucket": linked(folder, "bucket")}
    write_ids(folders["max"], short_ids(2048))
    write_ids(folders["bucket"], short_ids(BUCKET))
    with running({pad: start_m2bert(f, "bfloat16") for pad, f in folders.items()}) as sides:
        expected = {pad: float32_states(f) for pad, f in folders.items()}
        states = {pad: hidden_states(side, folders[pad]) for pad, side in sides.items()}
        for pad, side in sides.items():
            compare(side.label, "bfloat16", states[pad], expected[pad])
        comparison = Comparison(folders["max"], "bfloat16", expected["max"])
        comparison.run(sides, options.kinds, options.runs or LATENCY_RUNS)
    result = comparison.result()
    log("  " + ", ".join(f"--pad {pad} {min(times):.4f} s" for pad, times in result["ours_seconds"].items()))
    return result, folders["bucket"], states["bucket"][0, 0]


def first_vector_ours(folder, weights, state):
    start = time.perf_counter()
    line = m2bert("embed", "--model", weights, "--config", folder / "config.yaml", "--dtype", "bfloat16", "--pad", "bucket", "--pooling", "cls",
                  "--text", SHORT_TEXT)
    seconds = time.perf_counter() - start
    cosine("m2bert embed", numpy.array(json.loads(line)["embedding"], dtype=numpy.float32), state, LEAST_COSINE["bfloat16"])
    return seconds


def first_vector_peer(bucket, weights):
    start = time.perf_counter()
    side = start_pytorch(bucket, "bfloat16", "--weights", weights)
    side.run()
    seconds = time.perf_counter() - start
    side.stop()
    return seconds


def measure_start(folder, bucket, state, runs):
    """Seconds of a whole process that loads bfloat16 weights and computes one vector."""
    log("start to first vector")
    weights = convert(folder, "bfloat16")
    pairs = [(first_vector_ours(folder, weights, state), first_vector_peer(bucket, weights)) for _ in range(runs)]
    return {"ours": [ours for ours, _ in pairs], "peer": [peer for _, peer in pairs]}


def measure_program(folder, recipe, options):
    """What else is measured with the model of a recipe."""
    found = {}
    if recipe == RECIPE_2K:
        found["latency"], bucket, state = measure_latency(folder, options)
        found["start"] = measure_start(folder, bucket, state, options.runs or START_RUNS)
        found["files"] = {dtype: convert(folder, dtype).stat().st_size for dtype in ("bfloat16", "int8")}
        found["files"]["float32"] = (folder / "model.safetensors").stat().st_size
    if recipe == RECIPE_32K:
        found["memory"] = measure_memory(folder)
        if "bfloat16" in options.dtypes:
            found["cost"] = measure_cost(folder)
    return found


def measure(options):
    results = {"speed": [], "mflop": matmul_mflop(SHORT_RECIPE)}
    cases = [case for case in CASES if case.length in options.lengths]
    for recipe in dict.fromkeys(case.recipe for case in cases):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_model(recipe, folder)
            results["speed"] += [measure_speed(folder, case, options) for case in cases if case.recipe == recipe]
            if not options.only_speed:
                results.update(measure_program(folder, recipe, options))
    return results


def read_options():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--lengths", type=int, nargs="+", choices=[case.length for case in CASES])
    arguments.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "int8"], choices=["float32", "bfloat16", "int8"])
    arguments.add_argument("--runs", type=int, help="turns with each kind of PyTorch (default: 6, fewer for long texts)")
    arguments.add_argument("--no-compile", action="store_true", help="do not try torch.compile")
    arguments.add_argument("--only-speed", action="store_true", help="skip memory, start, latency and files")
    arguments.add_argument("--quick", action="store_true", help="a trial: lengths 128 and 2048, one turn, eager PyTorch, no record")
    arguments.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    arguments.add_argument("--no-record", action="store_true", help="print only")
    options = arguments.parse_args()
    if options.runs is not None and options.runs < 1:
        arguments.error("--runs: at least 1")
    if options.quick:
        options.runs, options.no_compile, options.no_record = options.runs or 1, True, True
    options.lengths = options.lengths or ([128, 2048] if options.quick else [case.length for case in CASES])
    options.kinds = ["eager"] if options.no_compile else ["eager", "compiled"]
    return options


def main():
    options = read_options()
    machine, today, began = hardware(), datetime.date.today().isoformat(), time.perf_counter()
    results = measure(options)
    log(f"measured in {(time.perf_counter() - began) / 60:.1f} minutes")
    text = inference_record.report(results, machine, "script/bench " + " ".join(["inference", *sys.argv[1:]]), today, commit())
    picture = chart.draw(*inference_record.chart_lines(results, machine))
    print(text)
    stem = ""
    if not options.no_record:
        stem = write_record(options.out, "inference", machine, today, text, results)
        stem.with_name(stem.name + ".svg").write_text(picture)
    print("For README.md:\n")
    print(inference_record.readme(results, machine, stem.name if stem else "NAME"))


if __name__ == "__main__":
    main()
