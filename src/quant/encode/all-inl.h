// The table of this instruction set.
#pragma once

#include "quant/encode/encoder_table.h"
#include "quant/encode/int4-inl.h"
#include "quant/encode/iq2_xxs-inl.h"
#include "quant/encode/k_blocks-inl.h"
#include "quant/encode/small_blocks-inl.h"

namespace dsv4 {
namespace {

constexpr EncoderTable kEncoders = {
    {encode_q4_0, encode_q4_1, encode_q5_0, encode_q5_1, encode_q8_0, encode_q2_k, encode_q3_k,
     encode_q4_k, encode_q5_k, encode_q6_k, encode_iq2_xxs, encode_mxfp4},
    encode_fp4,
    encode_int4};

}  // namespace
}  // namespace dsv4
