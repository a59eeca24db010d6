"""What bench/inference.py writes: the record with its targets, the table of README.md, the lines of the chart."""
import statistics
from typing import NamedTuple

DTYPES = ("float32", "bfloat16", "int8")
PEER_OF = {"float32": "float32", "bfloat16": "bfloat16", "int8": "bfloat16"}
# Least ratio to PyTorch, by our dtype and the length; int8 beside PyTorch's bfloat16.
RATIOS = {"bfloat16": {128: 1.5, 512: 1.5, 2048: 1.5, 8192: 1.8, 32768: 1.8}, "float32": {128: 1.3, 512: 1.3, 2048: 1.5, 8192: 1.5, 32768: 1.5},
          "int8": dict.fromkeys((128, 512, 2048, 8192, 32768), 2.0)}
PRODUCT_SHARE = 0.78  # of the rate of a large product, at the shortest length
PRODUCTS = ("in_linear", "out_linear", "mlp.up", "mlp.down")  # the stages of a profile that are nothing else
LONG_COST = 1.4  # of a token at 32768, over one at 128
LONG_MEMORY = 400 * 2**20  # bytes above the file
START = 0.5  # seconds
INT8_FILE = 0.275  # of float32's: a byte a weight, and the scales, vectors and small filter layers in float32
# PyTorch's tokens/s on two Zen 4 cores, filters kept, the faster of eager and compiled: a peer there that is under PEER_SHARE of it is none.
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


def product_rate(results):
    """GFLOP/s of a large bfloat16 product."""
    found = race(results, 128, "bfloat16") or race(results, 128, "int8")
    return found and found["product_gflops"]


def ready_rate(results):
    """(GFLOP/s, name) of the fastest product of the pass at 128, whose weights lie ready: the large product lays its own out in the call."""
    profile = (race(results, 128, "bfloat16") or {}).get("profile")
    return profile and max((1e-9 * s["flops"] / s["seconds"], s["name"]) for s in profile["stages"] if s["name"] in PRODUCTS and s["seconds"] > 0)


def limit_rate(results):
    """Tokens/s if a pass in bfloat16 were nothing but products, at the higher of the two rates."""
    product, ready = product_rate(results), ready_rate(results)
    return product and max(product, ready[0] if ready else 0) * 1e3 / results["mflop"]


def product_share(results, gflops):
    tokens = rate(results, 128, "bfloat16")
    return tokens and gflops and tokens * results["mflop"] * 1e-3 / gflops


def long_cost(results):
    """The median of the turns: the two parts of one stand side by side, while the rate of products may change from turn to turn."""
    cost = results.get("cost")
    return cost and statistics.median(long / short for long, short in zip(cost["long"], cost["short"], strict=True))


def is_peer(results, machine, length, dtype):
    reference = ZEN4[dtype].get(length)
    return not machine["zen4"] or reference is None or peer_rate(results, length, dtype) >= PEER_SHARE * reference


# ---- the parts of the record ----

def targets(results, machine):
    found = []
    for dtype, limits in RATIOS.items():
        for length, least in limits.items():
            value = ratio(results, length, dtype)
            counts = value is None or is_peer(results, machine, length, PEER_OF[dtype])
            found.append(judge(f"{dtype} at {length}, over PyTorch in {PEER_OF[dtype]}", value, least, "{:.2f}".format, counts=counts))
    memory, start, files = (results.get(name) for name in ("memory", "start", "files"))
    found.append(judge("matrix products at 128, share of the rate of a large bfloat16 product", product_share(results, product_rate(results)),
                       PRODUCT_SHARE, "{:.0%}".format))
    found.append(judge("cost of a token at 32768 over that at 128, bfloat16", long_cost(results), LONG_COST, "{:.2f}".format, True))
    found.append(judge("peak memory above the file, one text of 32768 tokens, bfloat16", memory and memory["ours"] - memory["file"], LONG_MEMORY,
                       mebibytes, True))
    found.append(judge("start to first vector, bfloat16 file of the 2k model", start and min(start["ours"]), START, "{:.2f} s".format, True))
    found.append(judge("int8 file over float32's, the 2k model (a quarter for the matrices)", files and files["int8"] / files["float32"], INT8_FILE, "{:.1%}".format, True))
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
    product, ready = product_rate(results), ready_rate(results)
    if product is None:
        return []
    lines = ["", f"A product of two 4096 x 4096 matrices in bfloat16, which lays its weights out in the call, reaches {product:.0f} GFLOP/s in the same run."]
    if ready:
        lines += [f"The products of the pass are small enough for the caches: the fastest at 128, its weights ready, reaches {ready[0]:.0f} GFLOP/s "
                  f"({ready[1]}), of which the whole pass has {product_share(results, ready[0]):.0%}."]
    return lines + [f"The model needs {results['mflop']:.1f} MFLOP a token in matrix products alone: at the higher of these rates, "
                    f"{limit_rate(results):.0f} tokens/s are the limit of bfloat16."]


def races(results):
    return [(f"L = {entry['length']}", race) for entry in results["speed"] for race in entry["races"].values()] + (
        [("one short text", results["latency"])] if "latency" in results else [])


def agreement_part(results):
    lines = ["", "## How the results agree", "",
             "float32: largest difference of the hidden states, relative to the largest value, PyTorch beside m2bert. bfloat16 and int8: mean over",
             "the tokens of the cosine of hidden states to m2bert's in float32. The weights are random.", ""]
    for label, found in races(results):
        form = "{} {:.1e}" if found["dtype"] == "float32" else "{} {:.5f}"
        lines.append(f"- {label}, {found['dtype']}: " + ", ".join(form.format(*pair) for pair in found["agreement"].items()))
    return lines


