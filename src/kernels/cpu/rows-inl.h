// Operations on single rows that all tokens of a step pass through: norms, rotations, transforms,
// hyper-connections and what needs an exponential. Nothing is fused but the exponential and the
// logarithm.
#pragma once

#include "kernels/cpu/decode-inl.h"
#include "kernels/cpu/exp-inl.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd.h"

#include <math.h>

namespace dsv4 {
namespace {

// Access to a register of a row, or to the lanes that are left of it.
struct WholeLanes {
  DSV4_INLINE_MEMBER F32 load_at(const float* data) const { return load(data); }
  DSV4_INLINE_MEMBER void store_at(float* data, F32 v) const { store(data, v); }
};
struct SomeLanes {
  int64_t n;
  DSV4_INLINE_MEMBER F32 load_at(const float* data) const { return load_partial(data, n); }
  DSV4_INLINE_MEMBER void store_at(float* data, F32 v) const { store_partial(data, v, n); }
};

// Calls body(k, lanes) for the registers of a row of n numbers, lanes [k, k + kLanes).
template <typename Body>
DSV4_INLINE void for_lanes(int64_t n, const Body& body) {
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) body(k, WholeLanes{});
  if (k < n) body(k, SomeLanes{n - k});
}

// ---- Norms.

// The sum of function(x[i]) in double: 32 partial sums (element i goes to i mod 32) and their tree
// (i, i + 16), ..., (i, i + 1). function(0) is 0.
template <typename Function>
DSV4_INLINE double sum_in_parts(const float* x, int64_t n, Function function) {
  using F64x8 [[gnu::vector_size(64)]] = double;
  constexpr int64_t kParts = 32;
  F64x8 sums[kParts / 8] = {};
  const auto add = [&](const float* block) {
#pragma GCC unroll 4
    for (int64_t part = 0; part < kParts / 8; ++part) {
      F32x8 eight;
      std::memcpy(&eight, block + 8 * part, sizeof(eight));
      sums[part] += function(__builtin_convertvector(eight, F64x8));
    }
  };
  int64_t i = 0;
  for (; i + kParts <= n; i += kParts) add(x + i);
  if (i < n) {
    float rest[kParts] = {};
    std::memcpy(rest, x + i, static_cast<size_t>(n - i) * sizeof(float));
    add(rest);
  }
  const F64x8 eight = (sums[0] + sums[2]) + (sums[1] + sums[3]);
  const double four[4] = {eight[0] + eight[4], eight[1] + eight[5], eight[2] + eight[6],
                          eight[3] + eight[7]};
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// Squares of floats are exact in double.
static float mean_square(const float* x, int64_t n) {
  const double sum = sum_in_parts(x, n, [](auto v) { return v * v; });
  return static_cast<float>(sum / static_cast<double>(n));
}

static float rms_factor(const float* x, int64_t n, float eps) {
  return 1 / sqrtf(mean_square(x, n) + eps);
}

static void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* y) {
  const F32 factor = broadcast(rms_factor(x, n, eps));
  if (weight == nullptr) {
    return for_lanes(
        n, [&](int64_t k, auto lanes) { lanes.store_at(y + k, lanes.load_at(x + k) * factor); });
  }
  for_lanes(n, [&](int64_t k, auto lanes) {
    lanes.store_at(y + k, lanes.load_at(x + k) * factor * lanes.load_at(weight + k));
  });
}

// ---- Rotations and transforms.

// The lanes with partner i ^ kStep exchanged.
template <int kStep>
DSV4_INLINE F32 exchange(F32 v) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(v, v, 0 ^ kStep, 1 ^ kStep, 2 ^ kStep, 3 ^ kStep, 4 ^ kStep,
                                 5 ^ kStep, 6 ^ kStep, 7 ^ kStep, 8 ^ kStep, 9 ^ kStep, 10 ^ kStep,
                                 11 ^ kStep, 12 ^ kStep, 13 ^ kStep, 14 ^ kStep, 15 ^ kStep);
#elif defined(__AVX2__)
  return __builtin_shufflevector(v, v, 0 ^ kStep, 1 ^ kStep, 2 ^ kStep, 3 ^ kStep, 4 ^ kStep,
                                 5 ^ kStep, 6 ^ kStep, 7 ^ kStep);
#else
  return __builtin_shufflevector(v, v, 0 ^ kStep, 1 ^ kStep, 2 ^ kStep, 3 ^ kStep);
#endif
}

