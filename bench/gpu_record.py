"""The record of bench/gpu.py: tables and targets as text."""

WANTED_INFERENCE = {128: 3.0, 512: 3.0, 2048: 3.0, 8192: 3.0, 32768: 2.7}  # times the faster PyTorch
WANTED_TEXT = {2048: 1.5, 128: 0.7}  # ms
WANTED_TRAINING, WANTED_MEMORY, WANTED_TWO = 3.0, 0.5, 1.85
WANTED_LOSS = 1e-3  # relative difference of the mean of the last losses: noise of bfloat16
# ms of a long convolution and of torch's FFT on an H100, [B, 768, L] with 65,536 tokens, as FlashFFTConv's authors published them. It is
# not measured here.
FLASH_FFT_CONV = {128: 0.34, 2048: 0.89, 8192: 2.75, 32768: 4.42}


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]


def best_peer(peers):
    """Kind and measurement of the faster PyTorch; None, None if none ran."""
    timed = {kind: peer for kind, peer in peers.items() if "best" in peer}
    kind = min(timed, key=lambda k: timed[k]["best"], default=None)
    return kind, timed.get(kind)


def ratio_of(case):
    peer = best_peer(case["peers"])[1]
    return peer["best"] / case["ours"]["best"] if peer else None


def text_of(value, form="{:.2f}"):
    return "" if value is None else form.format(value)


def cases(results, stage):
    return sorted(results.get(stage, {}).values(), key=lambda case: case["length"])


def rate(case, side):
    tokens = case.get("batch", case.get("rows", 1)) * case["length"]
    return None if side is None or "best" not in side else tokens / side["best"]


def short(stage, case):
    if stage == "mixer":
        f, b = case["forward"], case["with_backward"]
        return (f"core {1e3 * f['core']:.3f} ms, PyTorch {text_of(core_peer(f), '{:.3f}')} ms; with backward {1e3 * b['core']:.3f} ms, "
                f"PyTorch {text_of(core_peer(b), '{:.3f}')} ms")
    if stage == "padding":
        return (f"{case['share']:.0%} of the positions are tokens: {1e3 * case['padded']['best']:.2f} ms, full texts "
                f"{1e3 * case['full']['best']:.2f} ms")
    if stage == "two":
        return f"{case['one']['tokens_s']:.0f} and {case['two']['tokens_s']:.0f} tokens/s, ratio {case['ratio']:.2f}"
    if stage == "steps":
        return f"mean of the last losses {case['last'][0]:.5f}, in float32 {case['last'][1]:.5f}"
    kind, peer = best_peer(case["peers"])
    return (f"{rate(case, case['ours']):.0f} tokens/s, {1e3 * case['ours']['best']:.2f} ms; PyTorch {kind} "
            f"{text_of(rate(case, peer), '{:.0f}')}, ratio {text_of(ratio_of(case))}")


def core_peer(direction):
    peer = best_peer(direction["peers"])[1]
    return 1e3 * peer["best"] if peer else None


def thousand(value):
    return "" if value is None else f"{value / 1e3:.0f}"


def inference_part(results):
    rows = [[str(c["length"]), str(c["batch"]), thousand(rate(c, c["ours"])), thousand(rate(c, c["peers"].get("compiled"))),
             thousand(rate(c, c["peers"].get("eager"))), text_of(ratio_of(c)), f"{c['ours']['error']:.1e}",
             text_of((best_peer(c["peers"])[1] or {}).get("error"), "{:.1e}"), f"{c['ours']['memory'] / 2**30:.1f}"]
            for c in cases(results, "inference")]
    head = ["length", "texts", "m2bert", "PyTorch, compiled", "PyTorch, eager", "ratio to the faster", "error of m2bert", "of PyTorch", "GiB"]
    return ["", "## Inference, bfloat16, thousand tokens/s", "", *table(head, rows), "",
            "Errors: relative L2 of the last hidden states to PyTorch's in float32, with random weights."] if rows else []


