#include "quant/encode/encoder_table.h"

#ifdef __AVX512F__
#include "quant/encode/all-inl.h"
#endif

namespace dsv4 {

const EncoderTable* encoder_table_avx512() {
#ifdef __AVX512F__
  return &kEncoders;
#else
  return nullptr;
#endif
}

}  // namespace dsv4
