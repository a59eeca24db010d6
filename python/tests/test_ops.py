"""m2bert.ops: values, gradients, errors, and that arrays are MLX's own."""
import ast
import doctest
import inspect
from pathlib import Path

import m2bert
import mlx.core as mx
import numpy as np
import pytest
from m2bert import ops

NAMES = [name for name in dir(ops) if not name.startswith("_")]


def random(*shape, seed=0):
    return mx.random.normal(shape, key=mx.random.key(seed + 97 * len(shape)))


def close(a, b, tolerance=1e-5):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max(initial=0)))


def check_gradients(function, arrays, tolerance=3e-3):
    """Gradients by mx.grad of every array against central differences along random directions."""
    weights = random(*function(*arrays).shape, seed=7)

    def loss(*arrays):
        return (function(*arrays) * weights).sum()

    gradients = mx.grad(loss, argnums=list(range(len(arrays))))(*arrays)
    if len(arrays) == 1:  # as MLX returns it
        gradients = [gradients]
    for i, (array, gradient) in enumerate(zip(arrays, gradients)):
        assert gradient.shape == array.shape
        direction = random(*array.shape, seed=11 + i)
        step = 1e-2
        ahead, behind = ([*arrays[:i], array + sign * step * direction, *arrays[i + 1:]] for sign in (1, -1))
        numeric = (loss(*ahead).item() - loss(*behind).item()) / (2 * step)
        exact = (gradient * direction).sum().item()
        assert exact == pytest.approx(numeric, rel=tolerance, abs=tolerance * max(1, float(mx.abs(gradient * direction).sum()) ** 0.5)), i


# ---- patterns ----
def test_rearrange_splits_merges_and_transposes():
    x = np.arange(2 * 5 * 12).reshape(2, 5, 12)
    result = ops.rearrange(mx.array(x), "b l (h d) -> b h l d", h=3)
    assert np.array_equal(result, x.reshape(2, 5, 3, 4).transpose(0, 2, 1, 3))
    stacked = ops.rearrange([mx.array(x), mx.array(x + 1)], "n b l d -> b n l d")
    assert np.array_equal(stacked, np.stack([x, x + 1], 1))


def test_repeat_and_reduce():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(ops.repeat(mx.array(x), "a b -> a n b", n=2), np.repeat(x[:, None], 2, 1))
    for name in ("sum", "mean", "max", "min", "prod"):
        close(ops.reduce(mx.array(x), "a (b c) -> a b", name, c=2), getattr(np, name)(x.reshape(3, 2, 2), axis=2))
    assert ops.reduce(mx.array([[True, False]]), "a b -> a", "all").tolist() == [False]


def test_patterns_have_gradients():
    x = random(2, 3, 4)
    check_gradients(lambda x: ops.rearrange(x, "a b (c d) -> c (a b) d", c=2), [x])
    check_gradients(lambda x: ops.repeat(x, "a b c -> a n b c", n=3), [x])
    check_gradients(lambda x: ops.reduce(x, "a b c -> b", "prod"), [x], 1e-2)


def test_errors_of_patterns():
    x = mx.zeros((2, 12))
    with pytest.raises(m2bert.Error, match="h"):
        ops.rearrange(x, "b (h d) -> b h d", h=5)
    with pytest.raises(m2bert.Error, match="'sum', 'mean'"):
        ops.reduce(x, "b d -> b", "median")
    with pytest.raises(TypeError, match="axis h"):
        ops.rearrange(x, "b (h d) -> b h d", h="3")
    with pytest.raises(ValueError):
        ops.rearrange(x, "b -> b")