def chart_lines(results, machine):
    """What chart.draw takes: tokens per second of the encoder by length."""
    def points(of):
        return {c["length"]: value for c in cases(results, "inference") if (value := rate(c, of(c))) is not None}
    return f"Tokens per second, bfloat16, {machine['gpu']}", "length in tokens", [
        ("m2bert", "#2f81f7", False, points(lambda c: c["ours"])),
        ("PyTorch, compiled", "#e0652b", True, points(lambda c: c["peers"].get("compiled"))),
        ("PyTorch, eager", "#c69026", True, points(lambda c: c["peers"].get("eager")))]


def text_part(results):
    rows = [[str(c["length"]), f"{1e3 * c['ours']['median']:.2f}", f"{1e3 * c['ours']['best']:.2f}",
             text_of(ms((c["peers"].get("compiled") or {}).get("median"))), text_of(ms((c["peers"].get("eager") or {}).get("median")))]
            for c in cases(results, "text")]
    head = ["tokens", "m2bert, median", "best", "PyTorch compiled, median", "PyTorch eager, median"]
    return ["", "## One text, ms", "", *table(head, rows)] if rows else []


def ms(seconds):
    return None if seconds is None else 1e3 * seconds


def mixer_part(results):
    rows = []
    for c in cases(results, "mixer"):
        for name, what, error in (("forward", "forward", c.get("error_core", c["error_packed"])), ("with_backward", "with backward", c["error"])):
            d, peer = c[name], core_peer(c[name])
            difference = name != "forward" or "error_core" not in c
            rows.append([str(c["length"]), what, f"{1e3 * d['core']:.3f}" + (" *" if difference else ""), f"{1e3 * d['block']:.3f}",
                         f"{1e3 * d['products']:.3f}", text_of(peer, "{:.3f}"),
                         text_of(peer and peer / (1e3 * d["core"])), text_of(FLASH_FFT_CONV.get(c["length"]) if name == "forward" else None),
                         f"{error:.1e}"])
    head = ["length", "", "core", "block", "products", "torch's FFT", "ratio", "FlashFFTConv, one convolution (published, H100)", "error"]
    what = ("The core is short convolution, gates and both long convolutions, on channel-major arrays. With * it is the time of the block "
            "minus that of its two products.")
    return ["", "## One mixer, ms for 65,536 tokens", "", what, "", *table(head, rows)] if rows else []


def padding_part(results):
    rows = []
    for c in cases(results, "padding"):
        padded, full = c["padded"]["best"], c["full"]["best"]
        rows.append([str(c["length"]), str(c["batch"]), f"{c['share']:.2f}", f"{1e3 * padded:.2f}", f"{1e3 * full:.2f}", f"{padded / full:.2f}",
                     thousand(c["tokens"] / padded), f"{c['padded']['error']:.1e}"])
    head = ["length", "texts", "tokens / positions", "ms", "ms, full texts", "ratio", "thousand tokens/s", "error"]
    what = "m2bert alone. The error is that of the tokens' states to m2bert's in float32."
    return ["", "## A model with mask_padding, bfloat16", "", what, "", *table(head, rows)] if rows else []


def training_part(results):
    rows = []
    for c in cases(results, "training"):
        kind, peer = best_peer(c["peers"])
        rows.append([str(c["length"]), str(c["rows"]), thousand(rate(c, c["ours"])), thousand(rate(c, peer)), kind or "", text_of(ratio_of(c)),
                     f"{c['ours']['memory'] / 2**30:.1f}", text_of(peer and peer["memory"] / 2**30, "{:.1f}"), f"{c['differences'][0]:.1e}",
                     f"{c['differences'][1]:.1e}"])
    head = ["length", "texts", "m2bert, thousand tokens/s", "PyTorch", "kind", "ratio", "peak GiB, m2bert", "PyTorch", "loss differs by", "norm by"]
    return ["", "## Training, amp_bf16, whole steps", "", *table(head, rows)] if rows else []


def two_part(results):
    rows = [[str(c["length"]), thousand(c["one"]["tokens_s"]), thousand(c["two"]["tokens_s"]), f"{c['ratio']:.2f}"] for c in cases(results, "two")]
    head = ["length", "one", "two", "ratio"]
    return ["", "## Two GPUs, `m2bert pretrain --launch 2`, thousand tokens/s", "",
            "The fastest run of each; runs with one and with two GPUs alternate.", "", *table(head, rows)] if rows else []


