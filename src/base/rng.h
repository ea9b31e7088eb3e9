// Counter-based random numbers: a draw is a pure function of (seed, stream, index), so that results
// do not depend on the order or the thread in which numbers are drawn.
#pragma once

#include <cstdint>

namespace dsv4 {

// 64 well-mixed bits (three rounds of the splitmix64 finaliser over the three counters).
constexpr uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index) {
  constexpr auto mix = [](uint64_t z) {
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  };
  return mix(mix(mix(seed) ^ stream) ^ index);
}

// Uniform in [0, 1) with 53 bits.
constexpr double random_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
  return static_cast<double>(random_bits(seed, stream, index) >> 11) * 0x1p-53;
}

}  // namespace dsv4
