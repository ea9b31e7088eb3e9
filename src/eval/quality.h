// How far models are from a reference model on a text: perplexity, divergence of the distributions,
// agreement of the likeliest tokens, error of the residual streams (docs/quality.md says what each
// number means). All sums are in float64, in the order of the tokens.
#pragma once

#include "model/model.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Natural logarithm of the softmax. `logits` are finite and not empty.
void log_softmax(std::span<const float> logits, std::span<double> out);

// sum_i p_i (log p_i - log q_i) in nats, from logarithms; 0 where p is.
double kl_divergence(std::span<const double> log_p, std::span<const double> log_q);

struct KlSummary {
  double mean = 0;
  double median = 0;  // mean of the middle two of an even number
  double p99 = 0;     // the smallest value that 99 % do not exceed
  double max = 0;
};
// Of at least one value.
KlSummary summarize(std::vector<double> values);

struct Quality {
  double perplexity = 0;
  KlSummary kl;                      // of the reference's distribution to the candidate's, in nats
  double top1_agreement = 0;         // share of positions with the same likeliest token
  std::vector<double> layer_errors;  // relative rms error of the streams after each layer
};

// Gathers what one model's Quality is made of.
class QualityMeter {
 public:
  // One position: logarithms of both distributions, and the token that came.
  void add_position(std::span<const double> log_reference, std::span<const double> log_candidate,
                    int32_t target);
  // Some rows of the streams after a layer.
  void add_streams(size_t layer, std::span<const float> reference,
                   std::span<const float> candidate);

  int64_t n_positions() const { return static_cast<int64_t>(kl_.size()); }
  Quality result() const;

 private:
  struct Squares {
    double error = 0;
    double reference = 0;
  };

  double log_likelihood_ = 0;
  int64_t n_same_top1_ = 0;
  std::vector<double> kl_;
  std::vector<Squares> layers_;
};

// Cuts a text into chunks of at most `context` tokens, each with `bos` in front of them (which
// counts). All tokens of the text are predicted once. `context` is at least 2.
std::vector<std::vector<int32_t>> cut_chunks(std::span<const int32_t> ids, int64_t context,
                                             int32_t bos);

// The token ids of a text by the tokenizer that both models have. Throws Error(kInvalidInput) where
// the tokenizers differ: in the bytes of a token, or in how they cut this text.
std::vector<int32_t> encode_for_both(std::string_view text, const Tokenizer& reference,
                                     const Tokenizer& candidate, const std::string& where,
                                     ParseSpecial special = ParseSpecial::kNo);

struct QualityReport {
  int64_t n_positions = 0;
  double reference_perplexity = 0;
  std::vector<Quality> candidates;  // in the order of the models
};

// Called with the tokens that one of the models has done, of those of all models.
using QualityProgress = std::function<void(int64_t n_done, int64_t n_total)>;

// Runs the chunks through all models, the reference first. The models may share their operations.
// Throws Error(kInvalidInput) for models of different vocabularies, and where logits are not
// finite.
QualityReport measure_quality(Model& reference, std::span<Model* const> candidates,
                              std::span<const std::vector<int32_t>> chunks,
                              const QualityProgress& progress = {});

}  // namespace dsv4
