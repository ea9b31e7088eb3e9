// config.json text. What is accepted survives writing and reading, and what is computed from it
// (tensors, bytes of a sequence's state) does not overflow.
#include "base/check.h"
#include "base/error.h"
#include "model/config.h"
#include "model/model.h"
#include "model/rope.h"
#include "model/tensor_specs.h"

#include <cmath>
#include <cstdint>
#include <string_view>

namespace dsv4 {
namespace {

// Larger models would only be slow to go through.
constexpr int64_t kMaxExpertsToList = 64;
constexpr int64_t kMaxLayersToList = 64;

int64_t count_weights(const std::vector<TensorSpec>& specs) {
  int64_t sum = 0;
  for (const TensorSpec& spec : specs) {
    int64_t count = 1;
    for (const int64_t extent : spec.shape) {
      CHECK(extent > 0, spec.name);
      count *= extent;  // the undefined behaviour sanitizer sees an overflow
    }
    sum += count;
  }
  return sum;
}

void fuzz(std::string_view text) {
  const ModelConfig config = parse_config(text, "input");
  CHECK(parse_config(config_to_json(config), "written") == config);
  CHECK(static_cast<int64_t>(config.compress_ratios.size()) == config.n_layers);

  const StateLayout layout = Model::layout_of(config, {});
  CHECK(state_bytes(layout, layout.max_tokens).total() >= state_bytes(layout, 0).total());
  for (const RopeVariant variant : {RopeVariant::kMain, RopeVariant::kCompress}) {
    for (const float frequency : rope_frequencies(config, variant)) {
      CHECK(std::isfinite(frequency));
    }
  }
  if (config.n_experts > kMaxExpertsToList || config.n_layers > kMaxLayersToList) return;
  int64_t sum = count_weights(global_specs(config)) + count_weights(mtp_specs(config));
  for (int64_t i = 0; i < config.n_layers; ++i) sum += count_weights(layer_specs(config, i));
  CHECK(sum > 0);
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    dsv4::fuzz({reinterpret_cast<const char*>(data), size});
  } catch (const dsv4::Error&) {
    // What an input may cause.
  }
  return 0;
}