def steps_part(results):
    rows = [[str(c["length"]), str(c["steps"]), f"{c['first'][0]:.5f}", f"{c['first'][1]:.5f}", f"{c['last'][0]:.5f}", f"{c['last'][1]:.5f}",
             f"{c['difference_of_last']:.1e}", f"{c['largest_difference']:.1e}"] for c in cases(results, "steps")]
    head = ["length", "steps", "first loss", "on the CPU", "mean of the last ones", "on the CPU", "differs by", "largest difference of a step"]
    return ["", "## Losses in amp_bf16 on the GPU, and in float32 on the CPU", "", *table(head, rows)] if rows else []


def targets(results):
    """What was wanted, what was measured, and whether it is reached."""
    rows = []

    def add(what, wanted, measured, reached):
        rows.append([what, wanted, measured, "reached" if reached else "not reached"])
    for c in cases(results, "inference"):
        if (ratio := ratio_of(c)) and (wanted := WANTED_INFERENCE.get(c["length"])):
            add(f"inference, L = {c['length']}", f"{wanted:.1f} times PyTorch", f"{ratio:.2f}", ratio >= wanted)
    for c in cases(results, "text"):
        if wanted := WANTED_TEXT.get(c["length"]):
            add(f"one text of {c['length']} tokens", f"{wanted} ms", f"{1e3 * c['ours']['median']:.2f}", 1e3 * c["ours"]["median"] < wanted)
    for c in cases(results, "mixer"):
        peer, core = core_peer(c["forward"]), 1e3 * c["forward"]["core"]
        if c["length"] >= 32768 and peer:
            add(f"mixer's core, L = {c['length']}", "3 times torch's FFT", f"{peer / core:.2f}", peer >= 3 * core)
        elif flash := FLASH_FFT_CONV.get(c["length"]):
            add(f"mixer's core, L = {c['length']}", "2 times FlashFFTConv", f"{flash / core:.2f}", flash >= 2 * core)
    for c in cases(results, "training"):
        peer = best_peer(c["peers"])[1]
        if peer:
            ratio, share = ratio_of(c), c["ours"]["memory"] / peer["memory"]
            add(f"training, L = {c['length']}", f"{WANTED_TRAINING:.1f} times PyTorch", f"{ratio:.2f}", ratio >= WANTED_TRAINING)
            add(f"memory of training, L = {c['length']}", "half of PyTorch's", f"{share:.2f}", share <= WANTED_MEMORY)
    for c in cases(results, "two"):
        add(f"two GPUs, L = {c['length']}", f"{WANTED_TWO} times one", f"{c['ratio']:.2f}", c["ratio"] >= WANTED_TWO)
    for c in cases(results, "steps"):
        difference = c["difference_of_last"]
        add(f"loss after {c['steps']} steps", f"the CPU's in float32, within {WANTED_LOSS}", f"{difference:.1e}", difference <= WANTED_LOSS)
    return rows


def versions(results):
    for stage in ("inference", "text", "training"):
        for case in cases(results, stage):
            return case["ours"]["version"], next((p["version"] for p in case["peers"].values() if "version" in p), "none ran")
    return "", ""


def report(results, machine, command, when, commit):
    ours, peer = versions(results)
    lines = [f"# m2bert on {machine['gpus']} x {machine['gpu']}", "", f"- Command: `{command}`", f"- Date: {when}", f"- Commit: {commit}",
             f"- Hardware: {machine['gpu']} ({machine['gpu_memory']}), driver {machine['driver']}, {machine['cores']} CPU cores",
             f"- m2bert: {ours}; TF32 off", f"- Peer: {peer}; bfloat16 weights and kept filter spectra (training: amp); eager and compiled",
             "- Model: the 80M encoder, random weights. Fastest of the runs; results were compared with PyTorch's in float32 first."]
    for part in (inference_part, text_part, padding_part, mixer_part, training_part, two_part, steps_part):
        lines += part(results)
    if rows := targets(results):
        lines += ["", "## Targets", "", *table(["target", "wanted", "measured", ""], rows)]
    failed = [f"{stage}, length {c['length']}: PyTorch {kind} failed: {p['failed']}" for stage in ("inference", "text", "training")
              for c in cases(results, stage) for kind, p in c["peers"].items() if "failed" in p]
    if notes := [*results.get("notes", []), *failed]:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"
