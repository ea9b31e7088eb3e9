#include "quant/encode/all-inl.h"

namespace dsv4 {

const EncoderTable* encoder_table_baseline() { return &kEncoders; }

}  // namespace dsv4
