"""How fast is each operation? At the shapes of the 80M model beside PyTorch, in the same run. Called by `script/bench operations`.

    M2BERT_BUILD=build/release python bench/operations.py [--only NAME]... [--lengths 128,2048,8192] [--dtype float32|bfloat16] [--runs N]
        [--out bench/results] [--no-record]

For each case and length random inputs are drawn from a fixed seed and written to a file that both programs load. The results and the
gradients of sum(result * cotangent) are compared; a case that differs is not timed, and the run fails. Then forward (without tracing
gradients) and forward with backward are timed, the two programs taking turns; the minimum counts. The ratio is PyTorch's time divided by
m2bert's: above 1, m2bert is faster. PyTorch uses all cores and its preferred layout (bench/peers/torch_operations.py), and its malloc is
configured to keep freed memory.
"""
import argparse
import datetime
import math
import os
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import torch
from safetensors.torch import load_file, save_file

from harness import MALLOC, OURS, REPOSITORY, Exited, Program, RequestFailed, commit, find_program, hardware, write_record

HIDDEN, HEADS, INTERMEDIATE, BLOCKS = 768, 12, 3072, 4
TOKENS = 4096  # batch times length, unless one sequence is longer
DROPOUT = 0.1
LENGTHS = [128, 2048, 8192]
# Largest difference of any value from PyTorch's float32, over the largest value of its tensor.
TOLERANCES = {"float32": 5e-5, "bfloat16": 2e-2}
# PyTorch's bfloat16 is less exact: layer norm accumulates the gradient of the bias in bfloat16, and an attention bias is rounded to it.
PEER_TOLERANCE = 0.2
SHORT_SECONDS = 0.1  # short cases are repeated for this long per requested run


class Differs(Exception):
    pass


