"""How fast is training? Whole steps (forward, backward, clipping, AdamW) of the 80M model beside PyTorch.

Called by `script/bench training`.

    M2BERT_BUILD=build/release python bench/training.py [--runs N] [--tokens N] [--lengths 128 2048] [--precisions fp32 bf16] [--no-compile]
                                                     [--out bench/results] [--no-record]

Both programs start from the same random weights and use the same batches, with the optimizer and clipping of the recipe. First the losses
and gradient norms of the first steps are compared with PyTorch's in float32, without dropout and at a tenth of the learning rate. Then,
with the recipe's dropout, PyTorch is tried eager and compiled (in bfloat16: with autocast and with bfloat16 weights), and the fastest takes
turns with m2bert; the minimum of the runs counts. PyTorch uses all cores, and its malloc is configured to keep freed memory. Peak memory is
that of the whole process; PyTorch's in float32 is also measured with the default malloc, and the lower one counts.
"""
import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import MALLOC, REPOSITORY, Exited, Program, RequestFailed, commit, find_program, hardware, write_record

RECIPES = {128: "m2-bert-80m-128.yaml", 2048: "m2-bert-80m-2k.yaml"}
PEER = REPOSITORY / "bench" / "peers" / "torch_training.py"
CHECKED_STEPS = {"fp32": 2, "bf16": 1}  # in bfloat16 AdamW amplifies rounding: the second step cannot be compared
BATCHES = 4
KINDS = {"fp32": [("fp32", False), ("fp32", True)], "bf16": [("amp", False), ("bf16", False), ("amp", True), ("bf16", True)]}
# Factor of the recipe's learning rate in the steps that are compared, as early in a warm-up. AdamW's first updates are of full size even
# if a gradient is nothing but rounding, so at the full rate any two programs diverge within a few steps.
CHECKED_RATE = 0.1
# Largest relative differences of a loss and of a gradient's norm from PyTorch's in float32.
TOLERANCE = {"fp32": (1e-4, 2e-3), "bf16": (1e-3, 2e-2)}


def write_recipe(folder, length, rows, precision, exact):
    from omegaconf import OmegaConf
    recipe = OmegaConf.load(REPOSITORY / "recipes" / "pretrain" / RECIPES[length])
    recipe.train_loader = {"name": "batches", "file": str(folder / "batches.safetensors")}
    for key in ("eval_loader", "eval_interval", "expand_positional_embeddings"):
        recipe.pop(key, None)
    recipe.update({"load_path": str(folder / "model.safetensors"), "global_train_batch_size": rows, "device_train_microbatch_size": rows,
                   "precision": "amp_bf16" if precision == "bf16" else "fp32", "save_folder": str(folder / "run")})
    if exact:
        recipe.model.model_config.hidden_dropout_prob = 0.0
        recipe.optimizer.lr *= CHECKED_RATE
    path = folder / f"{'exact' if exact else 'recipe'}_{precision}.yaml"
    OmegaConf.save(recipe, path)
    return path


def ours(recipe):
    return Program("m2bert", [find_program("m2bert-bench-training"), recipe])


def peer(recipe, mode, compiled, environment=MALLOC):
    words = [sys.executable, PEER, recipe, "--mode", mode] + (["--compile"] if compiled else [])
    return Program("PyTorch", words, environment)


def steps(side, count):
    for _ in range(count):
        side.run()
    found = json.loads(side.ask("losses")), int(side.ask("memory"))
    side.stop()
    return found


def check(recipe, precision):
    """Largest relative differences of losses and norms from PyTorch's in float32, and its peak memory with the default malloc."""
    mine, _ = steps(ours(recipe), CHECKED_STEPS[precision])
    theirs, memory = steps(peer(recipe, "fp32", False, {}), CHECKED_STEPS[precision])
    differences = [max(abs(a[i] - b[i]) / abs(b[i]) for a, b in zip(mine, theirs, strict=True)) for i in range(2)]
    if not all(d <= allowed for d, allowed in zip(differences, TOLERANCE[precision])):
        sys.exit(f"[loss, gradient norm] of the steps differ: {mine} and {theirs}; nothing was timed")
    return differences, memory


def fastest_peer(recipe, precision, compile_too):
    """Times the second step of each kind of PyTorch. Returns the fastest, still running, its kind, and the seconds of each."""
    best, kind, seconds = None, None, {}
    for mode, compiled in KINDS[precision]:
        if compiled and not compile_too:
            continue
        name = mode + (" compiled" if compiled else " eager")
        try:
            side = peer(recipe, mode, compiled)
            side.run()
            seconds[name] = side.run()
        except (RequestFailed, Exited) as error:
            seconds[name] = str(error)
            continue
        if best and seconds[name] >= best.times[-1]:
            side.stop()
            continue
        if best:
            best.stop()
        best, kind = side, (mode, compiled)
    if not best:
        sys.exit(f"PyTorch did no step: {seconds}")
    return best, kind, seconds


def take_turns(mine, theirs, runs):
    mine.run()
    mine.run()
    sides = [mine, theirs]
    parts = [[], []]
    for turn in range(runs):
        for i in (0, 1) if turn % 2 == 0 else (1, 0):
            parts[i].append(json.loads(sides[i].ask("parts")))
    found = [{"seconds": [sum(step.values()) for step in of_side], "parts": {part: min(step[part] for step in of_side) for part in of_side[0]},
              "memory": int(side.ask("memory")), "losses": json.loads(side.ask("losses")), "version": side.version}
             for side, of_side in zip(sides, parts, strict=True)]
    found[0]["products"] = json.loads(mine.ask("flops"))
    for side in sides:
        side.stop()
    return found