# ---- convolutions ----
def plain_conv1d(x, weight, bias, stride, padding, dilation, groups):
    batch, length, channels = x.shape
    out, per_group, taps = weight.shape
    padded = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
    steps = (length + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    y = np.zeros((batch, steps, out), np.float64)
    for o in range(out):
        first = o // (out // groups) * per_group
        for t in range(steps):
            for j in range(taps):
                y[:, t, o] += padded[:, t * stride + j * dilation, first:first + per_group] @ weight[o, :, j]
    return y + bias


@pytest.mark.parametrize("function", [ops.conv1d, ops.conv1d_fallback, ops.conv1d_fft])
def test_conv1d(function):
    x, weight, bias = random(2, 11, 4), random(6, 2, 3, seed=1), random(6, seed=2)
    options = {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}
    expected = plain_conv1d(*map(np.array, (x, weight, bias)), *options.values())
    close(function(x, weight, bias, **options), expected)
    first = function(x.transpose(0, 2, 1), weight, bias, channels="first", **options)
    close(first.transpose(0, 2, 1), expected)
    check_gradients(lambda *a: function(*a, **options), [x, weight, bias])


def test_depthwise_and_causal_conv1d():
    x, weight, bias = random(2, 9, 4), random(4, 1, 3, seed=1), random(4, seed=2)
    expected = plain_conv1d(*map(np.array, (x, weight, bias)), 1, 2, 1, 4)
    close(ops.depthwise_conv1d(x, weight, bias, padding=2), expected)
    close(ops.depthwise_conv1d_causal(x, weight, bias), expected[:, :9])
    check_gradients(ops.depthwise_conv1d_causal, [x, weight, bias])


@pytest.mark.parametrize("function", [ops.long_conv, ops.long_conv_fallback])
@pytest.mark.parametrize("length", [1, 7, 16])
def test_long_conv(function, length):
    u, k, k_rev, D = random(2, length, 3), random(length, 3, seed=1), random(length, 3, seed=2), random(3, seed=3)
    un, kn, rn = map(np.array, (u, k, k_rev))
    expected = np.zeros(u.shape)
    for t in range(length):
        for s in range(length):
            expected[:, t] += (kn[t - s] if s <= t else rn[s - t - 1]) * un[:, s]
    expected += np.array(D) * un
    close(function(u, k, k_rev, D), expected)
    check_gradients(function, [u, k, k_rev, D])
    causal = function(u, k, None, D)
    close(causal[:, 0], un[:, 0] * (kn[0] + np.array(D)))
    mask = random(2, 3, seed=4)
    close(function(u, k, k_rev, D, gelu=True, dropout_mask=mask), ops.gelu(mx.array(expected.astype(np.float32))) * mask[:, None])


def test_long_conv_with_spectrum():
    u, k, k_rev, D = random(2, 12, 4), random(12, 4, seed=1), random(12, 4, seed=2), random(4, seed=3)
    spectrum = ops.long_conv_spectrum(k, k_rev)
    assert spectrum.shape == (ops.spectrum_rows(12), 4)
    close(ops.long_conv_with_spectrum(u, spectrum, D), ops.long_conv(u, k, k_rev, D))
    check_gradients(lambda k, r: ops.long_conv_with_spectrum(u, ops.long_conv_spectrum(k, r), D), [k, k_rev])


# ---- the mixer ----
def mixer(H=8, L=12):
    filters = {name: random(L, H, seed=i) for i, name in enumerate(("k", "k_rev", "k2", "k2_rev"))}
    return filters | {"D": random(H, seed=5), "D2": random(H, seed=6)}


def test_monarch_mix_equals_its_parts():
    H, L = 8, 12
    projected, u, weight, bias, filters = random(2, L, 3 * H), random(2, L, H, seed=1), random(3 * H, 1, 3, seed=2), random(3 * H, seed=3), mixer()
    x1, x2, v = mx.split(ops.depthwise_conv1d_causal(projected, weight, bias), 3, axis=-1)
    expected = x2 * ops.long_conv(x1 * v, filters["k"], filters["k_rev"], filters["D"]) + ops.long_conv(u, filters["k2"], filters["k2_rev"],
                                                                                                      filters["D2"])
    close(ops.monarch_mix(projected, u, weight, bias, **filters), expected, 1e-4)
    names = list(filters)
    check_gradients(lambda p, u, w, b, *f: ops.monarch_mix(p, u, w, b, **dict(zip(names, f))), [projected, u, weight, bias, *filters.values()], 1e-2)


def test_monarch_mix_varlen_equals_each_sequence_alone():
    H = 8
    projected, u, weight, bias, filters = random(12, 3 * H), random(12, H, seed=1), random(3 * H, 1, 3, seed=2), random(3 * H, seed=3), mixer()
    y = ops.monarch_mix_varlen(projected, u, [0, 5, 12], weight, bias, **filters)
    cut = {name: array[:5] if array.ndim == 2 else array for name, array in filters.items()}
    close(y[:5], ops.monarch_mix(projected[None, :5], u[None, :5], weight, bias, **cut)[0], 1e-4)
    close(ops.monarch_mix_varlen_fallback(projected, u, mx.array([0, 5, 12]), weight, bias, **filters), y, 1e-4)


def test_mixer_block_equals_its_parts():
    H, L = 8, 12
    u, w_in, w_out = random(2, L, H), random(3 * H, H, seed=1), random(H, H, seed=2)
    weight, bias, filters = random(3 * H, 1, 3, seed=3), random(3 * H, seed=4), mixer()
    expected = ops.linear(ops.monarch_mix(ops.linear(u, w_in), u, weight, bias, **filters), w_out)
    close(ops.mixer_block(u, w_in, None, weight, bias, w_out, None, **filters), expected, 1e-4)
    gradient = mx.grad(lambda u: ops.mixer_block(u, w_in, None, weight, bias, w_out, None, **filters).sum())(u)
    close(gradient, mx.grad(lambda u: ops.mixer_block_fallback(u, w_in, None, weight, bias, w_out, None, **filters).sum())(u), 1e-3)


def test_feed_forward_equals_its_parts():
    x, up, down, weight, bias = random(3, 8), random(32, 8, seed=1), random(8, 16, seed=2), random(8, seed=3), random(8, seed=4)
    expected = ops.layer_norm(ops.linear(ops.gelu_gate(ops.linear(x, up)), down), x, weight, bias, 1e-12)
    close(ops.feed_forward(x, up, None, down, None, weight, bias, gated=True), expected, 1e-4)
    check_gradients(lambda x, up, down: ops.feed_forward(x, up, None, down, None, weight, bias, gated=True), [x, up, down], 1e-2)


# ---- matrices ----
@pytest.mark.parametrize("function", [ops.blockdiag_multiply, ops.blockdiag_multiply_fallback])
def test_blockdiag_multiply(function):
    x, weight, bias = random(5, 12), random(3, 2, 4, seed=1), random(6, seed=2)
    dense = np.zeros((6, 12), np.float32)
    for b in range(3):
        dense[2 * b:2 * b + 2, 4 * b:4 * b + 4] = weight[b]
    assert np.array_equal(ops.blockdiag_weight_to_dense_weight(weight), dense)
    assert np.array_equal(ops.dense_weight_to_blockdiag_weight(mx.array(dense), 3), weight)
    close(function(x, weight, bias), np.array(x) @ dense.T + np.array(bias))
    check_gradients(function, [x, weight, bias])


@pytest.mark.parametrize("function", [ops.blockdiag_butterfly_multiply, ops.blockdiag_butterfly_multiply_fallback])
def test_monarch_matrices(function):
    x, w1, w2 = random(5, 12), random(4, 3, 3, seed=1), random(3, 4, 4, seed=2)
    xs = np.array(x).reshape(5, 4, 3)
    z = np.einsum("kqp,bkp->bkq", w1, xs).reshape(5, 12)
    expected = np.einsum("lsr,brl->bsl", w2, z.reshape(5, 4, 3)).reshape(5, 12)
    close(function(x, w1, w2), expected)
    close(x @ ops.blockdiag_butterfly_to_dense(w1, w2).T, expected)
    check_gradients(function, [x, w1, w2])


def test_projection_finds_a_monarch_matrix_again():
    dense = ops.blockdiag_butterfly_to_dense(random(4, 3, 3), random(3, 4, 4, seed=1))
    factors = ops.blockdiag_butterfly_project(dense)
    assert ops.projection_residual(dense, ops.blockdiag_butterfly_to_dense(*factors)).item() < 1e-6
    with pytest.raises(m2bert.Error):
        ops.blockdiag_butterfly_project(dense, (5, 2))
    with pytest.raises(m2bert.Error):
        mx.grad(lambda m: ops.blockdiag_butterfly_project(m)[0].sum())(dense)


def test_butterfly_fft():
    x = random(3, 12)
    close(ops.butterfly_fft(x, norm="backward"), np.fft.fft(np.array(x)), 1e-5)
    permutation, w1, w2 = ops.butterfly_fft_factors(12, "ifft", "forward")
    close(ops.butterfly_fft(x, w1, w2), np.fft.ifft(np.array(x), norm="forward"), 1e-5)
    close(ops.butterfly_fft2(random(2, 4, 6)), np.fft.fft2(np.array(random(2, 4, 6)), norm="ortho"), 1e-5)
    with pytest.raises(m2bert.Error, match="direction 'dft'"):
        ops.butterfly_fft(x, "dft")


def test_int8_weights():
    x, weight = random(4, 64), random(8, 64, seed=1)
    values, scale = ops.quantize_weight(weight)
    assert values.dtype == mx.int8
    close(ops.dequantize_weight(values, scale), weight, 0.05)
    close(ops.weight_matmul(x, values, scale), x @ weight.T, 0.05)
    assert np.array_equal(ops.weight_matmul(x, weight), ops.linear(x, weight))


# ---- attention and padding ----
def plain_attention(q, k, v, bias=0.0, scale=None):
    q, k, v = (np.array(x, np.float64) for x in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) * (scale or q.shape[-1] ** -0.5) + bias
    probabilities = np.exp(scores - scores.max(-1, keepdims=True))
    return probabilities / probabilities.sum(-1, keepdims=True) @ v


@pytest.mark.parametrize("function", [ops.scaled_dot_product_attention, ops.scaled_dot_product_attention_fallback])
def test_attention(function):
    q, k, v, bias = random(2, 3, 5, 4), random(2, 3, 6, 4, seed=1), random(2, 3, 6, 4, seed=2), random(1, 3, 5, 6, seed=3)
    close(function(q, k, v, bias=bias, scale=0.3), plain_attention(q, k, v, np.array(bias), 0.3))
    slopes = ops.alibi_slopes(3)
    distance = np.abs(np.arange(5)[:, None] - np.arange(6))
    alibi = -np.array(slopes)[None, :, None, None] * distance
    close(function(q, k, v, alibi_slopes=slopes), plain_attention(q, k, v, alibi))
    causal = np.where(np.arange(6) > np.arange(5)[:, None], -np.inf, 0)
    close(function(q, k, v, causal=True), plain_attention(q, k, v, causal))
    mask = mx.array([[1, 1, 0, 1, 0, 1], [1, 0, 0, 0, 0, 1]])
    close(function(q, k, v, key_mask=mask), plain_attention(q, k, v, np.where(np.array(mask), 0, -np.inf)[:, None, None]))
    check_gradients(lambda q, k, v, bias: function(q, k, v, bias=bias), [q, k, v, bias])


def test_dropout_of_attention_needs_a_key():
    q = random(1, 2, 3, 4)
    key = mx.random.key(3)
    dropped = ops.scaled_dot_product_attention(q, q, q, dropout=0.5, dropout_key=key)
    close(dropped, ops.scaled_dot_product_attention_fallback(q, q, q, dropout=0.5, dropout_key=key))
    with pytest.raises(m2bert.Error, match="key"):
        ops.scaled_dot_product_attention(q, q, q, dropout=0.5)


def test_attention_calls_a_function_of_the_probabilities():
    q = random(1, 2, 3, 4)
    close(ops.attention(q, q, q, on_probabilities=lambda p: 3 * p), 3 * plain_attention(q, q, q))
    with pytest.raises(KeyError, match="mine"):
        def fails(_):
            raise KeyError("mine")
        ops.attention(q, q, q, on_probabilities=fails)


@pytest.mark.parametrize("offsets", [[0, 3, 3, 8], mx.array([0, 3, 3, 8], dtype=mx.int32)])
def test_attention_without_padding(offsets):
    q, k, v = (random(8, 2, 4, seed=i) for i in range(3))
    expected = np.concatenate([plain_attention(*(np.array(x)[a:b].swapaxes(0, 1) for x in (q, k, v))).swapaxes(0, 1) for a, b in ((0, 3), (3, 8))])
    close(ops.attention_varlen(q, k, v, offsets, offsets), expected)
    packed = mx.stack([q, k, v], axis=1)
    close(ops.flash_attn_unpadded_qkvpacked_func(packed, offsets, 5), expected)
    close(ops.flash_attn_unpadded_kvpacked_func(q, packed[:, 1:], offsets, offsets, 5, 5), expected)
    close(ops.flash_attn_unpadded_func(q, k, v, offsets, offsets, 5, 5), expected)
    check_gradients(lambda q, k, v: ops.attention_varlen(q, k, v, offsets, offsets), [q, k, v])
    with pytest.raises(m2bert.Error):
        ops.flash_attn_unpadded_func(q, k, v, offsets, offsets, 4, 5)


def test_padding_round_trip():
    x, mask = random(2, 4, 3), mx.array([[1, 1, 0, 0], [0, 1, 1, 1]])
    rows, u = ops.unpad_input(x, mask)
    assert np.array_equal(rows, np.array(x)[np.array(mask) != 0])
    assert (u.cu_seqlens, u.max_seqlen, u.seqlen, u.contiguous, u.begins_with_tokens) == ([0, 2, 5], 3, 4, True, False)
    assert np.array_equal(ops.pad_input(rows, u, 2, 4), np.array(x) * np.array(mask)[..., None])
    assert np.array_equal(ops.pad_input(rows, u.indices, 2, 4), ops.pad_input(rows, u, 2, 4))
    assert np.array_equal(ops.unpad_input(x, u), ops.unpad_input_only(x, mask))
    check_gradients(lambda x: ops.unpad_input_only(x, mask), [x])
    check_gradients(lambda r: ops.pad_input(r, u, 2, 4), [rows])


def test_gradients_of_repeated_indices_add_up():
    x, indices = random(4, 2), mx.array([1, 1, 3])
    assert mx.grad(lambda x: ops.index_first_axis(x, indices).sum())(x).tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]
    assert ops.index_put_first_axis(x[:2], mx.array([2, 0]), 3).tolist() == [x[1].tolist(), [0, 0], x[0].tolist()]


