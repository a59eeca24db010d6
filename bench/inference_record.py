"""The output of bench/inference.py: the record with its targets, the table of README.md, the lines of the chart."""
import statistics
from typing import NamedTuple

DTYPES = ("float32", "bfloat16", "int8")
PEER_OF = {"float32": "float32", "bfloat16": "bfloat16", "int8": "bfloat16"}
# Target: least ratio to PyTorch, by dtype and length; int8 beside PyTorch's bfloat16.
RATIOS = {"bfloat16": {128: 1.5, 512: 1.5, 2048: 1.5, 8192: 1.8, 32768: 1.8}, "float32": {128: 1.3, 512: 1.3, 2048: 1.5, 8192: 1.5, 32768: 1.5},
          "int8": dict.fromkeys((128, 512, 2048, 8192, 32768), 2.0)}
GEMM_SHARE = 0.78  # of the rate of a large matmul, at the shortest length
GEMM_STAGES = ("in_linear", "out_linear", "mlp.up", "mlp.down")  # the stages of a profile that are matmuls only
LONG_COST = 1.4  # of a token at length 32768, relative to one at 128
LONG_MEMORY = 400 * 2**20  # bytes beyond the size of the weights
START = 0.5  # seconds
INT8_FILE = 0.41  # relative to float32: half of the weights in one byte, the others in two, filters in float32
# PyTorch's tokens/s on two Zen 4 cores with cached filters, the faster of eager and compiled. On such a machine a run in which PyTorch is
# below PEER_SHARE of this does not count.
ZEN4 = {"float32": {128: 1048, 512: 1088, 2048: 990, 8192: 927}, "bfloat16": {128: 2101, 512: 1843, 2048: 2165, 8192: 1783}}
PEER_SHARE = 0.85


class Target(NamedTuple):
    what: str
    wanted: str
    found: str
    verdict: str


def judge(what, value, limit, form, at_most=False, counts=True):
    wanted = ("at most " if at_most else "at least ") + form(limit)
    if value is None:
        return Target(what, wanted, "", "not measured")
    held = value <= limit if at_most else value >= limit
    return Target(what, wanted, form(value), ("reached" if held else "not reached") if counts else "does not count: the peer is too slow")


# ---- figures ----

def race(results, length, dtype):
    for entry in results["speed"]:
        if entry["length"] == length:
            found = entry["races"].get(PEER_OF[dtype])
            return found if found and dtype in found["ours_tokens_s"] else None
    return None


def rate(results, length, dtype):
    found = race(results, length, dtype)
    return found and found["ours_tokens_s"][dtype]


def ratio(results, length, dtype):
    found = race(results, length, dtype)
    return found and found["ours_tokens_s"][dtype] / found["peer_tokens_s"]


def peer_rate(results, length, dtype):
    found = next((e["races"].get(dtype) for e in results["speed"] if e["length"] == length), None)
    return found and found["peer_tokens_s"]


def gemm_rate(results):
    """GFLOP/s of a large bfloat16 matmul."""
    found = race(results, 128, "bfloat16") or race(results, 128, "int8")
    return found and found["product_gflops"]


def packed_gemm_rate(results):
    """(GFLOP/s, name) of the fastest matmul of a forward pass at 128, whose weights are packed beforehand."""
    profile = (race(results, 128, "bfloat16") or {}).get("profile")
    return profile and max((1e-9 * s["flops"] / s["seconds"], s["name"]) for s in profile["stages"] if s["name"] in GEMM_STAGES and s["seconds"] > 0)


def limit_rate(results):
    """Tokens/s if a forward pass in bfloat16 consisted of its matmuls only, at the higher of the two rates."""
    gemm, packed = gemm_rate(results), packed_gemm_rate(results)
    return gemm and max(gemm, packed[0] if packed else 0) * 1e3 / results["mflop"]


