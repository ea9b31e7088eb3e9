// An observer of every stage of a forward pass, for golden comparison and debugging. Names are
// those of the golden manifests: "layers.3.attn.q", "mtp.0.h0". Without a trace the model records
// nothing; a trace of a large model takes much memory and can be limited to one stage.
#pragma once

#include "tensor/tensor.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dsv4 {

class Trace {
 public:
  // Rows of one stage; later calls of the same name append. Where rows differ in width (scores and
  // choices of the indexer) the narrower are padded with -infinity, ids with -1.
  struct Stage {
    std::vector<int64_t> shape;  // [rows, ...]
    std::vector<float> floats;
    std::vector<int32_t> ints;  // of a stage of ids, which has no floats
  };

  Trace() = default;
  // Only of stages with this name, for example "h_ffn", in every layer.
  explicit Trace(std::string only) : only_(std::move(only)) {}

  // Prefix of the names that follow, for example "layers.3.".
  void enter(std::string prefix) { prefix_ = std::move(prefix); }

  void record(std::string_view name, Matrix<const float> rows);
  void record(std::string_view name, View<const float, 3> rows);
  void record_ids(std::string_view name, Matrix<const int32_t> rows);

  const std::map<std::string, Stage>& stages() const { return stages_; }
  // The stage of this full name, or nullptr.
  const Stage* find(const std::string& name) const;
  // Forgets what was recorded.
  void clear() { stages_.clear(); }

 private:
  bool wants(std::string_view name) const { return only_.empty() || name == only_; }

  std::string only_;  // empty: all
  std::string prefix_;
  std::map<std::string, Stage> stages_;
};

}  // namespace dsv4
