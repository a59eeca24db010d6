"""The PyTorch side of bench/operations.py: each operation as PyTorch runs it fastest, in the layout it prefers.

    python bench/peers/torch_operations.py [--device cpu|cuda] [--compile]

Answers the same requests as bench/operations/main.cpp, with the same names of operations: load, forward, gradients, run.
An operation is a function of its inputs by name. The tensors named in `channels_first` are stored as [..., channels, positions], which
suits PyTorch's convolutions and transforms. They are transposed, untimed, when a case is loaded and when a result is saved.
"""
import argparse
import math
import sys
import time

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from safetensors.torch import load_file, save_file

HEADS, LAYER_NORM_EPS, DROPOUT, RANK, B2, FACTOR = 12, 1e-12, 0.1, 32, 2, 4
OPERATIONS = {}


class Operation:
    def __init__(self, setup, channels_first):
        self.setup, self.channels_first = setup, channels_first


def op(*names, channels_first=()):
    """Registers a function that computes the operation. channels_first: inputs, and `output`, whose last two axes are swapped."""
    def add(function):
        for name in names or [function.__name__]:
            OPERATIONS[name] = Operation(lambda inputs: function, channels_first)
        return function
    return add


def with_setup(name=None, channels_first=()):
    """Registers a function that is called once with all inputs, untimed, and returns the function that computes the operation."""
    def add(setup):
        OPERATIONS[name or setup.__name__] = Operation(lambda inputs: setup(**inputs), channels_first)
        return setup
    return add


# ---- matmuls ----

@op("linear", "fused_dense")
def linear(x, weight, bias):
    return F.linear(x, weight, bias)


@op()
def fused_dense_gelu(x, weight, bias):
    return F.gelu(F.linear(x, weight, bias))


