// The encoders as compiled for one instruction set. All give the same bytes.
#pragma once

#include "quant/block_encoder.h"

namespace dsv4 {

struct EncoderTable {
  EncodeBlock blocks[12];  // in the order of DType from kQ4_0 on
  void (*fp4)(const float* values, const float* importance, uint8_t* codes, uint8_t* scale);
  Int4Group (*int4)(const float* values, const float* importance, int size, uint8_t* codes);
};

const EncoderTable* encoder_table_baseline();
const EncoderTable* encoder_table_avx2();    // nullptr where the compiler has no such instructions
const EncoderTable* encoder_table_avx512();  // the same

// Those that this machine can run, the best one first.
std::span<const EncoderTable* const> encoder_tables();

}  // namespace dsv4