// v with the sign of lane i turned where bit kStep of i is kWhere.
template <int kStep, bool kWhere>
DSV4_INLINE F32 turn_signs(F32 v) {
  U32 signs = {};
  for (int i = 0; i < kLanes; ++i) signs[i] = ((i & kStep) != 0) == kWhere ? 0x80000000 : 0;
  return as_float(as_bits(v) ^ signs);
}

// n_heads heads, `stride` apart, of 2 n_pairs numbers: pairs (a, b) become (a cos - b sin,
// a sin + b cos) with the sign of sin that `direction` says.
static void rope(float* x, int64_t n_heads, int64_t stride, const float* cos, const float* sin,
                 int64_t n_pairs, float direction) {
  constexpr int64_t kPart = 64;  // pairs whose angles are laid out at a time
  alignas(64) float cosines[2 * kPart];
  alignas(64) float sines[2 * kPart];  // -, + for the two of a pair
  for (int64_t begin = 0; begin < n_pairs; begin += kPart) {
    const int64_t n = smaller(kPart, n_pairs - begin);
    for (int64_t i = 0; i < n; ++i) {
      cosines[2 * i] = cosines[2 * i + 1] = cos[begin + i];
      sines[2 * i + 1] = direction * sin[begin + i];
      sines[2 * i] = -sines[2 * i + 1];
    }
    for (int64_t h = 0; h < n_heads; ++h) {
      float* pairs = x + h * stride + 2 * begin;
      for_lanes(2 * n, [&](int64_t k, auto lanes) {
        const F32 v = lanes.load_at(pairs + k);
        lanes.store_at(pairs + k,
                       v * lanes.load_at(cosines + k) + exchange<1>(v) * lanes.load_at(sines + k));
      });
    }
  }
}

// One stage of a Hadamard transform within a register: (u, v) become (u + v, u - v).
template <int kStep>
DSV4_INLINE F32 butterfly(F32 v) {
  return exchange<kStep>(v) + turn_signs<kStep, true>(v);
}

// In place; n is a power of two.
static void hadamard(float* x, int64_t n) {
  int64_t step = 1;
  if (n >= kLanes) {
    for (int64_t k = 0; k < n; k += kLanes) {
      F32 v = butterfly<2>(butterfly<1>(load(x + k)));
      if constexpr (kLanes >= 8) v = butterfly<4>(v);
      if constexpr (kLanes >= 16) v = butterfly<8 % kLanes>(v);
      store(x + k, v);
    }
    step = kLanes;
  }
  for (; step < n; step *= 2) {
    for (int64_t block = 0; block < n; block += 2 * step) {
      for_lanes(step, [&](int64_t k, auto lanes) {
        float* a = x + block + k;
        const F32 u = lanes.load_at(a);
        const F32 v = lanes.load_at(a + step);
        lanes.store_at(a, u + v);
        lanes.store_at(a + step, u - v);
      });
    }
  }
  const F32 scale = broadcast(1 / sqrtf(static_cast<float>(n)));
  for_lanes(n, [&](int64_t k, auto lanes) { lanes.store_at(x + k, lanes.load_at(x + k) * scale); });
}

// ---- Hyper-connections.

// out = sum_i weights[i] * streams[i], streams `stride` apart.
static void collapse(const float* streams, int64_t stride, const float* weights, int64_t n_streams,
                     int64_t n, float* out) {
  for_lanes(n, [&](int64_t k, auto lanes) {
    F32 sum = {};
    for (int64_t i = 0; i < n_streams; ++i) {
      sum += broadcast(weights[i]) * lanes.load_at(streams + i * stride + k);
    }
    lanes.store_at(out + k, sum);
  });
}