class Draw:
    """Draws the random tensors of a case."""

    def __init__(self, name, length, dtype):
        self.length, self.batch, self.dtype = length, max(1, TOKENS // length), dtype
        self.tokens = self.batch * length
        self.generator = torch.Generator().manual_seed(zlib.crc32(f"{name} {length}".encode()))

    def normal(self, *shape, scale=1.0):
        return (torch.randn(*shape, generator=self.generator) * scale).to(self.dtype)

    def weight(self, *shape):
        """Scaled so that a product with it, which sums over the last axis, has the variance of the input."""
        return self.normal(*shape, scale=shape[-1] ** -0.5)

    def away_from_zero(self, *shape):
        x = torch.randn(*shape, generator=self.generator)
        return (x + 0.25 * torch.where(x < 0, -1.0, 1.0)).to(self.dtype)

    def hidden(self, width=HIDDEN):
        return self.normal(self.batch, self.length, width)

    def filter(self):
        """[L, d], decaying with the position like the model's filters."""
        decay = torch.exp(-4 * torch.arange(self.length) / self.length)[:, None]
        return (self.normal(self.length, HIDDEN, scale=self.length ** -0.5).float() * decay).to(self.dtype)

    def mask(self):
        """[B, L] int32: sequences of half to full length, padded at the end; the first is full."""
        lengths = torch.randint(self.length // 2, self.length + 1, (self.batch, 1), generator=self.generator)
        lengths[0] = self.length
        self.lengths = lengths
        return (torch.arange(self.length)[None] < lengths).int()


@dataclass
class Case:
    name: str
    inputs: Callable  # Draw -> tensors by name
    gradients: str  # names of the inputs to differentiate by; empty: forward only
    peer: str  # what PyTorch runs, for the record
    flops: Optional[Callable] = None  # Draw -> flops of forward; backward has twice as many. Absent: bytes are counted
    lengths: tuple = ()  # absent: all
    bfloat16: bool = True
    # For dropout: finds the mask of the values that were kept (inputs, output -> bool), and computes the output for a mask
    # (inputs, mask -> output). Each program is checked with its own mask.
    find_mask: Optional[Callable] = None
    with_mask: Optional[Callable] = None


def with_rows(draw):
    mask = draw.mask()
    rows = int(mask.sum())
    return {"rows": draw.normal(rows, HIDDEN), "mask": mask, "indices": mask.flatten().nonzero().flatten().int()}


def long_conv_inputs(draw, **more):
    return {"u": draw.hidden(), "k": draw.filter(), "k_rev": draw.filter(), "D": draw.normal(HIDDEN), **more}


def monarch_mix_inputs(draw):
    return long_conv_inputs(draw, projected=draw.hidden(3 * HIDDEN), short_weight=draw.weight(3 * HIDDEN, 1, 3),
                              short_bias=draw.normal(3 * HIDDEN), k2=draw.filter(), k2_rev=draw.filter(), D2=draw.normal(HIDDEN))


def mixer_block_inputs(draw):
    inputs = monarch_mix_inputs(draw)
    del inputs["projected"]
    return {**inputs, "in_weight": draw.weight(3 * HIDDEN, HIDDEN), "in_bias": draw.normal(3 * HIDDEN),
            "out_weight": draw.weight(HIDDEN, HIDDEN), "out_bias": draw.normal(HIDDEN)}


def fourier_inputs(draw):
    """The factors of the Cooley-Tukey transform of 768 = 32 x 24 points."""
    large, small = 32, 24
    w1 = torch.fft.fft(torch.eye(small, dtype=torch.complex64)).repeat(large, 1, 1)
    outer = torch.fft.fft(torch.eye(large, dtype=torch.complex64))
    turns = torch.outer(torch.arange(small), torch.arange(large)) / HIDDEN
    w2 = outer[None] * torch.exp(-2j * math.pi * turns)[:, None, :]
    return {"x": draw.hidden(), "w1": w1 / HIDDEN ** 0.5, "w2": w2}


def nearly_monarch(draw):
    """A perturbed Monarch matrix (sub-matrices of rank 1): projections are well conditioned near one."""
    exact = draw.normal(24, 32, 32, 1) * draw.normal(24, 32, 1, 24)
    return {"matrix": exact.permute(2, 0, 1, 3).reshape(HIDDEN, HIDDEN) + draw.normal(HIDDEN, HIDDEN, scale=0.1)}


def attention_inputs(draw):
    return {"q": draw.hidden(), "k": draw.hidden(), "v": draw.hidden(), "mask": draw.mask()}


def attention_rows(draw):
    mask = draw.mask()
    rows = int(mask.sum())
    return {"mask": mask, **{name: draw.normal(rows, HEADS, HIDDEN // HEADS) for name in "qkv"}}


def pairs_of_rows(draw):
    return 4 * int((draw.lengths.long() ** 2).sum()) * HIDDEN


def scores(draw):
    """All heads, unless that is too large."""
    batch, heads = (draw.batch if draw.length < 1024 else 1), (HEADS if draw.length < 4096 else 1)
    return {"x": draw.normal(batch, heads, draw.length, draw.length), "mask": draw.normal(batch, 1, 1, draw.length)}


def dropped_inputs(draw):
    """x is far enough from zero, also with the bias, to recognize a dropped value in the sum with the residual."""
    return {"x": draw.away_from_zero(draw.batch, draw.length, HIDDEN), "residual": draw.hidden()}


def mask_of_sum(inputs, output):
    return (output - inputs["residual"]).abs() > 0.05


def small_bias(draw):
    return draw.normal(HIDDEN).clamp(-1, 1) * 0.1


def matmul(width_in, width_out, blocks=1):
    return lambda draw: 2 * draw.tokens * width_in * width_out / blocks


def pairs(draw):
    return 4 * draw.batch * draw.length ** 2 * HIDDEN


CASES = [
    Case("linear", lambda d: {"x": d.hidden(), "weight": d.weight(3 * HIDDEN, HIDDEN), "bias": d.normal(3 * HIDDEN)}, "x weight bias",
         "F.linear", matmul(HIDDEN, 3 * HIDDEN)),
    Case("blockdiag_multiply_up",
         lambda d: {"x": d.hidden(), "weight": d.weight(BLOCKS, 2 * INTERMEDIATE // BLOCKS, HIDDEN // BLOCKS)}, "x weight",
         "torch.bmm on strided views, forward and backward", matmul(HIDDEN, 2 * INTERMEDIATE, BLOCKS)),
    Case("blockdiag_multiply_down",
         lambda d: {"x": d.hidden(INTERMEDIATE), "weight": d.weight(BLOCKS, HIDDEN // BLOCKS, INTERMEDIATE // BLOCKS),
                    "bias": d.normal(HIDDEN)}, "x weight bias",
         "torch.bmm on strided views, forward and backward, and the bias", matmul(INTERMEDIATE, HIDDEN, BLOCKS)),
    Case("blockdiag_butterfly_multiply",
         lambda d: {"x": d.hidden(), "w1": d.weight(32, 24, 24), "w2": d.weight(24, 32, 32)}, "x w1 w2",
         "two torch.bmm on strided views, forward and backward", lambda d: 2 * d.tokens * HIDDEN * (24 + 32)),
    Case("einsum_simple", lambda d: {"x": d.hidden(), "w1": d.weight(24, 32, 32), "w2": d.weight(32, 24, 24)}, "x w1 w2",
         "torch.einsum", lambda d: 2 * d.tokens * HIDDEN * (32 + 24)),
    Case("einsum", lambda d: {"x": d.hidden(), "w1": d.weight(24, 2 * 32, 32), "w2": d.weight(32, 2 * 12, 2 * 24)}, "x w1 w2",
         "torch.einsum, twice", lambda d: 2 * d.tokens * HIDDEN * 2 * (32 + 24)),
    Case("einsum_rank", lambda d: {"x": d.hidden(), "w1": d.weight(24, 2 * 32, 32), "w2": d.weight(32, 24, 2 * 24)}, "x w1 w2",
         "torch.einsum, twice", lambda d: 2 * d.tokens * HIDDEN * 2 * (32 + 24)),
    Case("butterfly_fft", fourier_inputs, "", "two complex torch.bmm on strided views, behind the permutation",
         lambda d: 8 * d.tokens * HIDDEN * (24 + 32), bfloat16=False),
    Case("butterfly_factor_to_matrix", lambda d: {"twiddle": d.normal(512, 2, 2)}, "twiddle", "torch.diag_embed, torch.block_diag",
         lengths=(128,)),
    Case("blockdiag_weight_to_dense_weight",
         lambda d: {"weight": d.weight(BLOCKS, 2 * INTERMEDIATE // BLOCKS, HIDDEN // BLOCKS)}, "weight", "torch.block_diag", lengths=(128,)),
    Case("blockdiag_butterfly_project", nearly_monarch, "", "torch.linalg.svd of the sub-matrices",
         lengths=(128,), bfloat16=False),
    Case("low_rank_project", lambda d: {"matrix": d.normal(HIDDEN, 32) @ d.normal(32, HIDDEN) + d.normal(HIDDEN, HIDDEN, scale=0.01)}, "",
         "torch.linalg.svd", lengths=(128,), bfloat16=False),
    Case("gelu", lambda d: {"x": d.hidden(INTERMEDIATE)}, "x", "F.gelu"),
    Case("gelu_tanh", lambda d: {"x": d.hidden(INTERMEDIATE)}, "x", "F.gelu(approximate='tanh')"),
    Case("gelu_gate", lambda d: {"x": d.hidden(2 * INTERMEDIATE)}, "x", "F.gelu(half) * half"),
    Case("layer_norm", lambda d: {"x": d.hidden(), "weight": d.normal(HIDDEN), "bias": d.normal(HIDDEN)}, "x weight bias", "F.layer_norm"),
    Case("layer_norm_residual",
         lambda d: {"x": d.hidden(), "residual": d.hidden(), "weight": d.normal(HIDDEN), "bias": d.normal(HIDDEN)},
         "x residual weight bias", "F.layer_norm of the sum"),
    Case("dropout", lambda d: {"x": d.away_from_zero(d.batch, d.length, HIDDEN)}, "x", "F.dropout",
         find_mask=lambda t, output: output != 0, with_mask=lambda t, mask: t["x"] * mask / (1 - DROPOUT)),
    Case("fused_dense", lambda d: {"x": d.hidden(), "weight": d.weight(INTERMEDIATE, HIDDEN), "bias": d.normal(INTERMEDIATE)},
         "x weight bias", "F.linear", matmul(HIDDEN, INTERMEDIATE)),
    Case("fused_dense_gelu", lambda d: {"x": d.hidden(), "weight": d.weight(INTERMEDIATE, HIDDEN), "bias": d.normal(INTERMEDIATE)},
         "x weight bias", "F.gelu(F.linear)", matmul(HIDDEN, INTERMEDIATE)),
    Case("fused_dropout_add", dropped_inputs, "x residual", "F.dropout(x) + residual", find_mask=mask_of_sum,
         with_mask=lambda t, mask: t["x"] * mask / (1 - DROPOUT) + t["residual"]),
    Case("fused_bias_dropout_add", lambda d: {**dropped_inputs(d), "bias": small_bias(d)}, "x bias residual",
         "F.dropout(x + bias) + residual", find_mask=mask_of_sum,
         with_mask=lambda t, mask: (t["x"] + t["bias"]) * mask / (1 - DROPOUT) + t["residual"]),
    Case("fused_softmax_dropout", scores, "x", "F.dropout(torch.softmax(x + mask))", find_mask=lambda t, output: output != 0,
         with_mask=lambda t, mask: torch.softmax(t["x"] + t["mask"], dim=-1) * mask / (1 - DROPOUT)),
    Case("self_attention", attention_inputs, "q k v", "F.scaled_dot_product_attention with a mask of the keys", pairs),
    Case("self_attention_alibi", attention_inputs, "q k v", "F.scaled_dot_product_attention with a cached bias of all heads and pairs",
         pairs, lengths=(128, 2048)),
    Case("scaled_dot_product_attention_causal",
         lambda d: {name: d.normal(d.batch, HEADS, d.length, HIDDEN // HEADS) for name in "qkv"}, "q k v",
         "F.scaled_dot_product_attention(is_causal=True)", lambda d: pairs(d) / 2),
    Case("attention_varlen", attention_rows, "q k v", "F.scaled_dot_product_attention for one sequence after another", pairs_of_rows),
    Case("conv1d", lambda d: {"x": d.hidden(), "weight": d.normal(HIDDEN, HIDDEN, 3, scale=(3 * HIDDEN) ** -0.5), "bias": d.normal(HIDDEN)},
         "x weight bias", "F.conv1d", matmul(3 * HIDDEN, HIDDEN)),
    Case("conv1d_fft", lambda d: {"x": d.hidden(), "weight": d.weight(HIDDEN, 1, 129), "bias": d.normal(HIDDEN)}, "x weight bias",
         "torch.fft.rfft, irfft"),
    Case("depthwise_conv1d", lambda d: {"x": d.hidden(), "weight": d.weight(HIDDEN, 1, 7), "bias": d.normal(HIDDEN)}, "x weight bias",
         "F.conv1d with groups"),
    Case("depthwise_conv1d_causal",
         lambda d: {"u": d.hidden(3 * HIDDEN), "weight": d.weight(3 * HIDDEN, 1, 3), "bias": d.normal(3 * HIDDEN)}, "u weight bias",
         "F.conv1d with groups and padding, cut to L"),
    Case("long_conv", long_conv_inputs, "u k k_rev D", "torch.fft.rfft, irfft"),
    Case("long_conv_causal", lambda d: {"u": d.hidden(), "k": d.filter(), "D": d.normal(HIDDEN)}, "u k D", "torch.fft.rfft, irfft"),
    Case("long_conv_gelu_mask",
         lambda d: long_conv_inputs(d, dropout_mask=(torch.rand(d.batch, HIDDEN, generator=d.generator) < 0.9).to(d.dtype) / 0.9),
         "u k k_rev D", "torch.fft.rfft, irfft, F.gelu, multiplication"),
    Case("long_conv_with_spectrum", long_conv_inputs, "u D", "torch.fft.rfft, irfft; spectrum cached"),
    Case("monarch_mix", monarch_mix_inputs, "projected u short_weight short_bias k k_rev D k2 k2_rev D2", "F.conv1d, torch.fft, multiplications"),
    Case("mixer_block", mixer_block_inputs, "u in_weight in_bias short_weight short_bias k k_rev D k2 k2_rev D2 out_weight out_bias",
         "F.linear, F.conv1d, torch.fft, multiplications"),
    Case("mixer_block_packed", mixer_block_inputs, "", "F.linear, F.conv1d, torch.fft, multiplications; spectra cached"),
    Case("rearrange_heads", lambda d: {"x": d.hidden()}, "x", "einops.rearrange 'b l (h d) -> b h l d', contiguous"),
    Case("rearrange_transpose", lambda d: {"x": d.hidden()}, "x", "einops.rearrange 'b l d -> b d l', contiguous"),
    Case("repeat", lambda d: {"x": d.normal(d.length, HIDDEN)}, "x", "einops.repeat 'l d -> b l d', b = 4, contiguous"),
    Case("reduce_mean", lambda d: {"x": d.hidden()}, "x", "einops.reduce 'b l d -> b d', mean"),
    Case("reduce_max_pool", lambda d: {"x": d.hidden()}, "x", "einops.reduce 'b (l 4) d -> b l d', max"),
    Case("unpad_input", lambda d: {"x": d.hidden(), "mask": d.mask()}, "x", "index_select, indices cached"),
    Case("pad_input", lambda d: {k: v for k, v in with_rows(d).items() if k != "indices"}, "rows", "index_copy into zeros, indices cached"),
    Case("index_first_axis",
         lambda d: {"x": d.normal(d.tokens, HIDDEN), "indices": torch.randperm(d.tokens, generator=d.generator)[:d.tokens * 3 // 4].int()},
         "x", "index_select"),
    Case("index_put_first_axis", with_rows, "rows", "index_copy into zeros"),
]


# ---- comparison ----

def difference(name, ours, exact, tolerance):
    """Largest difference over the largest value."""
    if ours.shape != exact.shape:
        raise Differs(f"{name} has shape {tuple(ours.shape)}, PyTorch's {tuple(exact.shape)}")
    wide = torch.complex128 if exact.is_complex() else torch.float64
    largest = exact.abs().max().item()
    worst = (ours.to(wide) - exact.to(wide)).abs().max().item() / (largest or 1.0)
    if not worst <= tolerance:
        raise Differs(f"{name} differs by {worst:.1e} of its largest value {largest:.3g} (allowed: {tolerance:.0e})")
    return worst


def compare(label, results, exact, tolerance):
    try:
        if set(results) != set(exact):
            raise Differs(f"{sorted(results)} and {sorted(exact)}")
        return max(difference(name, results[name], exact[name], tolerance) for name in results)
    except Differs as reason:
        raise Differs(f"{label}: {reason}") from None


def expected_with_mask(case, inputs, cotangent, results):
    """The expected results of an operation with dropout, from its definition and the mask in its output."""
    mask = case.find_mask(inputs, results["output"])
    share, deviation = mask.double().mean().item(), math.sqrt(DROPOUT * (1 - DROPOUT) / mask.numel())
    if abs(share - (1 - DROPOUT)) > 5 * deviation:
        raise Differs(f"{share:.4%} of the values were kept")
    wanted = case.gradients.split()
    traced = {name: t.double().requires_grad_(name in wanted) if t.is_floating_point() else t for name, t in inputs.items()}
    expected = {"output": case.with_mask(traced, mask)}
    if "output" in results and len(results) > 1:
        gradients = torch.autograd.grad(expected["output"], [traced[name] for name in wanted], cotangent.double())
        expected |= {f"gradient.{name}": gradient for name, gradient in zip(wanted, gradients)}
    return {name: t.detach() for name, t in expected.items()}


class Answers:
    """The results of a program for a case: output, then output and gradients. The case stays loaded."""

    def __init__(self, side, case, inputs, folder):
        self.side, self.case, self.folder = side, case, folder
        side.ask(" ".join(["load", case.name, self.written(inputs), *case.gradients.split()]))
        self.all = [self.asked("forward")]

    def new_file(self):  # load_file maps a file, so each name is used once
        return str(self.folder / f"{len(list(self.folder.iterdir()))}.safetensors")

    def written(self, tensors):
        file = self.new_file()
        save_file(tensors, file)
        return file

    def asked(self, request):
        file = self.new_file()
        self.side.ask(f"{request} {file}")
        return load_file(file)

    def differentiate(self, cotangent):
        if self.case.gradients:
            self.all.append(self.asked(f"gradients {self.written({'cotangent': cotangent})}"))
        return self


def check(case, draw, ours, peer, folder, dtype):
    """Compares both programs with PyTorch in float32. Returns the worst difference of m2bert, the inputs and the output."""
    inputs = {name: t.contiguous() for name, t in case.inputs(draw).items()}
    exact = Answers(peer, case, {name: t.float() if t.is_floating_point() else t for name, t in inputs.items()}, folder)
    cotangent = torch.randn(exact.all[0]["output"].shape, generator=draw.generator, dtype=exact.all[0]["output"].dtype)
    cotangent = cotangent if cotangent.is_complex() else cotangent.to(draw.dtype)
    exact.differentiate(cotangent if cotangent.is_complex() else cotangent.float())
    sides = [Answers(ours, case, inputs, folder).differentiate(cotangent)]
    if dtype != "float32":
        sides.append(Answers(peer, case, inputs, folder).differentiate(cotangent))
    worst = []
    for answers in sides + ([exact] if case.find_mask and dtype == "float32" else []):
        tolerance = TOLERANCES[dtype] if answers.side is ours else max(TOLERANCES[dtype], PEER_TOLERANCE if dtype != "float32" else 0)
        for i, results in enumerate(answers.all):
            expected = expected_with_mask(case, inputs, cotangent, results) if case.find_mask else exact.all[i]
            worst.append((answers.side is ours, compare(answers.side.label, results, expected, tolerance)))
    return max(value for mine, value in worst if mine), inputs, sides[0].all[0]["output"]


# ---- one case ----

def take_turns(ours, peer, request, runs):
    """Seconds of the fastest run of each."""
    for side in (ours, peer):
        side.times.clear()
    start, turn = time.perf_counter(), 0
    while turn < runs or (turn < 20 * runs and time.perf_counter() - start < runs * SHORT_SECONDS):
        for side in (ours, peer) if turn % 2 == 0 else (peer, ours):
            side.run(request)
        turn += 1
    return {"ours_seconds": min(ours.times), "peer_seconds": min(peer.times), "ratio": min(peer.times) / min(ours.times), "runs": turn}


def size(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def measure(case, length, ours, peer, folder, dtype, runs):
    draw = Draw(case.name, length, getattr(torch, dtype))
    worst, inputs, output = check(case, draw, ours, peer, folder, dtype)
    traffic = size(inputs.values()) + size([output])
    flops = case.flops(draw) if case.flops else None
    result = {"name": case.name, "length": length, "batch": draw.batch, "shapes": {name: list(t.shape) for name, t in inputs.items()},
              "gradients": case.gradients.split(), "output": list(output.shape), "flops": flops, "bytes": traffic, "difference": worst,
              "forward": rated(take_turns(ours, peer, "run forward", runs), flops, traffic)}
    wanted = case.gradients.split()
    if wanted:
        both_ways = traffic + size([output]) + size(inputs[name] for name in wanted)
        result["with_backward"] = rated(take_turns(ours, peer, "run gradients", runs), flops and 3 * flops, both_ways)
    return result


def rated(timing, flops, traffic):
    """Adds the rate: flops of matmuls, or else the bytes that have to be read and written."""
    amount, unit = (flops, "GFLOP/s") if flops else (traffic, "GB/s")
    return {**timing, "rate": amount / timing["ours_seconds"] / 1e9, "unit": unit}


# ---- the run ----

class Programs:
    """Both programs, restarted after one of them has exited."""

    def __init__(self):
        self.start()

    def start(self):
        self.ours = Program("m2bert", [find_program("m2bert-bench-operations")], OURS)
        self.peer = Program("PyTorch", [sys.executable, REPOSITORY / "bench" / "peers" / "torch_operations.py"], MALLOC)

    def stop(self):
        for side in (self.ours, self.peer):
            if side.process.poll() is None:
                side.stop()


def shown(result):
    parts = []
    for way in ("forward", "with_backward"):
        if way in result:
            r = result[way]
            parts.append(f"{way.replace('_', ' ')} {r['ours_seconds'] * 1e3:.2f} ms, PyTorch {r['peer_seconds'] * 1e3:.2f} ms, ratio {r['ratio']:.2f}")
    return "; ".join(parts)


def run(cases, lengths, dtype, runs):
    sides, results, failures = Programs(), [], []
    for length in lengths:
        for case in cases:
            if case.lengths and length not in case.lengths:
                continue
            try:
                with tempfile.TemporaryDirectory() as folder:
                    results.append(measure(case, length, sides.ours, sides.peer, Path(folder), dtype, runs))
                print(f"L = {length} {case.name}: {shown(results[-1])}", file=sys.stderr, flush=True)
            except (Differs, RequestFailed, Exited) as reason:
                failures.append(f"L = {length} {case.name}: not timed: {reason}")
                print(failures[-1], file=sys.stderr, flush=True)
                if isinstance(reason, Exited):
                    sides.stop()
                    sides.start()
    sides.stop()
    return results, failures, (sides.ours.version, sides.peer.version)


# ---- the report ----

def cells(timing):
    if timing is None:
        return ["", "", "", ""]
    return [f"{timing['ours_seconds'] * 1e3:.2f}", f"{timing['peer_seconds'] * 1e3:.2f}", f"{timing['ratio']:.2f}",
            f"{timing['rate']:.1f} {timing['unit']}"]


def table(results):
    lines = ["| operation | input | forward, ms | PyTorch | ratio | rate | with backward, ms | PyTorch | ratio | rate | difference |",
             "|" + " --- |" * 11]
    for r in results:
        first = "x".join(map(str, next(iter(r["shapes"].values()))))
        lines.append("| " + " | ".join([r["name"], first, *cells(r["forward"]), *cells(r.get("with_backward")), f"{r['difference']:.0e}"]) + " |")
    return lines


def report(results, failures, versions, cases, machine, load, command, when, dtype):
    lines = [f"# Speed of the operations, {dtype}", "",
             f"- Command: `{command}`", f"- Date: {when}", f"- Commit: {commit()}",
             f"- Hardware: {machine['cpu']} (family {machine['family']}, model {machine['model']}), {machine['cores']} cores, "
             f"{' '.join(machine['features'])}; load before the run {load:.1f}", f"- m2bert: {versions[0]}", f"- Peer: {versions[1]}, malloc tuned",
             f"- Results and gradients were compared first: no value of m2bert differs from PyTorch's in float32 by more than "
             f"{TOLERANCES[dtype]:.0e} of the largest value of its tensor (`difference`: the worst of a case).",
             "- Minimum of the runs, the two taking turns. Ratio: PyTorch's time divided by m2bert's; above 1, m2bert is faster.",
             "- Rate of m2bert: GFLOP/s of matmuls (backward: twice as many), or else GB/s of the bytes that have to be read and written.",
             "- Forward: without tracing gradients. With backward: output and gradients by the inputs named in the .json as `gradients`."]
    for length in dict.fromkeys(r["length"] for r in results):
        rows = [r for r in results if r["length"] == length]
        lines += ["", f"## L = {length}", "", *table(rows)]
    if failures:
        lines += ["", "## Not timed", "", *(f"- {failure}" for failure in failures)]
    lines += ["", "## What PyTorch runs", "", *(f"- {case.name}: {case.peer}" for case in cases)]
    return "\n".join(lines) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", action="append", metavar="NAME", help="cases whose name contains this")
    arguments.add_argument("--lengths", type=lambda text: [int(word) for word in text.split(",")], default=LENGTHS)
    arguments.add_argument("--dtype", choices=sorted(TOLERANCES), default="float32",
                           help="bfloat16 skips matmuls on CPUs without bfloat16 arithmetic, where PyTorch is 40 times slower")
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    arguments.add_argument("--no-record", action="store_true", help="print only")
    options = arguments.parse_args()
    cases = [case for case in CASES if (not options.only or any(word in case.name for word in options.only))
             and (options.dtype == "float32" or (case.bfloat16 and (not case.flops or "avx512_bf16" in hardware()["features"])))]
    if not cases:
        sys.exit(f"no case is called like {options.only}; there are {', '.join(case.name for case in CASES)}")
    load = os.getloadavg()[0]
    if load > 1:
        print(f"warning: the load of this machine is {load:.1f}. Other programs slow PyTorch most, because its threads spin",
              file=sys.stderr)
    results, failures, versions = run(cases, options.lengths, options.dtype, options.runs)
    machine, today = hardware(), datetime.date.today().isoformat()
    command = " ".join(["script/bench operations", *sys.argv[1:]])
    text = report(results, failures, versions, cases, machine, load, command, today, options.dtype)
    print(text)
    if not options.no_record:
        what = "operations" if options.dtype == "float32" else f"operations_{options.dtype}"
        write_record(options.out, what, machine, today, text, {"cases": results, "not_timed": failures, "versions": versions})
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