# ---- pointwise ----
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "gelu_gate"])
def test_activations(name):
    x = random(5, 8)
    function = getattr(ops, name)
    close(function(x), getattr(ops, name + "_fallback")(x), 1e-6)
    check_gradients(function, [x])


def test_layer_norm_and_cross_entropy():
    x, residual, weight, bias = random(4, 8), random(4, 8, seed=1), random(8, seed=2), random(8, seed=3)
    s = np.array(x) + np.array(residual)
    expected = (s - s.mean(-1, keepdims=True)) / s.std(-1, keepdims=True) * np.array(weight) + np.array(bias)
    close(ops.layer_norm(x, residual, weight, bias, 1e-12), expected)
    check_gradients(lambda *a: ops.layer_norm(*a, 1e-5), [x, residual, weight, bias])
    labels = mx.array([0, 3, 7, 1])
    logits = np.array(x, np.float64)
    close(ops.cross_entropy_rows(x, labels), np.log(np.exp(logits).sum(-1)) - logits[np.arange(4), np.array(labels)])
    check_gradients(lambda x: ops.cross_entropy_rows(x, labels), [x])


def test_dropout_drops_the_same_for_the_same_key():
    x, key = mx.ones((1000,)), mx.random.key(5)
    y = ops.dropout(x, 0.25, key)
    kept = ops.dropout_kept([1000], 0.25, key)
    assert np.array_equal(y, np.array(kept) / np.float32(0.75))
    assert 0.7 < np.array(kept).mean() < 0.8
    assert np.array_equal(ops.dropout_fallback(x, 0.25, key), y)
    with pytest.raises(m2bert.Error):
        ops.dropout(x, 1.0, key)


