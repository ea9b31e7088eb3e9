// Random values close to a normal distribution, in every stored format. Only integer arithmetic
// and exactly rounded float operations: the bytes are the same on every machine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace dsv4 {

// Where random bits come from: counters (base/rng.h) and one stream per tensor.
struct RandomStream {
  uint64_t seed = 0;
  uint64_t stream = 0;

  uint64_t bits(uint64_t index) const;
  // The draw `index` as a value of mean 0 and standard deviation 1 within +-3.5: the sum of four
  // uniform numbers.
  double normal(uint64_t index) const;
};

// Codes of block-scaled weights that approximate a normal distribution. The 256 equally likely
// entries are its quantiles as codes; all blocks share one power-of-two scale.
struct CodeTable {
  std::array<uint8_t, 256> codes{};
  uint8_t scale = 127;  // E8M0
};
CodeTable e4m3_table(double std_dev);
CodeTable e2m1_table(double std_dev);

// Each function fills `out` with the elements from `first` on. What an element is depends only on
// the stream and its index.

// One code per byte; `first` is a multiple of 8.
void fill_codes(const RandomStream& stream, const CodeTable& table, uint64_t first,
                std::span<std::byte> out);
// Two codes per byte, the lower half first; `first` counts bytes and is a multiple of 4.
void fill_code_pairs(const RandomStream& stream, const CodeTable& table, uint64_t first,
                     std::span<std::byte> out);
void fill_bf16(const RandomStream& stream, double mean, double std_dev, uint64_t first,
               std::span<std::byte> out);
void fill_f16(const RandomStream& stream, double mean, double std_dev, uint64_t first,
              std::span<std::byte> out);
void fill_f32(const RandomStream& stream, double mean, double std_dev, uint64_t first,
              std::span<std::byte> out);

}  // namespace dsv4
