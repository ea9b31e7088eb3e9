// IQ2_XXS: groups of eight values, each one of 256 codewords of magnitudes with 7 signs; the eighth
// sign makes their number even.
#include "quant/block_codec.h"
#include "quant/iq2_xxs_grid.h"

#include <bit>

namespace dsv4 {

void decode_iq2_xxs(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for (int g = 0; g < 8; ++g) {
    const uint8_t* indices = block + 2 + 8 * g;
    uint32_t signs;
    std::memcpy(&signs, indices + 4, sizeof(signs));
    const float scale = d * (0.5f + static_cast<float>(signs >> 28)) * 0.25f;
    for (int k = 0; k < 4; ++k) {
      const uint32_t seven = signs >> (7 * k) & 127;
      const uint32_t mask = seven | static_cast<uint32_t>(std::popcount(seven) % 2) << 7;
      const uint16_t codeword = kIq2xxsGrid[indices[k]];
      for (int j = 0; j < 8; ++j) {
        const float magnitude = kIq2xxsMagnitudes[codeword >> (2 * j) & 3];
        out[g * 32 + k * 8 + j] = scale * ((mask >> j & 1) != 0 ? -magnitude : magnitude);
      }
    }
  }
}

}  // namespace dsv4
