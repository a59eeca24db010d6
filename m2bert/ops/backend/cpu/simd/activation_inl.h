// The activations and their derivatives on vectors of float. Highway code, included once per SIMD target, hence the unusual include guard.
#if defined(M2BERT_OPS_CPU_ACTIVATION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_CPU_ACTIVATION_INL_H
#undef M2BERT_OPS_CPU_ACTIVATION_INL_H
#else
#define M2BERT_OPS_CPU_ACTIVATION_INL_H
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A function's value and its derivative at the same point.
template <class V>
struct ValueAndSlope {
  V value, slope;
};

// The normal distribution function Phi(x) from tail = Phi(-|x|).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V cdf_from_tail(D d, V x, V tail) {
  return hn::IfNegativeThenElse(x, tail, hn::Sub(hn::Set(d, 1.0f), tail));
}

// Phi(x), off by at most 5e-7, and exactly 0 or 1 where |x| > 5.5. With a = |x|, Phi(-a) = 1/2 - a P(a^2) / Q(a^2) is a minimax fit. The
// constant is slightly less than 1/2, so that the fit ends below 0 and is clamped there.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V normal_cdf(D d, V x) {
  const V a = hn::Min(hn::Abs(x), hn::Set(d, 5.5f)), square = hn::Mul(a, a);
  V p = hn::Set(d, 1.11757083e-10f), q = hn::Set(d, 6.23227243e-05f);
  for (float c : {-2.2081915e-08f, 3.24091798e-06f, 0.000170363448f, 0.00450910116f, 0.0359212868f, 0.398942143f})
    p = hn::MulAdd(p, square, hn::Set(d, c));
  for (float c : {0.0018305853f, 0.0290909484f, 0.25670588f, 1.0f}) q = hn::MulAdd(q, square, hn::Set(d, c));
  // One Newton step on the approximate reciprocal: a division would take longer than everything else here.
  V inverse = hn::ApproximateReciprocal(q);
  inverse = hn::Mul(inverse, hn::NegMulAdd(q, inverse, hn::Set(d, 2.0f)));
  return cdf_from_tail(d, x, hn::Max(hn::Zero(d), hn::NegMulAdd(hn::Mul(a, p), inverse, hn::Set(d, 0.4999999f))));
}

// gelu(x) = x Phi(x).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu(D d, V x) {
  return hn::Mul(x, normal_cdf(d, x));
}

// gelu(x) and its derivative Phi(x) + x phi(x).
template <class D, class V = hn::Vec<D>>
HWY_INLINE ValueAndSlope<V> gelu_with_slope(D d, V x) {
  const V half = hn::Set(d, 0.5f), phi = hn::Mul(hn::Set(d, 0.39894228040143268f), hn::Exp(d, hn::Neg(hn::Mul(hn::Mul(x, x), half))));
  const V cdf = normal_cdf(d, x);
  return {hn::Mul(x, cdf), hn::MulAdd(x, phi, cdf)};
}

// gelu(x) where the result is rounded to bfloat16: Phi is a polynomial instead of a quotient, off by at most 1e-4.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_for_bfloat16(D d, V x) {
  const V a = hn::Min(hn::Abs(x), hn::Set(d, 4.25f)), square = hn::Mul(a, a);
  V p = hn::Set(d, -8.46037129e-10f);
  for (float c : {7.57080656e-08f, -2.93879498e-06f, 6.55269832e-05f, -0.000940446742f, 0.0092578195f, -0.0654534921f, 0.398420036f})
    p = hn::MulAdd(p, square, hn::Set(d, c));
  return hn::Mul(x, cdf_from_tail(d, x, hn::Max(hn::Zero(d), hn::NegMulAdd(a, p, hn::Set(d, 0.499997f)))));
}

