"""Embedding speed: tokens/s of the M2-80M encoder beside PyTorch, in the same run. Called by `script/bench embed`.

    M2BERT_BUILD=build/release python bench/embed.py [--runs N] [--out bench/results] [--no-record]

Both programs load the same random weights and the same ids; their hidden states are compared before anything is timed. Then they
take turns, and the minimum of the runs counts. The peer keeps its filter spectra, uses all cores and gets a malloc that does not
give memory back (page faults cost it up to 4.5 times otherwise).
"""
import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# tokenize.py of this folder would hide the standard library's module from torch.
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).resolve().parent]

REPOSITORY = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("M2BERT_BUILD", REPOSITORY / "build" / "release"))
SHARED = Path(os.environ.get("M2BERT_SHARED", REPOSITORY.parent / "shared"))
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "268435456", "MALLOC_ARENA_MAX": "1"}
# recipe, batch, length, PyTorch's tokens/s of this kind (fp32, kept spectra) on two Zen 4 cores: a peer under 85% of it there is no peer
CASES = [("pretrain/monarch-mixer-pretrain-786dim-80m-parameters.yaml", 32, 128, 1048),
         ("embeddings/m2-bert-80M-2k-retrieval.yaml", 2, 2048, 884)]
PEER_SHARE = 0.85
TOLERANCE = 2e-4  # largest difference of the hidden states, which are of order 1


class Side:
    """A program that answers run/save on its pipes."""

    def __init__(self, label, command, environment=None):
        self.label, self.times = label, []
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **(environment or {})})
        self.version = self.answer().removeprefix("ready ")

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.label} stopped with {self.process.wait()}")
        return line.strip()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def run(self):
        seconds = float(self.ask("run"))
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
    def git(*arguments):
        return subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if git("status", "--porcelain", "--", "m2bert", "bench") else "")


def compare(a, b):
    from safetensors.torch import load_file
    ours, theirs = load_file(a)["sequence_output"].float(), load_file(b)["sequence_output"].float()
    if ours.shape != theirs.shape:
        sys.exit(f"shapes differ: {tuple(ours.shape)} and {tuple(theirs.shape)}")
    difference, largest = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    if not difference <= TOLERANCE * max(1.0, largest):
        sys.exit(f"results differ by {difference:.2e} (largest value {largest:.2f}): nothing was timed")
    return difference, largest


def measure(case, folder, runs):
    recipe, batch, length, reference = case
    source = SHARED / "yamls" / recipe
    if not source.exists():
        sys.exit(f"{source} is absent: M2BERT_SHARED names the folder that holds yamls/")
    peer_program = REPOSITORY / "bench" / "peers" / "torch_embed.py"
    peer = Side("PyTorch", [sys.executable, peer_program, folder, "--make", source, batch, length], MALLOC)
    ours = Side("m2bert", [find_program(), folder])
    ours.ask(f"save {folder}/ours.safetensors")
    peer.ask(f"save {folder}/peer.safetensors")
    difference, largest = compare(folder / "ours.safetensors", folder / "peer.safetensors")
    for side in (ours, peer):
        side.run()
        side.times.clear()
    for turn in range(runs):
        for side in (ours, peer) if turn % 2 == 0 else (peer, ours):
            side.run()
    stages = json.loads(ours.ask("stages"))
    for side in (ours, peer):
        side.stop()
    tokens = batch * length
    rates = [tokens / min(side.times) for side in (ours, peer)]
    return {"recipe": recipe, "batch": batch, "length": length, "ours_tokens_s": rates[0], "peer_tokens_s": rates[1],
            "ratio": rates[0] / rates[1], "difference": difference, "largest": largest, "reference_tokens_s": reference,
            "ours_seconds": ours.times, "peer_seconds": peer.times, "ours_version": ours.version, "peer_version": peer.version,
            "stages_seconds": stages}


def find_program():
    for folder in (".", "bench", "bin", "tests/parity"):
        path = BUILD / folder / "m2bert-bench-embed"
        if path.is_file():
            return path
    sys.exit(f"m2bert-bench-embed is not built in {BUILD} (M2BERT_BUILD names the build folder)")


def verdict(result, machine):
    share = result["peer_tokens_s"] / result["reference_tokens_s"]
    if not machine["zen4"]:
        return f"peer at {share:.0%} of the Zen 4 table; this is another kind of CPU, so the 85% rule does not apply"
    held = "a fair peer" if share >= PEER_SHARE else "NOT A PEER (under 85%)"
    return f"peer at {share:.0%} of the Zen 4 table: {held}"


def report(results, machine, command, when):
    lines = ["# Embedding speed: the M2-80M encoder, fp32", "",
             f"- Command: `{command}`", f"- Date: {when}", f"- Commit: {commit()}",
             f"- Hardware: {machine['cpu']} (family {machine['family']}, model {machine['model']}), {machine['cores']} cores, "
             f"{' '.join(machine['features'])}", f"- m2bert: {results[0]['ours_version']}",
             f"- Peer: {results[0]['peer_version']}, filter spectra kept, malloc tuned",
             "- Minimum of the runs, the two taking turns; hidden states compared first.", "",
             "| batch | length | m2bert tokens/s | PyTorch tokens/s | ratio | largest difference |", "| --- | --- | --- | --- | --- | --- |"]
    for r in results:
        lines.append(f"| {r['batch']} | {r['length']} | {r['ours_tokens_s']:.0f} | {r['peer_tokens_s']:.0f} | {r['ratio']:.2f} "
                     f"| {r['difference']:.1e} |")
    lines += [""] + [f"- L = {r['length']}: {verdict(r, machine)}." for r in results]
    lines += ["", "## Where m2bert's time goes", "",
              "One pass with every stage evaluated on its own, which costs a little more than the timed pass.", ""]
    for r in results:
        total = sum(r["stages_seconds"].values())
        parts = sorted(r["stages_seconds"].items(), key=lambda item: -item[1])
        lines.append(f"- L = {r['length']} ({total:.2f} s): " + ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts))
    return "\n".join(lines) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    arguments.add_argument("--no-record", action="store_true", help="print only")
    options = arguments.parse_args()
    machine = hardware()
    today = datetime.date.today().isoformat()
    results = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(case, Path(folder), options.runs))
            print(f"L = {case[2]}: {results[-1]['ours_tokens_s']:.0f} tokens/s, PyTorch {results[-1]['peer_tokens_s']:.0f}, "
                  f"ratio {results[-1]['ratio']:.2f}", file=sys.stderr)
    text = report(results, machine, f"script/bench embed (bench/embed.py --runs {options.runs})", today)
    print(text)
    if not options.no_record:
        options.out.mkdir(parents=True, exist_ok=True)
        words = re.sub(r"[^a-z0-9]+", "-", f"{machine['cpu']} {machine['cores']} cores".lower()).strip("-")
        stem = f"embed_{words}_{today}"
        (options.out / f"{stem}.md").write_text(text)
        record = {"command": [sys.argv[0], *sys.argv[1:]], "hardware": machine, "date": today, "commit": commit(), "results": results}
        (options.out / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
        print(f"written to {options.out / stem}.md and .json", file=sys.stderr)


if __name__ == "__main__":
    main()
