"""Embedding speed: tokens/s of the M2-80M encoder beside PyTorch, in the same run. Called by `script/bench embed`.

    M2BERT_BUILD=build/release python bench/embed.py [--runs N] [--out bench/results] [--no-record]

Both programs load the same random weights and the same ids; their hidden states are compared before anything is timed. Then they
take turns, and the minimum of the runs counts. The peer keeps its filter spectra, uses all cores and gets a malloc that does not
give memory back (page faults cost it up to 4.5 times otherwise).
"""
import sys

sys.path.append(sys.path.pop(0))  # this folder comes last: its tokenize.py would hide the standard library's

import argparse
import datetime
import json
import tempfile
from pathlib import Path

from harness import MALLOC, REPOSITORY, SHARED, Side, commit, find_program, hardware, write_record

# recipe, batch, length, PyTorch's tokens/s of this kind (fp32, kept spectra) on two Zen 4 cores: a peer under 85% of it there is no peer
CASES = [("pretrain/monarch-mixer-pretrain-786dim-80m-parameters.yaml", 32, 128, 1048),
         ("embeddings/m2-bert-80M-2k-retrieval.yaml", 2, 2048, 884)]
PEER_SHARE = 0.85
TOLERANCE = 2e-4  # largest difference of the hidden states, which are of order 1


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
    ours = Side("m2bert", [find_program("m2bert-bench-embed"), folder])
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
        write_record(options.out, "embed", machine, today, text, results)


if __name__ == "__main__":
    main()
