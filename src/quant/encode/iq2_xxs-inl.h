// Encoder of IQ2_XXS. For a scale s and eight magnitudes m, a codeword g costs
//   sum of w (m - s g)^2 = sum of w m^2 - 2 s A + s^2 B,  A = sum of w m g,  B = sum of w g^2,
// so that A and B of all 256 codewords, found once, give the best codeword for any scale.
#pragma once

#include "quant/encode/scale_fit.h"
#include "quant/iq2_xxs_grid.h"

#include <array>

namespace dsv4 {
namespace {

constexpr int kWords = 256;
constexpr int kVectors = kWords / kEncodeLanes;
constexpr float kLargest = 43.0f;  // of a codeword
constexpr int kBlockSize = 256;
constexpr int kParts = 32;  // groups of eight values in a block

// Magnitude j of every codeword.
constexpr auto kDigits = [] {
  std::array<std::array<float, kWords>, 8> digits{};
  for (size_t j = 0; j < 8; ++j) {
    for (size_t word = 0; word < kWords; ++word) {
      digits[j][word] = kIq2xxsMagnitudes[kIq2xxsGrid[word] >> (2 * j) & 3];
    }
  }
  return digits;
}();

// Eight values: what each codeword has in common with them, and their signs.
struct Part {
  FloatLanes a[kVectors];
  FloatLanes b[kVectors];
  uint32_t signs = 0;  // seven bits
};

DSV4_LANES_INLINE void prepare(const float* values, const float* importance, Part& part) {
  float magnitudes[8];
  uint32_t signs = 0;
  int cheapest = 0;
  for (int j = 0; j < 8; ++j) {
    magnitudes[j] = std::fabs(values[j]);
    signs |= static_cast<uint32_t>(values[j] < 0) << j;
    if (importance[j] * magnitudes[j] < importance[cheapest] * magnitudes[cheapest]) cheapest = j;
  }
  // The number of signs is even: where it is not, the value that costs least gets the wrong one.
  if (__builtin_parity(signs) != 0) {
    signs ^= 1u << cheapest;
    magnitudes[cheapest] = -magnitudes[cheapest];
  }
  part.signs = signs & 127;
  for (int v = 0; v < kVectors; ++v) {
    part.a[v] = FloatLanes{};
    part.b[v] = FloatLanes{};
    for (size_t j = 0; j < 8; ++j) {
      FloatLanes digit;
      std::memcpy(&digit, &kDigits[j][static_cast<size_t>(v * kEncodeLanes)], sizeof(digit));
      const FloatLanes weighted = importance[j] * digit;
      part.a[v] += weighted * magnitudes[j];
      part.b[v] += weighted * digit;
    }
  }
}

constexpr float step_scale(float d, int step) {
  return d * (0.5f + static_cast<float>(step)) * 0.25f;
}

// The least cost of eight values with each of sixteen scales, less the constant part.
DSV4_LANES_INLINE FloatLanes least_costs(const Part& part, FloatLanes scales) {
  const FloatLanes squares = scales * scales;
  const FloatLanes doubled = 2.0f * scales;
  FloatLanes least = splat(INFINITY);
  const auto* a = reinterpret_cast<const float*>(part.a);
  const auto* b = reinterpret_cast<const float*>(part.b);
  for (int word = 0; word < kWords; ++word) {
    least = min_lanes(least, squares * b[word] - doubled * a[word]);
  }
  return least;
}

DSV4_LANES_INLINE int best_word(const Part& part, float scale) {
  FloatLanes least = splat(INFINITY);
  FloatLanes place = {};
  for (int v = 0; v < kVectors; ++v) {
    const FloatLanes cost = scale * scale * part.b[v] - 2.0f * scale * part.a[v];
    place = cost < least ? splat(static_cast<float>(v)) : place;
    least = min_lanes(cost, least);
  }
  const int lane = least_lane(least);
  return static_cast<int>(place[lane]) * kEncodeLanes + lane;
}

struct Steps {
  uint16_t scale = 0;  // of the block, F16
  int of_group[8] = {};
  float cost = 0;
};

// The best sixteenths of a block's scale for each group of 32 values.
DSV4_LANES_INLINE Steps choose_steps(const Part* parts, float scale) {
  Steps steps;
  steps.scale = stored_scale(scale);
  FloatLanes scales;
  for (int step = 0; step < 16; ++step) {
    scales[step] = step_scale(f16_to_float(steps.scale), step);
  }
  for (int g = 0; g < 8; ++g) {
    FloatLanes costs = {};
    for (int p = g * 4; p < g * 4 + 4; ++p) costs += least_costs(parts[p], scales);
    steps.of_group[g] = least_lane(costs);
    steps.cost += costs[steps.of_group[g]];
  }
  return steps;
}

// The block's scale that suits the chosen codewords best (least squares).
DSV4_LANES_INLINE float refit(const Part* parts, const Steps& steps) {
  float a = 0;
  float b = 0;
  for (int p = 0; p < kParts; ++p) {
    const int step = steps.of_group[p / 4];
    const int word = best_word(parts[p], step_scale(f16_to_float(steps.scale), step));
    const float unit = step_scale(1.0f, step);
    a += unit * parts[p].a[word / kEncodeLanes][word % kEncodeLanes];
    b += unit * unit * parts[p].b[word / kEncodeLanes][word % kEncodeLanes];
  }
  return b > 0 ? a / b : 0.0f;
}

void encode_iq2_xxs(const float* values, const float* importance, uint8_t* block) {
  Part parts[kParts];
  for (int p = 0; p < kParts; ++p) prepare(values + p * 8, importance + p * 8, parts[p]);
  // The last step nearly covers the largest value; least squares moves it twice from there.
  const float covering = largest_magnitude<kBlockSize>(values) / (kLargest * step_scale(1.0f, 15));
  Steps steps = choose_steps(parts, covering * 0.8f);
  for (int round = 0; round < 2; ++round) {
    const Steps moved = choose_steps(parts, refit(parts, steps));
    if (!(moved.cost < steps.cost)) break;
    steps = moved;
  }
  std::memcpy(block, &steps.scale, sizeof(steps.scale));
  for (int g = 0; g < 8; ++g) {
    const float scale = step_scale(f16_to_float(steps.scale), steps.of_group[g]);
    uint32_t signs = static_cast<uint32_t>(steps.of_group[g]) << 28;
    for (int k = 0; k < 4; ++k) {
      const Part& part = parts[g * 4 + k];
      block[2 + g * 8 + k] = static_cast<uint8_t>(best_word(part, scale));
      signs |= part.signs << (7 * k);
    }
    std::memcpy(block + 2 + g * 8 + 4, &signs, sizeof(signs));
  }
}

}  // namespace
}  // namespace dsv4
