// The roof of BF16 products, which no kernel uses: compiled for processors that have them.
#include "kernels/cpu/kernel_table.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace dsv4 {

bool has_bf16_products() {
#if defined(__AVX512BF16__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

double bf16_roof([[maybe_unused]] int64_t n_rounds, [[maybe_unused]] uint32_t* sink) {
#if defined(__AVX512BF16__)
  constexpr int kChains = 16;
  __m512 sums[kChains];
#pragma GCC unroll 16
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_set1_ps(static_cast<float>(c));
  auto a = (__m512bh)_mm512_set1_epi32(0x3F803F80);
  for (int64_t i = 0; i < n_rounds; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_dpbf16_ps(sums[c], a, a);
    asm volatile("" : "+x"(a));
  }
  for (const __m512& sum : sums) *sink += static_cast<uint32_t>(sum[0] > 0);
  return static_cast<double>(n_rounds) * kChains * 32 * 2;
#else
  return 0;
#endif
}

}  // namespace dsv4