class BlockdiagMultiply(torch.autograd.Function):
    """A batched matmul over the blocks that writes into the result, forward and backward, without copying x or the result."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return blocks_times(x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx, cotangent):
        x, weight = ctx.saved_tensors
        blocks = weight.shape[0]
        x_kni, cotangent_kno = (t.reshape(-1, blocks, t.shape[-1] // blocks).transpose(0, 1) for t in (x, cotangent))
        return blocks_times(cotangent, weight), torch.bmm(cotangent_kno.transpose(1, 2), x_kni)


def blocks_times(x, weight_kio):
    blocks, block_in, block_out = weight_kio.shape
    x_kni = x.reshape(-1, blocks, block_in).transpose(0, 1)
    y_nko = torch.empty(x_kni.shape[1], blocks, block_out, dtype=x.dtype)
    torch.bmm(x_kni, weight_kio, out=y_nko.transpose(0, 1))
    return y_nko.view(*x.shape[:-1], blocks * block_out)


@op()
def blockdiag_multiply_up(x, weight):
    return BlockdiagMultiply.apply(x, weight)


@op()
def blockdiag_multiply_down(x, weight, bias):
    return BlockdiagMultiply.apply(x, weight) + bias


class ButterflyMultiply(torch.autograd.Function):
    """x [.., k p], w1 [k, q, p], w2 [l, s, r]: two batched matmuls that write into the result, with a copy for the permutation between."""

    @staticmethod
    def forward(ctx, x, w1, w2):
        middle_lnr = across(blocks_times(x, w1.transpose(1, 2)), len(w2))
        ctx.save_for_backward(x, w1, w2, middle_lnr)
        return along(blocks_into_place(middle_lnr, w2.transpose(1, 2)), x.shape[:-1])

    @staticmethod
    def backward(ctx, cotangent):
        x, w1, w2, middle_lnr = ctx.saved_tensors
        cotangent_lns = across(cotangent, len(w2))
        by_middle = along(blocks_into_place(cotangent_lns, w2), x.shape[:-1])
        x_knp, by_middle_knq = (t.reshape(-1, len(w1), t.shape[-1] // len(w1)).transpose(0, 1) for t in (x, by_middle))
        return (blocks_times(by_middle, w1), torch.bmm(by_middle_knq.transpose(1, 2), x_knp),
                torch.bmm(cotangent_lns.transpose(1, 2), middle_lnr))


def across(x, blocks):
    """[.., (r l)] -> [l, n, r], stored row by row."""
    return x.reshape(-1, x.shape[-1] // blocks, blocks).transpose(1, 2).contiguous().transpose(0, 1)


def along(y_nls, batch):
    """[n, l, s] -> [.., (s l)]"""
    return y_nls.transpose(1, 2).reshape(*batch, -1)


def blocks_into_place(x_lnr, weight_lrs):
    y_nls = torch.empty(x_lnr.shape[1], weight_lrs.shape[0], weight_lrs.shape[2], dtype=x_lnr.dtype)
    torch.bmm(x_lnr, weight_lrs, out=y_nls.transpose(0, 1))
    return y_nls


@op()
def blockdiag_butterfly_multiply(x, w1, w2):
    return ButterflyMultiply.apply(x, w1, w2)


@op()
def einsum_simple(x, w1, w2):
    k, j, i = w1.shape
    y = torch.einsum("nki,kji,jlk->nlj", x.view(-1, k, i), w1, w2)
    return y.reshape(*x.shape[:-1], -1)


@op()
def einsum(x, w1, w2):
    k, jb, i = w1.shape
    j, lb, kb = w2.shape
    z = torch.einsum("nki,kjbi->njkb", x.view(-1, k, i), w1.view(k, j, kb // k, i))
    y = torch.einsum("njkb,jlckb->nljc", z, w2.view(j, lb // B2, B2, k, kb // k))
    return y.reshape(*x.shape[:-1], -1)


@op()
def einsum_rank(x, w1, w2):
    k, rj, i = w1.shape
    j, l, kr = w2.shape
    z = torch.einsum("nki,krji->njkr", x.view(-1, k, i), w1.view(k, kr // k, j, i))
    y = torch.einsum("njkr,jlkr->nlj", z, w2.view(j, l, k, kr // k))
    return y.reshape(*x.shape[:-1], -1)


@op()
def butterfly_fft(x, w1, w2):
    permuted = x.unflatten(-1, (len(w2), len(w1))).transpose(-1, -2).flatten(-2)
    return ButterflyMultiply.apply(permuted.to(w1.dtype), w1, w2)


@op()
def butterfly_factor_to_matrix(twiddle):
    blocks, b, _ = twiddle.shape
    t = b ** FACTOR
    diagonals = torch.diag_embed(twiddle.view(blocks // t, t, b, b).permute(0, 2, 3, 1))  # d i j t t
    return torch.block_diag(*diagonals.transpose(2, 3).reshape(blocks // t, b * t, b * t).unbind())


@op()
def blockdiag_weight_to_dense_weight(weight):
    return torch.block_diag(*weight.unbind())


def nearest_of_rank(matrix, rank):
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return (U[..., :rank] * S[..., None, :rank]) @ Vh[..., :rank, :]


@op()
def blockdiag_butterfly_project(matrix):
    small = max(i for i in range(1, math.isqrt(len(matrix)) + 1) if len(matrix) % i == 0)
    large = len(matrix) // small
    pieces = rearrange(matrix, "(p b) (q s) -> b q p s", b=small, s=small)
    return rearrange(nearest_of_rank(pieces, 1), "b q p s -> (p b) (q s)", p=large)


@op()
def low_rank_project(matrix):
    return nearest_of_rank(matrix, RANK)


# ---- pointwise ----

@op()
def gelu(x):
    return F.gelu(x)


@op()
def gelu_tanh(x):
    return F.gelu(x, approximate="tanh")


@op()
def gelu_gate(x):
    gate, value = x.chunk(2, dim=-1)
    return F.gelu(gate) * value


@op()
def layer_norm(x, weight, bias):
    return F.layer_norm(x, weight.shape, weight, bias, LAYER_NORM_EPS)


@op()
def layer_norm_residual(x, residual, weight, bias):
    return F.layer_norm(x + residual, weight.shape, weight, bias, LAYER_NORM_EPS)


@op()
def dropout(x):
    return F.dropout(x, DROPOUT)


@op()
def fused_dropout_add(x, residual):
    return F.dropout(x, DROPOUT) + residual


@op()
def fused_bias_dropout_add(x, bias, residual):
    return F.dropout(x + bias, DROPOUT) + residual


@op()
def fused_softmax_dropout(x, mask):
    return F.dropout(torch.softmax(x + mask, dim=-1), DROPOUT)


# ---- attention ----

def heads_of(x):
    return x.view(*x.shape[:-1], HEADS, -1).transpose(1, 2)


def attend(q, k, v, bias):
    y = F.scaled_dot_product_attention(heads_of(q), heads_of(k), heads_of(v), attn_mask=bias)
    return y.transpose(1, 2).reshape(q.shape)


@op()
def self_attention(q, k, v, mask):
    return attend(q, k, v, mask[:, None, None, :] != 0)


def alibi_slopes(heads):
    def powers(n):
        return [2 ** (-8 * (i + 1) / n) for i in range(n)]
    below = 2 ** math.floor(math.log2(heads))
    return powers(below) + powers(2 * below)[0::2][:heads - below]


@with_setup()
def self_attention_alibi(mask, q, **_):
    """The bias of all heads and pairs is computed once, as upstream's model does."""
    places = torch.arange(mask.shape[1])
    distance = (places[:, None] - places[None, :]).abs()
    alibi = -torch.tensor(alibi_slopes(HEADS))[:, None, None] * distance
    bias = (alibi + torch.where(mask[:, None, None, :] != 0, 0.0, -1e9)).to(q.dtype)
    return lambda q, k, v, mask: attend(q, k, v, bias)