// Stream j becomes sum_i mix[i, j] * stream i, plus post[j] * y; at most kMaxStreams of them.
static void expand(const float* y, const float* post, const float* mix, int64_t n_streams,
                   int64_t n, float* streams, int64_t stride) {
  for_lanes(n, [&](int64_t k, auto lanes) {
    F32 old[kMaxStreams];
    for (int64_t i = 0; i < n_streams; ++i) old[i] = lanes.load_at(streams + i * stride + k);
    const F32 out = lanes.load_at(y + k);
    for (int64_t j = 0; j < n_streams; ++j) {
      F32 sum = {};
      for (int64_t i = 0; i < n_streams; ++i) sum += broadcast(mix[i * n_streams + j]) * old[i];
      lanes.store_at(streams + j * stride + k, broadcast(post[j]) * out + sum);
    }
  });
}

// ---- With exponentials.

// 1 / (1 + e^-x), which does not overflow.
DSV4_INLINE F32 sigmoid(F32 x) {
  const F32 power = exp_nonpositive(as_float(as_bits(x) | 0x80000000));
  const F32 one = broadcast(1.0f);
  return (x < F32{} ? power : one) / (one + power);
}

static void swiglu(const float* gate, const float* up, int64_t n, float limit, float weight,
                   float* out) {
  const F32 bound = broadcast(limit > 0 ? limit : INFINITY);
  for_lanes(n, [&](int64_t k, auto lanes) {
    F32 g = lanes.load_at(gate + k);
    F32 u = lanes.load_at(up + k);
    g = g > bound ? bound : g;  // NaN stays
    u = u > bound ? bound : u;
    u = u < -bound ? -bound : u;
    lanes.store_at(out + k, broadcast(weight) * (g * sigmoid(g) * u));
  });
}

// ---- Softmax.

static float largest(const float* x, int64_t n) {
  F32 most = broadcast(-INFINITY);
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) {
    const F32 v = load(x + k);
    most = v > most ? v : most;
  }
  float result = -INFINITY;
  for (int64_t i = 0; i < kLanes; ++i) result = most[i] > result ? most[i] : result;
  for (; k < n; ++k) result = x[k] > result ? x[k] : result;
  return result;
}

static double exponentials(const float* x, int64_t n, float largest_of_all, float* y) {
  for_lanes(n, [&](int64_t k, auto lanes) {
    const F32 v = lanes.load_at(x + k);
    const F32 number = v == v ? v : broadcast(-INFINITY);
    lanes.store_at(y + k, exp_nonpositive(number - broadcast(largest_of_all)));
  });
  return sum_in_parts(y, n, [](auto v) { return v; });
}

// Weighted means of the slots, each column with its own softmax over them.
static void pool_slots(const float* const* values, const float* const* scores, int64_t n_slots,
                       int64_t n, float* out) {
  for_lanes(n, [&](int64_t k, auto lanes) {
    F32 largest = broadcast(-INFINITY);
    for (int64_t s = 0; s < n_slots; ++s) {
      const F32 score = lanes.load_at(scores[s] + k);
      largest = score > largest ? score : largest;
    }
    F32 total = {};
    F32 sum = {};
    for (int64_t s = 0; s < n_slots; ++s) {
      const F32 p = exp_nonpositive(lanes.load_at(scores[s] + k) - largest);
      total += p;
      sum += p * lanes.load_at(values[s] + k);
    }
    lanes.store_at(out + k, sum / total);
  });
}

// sqrt(log(1 + e^x)), which is sqrt(x) where x > 20.
static void sqrt_softplus(float* x, int64_t n) {
  for_lanes(n, [&](int64_t k, auto lanes) {
    const F32 v = lanes.load_at(x + k);
    const F32 power = exp_nonpositive(as_float(as_bits(v) | 0x80000000));
    const F32 soft = (v > F32{} ? v : F32{}) + log_1_plus(power);
    lanes.store_at(x + k, square_root(v > broadcast(20.0f) ? v : soft));
  });
}

}  // namespace
}  // namespace dsv4