# ---- the module ----
def test_arrays_are_mlx_arrays_without_a_copy():
    x = mx.arange(12).reshape(3, 4)
    mx.eval(x)
    assert ops.rearrange(x, "a b -> a b") is not None
    same = ops.rearrange(x, "a b -> (a b)")
    mx.eval(same)
    address = np.asarray(x).__array_interface__["data"][0]
    assert np.asarray(same).__array_interface__["data"][0] == address
    assert type(same) is mx.array


def test_results_are_lazy_and_compile():
    x, weight = random(2, 8), random(2, 4, 4, seed=1)
    compiled = mx.compile(lambda x: ops.blockdiag_multiply(x, weight) + 1)
    assert np.array_equal(compiled(x), ops.blockdiag_multiply(x, weight) + 1)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
def test_dtypes(dtype):
    x, weight = random(2, 8).astype(dtype), random(2, 4, 4, seed=1).astype(dtype)
    assert ops.blockdiag_multiply(x, weight).dtype == dtype
    assert ops.gelu(x).dtype == dtype
    assert ops.cast(x, mx.bfloat16).dtype == mx.bfloat16


def test_streams_and_devices():
    x = random(3, 4)
    for stream in (mx.cpu, mx.Device(mx.cpu), mx.new_stream(mx.cpu)):
        assert np.array_equal(ops.gelu(x, stream=stream), ops.gelu(x))
    with pytest.raises(TypeError):
        ops.gelu(x, stream="cpu")


