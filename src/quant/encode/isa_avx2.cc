#include "quant/encode/encoder_table.h"

#ifdef __AVX2__
#include "quant/encode/all-inl.h"
#endif

namespace dsv4 {

const EncoderTable* encoder_table_avx2() {
#ifdef __AVX2__
  return &kEncoders;
#else
  return nullptr;
#endif
}

}  // namespace dsv4
