// Exponential and logarithm of the kernels: each one sequence of fused operations, so that it has
// the same bits on every instruction set and with every C library.
#pragma once

#include "kernels/cpu/simd.h"

namespace dsv4 {
namespace {

// e^x for x <= 0 within 2 units of the last place; 0 below -87, where e^x leaves the normal numbers
// of float. NaN stays NaN.
DSV4_INLINE F32 exp_nonpositive(F32 x) {
  // x = n ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer, in the low bits.
  const F32 rounder = broadcast(0x1.8p23f);
  const F32 shifted = fma(x, broadcast(0x1.715476p0f), rounder);
  const F32 n = shifted - rounder;
  F32 r = fma(n, broadcast(-0x1.62e4p-1f), x);
  r = fma(n, broadcast(-0x1.7f7d1cp-20f), r);
  // e^r = 1 + r + r^2 q(r)
  F32 q = broadcast(1.9875691500e-4f);
  q = fma(q, r, broadcast(1.3981999507e-3f));
  q = fma(q, r, broadcast(8.3334519073e-3f));
  q = fma(q, r, broadcast(4.1665795894e-2f));
  q = fma(q, r, broadcast(1.6666665459e-1f));
  q = fma(q, r, broadcast(5.0000001201e-1f));
  const F32 power = fma(q, r * r, r) + broadcast(1.0f);
  const F32 scaled = as_float(as_bits(power) + (as_bits(shifted) << 23));
  const F32 small = as_float((U32)(x != x) & as_bits(x));  // 0, or NaN
  return x >= broadcast(-87.0f) ? scaled : small;
}

DSV4_INLINE float exp_nonpositive(float x) { return exp_nonpositive(broadcast(x))[0]; }

// log(1 + x) for x from 0 to 1 within 3 units of the last place. NaN stays NaN.
DSV4_INLINE F32 log_1_plus(F32 x) {
  // 2 atanh(z) = 2 z (1 + z^2 / 3 + z^4 / 5 + ...) with z = x / (2 + x), at most 1 / 3.
  const F32 z = x / (broadcast(2.0f) + x);
  const F32 squared = z * z;
  F32 q = broadcast(1.0f / 15);
  q = fma(q, squared, broadcast(1.0f / 13));
  q = fma(q, squared, broadcast(1.0f / 11));
  q = fma(q, squared, broadcast(1.0f / 9));
  q = fma(q, squared, broadcast(1.0f / 7));
  q = fma(q, squared, broadcast(1.0f / 5));
  q = fma(q, squared, broadcast(1.0f / 3));
  const F32 twice = z + z;
  return fma(q, twice * squared, twice);
}

}  // namespace
}  // namespace dsv4
