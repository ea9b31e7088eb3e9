#include "eval/quality.h"

#include "base/check.h"
#include "base/error.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include <fmt/core.h>

namespace dsv4 {
namespace {

constexpr const char* kStreams = "h_ffn";  // the residual streams after a block

std::string path_of(const Model& model) { return model.checkpoint().files()[0].path().string(); }

bool same_streams(const ModelConfig& a, const ModelConfig& b) {
  return a.n_layers == b.n_layers && a.hc_mult == b.hc_mult && a.hidden_size == b.hidden_size;
}

// One model on its way through a chunk.
class Runner {
 public:
  explicit Runner(Model& model) : model_(model), state_(model.state_layout()), streams_(kStreams) {}

  void restart() { state_.clear(); }

  // Feeds some tokens; log_probabilities() and streams() are then about these.
  void feed(std::span<const int32_t> ids) {
    streams_.clear();
    Batch batch;
    batch.add(state_, ids);
    const View<const float, 3> streams = model_.forward(batch, &streams_);
    logits_ = Tensor<float, 2>({batch.n_tokens(), model_.config().vocab_size});
    model_.logits(streams, logits_.view());
  }

  // Of the token after the one in row `row`.
  void log_probabilities(int64_t row, int64_t position, std::span<double> out) const {
    const std::span<const float> logits = logits_.view()[row].span();
    if (!std::ranges::all_of(logits, [](float x) { return std::isfinite(x); })) {
      throw Error(ErrorCode::kInvalidInput, path_of(model_),
                  fmt::format("gives logits that are not finite after token {} of a chunk; its "
                              "weights are damaged",
                              position + 1));
    }
    log_softmax(logits, out);
  }

  // Frees the memory that the last feed() filled.
  void forget() {
    streams_.clear();
    logits_ = {};
  }

  std::span<const float> streams(int64_t layer) const {
    const Trace::Stage* stage = streams_.find(fmt::format("layers.{}.{}", layer, kStreams));
    CHECK(stage != nullptr, layer);
    return stage->floats;
  }

  const Model& model() const { return model_; }

 private:
  Model& model_;
  SequenceState state_;
  Trace streams_;
  Tensor<float, 2> logits_;  // [n, V]
};

// The models on their way through the chunks.
class Measurement {
 public:
  Measurement(Model& reference, std::span<Model* const> candidates, QualityProgress progress)
      : reference_(reference),
        log_reference_(static_cast<size_t>(reference.config().vocab_size)),
        log_candidate_(log_reference_.size()),
        meters_(candidates.size()),
        progress_(std::move(progress)) {
    for (Model* model : candidates) {
      candidates_.push_back(std::make_unique<Runner>(*model));
      piece_ = std::min(piece_, model->options().max_batch_tokens);
    }
    piece_ = std::min(piece_, reference.options().max_batch_tokens);
  }

  void run(std::span<const std::vector<int32_t>> chunks) {
    const auto n_models = static_cast<int64_t>(1 + candidates_.size());
    for (const auto& chunk : chunks) n_total_ += n_models * (std::ssize(chunk) - 1);
    for (const std::vector<int32_t>& chunk : chunks) {
      reference_.restart();
      for (const auto& candidate : candidates_) candidate->restart();
      // The last token of a chunk is only predicted.
      const int64_t n = std::ssize(chunk) - 1;
      for (int64_t begin = 0; begin < n; begin += piece_) {
        run_piece(chunk, begin, std::min(piece_, n - begin));
      }
    }
  }

  QualityReport report() const {
    const double mean = reference_likelihood_ / static_cast<double>(n_positions_);
    QualityReport report{n_positions_, std::exp(-mean), {}};
    for (const QualityMeter& meter : meters_) report.candidates.push_back(meter.result());
    return report;
  }

 private:
  void run_piece(std::span<const int32_t> chunk, int64_t begin, int64_t n) {
    const auto ids = chunk.subspan(static_cast<size_t>(begin), static_cast<size_t>(n));
    const auto targets = chunk.subspan(static_cast<size_t>(begin + 1), static_cast<size_t>(n));
    reference_.feed(ids);
    for (int64_t row = 0; row < n; ++row) {
      reference_.log_probabilities(row, begin + row, log_reference_);
      const auto target = static_cast<size_t>(targets[static_cast<size_t>(row)]);
      reference_likelihood_ += log_reference_[target];
    }
    n_positions_ += n;
    advance(n);
    for (size_t i = 0; i < candidates_.size(); ++i) {
      candidates_[i]->feed(ids);
      advance(n);
      compare(*candidates_[i], meters_[i], targets, begin);
      candidates_[i]->forget();
    }
  }

  void compare(const Runner& candidate, QualityMeter& meter, std::span<const int32_t> targets,
               int64_t begin) {
    for (int64_t row = 0; row < std::ssize(targets); ++row) {
      reference_.log_probabilities(row, begin + row, log_reference_);
      candidate.log_probabilities(row, begin + row, log_candidate_);
      meter.add_position(log_reference_, log_candidate_, targets[static_cast<size_t>(row)]);
    }
    const ModelConfig& config = reference_.model().config();
    if (!same_streams(config, candidate.model().config())) return;
    for (int64_t layer = 0; layer < config.n_layers; ++layer) {
      meter.add_streams(static_cast<size_t>(layer), reference_.streams(layer),
                        candidate.streams(layer));
    }
  }

  void advance(int64_t n) {
    n_done_ += n;
    if (progress_) progress_(n_done_, n_total_);
  }

