"""Where does a forward pass on an NVIDIA GPU spend its time? Every kernel of one pass of the 80M encoder, by Nsight Compute.

    M2BERT_BUILD=build/release-cuda python bench/gpu_profile.py [--limit SECONDS] [--tokens N] [--out FOLDER] LENGTH...

Prints and writes, for each length, a table of the kernels with their time, GB/s and shares of the peaks of memory and of arithmetic.
"""
import argparse
import collections
import csv
import datetime
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import gpu
import harness
from gpu_record import table

TIME, BYTES = "gpu__time_duration.sum", "dram__bytes.sum"
MEMORY, ARITHMETIC = "dram__throughput.avg.pct_of_peak_sustained_elapsed", "sm__throughput.avg.pct_of_peak_sustained_elapsed"
SCALES = {"nsecond": 1e-3, "ns": 1e-3, "usecond": 1, "us": 1, "msecond": 1e3, "ms": 1e3, "byte": 1, "Kbyte": 1e3, "Mbyte": 1e6,
          "Gbyte": 1e9}


def profile(length, tokens, limit):
    """ncu's table of the kernels of one pass, as text."""
    from omegaconf import OmegaConf
    with tempfile.TemporaryDirectory() as folder:
        recipe = OmegaConf.load(gpu.RECIPE)
        recipe.max_seq_len = length
        OmegaConf.save(recipe, Path(folder) / "recipe.yaml")
        command = ["ncu", "--clock-control", "none", "--profile-from-start", "off", "--target-processes", "all", "--csv", "--page", "raw",
                   "--metrics", ",".join([TIME, BYTES, MEMORY, ARITHMETIC]), harness.find_program("m2bert"), "bench", "forward", "--config",
                   Path(folder) / "recipe.yaml", "--dtype", "bfloat16", "--length", length, "--batch-size", max(1, tokens // length),
                   "--runs", 1, "--profile", "--device", "gpu", "--quiet"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=limit,
                              env={**os.environ, "MLX_USE_CUDA_GRAPHS": "0"})  # ncu sees kernels, not graphs
    if '"Kernel Name"' not in done.stdout:
        sys.exit(f"ncu shows no kernels: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout


def kernels(text):
    """(name, microseconds, bytes, percent of the memory's peak, percent of the arithmetic's) of each kernel."""
    lines = text[text.index('"ID"'):]
    rows = csv.DictReader(io.StringIO(lines))
    units = next(rows)

    def value(row, metric):
        number = row.get(metric)
        return float(number.replace(",", "")) * SCALES.get(units[metric], 1) if number else 0.0
    metrics = (TIME, BYTES, MEMORY, ARITHMETIC)
    return [(row["Kernel Name"], *(value(row, metric) for metric in metrics)) for row in rows if row["Kernel Name"]]


def short_name(name):
    """A kernel's name without template arguments and namespaces."""
    name = re.sub(r"\(.*", "", name.removeprefix("void "))
    while re.search(r"<[^<>]*>", name):
        name = re.sub(r"<[^<>]*>", "", name)
    return name.split("::")[-1].strip() or "?"


def summary(found):
    """One row a kernel name, longest first."""
    groups = collections.defaultdict(list)
    for name, *values in found:
        groups[short_name(name)].append(values)
    total = sum(values[0] for all_values in groups.values() for values in all_values)
    rows = []
    for name, all_values in sorted(groups.items(), key=lambda group: -sum(values[0] for values in group[1])):
        time, moved = sum(v[0] for v in all_values), sum(v[1] for v in all_values)
        memory, arithmetic = (sum(v[0] * v[i] for v in all_values) / time if time else 0 for i in (2, 3))
        rows.append([f"`{name}`", str(len(all_values)), f"{time:.1f}", f"{time / total:.1%}", f"{moved / time / 1e3 if time else 0:.0f}",
                     f"{memory:.0f}%", f"{arithmetic:.0f}%"])
    return total, rows


def report(length, tokens, found):
    total, rows = summary(found)
    return ["", f"## {max(1, tokens // length)} x {length} tokens: {len(found)} kernels, {total / 1e3:.2f} ms", "",
            *table(["kernel", "calls", "us", "share", "GB/s", "of the memory's peak", "of the arithmetic's"], rows)]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("lengths", type=int, nargs="+", metavar="LENGTH")
    arguments.add_argument("--limit", type=int, default=120, help="seconds for each length")
    arguments.add_argument("--tokens", type=int, default=gpu.TOKENS, help="of the batch")
    arguments.add_argument("--out", type=Path, default=harness.REPOSITORY / "bench" / "results")
    options = arguments.parse_args()
    here, today = gpu.machine(), datetime.date.today().isoformat()
    lines = [f"# One forward pass of the 80M encoder in bfloat16 on {here['gpu']}, kernel by kernel", "",
             f"- Command: `bench/gpu_profile.py {' '.join(sys.argv[1:])}` (ncu, without CUDA graphs)", f"- Date: {today}",
             f"- Commit: {harness.commit()}", f"- Driver: {here['driver']}"]
    options.out.mkdir(parents=True, exist_ok=True)
    for length in options.lengths:
        try:
            lines += report(length, options.tokens, kernels(profile(length, options.tokens, options.limit)))
        except subprocess.TimeoutExpired:
            lines += ["", f"## length {length}: not measured, {options.limit} s were over"]
        text = "\n".join(lines) + "\n"
        (options.out / f"gpu-profile_{re.sub('[^a-z0-9]+', '-', here['gpu'].lower())}_{today}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
