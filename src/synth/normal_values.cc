#include "synth/normal_values.h"

#include "base/check.h"
#include "base/rng.h"
#include "quant/float_formats.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace dsv4 {
namespace {

// Quantiles (i + 0.5) / 256 of the sum of four uniform numbers 0..255, standardised. Exact: the
// counts of all sums are integers.
std::array<double, 256> normal_quantiles() {
  constexpr int kDigits = 256;
  constexpr double kMean = 4 * (kDigits - 1) / 2.0;
  const double std_dev = std::sqrt((kDigits * kDigits - 1) / 3.0);
  std::vector<uint64_t> counts = {1};
  for (int term = 0; term < 4; ++term) {
    std::vector<uint64_t> next(counts.size() + kDigits - 1);
    for (size_t sum = 0; sum < counts.size(); ++sum) {
      for (size_t digit = 0; digit < kDigits; ++digit) next[sum + digit] += counts[sum];
    }
    counts = std::move(next);
  }
  std::array<double, 256> quantiles{};
  uint64_t below = 0;  // of 2^32 outcomes, those up to `sum`
  size_t i = 0;
  for (size_t sum = 0; sum < counts.size(); ++sum) {
    below += counts[sum];
    for (; i < quantiles.size() && ((2 * i + 1) << 23) <= below; ++i) {
      quantiles[i] = (static_cast<double>(sum) - kMean) / std_dev;
    }
  }
  return quantiles;
}

// Fills `table` so that codes * scale has the standard deviation `std_dev`; `unit` is the code
// value of one standard deviation, up to a factor below 2.
template <typename Encode, typename Decode>
CodeTable make_table(double std_dev, double unit, const Encode& encode, const Decode& decode) {
  CHECK(std_dev > 1e-30 && std_dev < 1e30, std_dev);
  static const std::array<double, 256> quantiles = normal_quantiles();
  CodeTable table;
  int exponent = 0;
  for (; std_dev / std::ldexp(1.0, exponent) > 2 * unit; ++exponent) {
  }
  for (; std_dev / std::ldexp(1.0, exponent) <= unit; --exponent) {
  }
  table.scale = static_cast<uint8_t>(127 + exponent);
  const double target = std_dev / std::ldexp(1.0, exponent);
  // Rounding and saturation change the deviation a little: correct the factor.
  double factor = target;
  double best_error = target;
  for (int round = 0; round < 32; ++round) {
    CodeTable attempt = table;
    double squares = 0;
    for (size_t i = 0; i < quantiles.size(); ++i) {
      attempt.codes[i] = encode(static_cast<float>(quantiles[i] * factor));
      const double value = static_cast<double>(decode(attempt.codes[i]));
      squares += value * value;
    }
    const double actual = std::sqrt(squares / static_cast<double>(quantiles.size()));
    const double error = std::abs(actual - target);
    if (error < best_error) {
      best_error = error;
      table.codes = attempt.codes;
    }
    factor *= target / actual;
  }
  return table;
}

template <typename Convert>
void fill_normal(const RandomStream& stream, double mean, double std_dev, uint64_t first,
                 std::span<std::byte> out, const Convert& convert) {
  using Stored = decltype(convert(0.0f));
  for (size_t i = 0; i < out.size() / sizeof(Stored); ++i) {
    const Stored value = convert(static_cast<float>(mean + std_dev * stream.normal(first + i)));
    std::memcpy(out.data() + i * sizeof(Stored), &value, sizeof(Stored));
  }
}

}  // namespace

uint64_t RandomStream::bits(uint64_t index) const { return random_bits(seed, stream, index); }

double RandomStream::normal(uint64_t index) const {
  constexpr double kMean = 4 * 65535 / 2.0;
  constexpr double kInverseStdDev = 2.6428997921303014e-05;  // 1 / sqrt((65536^2 - 1) / 3)
  constexpr uint64_t kEverySecond = 0x0000FFFF0000FFFFu;
  const uint64_t draw = bits(index);
  const uint64_t pairs = (draw & kEverySecond) + ((draw >> 16) & kEverySecond);
  const auto sum = static_cast<double>((pairs & 0xFFFFFFFFu) + (pairs >> 32));
  return (sum - kMean) * kInverseStdDev;
}

CodeTable e4m3_table(double std_dev) {
  return make_table(std_dev, 64, float_to_e4m3, e4m3_to_float);
}

CodeTable e2m1_table(double std_dev) {
  return make_table(std_dev, 1.25, float_to_e2m1, [](uint8_t code) { return kE2m1Values[code]; });
}

void fill_codes(const RandomStream& stream, const CodeTable& table, uint64_t first,
                std::span<std::byte> out) {
  DCHECK(first % 8 == 0, first);
  for (size_t i = 0; i < out.size(); i += 8) {
    uint64_t draw = stream.bits((first + i) / 8);
    std::byte codes[8];
    for (std::byte& code : codes) {
      code = static_cast<std::byte>(table.codes[draw & 255]);
      draw >>= 8;
    }
    std::memcpy(out.data() + i, codes, std::min<size_t>(8, out.size() - i));
  }
}

void fill_code_pairs(const RandomStream& stream, const CodeTable& table, uint64_t first,
                     std::span<std::byte> out) {
  DCHECK(first % 4 == 0, first);
  for (size_t i = 0; i < out.size(); i += 4) {
    uint64_t draw = stream.bits((first + i) / 4);
    std::byte pairs[4];
    for (std::byte& pair : pairs) {
      pair = static_cast<std::byte>(table.codes[draw & 255] | table.codes[(draw >> 8) & 255] << 4);
      draw >>= 16;
    }
    std::memcpy(out.data() + i, pairs, std::min<size_t>(4, out.size() - i));
  }
}

void fill_bf16(const RandomStream& stream, double mean, double std_dev, uint64_t first,
               std::span<std::byte> out) {
  fill_normal(stream, mean, std_dev, first, out, float_to_bf16);
}

void fill_f16(const RandomStream& stream, double mean, double std_dev, uint64_t first,
              std::span<std::byte> out) {
  fill_normal(stream, mean, std_dev, first, out, float_to_f16);
}

void fill_f32(const RandomStream& stream, double mean, double std_dev, uint64_t first,
              std::span<std::byte> out) {
  fill_normal(stream, mean, std_dev, first, out, [](float value) { return value; });
}

}  // namespace dsv4