@op()
def scaled_dot_product_attention_causal(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@with_setup()
def attention_varlen(mask, **_):
    """One sequence after another: no padding, and each is long enough to keep all cores busy."""
    lengths = mask.sum(1).tolist()

    def attend_each(q, k, v, mask):
        texts = zip(*(t.transpose(0, 1).split(lengths, dim=1) for t in (q, k, v)))
        return torch.cat([F.scaled_dot_product_attention(*(t[None] for t in text))[0] for text in texts], dim=1).transpose(0, 1)
    return attend_each


# ---- convolutions ----

def filter_spectrum(k, k_rev=None):
    """The spectrum of a kernel of length 2 L, with k [d, L] in its first half and k_rev [d, L] for later positions in its second half."""
    length = k.shape[-1]
    kernel = F.pad(k, (0, length))
    if k_rev is not None:
        kernel = kernel + F.pad(k_rev.flip(-1), (length, 0))
    return torch.fft.rfft(kernel.float(), n=2 * length)


def convolve(u, spectrum, D):
    length = u.shape[-1]
    y = torch.fft.irfft(torch.fft.rfft(u.float(), n=2 * length) * spectrum, n=2 * length)[..., :length]
    return (y + u * D[:, None]).to(u.dtype)


def short_conv(u, weight, bias):
    return F.conv1d(u, weight, bias, padding=weight.shape[-1] - 1, groups=weight.shape[0])[..., :u.shape[-1]]


@op(channels_first=("x", "output"))
def conv1d(x, weight, bias):
    return F.conv1d(x, weight, bias, padding="same")


@op(channels_first=("x", "output"))
def depthwise_conv1d(x, weight, bias):
    return F.conv1d(x, weight, bias, padding="same", groups=len(weight))


@op(channels_first=("x", "output"))
def conv1d_fft(x, weight, bias):
    """Depthwise, a cross-correlation as in torch."""
    length, taps = x.shape[-1], weight.shape[-1]
    size = 2 ** math.ceil(math.log2(length + taps - 1))
    spectrum = torch.fft.rfft(weight[:, 0].flip(-1).float(), n=size)
    y = torch.fft.irfft(torch.fft.rfft(x.float(), n=size) * spectrum, n=size)
    return y[..., taps // 2:taps // 2 + length].to(x.dtype) + bias[:, None]


@op(channels_first=("u", "output"))
def depthwise_conv1d_causal(u, weight, bias):
    return short_conv(u, weight, bias)


@op("long_conv", "long_conv_causal", channels_first=("u", "k", "k_rev", "output"))
def long_conv(u, k, D, k_rev=None):
    return convolve(u, filter_spectrum(k, k_rev), D)


@op(channels_first=("u", "k", "k_rev", "output"))
def long_conv_gelu_mask(u, k, k_rev, D, dropout_mask):
    return F.gelu(long_conv(u, k, D, k_rev)) * dropout_mask[:, :, None]


@with_setup(channels_first=("u", "k", "k_rev", "output"))
def long_conv_with_spectrum(k, k_rev, **_):
    spectrum = filter_spectrum(k, k_rev)
    return lambda u, D, k, k_rev: convolve(u, spectrum, D)


MIXED = ("projected", "u", "k", "k_rev", "k2", "k2_rev", "output")


def mix(projected, u, short_weight, short_bias, spectrum, D, spectrum2, D2):
    x1, x2, v = short_conv(projected, short_weight, short_bias).chunk(3, dim=1)
    return x2 * convolve(x1 * v, spectrum, D) + convolve(u, spectrum2, D2)


@op(channels_first=MIXED)
def monarch_mix(projected, u, short_weight, short_bias, k, k_rev, D, k2, k2_rev, D2):
    return mix(projected, u, short_weight, short_bias, filter_spectrum(k, k_rev), D, filter_spectrum(k2, k2_rev), D2)


@op(channels_first=("k", "k_rev", "k2", "k2_rev"))
def mixer_block(u, in_weight, in_bias, short_weight, short_bias, k, k_rev, D, k2, k2_rev, D2, out_weight, out_bias):
    projected = F.linear(u, in_weight, in_bias).transpose(1, 2)
    y = monarch_mix(projected, u.transpose(1, 2), short_weight, short_bias, k, k_rev, D, k2, k2_rev, D2)
    return F.linear(y.transpose(1, 2), out_weight, out_bias)


@with_setup(channels_first=MIXED)
def monarch_mix_with_spectra(k, k_rev, k2, k2_rev, **_):
    spectrum, spectrum2 = filter_spectrum(k, k_rev), filter_spectrum(k2, k2_rev)
    return lambda projected, u, short_weight, short_bias, D, D2, **_: mix(projected, u, short_weight, short_bias, spectrum, D, spectrum2, D2)


@with_setup(channels_first=("k", "k_rev", "k2", "k2_rev"))
def mixer_block_packed(k, k_rev, D, k2, k2_rev, D2, **_):
    spectrum, spectrum2 = filter_spectrum(k, k_rev), filter_spectrum(k2, k2_rev)

    def forward(u, in_weight, in_bias, short_weight, short_bias, out_weight, out_bias, **_):
        projected = F.linear(u, in_weight, in_bias).transpose(1, 2)
        y = mix(projected, u.transpose(1, 2), short_weight, short_bias, spectrum, D, spectrum2, D2)
        return F.linear(y.transpose(1, 2), out_weight, out_bias)
    return forward


# ---- einops: a view costs nothing, so this times the copy that the next operation would have to make ----

@op()
def rearrange_heads(x):
    return rearrange(x, "b l (h d) -> b h l d", h=HEADS).contiguous()


@op()
def rearrange_transpose(x):
    return rearrange(x, "b l d -> b d l").contiguous()


@op("repeat")
def repeat_rows(x):
    return repeat(x, "l d -> b l d", b=4).contiguous()


@op()
def reduce_mean(x):
    return reduce(x, "b l d -> b d", "mean")


@op()
def reduce_max_pool(x):
    return reduce(x, "b (l p) d -> b l d", "max", p=4)


# ---- padding ----

@with_setup()
def unpad_input(mask, **_):
    indices = mask.flatten().nonzero().flatten()
    return lambda x, mask: x.flatten(0, 1).index_select(0, indices)


@with_setup()
def pad_input(mask, **_):
    indices = mask.flatten().nonzero().flatten()
    return lambda rows, mask: rows.new_zeros(mask.numel(), *rows.shape[1:]).index_copy(0, indices, rows).view(*mask.shape, *rows.shape[1:])


@op()
def index_first_axis(x, indices):
    return x.index_select(0, indices)


@with_setup()
def index_put_first_axis(indices, **_):
    places = indices.long()  # what index_copy requires
    return lambda rows, indices, mask: rows.new_zeros(mask.numel(), *rows.shape[1:]).index_copy(0, places, rows)


# ---- the program ----

class Case:
    device, compiled = "cpu", False

    def __init__(self, name, file, *wanted):
        operation = OPERATIONS[name]
        self.channels_first, self.wanted = operation.channels_first, wanted
        self.inputs = {key: self.transposed(key, value) for key, value in load_file(file).items()}
        self.function = operation.setup(self.inputs)
        if self.compiled:
            self.function = torch.compile(self.function)
        self.traced = {key: value.detach().requires_grad_() if key in wanted else value for key, value in self.inputs.items()}

    def transposed(self, key, value):
        """A copy, transposed if needed: load_file returns views of the mapped file."""
        return (value.transpose(-1, -2) if key in self.channels_first else value).to(self.device).clone(memory_format=torch.contiguous_format)

    def forward(self):
        with torch.inference_mode():
            return self.function(**self.inputs)

    def gradients(self):
        output = self.function(**self.traced)
        return output.detach(), torch.autograd.grad(output, [self.traced[key] for key in self.wanted], self.cotangent)

    def save_forward(self, file):
        self.save({"output": self.forward()}, file)

    def save_gradients(self, cotangent, file):
        self.cotangent = self.transposed("output", load_file(cotangent)["cotangent"])
        output, gradients = self.gradients()
        self.save({"output": output, **{f"gradient.{key}": value for key, value in zip(self.wanted, gradients)}}, file)

    def save(self, tensors, file):
        save_file({name: self.transposed(name.removeprefix("gradient."), tensor).cpu() for name, tensor in tensors.items()}, file)

    def run(self, what, count="1"):
        work = {"forward": self.forward, "gradients": self.gradients}[what]
        start = time.perf_counter()
        for _ in range(int(count)):
            work()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / int(count)


def answer(request, words, case):
    """Returns the loaded case and the answer."""
    if request == "load":
        return Case(*words), "loaded"
    if request == "run":
        return case, f"{case.run(*words):.6f}"
    {"forward": case.save_forward, "gradients": case.save_gradients}[request](*words)
    return case, "saved"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments.add_argument("--compile", action="store_true")
    options = arguments.parse_args()
    Case.device, Case.compiled = options.device, options.compile
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    print(f"ready torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    case = None
    for line in sys.stdin:
        request, *words = line.split()
        if request == "quit":
            return
        if request == "load":
            case = None  # two cases may not fit into memory together
        try:
            case, text = answer(request, words, case)
        except Exception as error:
            text = f"error: {type(error).__name__}: {error}".replace("\n", " ")
        print(text, flush=True)


if __name__ == "__main__":
    main()