  Runner reference_;
  std::vector<std::unique_ptr<Runner>> candidates_;
  std::vector<double> log_reference_;
  std::vector<double> log_candidate_;
  double reference_likelihood_ = 0;  // sum of the logarithms
  int64_t n_positions_ = 0;
  std::vector<QualityMeter> meters_;
  QualityProgress progress_;
  int64_t piece_ = INT64_MAX;  // tokens of one forward pass
  int64_t n_done_ = 0;
  int64_t n_total_ = 0;
};

}  // namespace

void log_softmax(std::span<const float> logits, std::span<double> out) {
  CHECK(!logits.empty() && out.size() == logits.size(), logits.size(), out.size());
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(double{x} - largest);
  const double log_sum = largest + std::log(sum);
  for (size_t i = 0; i < logits.size(); ++i) out[i] = double{logits[i]} - log_sum;
}

double kl_divergence(std::span<const double> log_p, std::span<const double> log_q) {
  CHECK(log_p.size() == log_q.size(), log_p.size(), log_q.size());
  double sum = 0;
  for (size_t i = 0; i < log_p.size(); ++i) sum += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
  return std::max(sum, 0.0);  // rounding can make it a little less
}

KlSummary summarize(std::vector<double> values) {
  CHECK(!values.empty());
  std::ranges::sort(values);
  const size_t n = values.size();
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {.mean = sum / static_cast<double>(n),
          .median = (values[(n - 1) / 2] + values[n / 2]) / 2,
          .p99 = values[(99 * n + 99) / 100 - 1],
          .max = values.back()};
}

void QualityMeter::add_position(std::span<const double> log_reference,
                                std::span<const double> log_candidate, int32_t target) {
  CHECK(target >= 0 && target < std::ssize(log_candidate), target);
  log_likelihood_ += log_candidate[static_cast<size_t>(target)];
  kl_.push_back(kl_divergence(log_reference, log_candidate));
  const auto top1 = [](std::span<const double> x) {
    return std::ranges::max_element(x) - x.begin();  // of equals the first
  };
  n_same_top1_ += top1(log_reference) == top1(log_candidate) ? 1 : 0;
}

void QualityMeter::add_streams(size_t layer, std::span<const float> reference,
                               std::span<const float> candidate) {
  CHECK(reference.size() == candidate.size(), reference.size(), candidate.size());
  if (layers_.size() <= layer) layers_.resize(layer + 1);
  Squares& squares = layers_[layer];
  for (size_t i = 0; i < reference.size(); ++i) {
    const double error = double{candidate[i]} - double{reference[i]};
    squares.error += error * error;
    squares.reference += double{reference[i]} * double{reference[i]};
  }
}

Quality QualityMeter::result() const {
  CHECK(!kl_.empty());
  const auto n = static_cast<double>(kl_.size());
  Quality quality{.perplexity = std::exp(-log_likelihood_ / n),
                  .kl = summarize(kl_),
                  .top1_agreement = static_cast<double>(n_same_top1_) / n,
                  .layer_errors = {}};
  for (const Squares& squares : layers_) {
    quality.layer_errors.push_back(
        squares.error == 0 ? 0 : std::sqrt(squares.error / squares.reference));
  }
  return quality;
}

std::vector<std::vector<int32_t>> cut_chunks(std::span<const int32_t> ids, int64_t context,
                                             int32_t bos) {
  CHECK(context >= 2, context);
  const auto n = static_cast<size_t>(context - 1);
  std::vector<std::vector<int32_t>> chunks;
  for (size_t begin = 0; begin < ids.size(); begin += n) {
    const auto part = ids.subspan(begin, std::min(n, ids.size() - begin));
    chunks.push_back({bos});
    chunks.back().insert(chunks.back().end(), part.begin(), part.end());
  }
  return chunks;
}

std::vector<int32_t> encode_for_both(std::string_view text, const Tokenizer& reference,
                                     const Tokenizer& candidate, const std::string& where,
                                     ParseSpecial special) {
  // Files may have more ids without a token at the end than others.
  const int32_t n = std::min(reference.vocab_size(), candidate.vocab_size());
  for (int32_t id = 0; id < n; ++id) {
    if (!reference.has_token(id) || !candidate.has_token(id)) continue;
    if (reference.token_bytes(id) == candidate.token_bytes(id)) continue;
    throw Error(ErrorCode::kInvalidInput, where,
                fmt::format("has another tokenizer than the reference: token {} differs; compare "
                            "models of one vocabulary",
                            id));
  }
  std::vector<int32_t> ids = reference.encode(text, special);
  if (candidate.encode(text, special) != ids) {
    throw Error(ErrorCode::kInvalidInput, where,
                "has another tokenizer than the reference: it cuts the text into other tokens");
  }
  return ids;
}

QualityReport measure_quality(Model& reference, std::span<Model* const> candidates,
                              std::span<const std::vector<int32_t>> chunks,
                              const QualityProgress& progress) {
  CHECK(!chunks.empty());
  for (const Model* model : candidates) {
    const int64_t n = model->config().vocab_size;
    if (n == reference.config().vocab_size) continue;
    throw Error(ErrorCode::kInvalidInput, path_of(*model),
                fmt::format("has a vocabulary of {}, the reference {} has {}; compare models of "
                            "one vocabulary",
                            n, path_of(reference), reference.config().vocab_size));
  }
  Measurement measurement(reference, candidates, progress);
  measurement.run(chunks);
  return measurement.report();
}

}  // namespace dsv4
