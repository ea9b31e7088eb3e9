// Encoders of the block types: the codes and scales that minimise the squared error of the weights,
// each weighted by its importance. A block's bytes depend on nothing but its values and importance.
#pragma once

#include "tensor/dtype.h"

#include <cstdint>
#include <span>

namespace dsv4 {

// Encodes the dtype_block finite values of a block to dtype_bytes. `importance` weighs each value's
// squared error: positive and finite.
using EncodeBlock = void (*)(const float* values, const float* importance, uint8_t* block);

// The encoder of a block type; nullptr for a scalar type.
EncodeBlock block_encoder(DType dtype);

// FP4 as released: 32 values to 16 bytes (low nibble first) and their E8M0 scale.
void encode_fp4(const float* values, const float* importance, uint8_t* codes, uint8_t* scale);

// One group of AWQ: values = scale * (code - zero), codes and zero in 0..15; of 32, 64 or 128
// values.
struct Int4Group {
  uint16_t scale = 0;  // F16
  uint8_t zero = 0;
};
Int4Group encode_int4(std::span<const float> values, std::span<const float> importance,
                      std::span<uint8_t> codes);

}  // namespace dsv4
