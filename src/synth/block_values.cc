#include "synth/block_values.h"

#include "base/check.h"
#include "quant/float_formats.h"
#include "quant/iq2_xxs_grid.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace dsv4 {
namespace {

// Standard deviation of the whole numbers 0 .. n - 1.
double uniform_deviation(int n) { return std::sqrt((static_cast<double>(n) * n - 1) / 12); }

double iq2_xxs_deviation() {
  double squares = 0;
  for (const uint16_t codeword : kIq2xxsGrid) {
    for (int j = 0; j < 8; ++j) {
      const double magnitude = kIq2xxsMagnitudes[codeword >> (2 * j) & 3];
      squares += magnitude * magnitude;
    }
  }
  return std::sqrt(squares / (256 * 8));
}

// The fields of a block that are not random.
class Fields {
 public:
  explicit Fields(DType type) {
    const size_t size = dtype_bytes(type);
    block_.mask.assign(size, 0xFF);
    block_.value.assign(size, 0);
  }

  void byte(size_t at, uint8_t value, uint8_t random_bits = 0) {
    block_.mask[at] = random_bits;
    block_.value[at] = value;
  }
  void bytes(size_t at, size_t count, uint8_t value) {
    for (size_t i = 0; i < count; ++i) byte(at + i, value);
  }
  void half(size_t at, double value) {
    const uint16_t code = float_to_f16(static_cast<float>(value));
    byte(at, static_cast<uint8_t>(code & 0xFF));
    byte(at + 1, static_cast<uint8_t>(code >> 8));
  }
  // All eight scales and minima of Q4_K and Q5_K are 32.
  void k_scales(size_t at) {
    bytes(at, 8, 32 | 2 << 6);
    bytes(at + 8, 4, 0);
  }

  BlockTemplate take() { return std::move(block_); }

 private:
  BlockTemplate block_;
};

}  // namespace

BlockTemplate block_template(DType type, double std_dev) {
  Fields block(type);
  // The scale of n equally likely codes, times `factor`; minima put the mean at zero.
  const auto scale_of = [std_dev](int n, double factor) {
    return std_dev / uniform_deviation(n) / factor;
  };
  switch (type) {
    case DType::kQ4_0:
      block.half(0, scale_of(16, 1));
      break;
    case DType::kQ4_1:
      block.half(0, scale_of(16, 1));
      block.half(2, -7.5 * scale_of(16, 1));
      break;
    case DType::kQ5_0:
      block.half(0, scale_of(32, 1));
      break;
    case DType::kQ5_1:
      block.half(0, scale_of(32, 1));
      block.half(2, -15.5 * scale_of(32, 1));
      break;
    case DType::kQ8_0:
      block.half(0, scale_of(256, 1));
      break;
    case DType::kQ2_K:
      block.bytes(0, 16, 8 | 8 << 4);
      block.half(80, scale_of(4, 8));
      block.half(82, 1.5 * scale_of(4, 8));
      break;
    case DType::kQ3_K:  // scales 8, stored as 40
      block.bytes(96, 8, 0x88);
      block.bytes(104, 4, 0xAA);
      block.half(108, scale_of(8, 8));
      break;
    case DType::kQ4_K:
      block.half(0, scale_of(16, 32));
      block.half(2, 7.5 * scale_of(16, 32));
      block.k_scales(4);
      break;
    case DType::kQ5_K:
      block.half(0, scale_of(32, 32));
      block.half(2, 15.5 * scale_of(32, 32));
      block.k_scales(4);
      break;
    case DType::kQ6_K:
      block.bytes(192, 16, 32);
      block.half(208, scale_of(64, 32));
      break;
    case DType::kIQ2_XXS:  // scale codes 8: (0.5 + 8) / 4
      block.half(0, std_dev / iq2_xxs_deviation() / 2.125);
      for (size_t g = 0; g < 8; ++g) block.byte(2 + 8 * g + 7, 0x80, 0x0F);
      break;
    case DType::kMXFP4: {
      double squares = 0;
      for (const float value : kE2m1Values) squares += double{value} * value / 16;
      const double exponent = std::round(std::log2(std_dev / std::sqrt(squares)));
      block.byte(0, static_cast<uint8_t>(127 + std::clamp(exponent, -126.0, 126.0)));
      break;
    }
    default:
      CHECK(false, static_cast<int>(type));
  }
  return block.take();
}

void fill_blocks(const RandomStream& stream, const BlockTemplate& block, uint64_t first,
                 std::span<std::byte> out) {
  const size_t size = block.mask.size();
  size_t in_block = first % size;
  for (size_t begin = 0; begin < out.size(); begin += 8) {
    const uint64_t random = stream.bits((first + begin) / 8);
    for (size_t i = 0; i < std::min<size_t>(8, out.size() - begin); ++i) {
      const auto byte = static_cast<uint8_t>(random >> (8 * i));
      out[begin + i] =
          static_cast<std::byte>((byte & block.mask[in_block]) | block.value[in_block]);
      in_block = in_block + 1 == size ? 0 : in_block + 1;
    }
  }
}

}  // namespace dsv4