def measure(length, precision, folder, options):
    rows = max(1, options.tokens // length)
    exact = write_recipe(folder, length, rows, precision, True)
    recipe = write_recipe(folder, length, rows, precision, False)
    subprocess.run([sys.executable, PEER, exact, "--make", str(BATCHES), str(rows)], check=True)
    differences, memory = check(exact, precision)
    side, kind, tried = fastest_peer(recipe, precision, not options.no_compile)
    mine, theirs = take_turns(ours(recipe), side, options.runs)
    rates = [rows * length / min(side["seconds"]) for side in (mine, theirs)]
    theirs["memory_fp32_own_malloc"] = memory
    return {"length": length, "rows": rows, "precision": precision, "differences": differences, "peer_kind": kind, "peer_tried": tried,
            "ours": mine, "peer": theirs, "ours_tokens_s": rates[0], "peer_tokens_s": rates[1], "ratio": rates[0] / rates[1],
            "ours_memory": mine["memory"], "peer_memory": min(theirs["memory"], memory) if kind == ("fp32", False) else theirs["memory"]}


def kind_name(kind):
    return {"fp32": "fp32", "amp": "autocast", "bf16": "bf16 weights"}[kind[0]] + (", compiled" if kind[1] else ", eager")


def report(results, machine, command, when):
    first = results[0]
    lines = ["# Training speed: the 80M model, whole steps", "", f"- Command: `{command}`", f"- Date: {when}", f"- Commit: {commit()}",
             f"- Hardware: {machine['cpu']} (family {machine['family']}, model {machine['model']}), {machine['cores']} cores, "
             f"{' '.join(machine['features'])}", f"- m2bert: {first['ours']['version']}",
             f"- Peer: {first['peer']['version']}, fused AdamW, malloc tuned; the fastest of the kinds below",
             "- A step is forward, backward, clipping and update, in one microbatch, with the recipe's dropout. Minimum of the runs, the two taking "
             f"turns; losses and gradient norms of the first steps ({CHECKED_STEPS['fp32']}; in bf16 {CHECKED_STEPS['bf16']}) were compared with "
             "PyTorch's in fp32 first, without dropout.", "",
             "| length | rows | precision | m2bert tokens/s | PyTorch tokens/s | ratio | peak memory, m2bert | PyTorch | PyTorch's kind | losses differ by | gradient norms by |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for r in results:
        lines.append(f"| {r['length']} | {r['rows']} | {r['precision']} | {r['ours_tokens_s']:.0f} | {r['peer_tokens_s']:.0f} | {r['ratio']:.2f} "
                     f"| {r['ours_memory'] / 2**30:.2f} GiB | {r['peer_memory'] / 2**30:.2f} GiB | {kind_name(r['peer_kind'])} | {r['differences'][0]:.1e} | {r['differences'][1]:.1e} |")
    lines += ["", "## Where the time goes", "", "Seconds of the parts of a step, the minimum of each.", "",
              "| length | precision | program | forward and backward | ratio | clipping and update |", "| --- | --- | --- | --- | --- | --- |"]
    for r in results:
        for name, side in (("m2bert", r["ours"]), ("PyTorch", r["peer"])):
            gradient, update = side["parts"]["gradient"], side["parts"]["update"]
            ratio = r["peer"]["parts"]["gradient"] / gradient
            lines.append(f"| {r['length']} | {r['precision']} | {name} | {gradient:.2f} | {ratio:.2f} | {update:.2f} |")
    lines += ["", "The time that m2bert's matmuls and convolutions alone would take at the rate of one large square matmul:", ""]
    for r in results:
        flops, seconds = r["ours"]["products"], min(r["ours"]["seconds"])
        needed = flops["operations"] / flops["peak"]
        lines.append(f"- L = {r['length']}, {r['precision']}: {flops['operations'] / 1e9:.0f} GFLOP at {flops['peak'] / 1e9:.0f} "
                     f"GFLOP/s, {needed:.2f} s, {needed / seconds:.0%} of the step")
    lines += ["", "## PyTorch, eager and compiled", ""]
    for r in results:
        tried = ", ".join(f"{name} {s:.2f} s" if isinstance(s, float) else f"{name} failed ({s[:160]})" for name, s in r["peer_tried"].items())
        lines.append(f"- L = {r['length']}, {r['precision']}: {tried}")
    return "\n".join(lines) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--tokens", type=int, default=2048, help="tokens per batch")
    arguments.add_argument("--lengths", type=int, nargs="+", default=[128, 2048], choices=list(RECIPES))
    arguments.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=list(KINDS))
    arguments.add_argument("--no-compile", action="store_true", help="do not try torch.compile")
    arguments.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    arguments.add_argument("--no-record", action="store_true", help="print only")
    options = arguments.parse_args()
    machine, today = hardware(), datetime.date.today().isoformat()
    results = []
    for length in options.lengths:
        for precision in options.precisions:
            with tempfile.TemporaryDirectory() as folder:
                r = measure(length, precision, Path(folder), options)
            results.append(r)
            print(f"L = {length}, {precision}: {r['ours_tokens_s']:.0f} tokens/s, PyTorch {r['peer_tokens_s']:.0f} ({kind_name(r['peer_kind'])}), "
                  f"ratio {r['ratio']:.2f}", file=sys.stderr)
    text = report(results, machine, "script/bench " + " ".join(["training", *sys.argv[1:]]), today)
    print(text)
    if not options.no_record:
        write_record(options.out, "training", machine, today, text, results)


if __name__ == "__main__":
    main()
