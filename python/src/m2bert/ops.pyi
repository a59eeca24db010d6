"""Operations on mx.array: einops, convolutions, Monarch matrices, attention, padding.

They are lazy and differentiable by mx.grad, like MLX's own, and have the same bits as in C++. `stream` is an
mx.Stream or mx.Device. X_fallback means the same as X, and is composed of MLX's operations.

>>> weight = mx.ones((2, 3, 4))
>>> loss = lambda x: m2bert.ops.blockdiag_multiply(x, weight).sum()
>>> mx.grad(loss)(mx.ones((8,))).tolist()
[3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]
"""
from collections.abc import Callable, Sequence
from typing import Literal, overload

import mlx.core as mx

_Stream = mx.Stream | mx.ThreadLocalStream | mx.Device | mx.DeviceType | None

def rearrange(x: mx.array | Sequence[mx.array], pattern: str, *, stream: _Stream = None, **axes: int) -> mx.array:
    """Reorders, splits and merges axes by an einops pattern; every axis is on both sides.

    x: an array, or a list of arrays of one shape, which are stacked along a new first axis. axes: lengths that do not follow from the
    shape, as keywords. Any dtype.

    >>> x = mx.zeros((2, 5, 12))
    >>> m2bert.ops.rearrange(x, "b l (h d) -> b h l d", h=3).shape
    (2, 3, 5, 4)
    """

def repeat(x: mx.array | Sequence[mx.array], pattern: str, *, stream: _Stream = None, **axes: int) -> mx.array:
    """As rearrange, and adds axes that are only on the right, along which x is repeated without a copy.

    >>> m2bert.ops.repeat(mx.array([1, 2]), "d -> b d", b=3).tolist()
    [[1, 2], [1, 2], [1, 2]]
    """

def reduce(x: mx.array | Sequence[mx.array], pattern: str, reduction: Literal["sum", "mean", "max", "min", "prod", "any", "all"], *,
           stream: _Stream = None, **axes: int) -> mx.array:
    """As rearrange, and removes axes that are only on the left. reduction: "sum", "mean", "max", "min", "prod", "any" or "all".

    The gradient of max and min is split evenly among equal extremes; that of prod is correct even if x has zeros.

    >>> image = mx.array([[1.0, 2.0], [3.0, 4.0]])
    >>> m2bert.ops.reduce(image, "(h 2) w -> h w", "max").tolist()
    [[3.0, 4.0]]
    """

def parse_shape(x: mx.array, pattern: str) -> dict[str, int]:
    """The lengths of x's axes by name. _ and ... skip axes; a number is checked.

    >>> m2bert.ops.parse_shape(mx.zeros((2, 3, 4)), "b _ d")
    {'b': 2, 'd': 4}
    """

def conv1d(x: mx.array, weight: mx.array, bias: mx.array | None = None, stride: int = 1, padding: int = 0, dilation: int = 1,
           groups: int = 1, channels: Literal["last", "first"] = "last", *, stream: _Stream = None) -> mx.array:
    """torch's conv1d: y[t] sums weight[j] x[t stride + j dilation - padding].

    x [B, L, C_in], or [B, C_in, L] with channels="first"; weight [C_out, C_in / groups, K]; bias [C_out]; the result is
    [B, L', C_out] or [B, C_out, L'].

    >>> m2bert.ops.conv1d(mx.ones((1, 4, 1)), mx.ones((1, 1, 3)), padding=1).flatten().tolist()
    [2.0, 3.0, 3.0, 2.0]
    """

def conv1d_fallback(x: mx.array, weight: mx.array, bias: mx.array | None = None, stride: int = 1, padding: int = 0, dilation: int = 1,
                    groups: int = 1, channels: Literal["last", "first"] = "last", *, stream: _Stream = None) -> mx.array:
    """conv1d, composed of MLX's operations."""

def conv1d_fft(x: mx.array, weight: mx.array, bias: mx.array | None = None, stride: int = 1, padding: int = 0, dilation: int = 1,
               groups: int = 1, channels: Literal["last", "first"] = "last", *, stream: _Stream = None) -> mx.array:
    """conv1d in O(L log L) for any length of the filter.

    >>> m2bert.ops.conv1d_fft(mx.ones((1, 9, 2)), mx.ones((3, 2, 5))).shape
    (1, 5, 3)
    """

def depthwise_conv1d(x: mx.array, weight: mx.array, bias: mx.array | None = None, stride: int = 1, padding: int = 0, dilation: int = 1,
                     channels: Literal["last", "first"] = "last", *, stream: _Stream = None) -> mx.array:
    """conv1d with n filters for each channel: x [B, L, C], weight [n C, 1, K], bias [n C].

    >>> m2bert.ops.depthwise_conv1d(mx.ones((1, 9, 2)), mx.ones((4, 1, 3))).shape
    (1, 7, 4)
    """

def depthwise_conv1d_fallback(x: mx.array, weight: mx.array, bias: mx.array | None = None, stride: int = 1, padding: int = 0,
                              dilation: int = 1, channels: Literal["last", "first"] = "last", *, stream: _Stream = None) -> mx.array:
    """depthwise_conv1d, composed of MLX's operations."""

