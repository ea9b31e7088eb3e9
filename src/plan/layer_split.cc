#include "plan/layer_split.h"

#include <algorithm>

namespace dsv4 {
namespace {

// Fills one machine after the other up to the capacity, which holds every single layer.
LayerSplit fill(std::span<const double> layer_bytes, double capacity) {
  LayerSplit split;
  double bytes = 0;
  for (size_t layer = 0; layer < layer_bytes.size(); ++layer) {
    if (layer == 0 || bytes + layer_bytes[layer] > capacity) {
      split.first_layers.push_back(static_cast<int64_t>(layer));
      bytes = 0;
    }
    bytes += layer_bytes[layer];
    split.largest = std::max(split.largest, bytes);
  }
  return split;
}

}  // namespace

LayerSplit split_layers(std::span<const double> layer_bytes, int64_t n_machines) {
  double low = *std::ranges::max_element(layer_bytes);
  double high = 0;
  for (const double bytes : layer_bytes) high += bytes;
  LayerSplit best = fill(layer_bytes, high);
  constexpr int kHalvings = 60;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    LayerSplit split = fill(layer_bytes, middle);
    if (std::ssize(split.first_layers) <= n_machines) {
      best = std::move(split);
      high = middle;
    } else {
      low = middle;
    }
  }
  LayerSplit least = fill(layer_bytes, low);
  return std::ssize(least.first_layers) <= n_machines ? least : best;
}

}  // namespace dsv4