def gemm_share(results, gflops):
    tokens = rate(results, 128, "bfloat16")
    return tokens and gflops and tokens * results["mflop"] * 1e-3 / gflops


def long_cost(results):
    """The median over the turns of the ratio within a turn, because the speed of the machine may change from turn to turn."""
    cost = results.get("cost")
    return cost and statistics.median(long / short for long, short in zip(cost["long"], cost["short"], strict=True))


def is_fair_peer(results, machine, length, dtype):
    expected = ZEN4[dtype].get(length)
    return not machine["zen4"] or expected is None or peer_rate(results, length, dtype) >= PEER_SHARE * expected


# ---- the parts of the record ----

def targets(results, machine):
    found = []
    for dtype, limits in RATIOS.items():
        for length, least in limits.items():
            value = ratio(results, length, dtype)
            counts = value is None or is_fair_peer(results, machine, length, PEER_OF[dtype])
            found.append(judge(f"{dtype} at {length}, over PyTorch in {PEER_OF[dtype]}", value, least, "{:.2f}".format, counts=counts))
    memory, start, files = (results.get(name) for name in ("memory", "start", "files"))
    found.append(judge("matmuls at 128, share of the rate of a large bfloat16 matmul", gemm_share(results, gemm_rate(results)),
                       GEMM_SHARE, "{:.0%}".format))
    found.append(judge("cost of a token at 32768 relative to 128, bfloat16", long_cost(results), LONG_COST, "{:.2f}".format, True))
    found.append(judge("peak memory beyond the weights, one text of 32768 tokens, bfloat16",
                       memory and memory["ours"] - memory["file"], LONG_MEMORY, mebibytes, True))
    found.append(judge("start to first vector, 2k model, bfloat16", start and min(start["ours"]), START, "{:.2f} s".format, True))
    found.append(judge("size of the int8 file relative to float32, 2k model",
                       files and files["int8"] / files["float32"], INT8_FILE, "{:.1%}".format, True))
    return found


def mebibytes(size):
    return f"{size / 2**20:.0f} MiB"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]


def number(value, form="{:.0f}"):
    return "" if value is None else form.format(value)


def speed_table(results):
    head = ["length", "batch", "m2bert fp32", "PyTorch fp32", "ratio", "m2bert bf16", "PyTorch bf16", "ratio", "m2bert int8", "over PyTorch bf16"]
    rows = []
    for entry in results["speed"]:
        L = entry["length"]
        row = [str(L), str(entry["batch"])]
        for dtype in ("float32", "bfloat16"):
            row += [number(rate(results, L, dtype)), number(peer_rate(results, L, dtype)), number(ratio(results, L, dtype), "{:.2f}")]
        rows.append(row + [number(rate(results, L, "int8")), number(ratio(results, L, "int8"), "{:.2f}")])
    return table(head, rows)


def limit_lines(results):
    gemm, packed = gemm_rate(results), packed_gemm_rate(results)
    if gemm is None:
        return []
    lines = ["", f"A matmul of two 4096 x 4096 matrices in bfloat16, whose weights are packed in the call, reaches {gemm:.0f} GFLOP/s in the "
             "same run."]
    if packed:
        lines += [f"The matmuls of the model fit into the caches: the fastest at 128, with packed weights, reaches {packed[0]:.0f} GFLOP/s "
                  f"({packed[1]}); the whole forward pass reaches {gemm_share(results, packed[0]):.0%} of that."]
    return lines + [f"The model needs {results['mflop']:.1f} MFLOP per token for matmuls alone: at the higher of these rates "
                    f"the limit of bfloat16 is {limit_rate(results):.0f} tokens/s."]


def races(results):
    return [(f"L = {entry['length']}", race) for entry in results["speed"] for race in entry["races"].values()] + (
        [("one short text", results["latency"])] if "latency" in results else [])


