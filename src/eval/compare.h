// Comparison of two safetensors files tensor by tensor: outputs and traces of `dsv4 logits`, golden
// vectors, weights. A is the reference, B is what is judged.
#pragma once

#include "formats/checkpoint.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dsv4 {

struct CompareOptions {
  // Only tensors whose names have the prefix are compared; it is cut off.
  std::string prefix_a;
  std::string prefix_b;
  // Names in A (after cutting) -> names in B, for tensors that are called differently.
  std::map<std::string, std::string> renamed;
};

// Of tensors whose name contains "logits": each row as a distribution over the vocabulary.
struct LogitDifference {
  double mean_kl = 0;  // KL(A || B) in nats
  double max_kl = 0;
  int64_t n_same_top1 = 0;
  int64_t n_rows = 0;
};

struct TensorDifference {
  std::string name;
  std::string problem;  // why the two cannot be compared; empty when they can
  std::vector<int64_t> shape_a;
  std::vector<int64_t> shape_b;
  int64_t n_elements = 0;   // compared
  int64_t n_different = 0;  // elements with other values
  bool is_float = false;
  // Of float tensors. max_abs is NaN where one side alone has a NaN or an infinity.
  double max_abs = 0;
  double rms = 0;       // of the difference
  double relative = 0;  // max_abs over the largest |a|
  std::optional<LogitDifference> logits;

  bool differs() const { return !problem.empty() || n_different > 0; }
  // Not comparable, other integers, or a float farther off than `tolerance`.
  bool exceeds(double tolerance) const;
};

struct Comparison {
  std::vector<TensorDifference> tensors;  // in the order of a forward pass, then by name
  std::vector<std::string> only_in_a;
  std::vector<std::string> only_in_b;

  // The first tensor of the forward pass that differs; nullptr when none does.
  const TensorDifference* first_different() const;
  // The first whose floats are farther off than this share of the largest value.
  const TensorDifference* first_beyond(double relative) const;
  // No tensor of A is missing in B and none exceeds the tolerance.
  bool agrees(double tolerance) const;
};

// Every float type is compared as float32, every integer type as 64-bit integers. Where one tensor
// has fewer rows it is compared with the last rows of the other, and where it is a stage of the
// experts (ffn.router.*, ffn.routed, ffn.shared) with the first: the golden vectors keep those.
// -infinity marks what is masked: elements with it on either side are left out. Rows that stand for
// sets (indexer choices, experts of a token) are sorted first. Throws Error(kNotFound) when a name
// of `renamed` is not there.
Comparison compare(const Checkpoint& a, const Checkpoint& b, const CompareOptions& options = {});

// Place of a stage in a forward pass, for sorting: streams, layers, head, logits, then MTP.
std::pair<int64_t, int64_t> forward_order(std::string_view name);

}  // namespace dsv4
