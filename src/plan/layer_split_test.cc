#include "plan/layer_split.h"

#include "base/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace dsv4 {
namespace {

double largest_of(const std::vector<double>& bytes, const std::vector<int64_t>& first_layers) {
  double largest = 0;
  for (size_t i = 0; i < first_layers.size(); ++i) {
    const auto begin = bytes.begin() + first_layers[i];
    const auto end =
        i + 1 < first_layers.size() ? bytes.begin() + first_layers[i + 1] : bytes.end();
    largest = std::max(largest, std::accumulate(begin, end, 0.0));
  }
  return largest;
}

// The least over all ways to cut, by trying them.
double best_of(const std::vector<double>& bytes, size_t begin, int64_t n_machines) {
  double sum = 0;
  for (size_t i = begin; i < bytes.size(); ++i) sum += bytes[i];
  if (n_machines == 1) return sum;
  double best = sum;
  double mine = 0;
  for (size_t end = begin + 1; end < bytes.size(); ++end) {
    mine += bytes[end - 1];
    best = std::min(best, std::max(mine, best_of(bytes, end, n_machines - 1)));
  }
  return best;
}

TEST(LayerSplit, makes_the_fullest_machine_as_empty_as_it_can_be) {
  uint64_t draw = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<double> bytes;
    const uint64_t n = 1 + random_bits(1, 1, draw++) % 9;
    for (uint64_t i = 0; i < n; ++i) {
      bytes.push_back(static_cast<double>(1 + random_bits(1, 1, draw++) % 20));
    }
    for (int64_t machines = 1; machines <= 4; ++machines) {
      const LayerSplit split = split_layers(bytes, machines);
      ASSERT_LE(std::ssize(split.first_layers), machines);
      ASSERT_EQ(split.first_layers.front(), 0);
      ASSERT_TRUE(std::ranges::is_sorted(split.first_layers));
      ASSERT_EQ(split.largest, largest_of(bytes, split.first_layers));
      ASSERT_EQ(split.largest, best_of(bytes, 0, std::min<int64_t>(machines, std::ssize(bytes))));
    }
  }
}

}  // namespace
}  // namespace dsv4