def depthwise_conv1d_causal(u_blc: mx.array, weight: mx.array, bias: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """The mixer's short convolution: y[t] = bias + sum_j weight[j] u[t - (K - 1) + j].

    u_blc [B, L, C], weight [C, 1, K], bias [C]; the result is [B, L, C].

    >>> m2bert.ops.depthwise_conv1d_causal(mx.ones((1, 4, 1)), mx.ones((1, 1, 3))).flatten().tolist()
    [1.0, 2.0, 3.0, 3.0]
    """

def long_conv(u_bld: mx.array, k_ld: mx.array, k_rev_ld: mx.array | None, D_d: mx.array, gelu: bool = False,
              dropout_mask: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """Convolution with a filter as long as the sequence, in O(L log L): gelu(conv(u; k, k_rev) + D u) * dropout_mask.

    u_bld [B, L, d]; k_ld [L, d], weights of the current and earlier positions; k_rev_ld [L, d], those of later positions, or None
    for a causal convolution; D_d [d]; dropout_mask [B, d]. The result is [B, L, d].

    >>> u, k = mx.array([1.0, 0.0, 0.0]).reshape(1, 3, 1), mx.array([[3.0], [2.0], [1.0]])
    >>> y = m2bert.ops.long_conv(u, k, None, mx.zeros((1,)))
    >>> [round(v, 4) for v in y.flatten().tolist()]
    [3.0, 2.0, 1.0]
    """

def long_conv_fallback(u_bld: mx.array, k_ld: mx.array, k_rev_ld: mx.array | None, D_d: mx.array, gelu: bool = False,
                       dropout_mask: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """long_conv, composed of MLX's operations."""

def long_conv_spectrum(k_ld: mx.array, k_rev_ld: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """The spectrum of a filter [L, d] for long_conv_with_spectrum: complex64 [spectrum_rows(L), d].

    >>> m2bert.ops.long_conv_spectrum(mx.ones((8, 2))).shape
    (9, 2)
    """

def spectrum_rows(L: int) -> int:
    """The rows of the spectrum of a filter of length L.

    >>> m2bert.ops.spectrum_rows(8)
    9
    """

def long_conv_with_spectrum(u_bld: mx.array, spectrum: mx.array, D_d: mx.array, gelu: bool = False, dropout_mask: mx.array | None = None, *,
                            stream: _Stream = None) -> mx.array:
    """long_conv with a spectrum that long_conv_spectrum made for the same length.

    >>> spectrum = m2bert.ops.long_conv_spectrum(mx.ones((8, 2)))
    >>> m2bert.ops.long_conv_with_spectrum(mx.ones((1, 8, 2)), spectrum, mx.zeros((2,))).shape
    (1, 8, 2)
    """

def with_reverse_from_zero(k_ld: mx.array, r_ld: mx.array, *, stream: _Stream = None) -> tuple[mx.array, mx.array]:
    """(k_ld, k_rev_ld) of a filter whose reverse r_ld [L, d] starts at the position itself, as upstream's fftconv_ref has it.

    >>> k, k_rev = m2bert.ops.with_reverse_from_zero(mx.ones((3, 1)), mx.ones((3, 1)))
    >>> k.flatten().tolist(), k_rev.flatten().tolist()
    ([2.0, 1.0, 1.0], [1.0, 1.0, 0.0])
    """

def monarch_mix(projected: mx.array, u: mx.array, short_weight: mx.array, short_bias: mx.array, k: mx.array, D: mx.array,
                k_rev: mx.array | None = None, k2: mx.array | None = None, D2: mx.array | None = None, k2_rev: mx.array | None = None,
                spectrum: mx.array | None = None, spectrum2: mx.array | None = None, gelu: bool = False,
                dropout_mask: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """The Monarch Mixer between its two projections: x2 * g(conv(x1 * v; k, D)) + conv(u; k2, D2).

    projected [B, L, 3 H], u [B, L, H], short_weight [3 H, 1, K], short_bias [3 H]; filters k, k_rev, k2, k2_rev [L, H], D, D2
    [H]; the result is [B, L, H]. k_rev and k2_rev: both, or neither for a causal mixer. spectrum: long_conv_spectrum(k, k_rev).

    >>> L, H = 8, 4
    >>> y = m2bert.ops.monarch_mix(mx.ones((1, L, 3 * H)), mx.ones((1, L, H)), mx.ones((3 * H, 1, 3)), mx.zeros((3 * H,)),
    ...                            k=mx.ones((L, H)), D=mx.ones((H,)))
    >>> y.shape
    (1, 8, 4)
    """

def monarch_mix_fallback(projected: mx.array, u: mx.array, short_weight: mx.array, short_bias: mx.array, k: mx.array, D: mx.array,
                         k_rev: mx.array | None = None, k2: mx.array | None = None, D2: mx.array | None = None,
                         k2_rev: mx.array | None = None, spectrum: mx.array | None = None, spectrum2: mx.array | None = None,
                         gelu: bool = False, dropout_mask: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """monarch_mix, composed of MLX's operations."""

def monarch_mix_varlen(projected: mx.array, u: mx.array, cu_seqlens: mx.array | Sequence[int], short_weight: mx.array, short_bias: mx.array,
                       k: mx.array, D: mx.array, k_rev: mx.array | None = None, k2: mx.array | None = None, D2: mx.array | None = None,
                       k2_rev: mx.array | None = None, spectrum: mx.array | None = None, spectrum2: mx.array | None = None, *,
                       stream: _Stream = None) -> mx.array:
    """monarch_mix of sequences of different lengths as rows without padding: projected [nnz, 3 H], u [nnz, H] -> [nnz, H].

    cu_seqlens: offsets [n + 1] of the sequences. The filters [F, H] have at least as many rows as the longest one.

    >>> y = m2bert.ops.monarch_mix_varlen(mx.ones((5, 12)), mx.ones((5, 4)), [0, 3, 5], mx.ones((12, 1, 3)), mx.zeros((12,)),
    ...                                   k=mx.ones((8, 4)), D=mx.ones((4,)))
    >>> y.shape
    (5, 4)
    """

def monarch_mix_varlen_fallback(projected: mx.array, u: mx.array, cu_seqlens: mx.array | Sequence[int], short_weight: mx.array,
                                short_bias: mx.array, k: mx.array, D: mx.array, k_rev: mx.array | None = None, k2: mx.array | None = None,
                                D2: mx.array | None = None, k2_rev: mx.array | None = None, spectrum: mx.array | None = None,
                                spectrum2: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """monarch_mix_varlen, composed of MLX's operations."""

def varlen_filter_length(length: int, available: int) -> int:
    """The rows of the filters that monarch_mix_varlen reads for a sequence of `length` tokens.

    >>> m2bert.ops.varlen_filter_length(5, 128)
    8
    """

def mixer_block(u: mx.array, in_weight: mx.array, in_bias: mx.array | None, short_weight: mx.array, short_bias: mx.array,
                out_weight: mx.array, out_bias: mx.array | None, k: mx.array, D: mx.array, k_rev: mx.array | None = None,
                k2: mx.array | None = None, D2: mx.array | None = None, k2_rev: mx.array | None = None, spectrum: mx.array | None = None,
                spectrum2: mx.array | None = None, gelu: bool = False, dropout_mask: mx.array | None = None, *,
                stream: _Stream = None) -> mx.array:
    """The whole Monarch Mixer: projection, monarch_mix, projection. u [B, L, H] -> [B, L, H].

    in_weight [3 H, H], in_bias [3 H] or None, out_weight [H, H], out_bias [H] or None; the rest as in monarch_mix.

    >>> L, H = 8, 4
    >>> y = m2bert.ops.mixer_block(mx.ones((1, L, H)), mx.ones((3 * H, H)), None, mx.ones((3 * H, 1, 3)), mx.zeros((3 * H,)),
    ...                            mx.ones((H, H)), None, k=mx.ones((L, H)), D=mx.ones((H,)))
    >>> y.shape
    (1, 8, 4)
    """

def mixer_block_fallback(u: mx.array, in_weight: mx.array, in_bias: mx.array | None, short_weight: mx.array, short_bias: mx.array,
                         out_weight: mx.array, out_bias: mx.array | None, k: mx.array, D: mx.array, k_rev: mx.array | None = None,
                         k2: mx.array | None = None, D2: mx.array | None = None, k2_rev: mx.array | None = None,
                         spectrum: mx.array | None = None, spectrum2: mx.array | None = None, gelu: bool = False,
                         dropout_mask: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """mixer_block, composed of MLX's operations."""

def sine_linear(x: mx.array, weight: mx.array, bias: mx.array, freq: mx.array, *, stream: _Stream = None) -> mx.array:
    """sin(freq (x weight^T + bias)): x [L, in], weight [out, in], bias [out], freq [out]; the result is [L, out].

    >>> m2bert.ops.sine_linear(mx.ones((4, 3)), mx.ones((2, 3)), mx.ones((2,)), mx.ones((2,))).shape
    (4, 2)
    """

def sine_linear_fallback(x: mx.array, weight: mx.array, bias: mx.array, freq: mx.array, *, stream: _Stream = None) -> mx.array:
    """sine_linear, composed of MLX's operations."""

def exponential_decay(x: mx.array, times: mx.array, deltas: mx.array, *, stream: _Stream = None) -> mx.array:
    """x * exp(-times |deltas|): x [L, H], times [L], deltas [H].

    >>> m2bert.ops.exponential_decay(mx.ones((2, 1)), mx.array([0.0, 1.0]), mx.zeros((1,))).tolist()
    [[1.0], [1.0]]
    """

def exponential_decay_fallback(x: mx.array, times: mx.array, deltas: mx.array, *, stream: _Stream = None) -> mx.array:
    """exponential_decay, composed of MLX's operations."""

def feed_forward(x: mx.array, up: mx.array, up_bias: mx.array | None, down: mx.array, down_bias: mx.array | None, norm_weight: mx.array,
                 norm_bias: mx.array, eps: float = 9.999999960041972e-13,
                 activation: Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"] = "gelu", gated: bool = False, p: float = 0.0,
                 key: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """The channel mixer: layer_norm(down(dropout(act(up(x)), p)) + x). x [..., H] -> [..., H].

    up [I, H], up_bias [I] or None, down [H, I], down_bias [H] or None, norm_weight and norm_bias [H]; gated: up has 2 I rows, and
    act(up(x)[..., :I]) * up(x)[..., I:] takes the place of act(up(x)). activation: "gelu", "gelu_tanh", "relu", "silu", "tanh".
    key: a random key; without it there is no dropout.

    >>> H, I = 4, 8
    >>> m2bert.ops.feed_forward(mx.ones((2, H)), mx.ones((2 * I, H)), None, mx.ones((H, I)), None, mx.ones((H,)), mx.zeros((H,)),
    ...                         gated=True).shape
    (2, 4)
    """

def feed_forward_fallback(x: mx.array, up: mx.array, up_bias: mx.array | None, down: mx.array, down_bias: mx.array | None,
                          norm_weight: mx.array, norm_bias: mx.array, eps: float = 9.999999960041972e-13,
                          activation: Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"] = "gelu", gated: bool = False, p: float = 0.0,
                          key: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """feed_forward, composed of MLX's operations."""

def linear(x: mx.array, weight: mx.array, bias: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """x weight^T + bias: x [..., in], weight [out, in], bias [out]; the result is [..., out].

    >>> m2bert.ops.linear(mx.ones((2, 3)), mx.ones((1, 3))).tolist()
    [[3.0], [3.0]]
    """

def linear_fallback(x: mx.array, weight: mx.array, bias: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """linear, composed of MLX's operations."""

def fused_dense(x: mx.array, weight: mx.array, bias: mx.array, *, stream: _Stream = None) -> mx.array:
    """linear with a bias, all of one dtype.

    >>> m2bert.ops.fused_dense(mx.ones((2, 3)), mx.ones((4, 3)), mx.ones((4,))).shape
    (2, 4)
    """

def fused_dense_fallback(x: mx.array, weight: mx.array, bias: mx.array, *, stream: _Stream = None) -> mx.array:
    """fused_dense, composed of MLX's operations."""

def fused_dense_gelu(x: mx.array, weight: mx.array, bias: mx.array, kind: Literal["exact", "tanh"] = "exact", *,
                     stream: _Stream = None) -> mx.array:
    """gelu(x weight^T + bias). kind: "exact" or "tanh".

    >>> m2bert.ops.fused_dense_gelu(mx.ones((2, 3)), mx.ones((4, 3)), mx.ones((4,)), "tanh").shape
    (2, 4)
    """

def fused_dense_gelu_fallback(x: mx.array, weight: mx.array, bias: mx.array, kind: Literal["exact", "tanh"] = "exact", *,
                              stream: _Stream = None) -> mx.array:
    """fused_dense_gelu, composed of MLX's operations."""

def embedding_rows(table: mx.array, index: mx.array, *, stream: _Stream = None) -> mx.array:
    """table[index]: table [n, H], index of any shape, int32; the result is [..., H]. Differentiable in the table.

    >>> m2bert.ops.embedding_rows(mx.array([[1.0], [2.0]]), mx.array([1, 0, 1])).flatten().tolist()
    [2.0, 1.0, 2.0]
    """

def rotation_block(columns: int) -> int:
    """How many columns rotate_columns rotates together.

    >>> m2bert.ops.rotation_block(768)
    64
    """

def rotate_columns(x: mx.array, *, stream: _Stream = None) -> mx.array:
    """The Hadamard transform of blocks of columns of x [..., n] that precedes quantization; its own inverse.

    >>> m2bert.ops.rotate_columns(mx.array([[1.0, 1.0, 1.0, 1.0]])).tolist()
    [[2.0, 0.0, 0.0, 0.0]]
    """

def quantize_weight(weight: mx.array, *, stream: _Stream = None) -> tuple[mx.array, mx.array]:
    """(values, scale) of an int8 weight: weight [..., in] -> int8 of its shape and float32, one for each row.

    >>> values, scale = m2bert.ops.quantize_weight(mx.ones((2, 64)))
    >>> values.dtype, scale.shape
    (mlx.core.int8, (2,))
    """

def dequantize_weight(values: mx.array, scale: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """The weight of quantize_weight as float32; one without a scale is returned unchanged.

    >>> m2bert.ops.dequantize_weight(*m2bert.ops.quantize_weight(mx.eye(4))).shape
    (4, 4)
    """

def weight_matmul(x: mx.array, values: mx.array, scale: mx.array | None = None, bias: mx.array | None = None, *,
                  stream: _Stream = None) -> mx.array:
    """x W^T + bias with a dense or block-diagonal weight, floating or int8 (quantize_weight). No gradient with int8.

    >>> m2bert.ops.weight_matmul(mx.ones((2, 64)), *m2bert.ops.quantize_weight(mx.ones((3, 64)))).shape
    (2, 3)
    """

def low_rank_project(matrix: mx.array, rank: int, *, stream: _Stream = None) -> tuple[mx.array, mx.array]:
    """(U, Vt) of the nearest matrix of a rank: matrix [..., m, n] -> [..., m, rank], [..., rank, n]. Evaluates on the CPU; no gradient.

    >>> U, Vt = m2bert.ops.low_rank_project(mx.eye(4), 2)
    >>> U.shape, Vt.shape
    ((4, 2), (2, 4))
    """

def projection_residual(matrix: mx.array, approximation: mx.array, *, stream: _Stream = None) -> mx.array:
    """|matrix - approximation| / |matrix| in the Frobenius norm.

    >>> m2bert.ops.projection_residual(mx.eye(4), mx.eye(4)).item()
    0.0
    """

def blockdiag_multiply(x: mx.array, weight: mx.array, bias: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """x times a block-diagonal matrix: x [..., nb p], weight [nb, q, p], bias [nb q]; the result is [..., nb q].

    >>> m2bert.ops.blockdiag_multiply(mx.ones((2, 6)), mx.ones((3, 4, 2))).shape
    (2, 12)
    """

def blockdiag_multiply_fallback(x: mx.array, weight: mx.array, bias: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """blockdiag_multiply, composed of MLX's operations."""

def blockdiag_weight_to_dense_weight(weight: mx.array, *, stream: _Stream = None) -> mx.array:
    """The full matrix [nb q, nb p] of the blocks [nb, q, p].

    >>> m2bert.ops.blockdiag_weight_to_dense_weight(mx.ones((2, 1, 2))).tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """

def dense_weight_to_blockdiag_weight(dense: mx.array, nblocks: int, *, stream: _Stream = None) -> mx.array:
    """The blocks [nb, q, p] on the diagonal of a matrix [nb q, nb p].

    >>> m2bert.ops.dense_weight_to_blockdiag_weight(mx.eye(4), 2).tolist()
    [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]
    """

def blockdiag_butterfly_multiply(x: mx.array, w1: mx.array, w2: mx.array, *, stream: _Stream = None) -> mx.array:
    """x times a Monarch matrix: x [..., k p], w1 [k, q, p], w2 [l, s, r] with l r = k q; the result is [..., s l].

    >>> m2bert.ops.blockdiag_butterfly_multiply(mx.ones((2, 6)), mx.ones((3, 2, 2)), mx.ones((2, 3, 3))).shape
    (2, 6)
    """

def blockdiag_butterfly_multiply_fallback(x: mx.array, w1: mx.array, w2: mx.array, *, stream: _Stream = None) -> mx.array:
    """blockdiag_butterfly_multiply, composed of MLX's operations."""

def blockdiag_butterfly_multiply_einsum_simple(x: mx.array, w1: mx.array, w2: mx.array, *, stream: _Stream = None) -> mx.array:
    """x [..., (k i)], w1 [k, j, i], w2 [j, l, k] -> [..., (l j)].

    >>> m2bert.ops.blockdiag_butterfly_multiply_einsum_simple(mx.ones((2, 6)), mx.ones((3, 4, 2)), mx.ones((4, 5, 3))).shape
    (2, 20)
    """

def blockdiag_butterfly_multiply_einsum(x: mx.array, w1: mx.array, w2: mx.array, b2: int, *, stream: _Stream = None) -> mx.array:
    """x [..., (k i)], w1 [k, (j b1), i], w2 [j, (l b2), (k b1)] -> [..., (l j b2)].

    >>> m2bert.ops.blockdiag_butterfly_multiply_einsum(mx.ones((2, 6)), mx.ones((3, 8, 2)), mx.ones((4, 10, 6)), b2=2).shape
    (2, 40)
    """

def blockdiag_butterfly_multiply_einsum_rank(x: mx.array, w1: mx.array, w2: mx.array, *, stream: _Stream = None) -> mx.array:
    """x [..., (k i)], w1 [k, (r j), i], w2 [j, l, (k r)] -> [..., (l j)].

    >>> m2bert.ops.blockdiag_butterfly_multiply_einsum_rank(mx.ones((2, 6)), mx.ones((3, 8, 2)), mx.ones((4, 5, 6))).shape
    (2, 20)
    """

def blockdiag_butterfly_to_dense(w1: mx.array, w2: mx.array, *, stream: _Stream = None) -> mx.array:
    """The full matrix [out, in] of blockdiag_butterfly_multiply, and of its forms einsum_simple and einsum_rank.

    >>> m2bert.ops.blockdiag_butterfly_to_dense(mx.ones((3, 2, 2)), mx.ones((2, 3, 3))).shape
    (6, 6)
    """

def blockdiag_butterfly_einsum_to_dense(w1: mx.array, w2: mx.array, b2: int, *, stream: _Stream = None) -> mx.array:
    """The full matrix [out, in] of blockdiag_butterfly_multiply_einsum.

    >>> m2bert.ops.blockdiag_butterfly_einsum_to_dense(mx.ones((3, 8, 2)), mx.ones((4, 10, 6)), 2).shape
    (40, 6)
    """

def factors(n: int) -> list[tuple[int, int]]:
    """All (i, n / i) with i <= n / i whose product is n.

    >>> m2bert.ops.factors(12)
    [(1, 12), (2, 6), (3, 4)]
    """

def butterfly_sizes(n: int) -> tuple[int, int]:
    """The default sizes of a Monarch matrix with n rows, the larger one first.

    >>> m2bert.ops.butterfly_sizes(768)
    (32, 24)
    """

def blockdiag_butterfly_project(m: mx.array, sizes: tuple[int, int] | None = None, *, stream: _Stream = None) -> tuple[mx.array,
                                mx.array]:
    """(w1, w2) of the nearest Monarch matrix to m [n, n]; n = r b with sizes (r, b): w1 [r, b, b], w2 [b, r, r]. No gradient.

    >>> w1, w2 = m2bert.ops.blockdiag_butterfly_project(mx.eye(6))
    >>> w1.shape, w2.shape
    ((3, 2, 2), (2, 3, 3))
    """

def blockdiag_butterfly_project_einsum_simple(m: mx.array, nblocks1: int, nblocks2: int, *, stream: _Stream = None) -> tuple[mx.array,
                                              mx.array]:
    """(w1, w2) for blockdiag_butterfly_multiply_einsum_simple: m [(l j), (k i)] with k = nblocks1, j = nblocks2. No gradient.

    >>> w1, w2 = m2bert.ops.blockdiag_butterfly_project_einsum_simple(mx.eye(6), 3, 2)
    >>> w1.shape, w2.shape
    ((3, 2, 2), (2, 3, 3))
    """

def blockdiag_butterfly_project_einsum(m: mx.array, nblocks1: int, nblocks2: int, b1: int, b2: int, *,
                                       stream: _Stream = None) -> tuple[mx.array, mx.array]:
    """(w1, w2) for blockdiag_butterfly_multiply_einsum: m [(l j b2), (k i)]. No gradient.

    >>> w1, w2 = m2bert.ops.blockdiag_butterfly_project_einsum(mx.eye(8), 2, 2, 1, 2)
    >>> w1.shape, w2.shape
    ((2, 2, 4), (2, 4, 2))
    """

def blockdiag_butterfly_project_einsum_rank(m: mx.array, nblocks1: int, nblocks2: int, rank: int, *,
                                            stream: _Stream = None) -> tuple[mx.array, mx.array]:
    """(w1, w2) for blockdiag_butterfly_multiply_einsum_rank: m [(l j), (k i)]. No gradient.

    >>> w1, w2 = m2bert.ops.blockdiag_butterfly_project_einsum_rank(mx.eye(8), 2, 2, 2)
    >>> w1.shape, w2.shape
    ((2, 4, 4), (2, 4, 4))
    """

def butterfly_fft_factors(n: int, direction: Literal["fft", "ifft"] = "fft", norm: Literal["backward", "ortho", "forward"] = "ortho",
                          sizes: tuple[int, int] | None = None) -> tuple[mx.array, mx.array, mx.array]:
    """(permutation, w1, w2): the Fourier transform of n points as a permutation and a Monarch matrix, exactly.

    direction: "fft" or "ifft". norm: "backward", "ortho" or "forward". sizes: (r, b) with r b = n; w1 [r, b, b], w2 [b, r, r].

    >>> permutation, w1, w2 = m2bert.ops.butterfly_fft_factors(6)
    >>> permutation.tolist()
    [0, 3, 1, 4, 2, 5]
    """

@overload
def butterfly_fft(x: mx.array, w1: mx.array, w2: mx.array, *, stream: _Stream = None) -> mx.array:
    """The Fourier transform of x's last axis by a Monarch matrix: x [..., n] -> complex64 [..., n].

    w1, w2: the factors of butterfly_fft_factors, which can be trained further; or direction, norm and sizes, as there.

    >>> y = m2bert.ops.butterfly_fft(mx.array([1.0, 0.0, 0.0, 0.0]), norm="backward")
    >>> [round(abs(v), 4) for v in y.tolist()]
    [1.0, 1.0, 1.0, 1.0]
    """

@overload
def butterfly_fft(x: mx.array, direction: Literal["fft", "ifft"] = "fft", norm: Literal["backward", "ortho", "forward"] = "ortho",
                  sizes: tuple[int, int] | None = None, *, stream: _Stream = None) -> mx.array: ...

@overload
def butterfly_fft2(x: mx.array, columns: tuple[mx.array, mx.array], rows: tuple[mx.array, mx.array], *,
                   stream: _Stream = None) -> mx.array:
    """The Fourier transform of x's last two axes [..., n1, n2]. columns, rows: (w1, w2) of n1 and n2; or direction and norm.

    >>> m2bert.ops.butterfly_fft2(mx.ones((3, 4, 6))).shape
    (3, 4, 6)
    """

@overload
def butterfly_fft2(x: mx.array, direction: Literal["fft", "ifft"] = "fft", norm: Literal["backward", "ortho", "forward"] = "ortho", *,
                   stream: _Stream = None) -> mx.array: ...

def butterfly_factor_to_matrix(twiddle: mx.array, factor_index: int, *, stream: _Stream = None) -> mx.array:
    """The matrix [n, n] of one factor of a butterfly matrix: twiddle [n / b, b, b], n a power of b.

    >>> m2bert.ops.butterfly_factor_to_matrix(mx.ones((2, 2, 2)), 1).tolist()[0]
    [1.0, 0.0, 1.0, 0.0]
    """

def gelu(x: mx.array, *, stream: _Stream = None) -> mx.array:
    """x Phi(x) with the error function, for x of any shape.

    >>> m2bert.ops.gelu(mx.zeros((2,))).tolist()
    [0.0, 0.0]
    """

def gelu_fallback(x: mx.array, *, stream: _Stream = None) -> mx.array:
    """gelu, composed of MLX's operations."""

def gelu_tanh(x: mx.array, *, stream: _Stream = None) -> mx.array:
    """The tanh approximation of gelu.

    >>> m2bert.ops.gelu_tanh(mx.zeros((2,))).tolist()
    [0.0, 0.0]
    """

def gelu_tanh_fallback(x: mx.array, *, stream: _Stream = None) -> mx.array:
    """gelu_tanh, composed of MLX's operations."""

def gelu_gate(x: mx.array, *, stream: _Stream = None) -> mx.array:
    """gelu(x[..., :I]) * x[..., I:] for x [..., 2 I]; the result is [..., I].

    >>> m2bert.ops.gelu_gate(mx.ones((3, 8))).shape
    (3, 4)
    """

def gelu_gate_fallback(x: mx.array, *, stream: _Stream = None) -> mx.array:
    """gelu_gate, composed of MLX's operations."""

def cast(x: mx.array, dtype: mx.Dtype, *, stream: _Stream = None) -> mx.array:
    """x as another floating dtype, rounded to nearest, ties to even.

    >>> m2bert.ops.cast(mx.ones((2,)), mx.bfloat16).dtype
    mlx.core.bfloat16
    """

def cast_fallback(x: mx.array, dtype: mx.Dtype, *, stream: _Stream = None) -> mx.array:
    """cast, composed of MLX's operations."""

def layer_norm(x: mx.array, residual: mx.array | None, weight: mx.array, bias: mx.array, eps: float, *,
               stream: _Stream = None) -> mx.array:
    """(s - mean) / sqrt(var + eps) * weight + bias over the last axis, s = x + residual; x, residual [..., n] (or None), weight, bias [n].

    >>> m2bert.ops.layer_norm(mx.ones((2, 4)), None, mx.ones((4,)), mx.zeros((4,)), 1e-12).tolist()[0]
    [0.0, 0.0, 0.0, 0.0]
    """

def layer_norm_fallback(x: mx.array, residual: mx.array | None, weight: mx.array, bias: mx.array, eps: float, *,
                        stream: _Stream = None) -> mx.array:
    """layer_norm, composed of MLX's operations."""

def cross_entropy_rows(x: mx.array, labels: mx.array, *, stream: _Stream = None) -> mx.array:
    """-log softmax(x)[label] of each row: x [rows, classes], labels [rows]; the result is float32 [rows].

    >>> loss = m2bert.ops.cross_entropy_rows(mx.zeros((1, 2)), mx.array([0]))
    >>> round(loss.item(), 4)
    0.6931
    """

def cross_entropy_rows_fallback(x: mx.array, labels: mx.array, *, stream: _Stream = None) -> mx.array:
    """cross_entropy_rows, composed of MLX's operations."""

def dropout(x: mx.array, p: float, key: mx.array, *, stream: _Stream = None) -> mx.array:
    """Sets each value to 0 with probability p and divides the others by 1 - p. key: from mx.random.key; the same key drops the same.

    >>> m2bert.ops.dropout(mx.ones((4,)), 0.5, mx.random.key(1)).shape
    (4,)
    """

def dropout_fallback(x: mx.array, p: float, key: mx.array, *, stream: _Stream = None) -> mx.array:
    """dropout, composed of MLX's operations."""

def dropout_kept(shape: Sequence[int], p: float, key: mx.array, *, stream: _Stream = None) -> mx.array:
    """Which values dropout keeps: bool of this shape.

    >>> m2bert.ops.dropout_kept([2, 3], 0.5, mx.random.key(1)).dtype
    mlx.core.bool
    """

def fused_dropout_add(x: mx.array, residual: mx.array, p: float, key: mx.array | None, *, stream: _Stream = None) -> mx.array:
    """dropout(x, p) + residual, both of one shape. key None: no dropout.

    >>> m2bert.ops.fused_dropout_add(mx.ones((2,)), mx.ones((2,)), 0.1, None).tolist()
    [2.0, 2.0]
    """

def fused_bias_dropout_add(x: mx.array, bias: mx.array, residual: mx.array, p: float, key: mx.array | None, *,
                           stream: _Stream = None) -> mx.array:
    """dropout(x + bias, p) + residual: x, residual [..., n], bias [n].

    >>> m2bert.ops.fused_bias_dropout_add(mx.ones((1, 2)), mx.ones((2,)), mx.ones((1, 2)), 0.1, None).tolist()
    [[3.0, 3.0]]
    """

def fused_softmax_dropout(x: mx.array, p: float, mask: mx.array | None, key: mx.array | None, *, stream: _Stream = None) -> mx.array:
    """dropout(softmax(x + mask), p) of attention scores: x [B, heads, Lq, Lk], mask [B, 1, 1, Lk] or [B, Lk].

    >>> m2bert.ops.fused_softmax_dropout(mx.zeros((1, 1, 1, 2)), 0.1, None, None).flatten().tolist()
    [0.5, 0.5]
    """

def fused_softmax_dropout_fallback(x: mx.array, p: float, mask: mx.array | None, key: mx.array | None, *,
                                   stream: _Stream = None) -> mx.array:
    """fused_softmax_dropout, composed of MLX's operations."""

def fused_softmax_dropout_with_mask(x: mx.array, p: float, mask: mx.array | None, key: mx.array | None, *,
                                    stream: _Stream = None) -> tuple[mx.array, mx.array | None]:
    """fused_softmax_dropout, and which values were kept: bool of x's shape, or None without dropout.

    >>> m2bert.ops.fused_softmax_dropout_with_mask(mx.zeros((1, 1, 1, 2)), 0.1, None, None)[1] is None
    True
    """

class Unpadding:
    """Where the rows without padding are in a padded batch.

    >>> m2bert.ops.unpadding(mx.array([[1, 1, 0], [1, 0, 0]])).cu_seqlens
    [0, 2, 3]
    """

    @property
    def indices(self) -> mx.array: ...

    @property
    def cu_seqlens(self) -> list[int]: ...

    @property
    def max_seqlen(self) -> int: ...

    @property
    def seqlen(self) -> int: ...

    @property
    def contiguous(self) -> bool: ...

    @property
    def begins_with_tokens(self) -> bool: ...

def unpadding(mask: mx.array) -> Unpadding:
    """Reads a mask [B, S], where non-zero is a real token. Evaluates it.

    >>> m2bert.ops.unpadding(mx.array([[1, 1, 0], [1, 0, 0]])).indices.tolist()
    [0, 1, 3]
    """

def index_first_axis(x: mx.array, indices: mx.array, *, stream: _Stream = None) -> mx.array:
    """x[indices] along the first axis: x [n, ...], indices [m]; the gradients of a repeated index add up.

    >>> m2bert.ops.index_first_axis(mx.array([1.0, 2.0]), mx.array([1, 1])).tolist()
    [2.0, 2.0]
    """

def index_put_first_axis(v: mx.array, indices: mx.array, first_axis_dim: int, *, stream: _Stream = None) -> mx.array:
    """Zeros [first_axis_dim, ...] with the rows of v [m, ...] at indices [m].

    >>> m2bert.ops.index_put_first_axis(mx.array([5.0]), mx.array([1]), 3).tolist()
    [0.0, 5.0, 0.0]
    """

@overload
def unpad_input(x: mx.array, mask: mx.array, *, stream: _Stream = None) -> tuple[mx.array, Unpadding]:
    """The rows [nnz, ...] of a padded batch x [B, S, ...]. mask: [B, S], then the result is (rows, Unpadding); or an Unpadding u.

    >>> rows, u = m2bert.ops.unpad_input(mx.ones((2, 3, 4)), mx.array([[1, 1, 0], [1, 0, 0]]))
    >>> rows.shape, u.max_seqlen
    ((3, 4), 2)
    """

@overload
def unpad_input(x: mx.array, u: Unpadding, *, stream: _Stream = None) -> mx.array: ...

def unpad_input_only(x: mx.array, mask: mx.array, *, stream: _Stream = None) -> mx.array:
    """Only the rows of unpad_input.

    >>> m2bert.ops.unpad_input_only(mx.ones((1, 3, 4)), mx.array([[1, 1, 0]])).shape
    (2, 4)
    """

@overload
def pad_input(rows: mx.array, indices: mx.array, batch: int, seqlen: int, *, stream: _Stream = None) -> mx.array:
    """Rows [nnz, ...] -> [batch, seqlen, ...] with zeros at the padding. In place of indices [nnz], an Unpadding u.

    >>> m2bert.ops.pad_input(mx.ones((2,)), mx.array([0, 3]), 2, 3).tolist()
    [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """

@overload
def pad_input(rows: mx.array, u: Unpadding, batch: int, seqlen: int, *, stream: _Stream = None) -> mx.array: ...

def scaled_dot_product_attention(q: mx.array, k: mx.array, v: mx.array, bias: mx.array | None = None, key_mask: mx.array | None = None,
                                 alibi_slopes: Sequence[float] = [], causal: bool = False, scale: float | None = None, dropout: float = 0.0,
                                 dropout_key: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """softmax(scale q k^T + bias - slope |i - j|) v with a streaming softmax, whose memory grows with Lq + Lk.

    q [B, heads, Lq, d], k [B, heads, Lk, d], v [B, heads, Lk, dv]; the result is [B, heads, Lq, dv]. bias [B or 1, heads or 1, Lq or 1,
    Lk or 1]; key_mask [B, Lk], 0: the key is left out; alibi_slopes: one for each head; scale: 1 / sqrt(d) if None; dropout_key: a
    random key, needed if dropout > 0. Differentiable in q, k, v and bias.

    >>> q = mx.ones((1, 2, 3, 4))
    >>> m2bert.ops.scaled_dot_product_attention(q, q, q, causal=True).shape
    (1, 2, 3, 4)
    """

def scaled_dot_product_attention_fallback(q: mx.array, k: mx.array, v: mx.array, bias: mx.array | None = None,
                                          key_mask: mx.array | None = None, alibi_slopes: Sequence[float] = [], causal: bool = False,
                                          scale: float | None = None, dropout: float = 0.0, dropout_key: mx.array | None = None, *,
                                          stream: _Stream = None) -> mx.array:
    """scaled_dot_product_attention, composed of MLX's operations."""

def attention(q: mx.array, k: mx.array, v: mx.array, bias: mx.array | None = None,
              on_probabilities: Callable[[mx.array], mx.array] | None = None, *, stream: _Stream = None) -> mx.array:
    """softmax(q k^T / sqrt(d) + bias) v, which holds all scores: q, k, v [B, heads, S, d], bias broadcasts to [B, heads, S, S].

    on_probabilities: a function of the softmax's result, such as dropout, whose result takes its place.

    >>> x = mx.ones((1, 2, 3, 4))
    >>> m2bert.ops.attention(x, x, x, on_probabilities=lambda p: 2 * p)[0, 0, 0].tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

def self_attention(q: mx.array, k: mx.array, v: mx.array, heads: int, key_bias: mx.array, alibi: bool,
                   on_probabilities: Callable[[mx.array], mx.array] | None = None, *, stream: _Stream = None) -> mx.array:
    """Self-attention of padded sequences: q, k, v [B, S, heads d]; key_bias [B, S] is added to the scores of the keys.

    >>> x = mx.ones((1, 3, 8))
    >>> m2bert.ops.self_attention(x, x, x, 2, mx.zeros((1, 3)), alibi=True).shape
    (1, 3, 8)
    """

def self_attention_fallback(q: mx.array, k: mx.array, v: mx.array, heads: int, key_bias: mx.array, alibi: bool,
                            on_probabilities: Callable[[mx.array], mx.array] | None = None, *, stream: _Stream = None) -> mx.array:
    """self_attention, composed of MLX's operations."""

def alibi_slopes(heads: int) -> list[float]:
    """The slopes of ALiBi, one for each head.

    >>> m2bert.ops.alibi_slopes(2)
    [0.0625, 0.00390625]
    """

def alibi_bias(heads: int, S: int, *, stream: _Stream = None) -> mx.array:
    """-slope |i - j|: float32 [1, heads, S, S].

    >>> m2bert.ops.alibi_bias(2, 3).shape
    (1, 2, 3, 3)
    """

def mask_bias(mask: mx.array, off: float, *, stream: _Stream = None) -> mx.array:
    """0 where mask [B, S] is 1, `off` where it is 0: float32 [B, S].

    >>> m2bert.ops.mask_bias(mx.array([[1, 0]]), -100.0).tolist()
    [[0.0, -100.0]]
    """

def attention_varlen(q: mx.array, k: mx.array, v: mx.array, cu_seqlens_q: mx.array | Sequence[int], cu_seqlens_k: mx.array | Sequence[int],
                     bias: mx.array | None = None, alibi_slopes: Sequence[float] = [], causal: bool = False, scale: float | None = None,
                     dropout: float = 0.0, dropout_key: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """scaled_dot_product_attention of concatenated sequences: q [nnz_q, heads, d], k and v [nnz_k, heads, d] -> [nnz_q, heads, d].

    cu_seqlens_q, cu_seqlens_k: offsets [n + 1] of the sequences, a list or an int32 array.

    >>> x = mx.ones((5, 2, 4))
    >>> m2bert.ops.attention_varlen(x, x, x, [0, 3, 5], [0, 3, 5]).shape
    (5, 2, 4)
    """

def attention_varlen_fallback(q: mx.array, k: mx.array, v: mx.array, cu_seqlens_q: mx.array | Sequence[int],
                              cu_seqlens_k: mx.array | Sequence[int], bias: mx.array | None = None, alibi_slopes: Sequence[float] = [],
                              causal: bool = False, scale: float | None = None, dropout: float = 0.0, dropout_key: mx.array | None = None,
                              *, stream: _Stream = None) -> mx.array:
    """attention_varlen, composed of MLX's operations."""

def flash_attn_unpadded_qkvpacked_func(qkv: mx.array, cu_seqlens: mx.array | Sequence[int], max_seqlen: int, bias: mx.array | None = None,
                                       alibi_slopes: Sequence[float] = [], causal: bool = False, scale: float | None = None,
                                       dropout: float = 0.0, dropout_key: mx.array | None = None, *,
                                       stream: _Stream = None) -> mx.array:
    """attention_varlen of qkv [nnz, 3, heads, d] -> [nnz, heads, d]. No sequence may be longer than max_seqlen.

    >>> m2bert.ops.flash_attn_unpadded_qkvpacked_func(mx.ones((5, 3, 2, 4)), [0, 3, 5], 3).shape
    (5, 2, 4)
    """

def flash_attn_unpadded_kvpacked_func(q: mx.array, kv: mx.array, cu_seqlens_q: mx.array | Sequence[int],
                                      cu_seqlens_k: mx.array | Sequence[int], max_seqlen_q: int, max_seqlen_k: int,
                                      bias: mx.array | None = None, alibi_slopes: Sequence[float] = [], causal: bool = False,
                                      scale: float | None = None, dropout: float = 0.0, dropout_key: mx.array | None = None, *,
                                      stream: _Stream = None) -> mx.array:
    """attention_varlen of q [nnz_q, heads, d] and kv [nnz_k, 2, heads, d].

    >>> q, kv = mx.ones((5, 2, 4)), mx.ones((6, 2, 2, 4))
    >>> m2bert.ops.flash_attn_unpadded_kvpacked_func(q, kv, [0, 3, 5], [0, 2, 6], 3, 4).shape
    (5, 2, 4)
    """

def flash_attn_unpadded_func(q: mx.array, k: mx.array, v: mx.array, cu_seqlens_q: mx.array | Sequence[int],
                             cu_seqlens_k: mx.array | Sequence[int], max_seqlen_q: int, max_seqlen_k: int, bias: mx.array | None = None,
                             alibi_slopes: Sequence[float] = [], causal: bool = False, scale: float | None = None, dropout: float = 0.0,
                             dropout_key: mx.array | None = None, *, stream: _Stream = None) -> mx.array:
    """attention_varlen with flash-attn's name and arguments.

    >>> x = mx.ones((5, 2, 4))
    >>> m2bert.ops.flash_attn_unpadded_func(x, x, x, [0, 3, 5], [0, 3, 5], 3, 3).shape
    (5, 2, 4)
    """