def agreement_part(results):
    lines = ["", "## Agreement of the results", "",
             "float32: largest difference between the hidden states of PyTorch and m2bert, relative to the largest value. bfloat16 and int8: mean",
             "over the tokens of the cosine similarity to m2bert's hidden states in float32. The weights are random.", ""]
    for label, found in races(results):
        form = "{} {:.1e}" if found["dtype"] == "float32" else "{} {:.5f}"
        lines.append(f"- {label}, {found['dtype']}: " + ", ".join(form.format(*pair) for pair in found["agreement"].items()))
    return lines


def kinds_part(results):
    lines = ["", "## PyTorch, eager and compiled", ""]
    for entry in results["speed"]:
        for dtype, found in entry["races"].items():
            tried = [f"{kind} {min(times):.3f} s" for kind, times in found["peer_seconds"].items()]
            tried += [f"{kind} failed ({why[:160]})" for kind, why in found["peer_failed"].items()]
            lines.append(f"- L = {entry['length']}, {dtype}: " + ", ".join(tried))
    return lines


def peer_part(results, machine):
    lines = ["", "## Is the peer fair?", ""]
    if not machine["zen4"]:
        lines += ["PyTorch's speed relative to two Zen 4 cores. On this CPU, which is another one, the rule that a peer below "
                  f"{PEER_SHARE:.0%} does not count does not apply.", ""]
    for dtype, rates in ZEN4.items():
        for length, expected in rates.items():
            found = peer_rate(results, length, dtype)
            if found is None:
                continue
            fair = "" if not machine["zen4"] else ": fair" if found >= PEER_SHARE * expected else ": TOO SLOW, the ratio does not count"
            lines.append(f"- L = {length}, {dtype}: {found:.0f} tokens/s, {found / expected:.0%} of {expected}{fair}")
    return lines


def program_lines(results):
    lines = []
    if "memory" in results:
        memory = results["memory"]
        lines += [f"- Memory for one text of 32768 tokens in bfloat16, beyond the {mebibytes(memory['file'])} of the weights: `m2bert embed` "
                  f"{mebibytes(memory['ours'] - memory['file'])}, PyTorch {mebibytes(memory['peer'] - memory['file'])} (eager, default "
                  "malloc, filter spectra not cached)."]
        if cached := race(results, 32768, "bfloat16"):
            lines += [f"- As timed (filter spectra cached, malloc tuned) PyTorch's peak is {mebibytes(cached['peer_memory'])}."]
    if "start" in results:
        start = results["start"]
        lines += [f"- From start to the first vector (whole process, 2k model, bfloat16, a text of 12 words padded to 16 tokens): `m2bert embed` "
                  f"{min(start['ours']):.2f} s, PyTorch {min(start['peer']):.2f} s."]
    if "cost" in results:
        cost = {name: min(times) for name, times in results["cost"].items()}
        lines += [f"- 32,768 tokens with the 32k model in bfloat16, in turns: {cost['short']:.2f} s as 256 texts of 128 tokens, {cost['long']:.2f} s "
                  f"as one text (minimum); the median ratio of a turn is {long_cost(results):.2f}."]
    if "latency" in results:
        peer = results["latency"]
        ours = {pad: 1e3 * min(times) for pad, times in peer["ours_seconds"].items()}
        lines += [f"- One text of 12 words, 2k model, bfloat16, model in memory: `--pad max` (2048 tokens) {ours['max']:.0f} ms, "
                  f"`--pad bucket` (16 tokens) {ours['bucket']:.1f} ms, PyTorch at 2048 tokens {1e3 * peer['peer_best']:.0f} ms ({peer['peer_kind']})."]
    if "files" in results:
        files = results["files"]
        sizes = [f"{name} {files[name] / 1e6:.1f} MB ({files[name] / files['float32']:.1%})" for name in DTYPES]
        lines += ["- Files of the 2k model: " + ", ".join(sizes) + ". Norms, biases and most parameters of the long filters stay in float32."]
    return lines


def program_part(results):
    lines = program_lines(results)
    return ["", "## Memory, start, latency, files", "", *lines] if lines else []


