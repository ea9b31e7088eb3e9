#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dsv4 {
namespace {

// Index of the pair that turns `rotations` times over the original context (YaRN).
double correction_dim(double rotations, const ModelConfig& config) {
  const auto original = static_cast<double>(config.yarn.original_max_position_embeddings);
  return static_cast<double>(config.rope_dim) *
         std::log(original / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(config.compress_rope_theta));
}

void apply_yarn(const ModelConfig& config, std::vector<float>& frequencies) {
  const auto last = static_cast<double>(config.rope_dim - 1);
  const double low = std::max(std::floor(correction_dim(config.yarn.beta_fast, config)), 0.0);
  double high = std::min(std::ceil(correction_dim(config.yarn.beta_slow, config)), last);
  if (low == high) high += 0.001;
  const auto factor = static_cast<float>(config.yarn.factor);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const auto distance = static_cast<float>(static_cast<double>(i) - low);
    const float ramp = std::clamp(distance / static_cast<float>(high - low), 0.0f, 1.0f);
    const float keep = 1 - ramp;
    frequencies[i] = frequencies[i] / factor * (1 - keep) + frequencies[i] * keep;
  }
}

}  // namespace

std::vector<float> rope_frequencies(const ModelConfig& config, RopeVariant variant) {
  const bool compress = variant == RopeVariant::kCompress;
  const double theta = compress ? config.compress_rope_theta : config.rope_theta;
  std::vector<float> frequencies(static_cast<size_t>(config.rope_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.rope_dim);
    const auto power = static_cast<float>(std::pow(theta, double{exponent}));
    frequencies[i] = 1.0f / power;
  }
  const bool interpolate =
      config.yarn.factor != 1 && config.yarn.original_max_position_embeddings > 0;
  if (compress && interpolate) apply_yarn(config, frequencies);
  return frequencies;
}

RopeTable::RopeTable(const ModelConfig& config, RopeVariant variant, int64_t max_tokens)
    : frequencies_(rope_frequencies(config, variant)),
      cos_({max_tokens, config.rope_dim / 2}),
      sin_({max_tokens, config.rope_dim / 2}) {}

RopeAngles RopeTable::angles(std::span<const int64_t> positions) {
  const auto n = static_cast<int64_t>(positions.size());
  const Matrix<float> cos = cos_.first(n);
  const Matrix<float> sin = sin_.first(n);
  for (int64_t t = 0; t < n; ++t) {
    const auto position = static_cast<float>(positions[static_cast<size_t>(t)]);
    for (size_t i = 0; i < frequencies_.size(); ++i) {
      const double angle = double{position * frequencies_[i]};
      cos(t, i) = static_cast<float>(std::cos(angle));
      sin(t, i) = static_cast<float>(std::sin(angle));
    }
  }
  return {cos, sin};
}

}  // namespace dsv4