// gelu_for_bfloat16 and its derivative. phi is the polynomial's derivative, so the slope is off by at most 6e-4, and 3e-3 where |x| is near
// 4.25.
template <class D, class V = hn::Vec<D>>
HWY_INLINE ValueAndSlope<V> gelu_with_slope_for_bfloat16(D d, V x) {
  const V bound = hn::Set(d, 4.25f), a = hn::Min(hn::Abs(x), bound), square = hn::Mul(a, a);
  V p = hn::Set(d, -8.46037129e-10f), density = hn::Set(d, 15 * -8.46037129e-10f);
  float odd = 13;
  for (float c : {7.57080656e-08f, -2.93879498e-06f, 6.55269832e-05f, -0.000940446742f, 0.0092578195f, -0.0654534921f, 0.398420036f}) {
    p = hn::MulAdd(p, square, hn::Set(d, c));
    density = hn::MulAdd(density, square, hn::Set(d, odd * c));
    odd -= 2;
  }
  const V cdf = cdf_from_tail(d, x, hn::Max(hn::Zero(d), hn::NegMulAdd(a, p, hn::Set(d, 0.499997f))));
  const V phi = hn::IfThenElseZero(hn::Lt(hn::Abs(x), bound), density);
  return {hn::Mul(x, cdf), hn::MulAdd(x, phi, cdf)};
}

// The tanh approximation of gelu and its derivative, as x sigmoid(w) with w = 2 sqrt(2 / pi) (x + 0.044715 x^3). Where |x| > 12 the sigmoid
// is 0 or 1.
template <class D, class V = hn::Vec<D>>
HWY_INLINE ValueAndSlope<V> gelu_tanh_with_slope(D d, V x) {
  const V near = hn::Clamp(x, hn::Set(d, -12.0f), hn::Set(d, 12.0f)), square = hn::Mul(near, near);
  const V twice = hn::Set(d, 1.5957691216057308f), cubic = hn::Set(d, 0.07135481627f), one = hn::Set(d, 1.0f);
  const V minus_w = hn::Neg(hn::Mul(near, hn::MulAdd(cubic, square, twice)));
  const V logistic = hn::Div(one, hn::Add(one, hn::Exp(d, hn::Min(minus_w, hn::Set(d, 88.0f)))));
  const V sigmoid = hn::IfThenElseZero(hn::Gt(x, hn::Set(d, -12.0f)), logistic);
  const V slope_w = hn::MulAdd(hn::Mul(hn::Set(d, 3.0f), cubic), square, twice);
  const V bend = hn::Mul(hn::Mul(near, slope_w), hn::NegMulAdd(sigmoid, sigmoid, sigmoid));
  return {hn::Mul(x, sigmoid), hn::Add(sigmoid, bend)};
}

// The activations as template arguments of loops: value(d, x), and for those that have gradients here value_and_slope(d, x). `coarse`
// allows the errors of the functions "for_bfloat16".
struct Gelu {
  template <bool coarse, class D, class V = hn::Vec<D>>
  static HWY_INLINE V value(D d, V x) {
    return coarse ? gelu_for_bfloat16(d, x) : gelu(d, x);
  }
  template <bool coarse, class D, class V = hn::Vec<D>>
  static HWY_INLINE ValueAndSlope<V> value_and_slope(D d, V x) {
    return coarse ? gelu_with_slope_for_bfloat16(d, x) : gelu_with_slope(d, x);
  }
};
struct GeluTanh {
  template <bool coarse, class D, class V = hn::Vec<D>>
  static HWY_INLINE V value(D d, V x) {
    return gelu_tanh_with_slope(d, x).value;
  }
  template <bool coarse, class D, class V = hn::Vec<D>>
  static HWY_INLINE ValueAndSlope<V> value_and_slope(D d, V x) {
    return gelu_tanh_with_slope(d, x);
  }
};
struct Relu {
  template <bool coarse, class D, class V = hn::Vec<D>>
  static HWY_INLINE V value(D d, V x) {
    return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);  // a NaN stays a NaN
  }
};
struct Silu {
  template <bool coarse, class D, class V = hn::Vec<D>>
  static HWY_INLINE V value(D d, V x) {
    const V one = hn::Set(d, 1.0f);
    return hn::Div(x, hn::Add(one, hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 88.0f)))));
  }
};

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
