#include "quant/block_encoder.h"

#include "base/check.h"
#include "quant/encode/encoder_table.h"

#include <vector>

namespace dsv4 {
namespace {

std::vector<const EncoderTable*> find_tables() {
  std::vector<const EncoderTable*> tables;
#if defined(__x86_64__)
  const EncoderTable* avx512 = encoder_table_avx512();
  const EncoderTable* avx2 = encoder_table_avx2();
  const bool runs_avx512 = __builtin_cpu_supports("avx512f") &&
                           __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
  const bool runs_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                         __builtin_cpu_supports("bmi2");
  if (avx512 != nullptr && runs_avx512 && runs_avx2) tables.push_back(avx512);
  if (avx2 != nullptr && runs_avx2) tables.push_back(avx2);
#endif
  tables.push_back(encoder_table_baseline());
  return tables;
}

}  // namespace

std::span<const EncoderTable* const> encoder_tables() {
  static const std::vector<const EncoderTable*> tables = find_tables();
  return tables;
}

EncodeBlock block_encoder(DType dtype) {
  if (dtype < DType::kQ4_0) return nullptr;
  return encoder_tables()[0]->blocks[static_cast<int>(dtype) - static_cast<int>(DType::kQ4_0)];
}

void encode_fp4(const float* values, const float* importance, uint8_t* codes, uint8_t* scale) {
  encoder_tables()[0]->fp4(values, importance, codes, scale);
}

Int4Group encode_int4(std::span<const float> values, std::span<const float> importance,
                      std::span<uint8_t> codes) {
  const size_t n = values.size();
  CHECK(n == 32 || n == 64 || n == 128, n);
  CHECK(importance.size() == n && codes.size() == n, importance.size(), codes.size());
  return encoder_tables()[0]->int4(values.data(), importance.data(), static_cast<int>(n),
                                   codes.data());
}

}  // namespace dsv4
