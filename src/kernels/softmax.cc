#include "kernels/softmax.h"

#include "kernels/cpu/kernel_table.h"

#include <cmath>
#include <limits>

namespace dsv4 {
namespace {

const RowKernels& kernels() {
  static const RowKernels& rows = kernel_table(best_isa()).rows;
  return rows;
}

float comparable(float logit) {
  return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit;
}

}  // namespace

float largest_of(std::span<const float> x) { return kernels().largest(x.data(), std::ssize(x)); }

void Softmax::compute(std::span<const float> logits) {
  weights.resize(logits.size());
  largest = largest_of(logits);
  if (std::isfinite(largest)) {
    total = kernels().exponentials(logits.data(), std::ssize(logits), largest, weights.data());
  } else {
    total = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      total += weights[i] = comparable(logits[i]) == largest ? 1.0f : 0.0f;
    }
  }
  log_total_ = std::log(total);
}

float Softmax::logprob(float logit) const {
  const double x = comparable(logit);
  const double distance = x == largest ? 0 : x - largest;  // also of infinite ones
  return static_cast<float>(distance - log_total_);
}

}  // namespace dsv4
