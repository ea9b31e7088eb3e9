// Layers shared out among machines that each compute some of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dsv4 {

struct LayerSplit {
  std::vector<int64_t> first_layers;  // of each machine
  double largest = 0;                 // bytes of the one with the most
};

// Runs of consecutive layers for `n_machines` (at most one for each layer), such that the largest
// is as small as it can be.
LayerSplit split_layers(std::span<const double> layer_bytes, int64_t n_machines);

}  // namespace dsv4