def test_arguments_of_another_type_are_refused():
    with pytest.raises(TypeError):
        ops.gelu(np.ones(3))
    with pytest.raises(TypeError):
        ops.gelu(mx.ones(3), 1)
    with pytest.raises(m2bert.Error, match="wants"):
        ops.conv1d(mx.ones((1, 2, 3)), mx.ones((2, 2, 2)))


def test_the_module_can_be_imported():
    import m2bert.ops as module
    assert module is ops
    assert ops.gelu.__module__ == "m2bert.ops"


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    doc = inspect.getdoc(getattr(ops, name))
    assert doc and (name.endswith("_fallback") or ">>>" in doc)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(doctest.DocTestParser().get_doctest(doc, {"m2bert": m2bert, "mx": mx}, name, None, 0))
    assert runner.summarize(verbose=False).failed == 0


def test_stub_has_the_functions_with_their_parameters():
    tree = ast.parse(Path(m2bert.__file__).with_name("ops.pyi").read_text())
    stub = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            arguments = [a.arg for a in node.args.args + node.args.kwonlyargs]
            stub.setdefault(node.name, []).append(arguments)
    functions = {name: getattr(ops, name) for name in NAMES if not inspect.isclass(getattr(ops, name))}
    assert set(stub) == set(functions)
    for name, function in functions.items():
        real = []
        for signature, *_ in function.__nb_signature__:
            node = ast.parse(signature.replace("\\", "") + ": ...").body[0]
            real.append([a.arg for a in node.args.args + node.args.kwonlyargs])
        assert stub[name] == real
