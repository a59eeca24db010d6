"""Shared by the benchmarks: running a program, describing the machine and the commit, writing records."""
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("M2BERT_BUILD", REPOSITORY / "build" / "release"))
SHARED = Path(os.environ.get("M2BERT_SHARED", REPOSITORY.parent / "shared"))
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "268435456", "MALLOC_ARENA_MAX": "1"}

# As in the program itself (m2bert/limit_spinning.cpp).
OURS = {"GOMP_SPINCOUNT": "5000"}


class Exited(SystemExit):
    """A program ended instead of answering. If not caught, this ends the benchmark with its message."""


class RequestFailed(Exception):
    """A program answered with an error, and is still running."""


class Program:
    """A running program that answers requests, one a line on its standard input; to "run..." with seconds. on_start gets it before its first
    answer, which may take long."""

    def __init__(self, label, command, environment=None, on_start=None):
        self.label, self.times = label, []
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **(environment or {})})
        if on_start:
            on_start(self)
        self.version = self.answer().removeprefix("ready ")

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Exited(f"{self.label} stopped with {self.process.wait()}")
        return line.strip()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        if answer.startswith("error: "):
            raise RequestFailed(f"{self.label}: {answer.removeprefix('error: ')}")
        return answer

    def run(self, request="run"):
        seconds = float(self.ask(request))
        self.times.append(seconds)
        return seconds

    def stop(self):
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        self.process.wait()


def hardware():
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    family, model = re.search(r"cpu family\s*: (\d+)", text), re.search(r"\nmodel\s*: (\d+)", text)
    flags = set(re.search(r"flags\s*: (.*)", text).group(1).split()) if "flags" in text else set()
    zen4 = name and "AMD" in name.group(1) and "avx512_bf16" in flags
    features = [f for f in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    return {"cpu": name.group(1) if name else platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0)),
            "family": family.group(1) if family else "", "model": model.group(1) if model else "", "features": features, "zen4": bool(zen4)}


def commit():
    if "M2BERT_COMMIT" in os.environ:  # of a bundle, which has no repository (script/bundle)
        return os.environ["M2BERT_COMMIT"]
    def git(*arguments):
        return subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if git("status", "--porcelain", "--", "m2bert", "bench") else "")


def find_program(name):
    for folder in (".", "bench", "cli", "bin", "tests/parity"):
        path = BUILD / folder / name
        if path.is_file():
            return path
    sys.exit(f"{name} is not built in {BUILD} (M2BERT_BUILD names the build folder)")


def write_record(folder, what, machine, when, text, results):
    """Writes folder/WHAT_HARDWARE_DATE.md, for people, and .json. Returns the path of both without the extension."""
    folder.mkdir(parents=True, exist_ok=True)
    name = machine.get("gpu") or f"{machine['cpu']} {machine['cores']} cores"
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    stem = f"{what}_{words}_{when}"
    record = {"command": [sys.argv[0], *sys.argv[1:]], "hardware": machine, "date": when, "commit": commit(), "results": results}
    (folder / f"{stem}.md").write_text(text)
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {folder / stem}.md and .json", file=sys.stderr)
    return folder / stem


# ---- inputs and results of the inference programs ----

def random_ids(batch, length):
    import numpy
    ids = numpy.random.default_rng(1).integers(1000, 30000, (batch, length))
    ids[:, 0] = 101  # [CLS]
    return ids


def write_ids(folder, ids, mask=None):
    import numpy
    from safetensors.numpy import save_file
    tensors = {"input_ids": ids} if mask is None else {"input_ids": ids, "attention_mask": mask}
    save_file({name: numpy.asarray(t, dtype=numpy.int64) for name, t in tensors.items()}, folder / "inputs.safetensors")


def hidden_states(side, folder):
    from safetensors.numpy import load_file
    file = folder / "states.safetensors"
    side.ask(f"save {file}")
    states = load_file(file)["sequence_output"]
    file.unlink()
    return states
