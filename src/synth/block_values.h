// Random weights in the block types of GGUF: any codes, with scales chosen so that the weights have
// a given standard deviation. Their cost is a real model's; encoding real values would take hours.
#pragma once

#include "synth/normal_values.h"
#include "tensor/dtype.h"

#include <cstdint>
#include <span>
#include <vector>

namespace dsv4 {

// Byte i of a block is (random & mask[i]) | value[i].
struct BlockTemplate {
  std::vector<uint8_t> mask;
  std::vector<uint8_t> value;
};

// Blocks of `type` whose weights have about this deviation; MXFP4 within a factor of 1.5, since its
// scales are powers of two.
BlockTemplate block_template(DType type, double std_dev);

// Fills `out` with the bytes from `first` on, a multiple of 8.
void fill_blocks(const RandomStream& stream, const BlockTemplate& block, uint64_t first,
                 std::span<std::byte> out);

}  // namespace dsv4
