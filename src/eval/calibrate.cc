#include "eval/calibrate.h"

#include "base/check.h"
#include "model/named_matrices.h"

#include <map>
#include <string>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

// Sums of squares by matrix, found by where its bytes lie.
class SquareCollector : public InputObserver {
 public:
  explicit SquareCollector(const ModelWeights& weights) {
    for_each_matrix(weights, [this](const std::string& name, const QuantMatrix& matrix) {
      if (name.ends_with(".w3.weight")) return;
      entries_[matrix.data] = {name, matrix, {}};
    });
  }

  void observe(Matrix<const float> x, const QuantMatrix& w) override {
    auto found = entries_.upper_bound(w.data);
    if (found == entries_.begin()) return;
    Entry& entry = (--found)->second;
    const QuantMatrix& whole = entry.matrix;
    if (w.data >= whole.data + whole.rows * whole.row_bytes()) return;  // left out
    InputSquares& seen = entry.seen;
    if (seen.squares.empty()) {
      seen.groups = whole.rows / w.rows;
      seen.squares.resize(static_cast<size_t>(seen.groups * w.cols));
      seen.tokens.resize(static_cast<size_t>(seen.groups));
    }
    const int64_t group = (w.first_row - whole.first_row) / w.rows;
    CHECK(group < seen.groups && x.size(1) == w.cols, group, seen.groups);
    seen.tokens[static_cast<size_t>(group)] += x.size(0);
    float* sums = seen.squares.data() + group * w.cols;
    sums_.assign(static_cast<size_t>(w.cols), 0.0);
    for (int64_t t = 0; t < x.size(0); ++t) {
      for (int64_t i = 0; i < w.cols; ++i) {
        sums_[static_cast<size_t>(i)] += static_cast<double>(x(t, i)) * x(t, i);
      }
    }
    for (int64_t i = 0; i < w.cols; ++i) {
      sums[i] = static_cast<float>(sums[i] + sums_[static_cast<size_t>(i)]);
    }
  }

  // Means instead of sums. Matrices that saw nothing have none.
  ImportanceTable table() const {
    ImportanceTable table;
    for (const auto& [data, entry] : entries_) {
      if (entry.seen.squares.empty()) continue;
      InputSquares mean = entry.seen;
      const size_t cols = mean.squares.size() / static_cast<size_t>(mean.groups);
      for (size_t i = 0; i < mean.squares.size(); ++i) {
        const int64_t tokens = mean.tokens[i / cols];
        mean.squares[i] /= static_cast<float>(std::max<int64_t>(tokens, 1));
      }
      table.matrices.emplace(entry.name, std::move(mean));
    }
    return table;
  }

 private:
  struct Entry {
    std::string name;
    QuantMatrix matrix;
    InputSquares seen;
  };
  std::map<const std::byte*, Entry> entries_;
  std::vector<double> sums_;
};

// The observer must be gone from the model before it dies.
class Observing {
 public:
  Observing(Model& model, InputObserver& observer) : model_(model) {
    model.observe_inputs(&observer);
  }
  ~Observing() { model_.observe_inputs(nullptr); }
  Observing(const Observing&) = delete;
  Observing& operator=(const Observing&) = delete;

 private:
  Model& model_;
};

// Experts that saw nothing get an entry too, so that blending can fill it.
void count_experts(const ModelConfig& config, Calibration& result) {
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (int64_t e = 0; e < config.n_experts; ++e) {
      const std::string name = fmt::format("layers.{}.ffn.experts.{}.", layer, e);
      for (const auto& [part, cols] : {std::pair{"w1.weight", config.hidden_size},
                                       std::pair{"w2.weight", config.expert_dim}}) {
        const auto [entry, is_new] = result.table.matrices.try_emplace(name + part);
        if (!is_new) continue;
        entry->second.squares.resize(static_cast<size_t>(cols));
        entry->second.tokens.resize(1);
      }
      const int64_t tokens = result.table.matrices[name + "w1.weight"].tokens[0];
      ++result.n_experts;
      result.n_unseen += tokens == 0 ? 1 : 0;
      result.n_rare += tokens < kPriorTokens ? 1 : 0;
    }
  }
}

}  // namespace

Calibration calibrate(Model& model, std::span<const std::vector<int32_t>> chunks,
                      const CalibrationProgress& progress) {
  int64_t total = 0;
  for (const std::vector<int32_t>& chunk : chunks) total += std::ssize(chunk);
  SquareCollector collector(model.weights());
  const Observing observing(model, collector);
  const int64_t most = model.options().max_batch_tokens;
  Tensor<float, 2> logits({most, model.config().vocab_size});
  int64_t done = 0;
  for (const std::vector<int32_t>& chunk : chunks) {
    CHECK(std::ssize(chunk) <= most, chunk.size(), most);
    SequenceState state(model.state_layout());
    Batch batch;
    batch.add(state, chunk);
    const View<const float, 3> streams = model.forward(batch);
    model.logits(streams, logits.first(std::ssize(chunk)));  // the head has an input too
    done += std::ssize(chunk);
    if (progress) progress(done, total);
  }
  Calibration result{.table = collector.table()};
  result.table.n_tokens = total;
  count_experts(model.config(), result);
  return result;
}

}  // namespace dsv4