def kinds_part(results):
    lines = ["", "## The kinds of PyTorch that were tried", ""]
    for entry in results["speed"]:
        for dtype, found in entry["races"].items():
            tried = [f"{kind} {min(times):.3f} s" for kind, times in found["peer_seconds"].items()]
            tried += [f"{kind} failed ({why[:160]})" for kind, why in found["peer_failed"].items()]
            lines.append(f"- L = {entry['length']}, {dtype}: " + ", ".join(tried))
    return lines


def peer_part(results, machine):
    lines = ["", "## Is the peer a fair one", ""]
    if not machine["zen4"]:
        lines += ["The share of what PyTorch reached on two Zen 4 cores. This is another kind of CPU, so the rule that a peer under "
                  f"{PEER_SHARE:.0%} does not count does not apply.", ""]
    for dtype, references in ZEN4.items():
        for length, reference in references.items():
            found = peer_rate(results, length, dtype)
            if found is None:
                continue
            fair = "" if not machine["zen4"] else ": a fair peer" if found >= PEER_SHARE * reference else ": NOT A PEER, its ratio does not count"
            lines.append(f"- L = {length}, {dtype}: {found:.0f} tokens/s, {found / reference:.0%} of {reference}{fair}")
    return lines


def program_lines(results):
    lines = []
    if "memory" in results:
        memory = results["memory"]
        lines += [f"- Memory of one text of 32768 tokens in bfloat16, above the {mebibytes(memory['file'])} of the file: `m2bert embed` "
                  f"{mebibytes(memory['ours'] - memory['file'])}, PyTorch {mebibytes(memory['peer'] - memory['file'])} (eager, its own malloc, "
                  "filter spectra made in every layer)."]
        if kept := race(results, 32768, "bfloat16"):
            lines += [f"- As it was timed (filter spectra kept, malloc tuned) PyTorch's peak is {mebibytes(kept['peer_memory'])}."]
    if "start" in results:
        start = results["start"]
        lines += [f"- From start to the first vector (whole process, 2k model, bfloat16 file, a text of 12 words padded to 16): `m2bert embed` "
                  f"{min(start['ours']):.2f} s, PyTorch {min(start['peer']):.2f} s."]
    if "cost" in results:
        cost = {name: min(times) for name, times in results["cost"].items()}
        lines += [f"- 32,768 tokens of the 32k model in bfloat16, in turns: {cost['short']:.2f} s at the fastest as 256 texts of 128, {cost['long']:.2f} s "
                  f"as one text; a turn's one text takes {long_cost(results):.2f} times as long (median)."]
    if "latency" in results:
        peer = results["latency"]
        ours = {pad: 1e3 * min(times) for pad, times in peer["ours_seconds"].items()}
        lines += [f"- One text of 12 words, 2k model, bfloat16, model in memory: `--pad max` (2048 tokens) {ours['max']:.0f} ms, "
                  f"`--pad bucket` (16 tokens) {ours['bucket']:.1f} ms, PyTorch at 2048 tokens {1e3 * peer['peer_best']:.0f} ms ({peer['peer_kind']})."]
    if "files" in results:
        files = results["files"]
        sizes = [f"{name} {files[name] / 1e6:.1f} MB ({files[name] / files['float32']:.1%})" for name in DTYPES]
        lines += ["- Files of the 2k model: " + ", ".join(sizes) + ". Norms, biases and most of what makes the long filters stay float32."]
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
        lines += ["", f"L = {entry['length']}, a pass of {1e3 * profile['seconds']:.0f} ms:", "",
                  *table(["stage", "ms", "share of the stages", "GFLOP/s", "GB/s"], rows)]
    return ["", "## Where the time of a bfloat16 pass goes", *lines] if lines else []


def header(results, machine, command, when, commit):
    first = races(results)[0][1]
    return ["# Speed of the 80M encoder on the processor", "", f"- Command: `{command}`", f"- Date: {when}", f"- Commit: {commit}",
            f"- Hardware: {machine['cpu']} (family {machine['family']}, model {machine['model']}), {machine['cores']} cores, "
            f"{' '.join(machine['features'])}", f"- m2bert: {first['version']}",
            f"- Peer: {first['peer_version']}; eager and compiled, the faster counts; bfloat16 with weights in bfloat16; filter spectra kept; "
            "malloc tuned",
            "- Tokens/s by the minimum of the runs, the programs taking turns; hidden states compared first."]


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
    lines = [f"Tokens a second of the 80M encoder on {machine_words(machine)}, beside PyTorch with its filters kept and a",
             "tuned malloc, the faster of eager and compiled. The programs took turns in one run, after their results were compared:", ""]
    lines += speed_table(results) + ["", f"![Tokens a second over the length of a text](bench/results/{stem}.svg)", ""]
    lines += [*program_lines(results), ""] if program_lines(results) else []
    lines += [f"`script/bench inference` measures it on your machine; the [record](bench/results/{stem}.md) of these figures says where",
              "the time goes and which targets are reached."]
    return "\n".join(lines) + "\n"


def chart_lines(results, machine):
    def points(of, dtype):
        return {entry["length"]: value for entry in results["speed"] if (value := of(results, entry["length"], dtype)) is not None}
    lines = [("m2bert int8", "#a371f7", False, points(rate, "int8")), ("m2bert bf16", "#2f81f7", False, points(rate, "bfloat16")),
             ("m2bert fp32", "#2da44e", False, points(rate, "float32")), ("PyTorch bf16", "#e0652b", True, points(peer_rate, "bfloat16")),
             ("PyTorch fp32", "#c69026", True, points(peer_rate, "float32"))]
    limit = ("bf16 product limit", limit_rate(results)) if limit_rate(results) else None
    return f"Tokens a second, {machine['cores']} cores", "length of a text in tokens", lines, limit
