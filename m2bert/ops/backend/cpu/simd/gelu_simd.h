// GELU, its approximation by tanh and their derivatives on vectors of float. Included once a SIMD target: no include guard of the usual
// kind.
#if defined(M2BERT_OPS_KERNELS_GELU_SIMD_H) == defined(HWY_TARGET_TOGGLE)
#ifdef M2BERT_OPS_KERNELS_GELU_SIMD_H
#undef M2BERT_OPS_KERNELS_GELU_SIMD_H
#else
#define M2BERT_OPS_KERNELS_GELU_SIMD_H
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Phi(x) from Phi(-|x|).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V cdf_of_tail(D d, V x, V tail) {
  return hn::IfNegativeThenElse(x, tail, hn::Sub(hn::Set(d, 1.0f), tail));
}

// Phi, the normal distribution's, off by at most 5e-7, and exactly 0 or 1 beyond 5.5. With a = |x|, Phi(-a) = 1/2 - a P(a^2) / Q(a^2) by a
// minimax fit; a little less than 1/2 stands there, so that it ends below 0 and is cut.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V normal_cdf(D d, V x) {
  const V a = hn::Min(hn::Abs(x), hn::Set(d, 5.5f)), square = hn::Mul(a, a);
  V p = hn::Set(d, 1.11757083e-10f), q = hn::Set(d, 6.23227243e-05f);
  for (float c : {-2.2081915e-08f, 3.24091798e-06f, 0.000170363448f, 0.00450910116f, 0.0359212868f, 0.398942143f})
    p = hn::MulAdd(p, square, hn::Set(d, c));
  for (float c : {0.0018305853f, 0.0290909484f, 0.25670588f, 1.0f}) q = hn::MulAdd(q, square, hn::Set(d, c));
  // One Newton step on the approximate reciprocal: a division would take longer than all the rest.
  V inverse = hn::ApproximateReciprocal(q);
  inverse = hn::Mul(inverse, hn::NegMulAdd(q, inverse, hn::Set(d, 2.0f)));
  return cdf_of_tail(d, x, hn::Max(hn::Zero(d), hn::NegMulAdd(hn::Mul(a, p), inverse, hn::Set(d, 0.4999999f))));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu(D d, V x) {
  return hn::Mul(x, normal_cdf(d, x));
}

template <class V>
struct GeluParts {
  V value, slope;
};

// gelu(x) and its derivative Phi(x) + x phi(x).
template <class D, class V = hn::Vec<D>>
HWY_INLINE GeluParts<V> gelu_parts(D d, V x) {
  const V half = hn::Set(d, 0.5f), phi = hn::Mul(hn::Set(d, 0.39894228040143268f), hn::Exp(d, hn::Neg(hn::Mul(hn::Mul(x, x), half))));
  const V cdf = normal_cdf(d, x);
  return {hn::Mul(x, cdf), hn::MulAdd(x, phi, cdf)};
}

// x sigmoid(w), w = 2 sqrt(2 / pi) (x + 0.044715 x^3), which is the approximation by tanh; and its derivative. Beyond 12 the sigmoid is 0
// or 1.
template <class D, class V = hn::Vec<D>>
HWY_INLINE GeluParts<V> gelu_tanh_parts(D d, V x) {
  const V near = hn::Clamp(x, hn::Set(d, -12.0f), hn::Set(d, 12.0f)), square = hn::Mul(near, near);
  const V twice = hn::Set(d, 1.5957691216057308f), cubic = hn::Set(d, 0.07135481627f), one = hn::Set(d, 1.0f);
  const V minus_w = hn::Neg(hn::Mul(near, hn::MulAdd(cubic, square, twice)));
  const V logistic = hn::Div(one, hn::Add(one, hn::Exp(d, hn::Min(minus_w, hn::Set(d, 88.0f)))));
  const V sigmoid = hn::IfThenElseZero(hn::Gt(x, hn::Set(d, -12.0f)), logistic);
  const V slope_w = hn::MulAdd(hn::Mul(hn::Set(d, 3.0f), cubic), square, twice);
  const V bend = hn::Mul(hn::Mul(near, slope_w), hn::NegMulAdd(sigmoid, sigmoid, sigmoid));
  return {hn::Mul(x, sigmoid), hn::Add(sigmoid, bend)};
}

// gelu where the result is rounded to bfloat16: a polynomial for Phi in place of the quotient, off by at most 1e-4.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_for_bfloat16(D d, V x) {
  const V a = hn::Min(hn::Abs(x), hn::Set(d, 4.25f)), square = hn::Mul(a, a);
  V p = hn::Set(d, -8.46037129e-10f);
  for (float c : {7.57080656e-08f, -2.93879498e-06f, 6.55269832e-05f, -0.000940446742f, 0.0092578195f, -0.0654534921f, 0.398420036f})
    p = hn::MulAdd(p, square, hn::Set(d, c));
  return hn::Mul(x, cdf_of_tail(d, x, hn::Max(hn::Zero(d), hn::NegMulAdd(a, p, hn::Set(d, 0.499997f)))));
}

// The same with the derivative Phi(x) + x phi(x), phi by the polynomial's derivative: off by at most 6e-4, and 3e-3 where |x| is near 4.25.
template <class D, class V = hn::Vec<D>>
HWY_INLINE GeluParts<V> gelu_parts_for_bfloat16(D d, V x) {
  const V bound = hn::Set(d, 4.25f), a = hn::Min(hn::Abs(x), bound), square = hn::Mul(a, a);
  V p = hn::Set(d, -8.46037129e-10f), density = hn::Set(d, 15 * -8.46037129e-10f);
  float odd = 13;
  for (float c : {7.57080656e-08f, -2.93879498e-06f, 6.55269832e-05f, -0.000940446742f, 0.0092578195f, -0.0654534921f, 0.398420036f}) {
    p = hn::MulAdd(p, square, hn::Set(d, c));
    density = hn::MulAdd(density, square, hn::Set(d, odd * c));
    odd -= 2;
  }
  const V cdf = cdf_of_tail(d, x, hn::Max(hn::Zero(d), hn::NegMulAdd(a, p, hn::Set(d, 0.499997f))));
  const V phi = hn::IfThenElseZero(hn::Lt(hn::Abs(x), bound), density);
  return {hn::Mul(x, cdf), hn::MulAdd(x, phi, cdf)};
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