def giga_rate(stage, what):
    return f"{1e-9 * stage[what] / stage['seconds']:.0f}" if stage[what] else ""


def profile_part(results):
    lines = []
    for entry in results["speed"]:
        profile = entry["races"].get("bfloat16", {}).get("profile")
        if profile is None:
            continue
        stages = sorted(profile["stages"], key=lambda s: -s["seconds"])
        total = sum(s["seconds"] for s in stages)
        rows = [[s["name"], f"{1e3 * s['seconds']:.1f}", f"{s['seconds'] / total:.0%}", giga_rate(s, "flops"), giga_rate(s, "bytes")]
                for s in stages if s["seconds"] > 0]
        lines += ["", f"L = {entry['length']}, a forward pass of {1e3 * profile['seconds']:.0f} ms:", "",
                  *table(["stage", "ms", "share of all stages", "GFLOP/s", "GB/s"], rows)]
    return ["", "## Profile of a bfloat16 forward pass", *lines] if lines else []


def header(results, machine, command, when, commit):
    first = races(results)[0][1]
    return ["# Speed of inference: the 80M encoder on the CPU", "", f"- Command: `{command}`", f"- Date: {when}", f"- Commit: {commit}",
            f"- Hardware: {machine['cpu']} (family {machine['family']}, model {machine['model']}), {machine['cores']} cores, "
            f"{' '.join(machine['features'])}", f"- m2bert: {first['version']}",
            f"- Peer: {first['peer_version']}; eager and compiled, the faster counts; bfloat16 with bfloat16 weights; filter spectra cached; "
            "malloc tuned",
            "- Tokens/s: minimum of the runs, the programs taking turns; hidden states were compared first."]


def report(results, machine, command, when, commit):
    reached = targets(results, machine)
    lines = header(results, machine, command, when, commit) + [""] + speed_table(results) + limit_lines(results)
    lines += ["", "## Targets", "", *table(["target", "wanted", "measured", ""], reached)]
    lines += program_part(results) + profile_part(results) + peer_part(results, machine) + kinds_part(results) + agreement_part(results)
    return "\n".join(lines) + "\n"


# ---- README and chart ----

def machine_words(machine):
    kind = next((words for flag, words in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 with bfloat16"), ("avx512f", "AVX-512"), ("avx2", "AVX2"))
                 if flag in machine["features"]), "")
    return f"{machine['cores']} cores ({machine['cpu']}{', ' + kind if kind else ''})"


def readme(results, machine, stem):
    lines = [f"Tokens per second of the 80M encoder on {machine_words(machine)}, beside PyTorch with cached filters and a",
             "tuned malloc, the faster of eager and compiled. The programs took turns in one run, after their results had been compared:", ""]
    lines += speed_table(results) + ["", f"![Tokens per second by length](bench/results/{stem}.svg)", ""]
    lines += [*program_lines(results), ""] if program_lines(results) else []
    lines += [f"`script/bench inference` measures it on your machine; the [record](bench/results/{stem}.md) of these figures has the",
              "profile and the targets."]
    return "\n".join(lines) + "\n"


def chart_lines(results, machine):
    def points(of, dtype):
        return {entry["length"]: value for entry in results["speed"] if (value := of(results, entry["length"], dtype)) is not None}
    lines = [("m2bert int8", "#a371f7", False, points(rate, "int8")), ("m2bert bf16", "#2f81f7", False, points(rate, "bfloat16")),
             ("m2bert fp32", "#2da44e", False, points(rate, "float32")), ("PyTorch bf16", "#e0652b", True, points(peer_rate, "bfloat16")),
             ("PyTorch fp32", "#c69026", True, points(peer_rate, "float32"))]
    limit = ("bf16 matmul limit", limit_rate(results)) if limit_rate(results) else None
    return f"Tokens per second, {machine['cores']} cores", "length in tokens", lines, limit
