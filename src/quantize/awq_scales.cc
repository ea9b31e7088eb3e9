#include "quantize/awq_scales.h"

#include "quant/block_encoder.h"
#include "quant/float_formats.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>

namespace dsv4 {
namespace {

constexpr int kPowers = 9;            // of the importance: 0, 1/8, ... 1
constexpr int kMostExponent = 8;      // of a scale
constexpr int64_t kSampledRows = 32;  // of a matrix
constexpr size_t kSampledMatrices = 16;

// An input, where it is made and what it meets.
struct Input {
  size_t maker = 0;           // a norm's weights, or wo_a
  bool made_by_rows = false;  // of a matrix
  std::vector<size_t> meets;
  std::string importance;  // an entry that has its squares
};

// "layers.3.attn.wq_a.weight" becomes "layers.3." and "attn.wq_a.weight".
struct SplitName {
  std::string block;
  std::string rest;
};
SplitName split(const std::string& name) {
  constexpr std::string_view kLayers = "layers.";
  if (!name.starts_with(kLayers)) return {"", name};
  const size_t end = name.find('.', kLayers.size()) + 1;
  return {name.substr(0, end), name.substr(end)};
}

// The input of a weight: what makes it, and the entry with its squares.
struct Feed {
  const char* maker;
  const char* importance;
};
std::optional<Feed> feed_of(const std::string& rest) {
  constexpr std::pair<std::string_view, Feed> kFeeds[] = {
      {"attn.wq_a.", {"attn_norm.weight", "attn.wq_a.weight"}},
      {"attn.wkv.", {"attn_norm.weight", "attn.wq_a.weight"}},
      {"attn.compressor.w", {"attn_norm.weight", "attn.wq_a.weight"}},
      {"attn.indexer.compressor.w", {"attn_norm.weight", "attn.wq_a.weight"}},
      {"attn.indexer.weights_proj.", {"attn_norm.weight", "attn.wq_a.weight"}},
      {"attn.wq_b.", {"attn.q_norm.weight", "attn.wq_b.weight"}},
      {"attn.indexer.wq_b.", {"attn.q_norm.weight", "attn.wq_b.weight"}},
      {"attn.wo_b.", {"attn.wo_a.weight", "attn.wo_b.weight"}},
      {"ffn.gate.weight", {"ffn_norm.weight", "ffn.shared_experts.w1.weight"}},
      {"ffn.shared_experts.w1.", {"ffn_norm.weight", "ffn.shared_experts.w1.weight"}},
      {"ffn.shared_experts.w3.", {"ffn_norm.weight", "ffn.shared_experts.w1.weight"}}};
  for (const auto& [start, feed] : kFeeds) {
    if (rest.starts_with(start)) return feed;
  }
  const bool is_expert = rest.starts_with("ffn.experts.");
  if (!is_expert || rest.ends_with("w2.weight")) return std::nullopt;
  return Feed{"ffn_norm.weight", "ffn.shared_experts.w1.weight"};
}

std::vector<Input> inputs_of(const SourceModel& source) {
  std::map<std::string, size_t> places;
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    places[source.tensors()[i].spec.name] = i;
  }
  std::map<std::string, Input> inputs;
  for (const auto& [name, place] : places) {
    const SplitName split_name = split(name);
    const auto feed = feed_of(split_name.rest);
    if (!feed) continue;
    const std::string maker = split_name.block + feed->maker;
    Input& input = inputs[maker];
    input.maker = places.at(maker);
    input.made_by_rows = source.tensors()[input.maker].spec.shape.size() == 2;
    input.meets.push_back(place);
    input.importance = split_name.block + feed->importance;
  }
  std::vector<Input> result;
  for (auto& [maker, input] : inputs) result.push_back(std::move(input));
  return result;
}

// Powers of two near (squares / their geometric mean) ^ (power / 2).
std::vector<float> scales_of(std::span<const float> squares, double power) {
  double mean = 0;
  double sum = 0;
  for (const float square : squares) sum += square;
  // Inputs that were always zero count as small, not as nothing.
  const double floor = sum / static_cast<double>(squares.size()) * 1e-4;
  for (const float square : squares) mean += std::log2(std::max<double>(square, floor));
  mean /= static_cast<double>(squares.size());
  std::vector<float> scales;
  for (const float square : squares) {
    const double exponent = power / 2 * (std::log2(std::max<double>(square, floor)) - mean);
    const double whole = std::clamp<double>(std::round(exponent), -kMostExponent, kMostExponent);
    scales.push_back(static_cast<float>(std::exp2(whole)));
  }
  return scales;
}

// Weighted error of some rows in 4-bit integers, as a share of what they are.
double share_lost(const QuantMatrix& matrix, std::span<const float> squares,
                  std::span<const float> scales, int64_t group) {
  const auto n = static_cast<size_t>(matrix.cols);
  const auto size = static_cast<size_t>(group);
  std::vector<float> values(n);
  std::vector<float> weights(n);
  std::vector<uint8_t> codes(size);
  double mean = 1e-30;
  for (const float square : squares) mean += square / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) {
    weights[i] = static_cast<float>(squares[i] / mean + 1e-4) / (scales[i] * scales[i]);
  }
  double error = 0;
  double whole = 0;
  const int64_t step = std::max<int64_t>(1, matrix.rows / kSampledRows);
  for (int64_t row = 0; row < matrix.rows; row += step) {
    matrix.decode(row, 0, matrix.cols, values.data());
    for (size_t i = 0; i < n; ++i) values[i] *= scales[i];
    for (size_t begin = 0; begin < n; begin += size) {
      const auto x = std::span(values).subspan(begin, size);
      const auto w = std::span(weights).subspan(begin, size);
      const Int4Group encoded = encode_int4(x, w, codes);
      const double scale = f16_to_float(encoded.scale);
      for (size_t i = 0; i < size; ++i) {
        const double difference = x[i] - scale * (codes[i] - encoded.zero);
        error += w[i] * difference * difference;
        whole += double{w[i]} * x[i] * x[i];
      }
    }
  }
  return whole > 0 ? error / whole : 0;
}

// What is known of an input: the weights in 4-bit integers that it meets, and their importance.
struct Sample {
  std::vector<std::pair<const QuantMatrix*, std::span<const float>>> matrices;
};

class ScaleSearch {
 public:
  ScaleSearch(const SourceModel& source, const QuantizePlan& plan,
              const ImportanceTable& importance, ThreadPool& pool)
      : source_(source), plan_(plan), importance_(importance), pool_(pool) {
    for (const PlannedWeight& weight : plan.weights) {
      for (const size_t index : weight.sources) types_[index] = weight.type;
    }
  }

  // Nothing where the input is best left alone, or has to be.
  std::vector<float> find(const Input& input) const {
    const auto squares = squares_of(input.importance);
    if (squares.empty() || !is_free(input)) return {};
    const Sample sample = sample_of(input, squares);
    if (sample.matrices.empty()) return {};
    std::array<double, kPowers> lost{};
    pool_.parallel_for(kPowers, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const std::vector<float> scales =
            scales_of(squares, static_cast<double>(p) / (kPowers - 1));
        for (const auto& [matrix, own] : sample.matrices) {
          lost[static_cast<size_t>(p)] += share_lost(*matrix, own, scales, plan_.types.int4_group);
        }
      }
    });
    const auto best = std::ranges::min_element(lost) - lost.begin();
    if (best == 0) return {};
    return scales_of(squares, static_cast<double>(best) / (kPowers - 1));
  }

 private:
  std::span<const float> squares_of(const std::string& name) const {
    const auto found = importance_.matrices.find(name);
    if (found == importance_.matrices.end() || found->second.groups != 1) return {};
    return found->second.squares;
  }

  // Powers of two change no bit of numbers with eight bits of exponent, nor of the integers.
  bool is_free(const Input& input) const {
    const auto keeps = [&](size_t tensor) {
      const DType type = types_.at(tensor);
      return type == DType::kI32 || type == DType::kF32 || type == DType::kBF16;
    };
    return keeps(input.maker) && std::ranges::all_of(input.meets, keeps);
  }

  Sample sample_of(const Input& input, std::span<const float> squares) const {
    std::vector<size_t> encoded;
    for (const size_t tensor : input.meets) {
      if (types_.at(tensor) == DType::kI32) encoded.push_back(tensor);
    }
    Sample sample;
    const size_t step = encoded.size() / kSampledMatrices + 1;
    for (size_t i = 0; i < encoded.size(); i += step) {
      const SourceTensor& tensor = source_.tensors()[encoded[i]];
      std::string name = tensor.spec.name;
      if (name.ends_with(".w3.weight")) name[name.size() - 8] = '1';
      const auto own = squares_of(name);
      sample.matrices.emplace_back(&tensor.matrix, own.empty() ? squares : own);
    }
    return sample;
  }

  const SourceModel& source_;
  const QuantizePlan& plan_;
  const ImportanceTable& importance_;
  ThreadPool& pool_;
  std::map<size_t, DType> types_;
};

}  // namespace

AwqScales::AwqScales(const SourceModel& source, const QuantizePlan& plan,
                     const ImportanceTable& importance, ThreadPool& pool) {
  const ScaleSearch search(source, plan, importance, pool);
  for (const Input& input : inputs_of(source)) {
    std::vector<float> scales = search.find(input);
    if (scales.empty()) continue;
    std::vector<float> inverse = scales;
    for (float& factor : inverse) factor = 1 / factor;
    (input.made_by_rows ? rows_ : columns_)[input.maker] = factors_.size();
    factors_.push_back(std::move(inverse));
    for (const size_t tensor : input.meets) columns_[tensor] = factors_.size();
    factors_.push_back(std::move(scales));
  }
}

std::span<const float> AwqScales::columns(size_t tensor) const {
  const auto found = columns_.find(tensor);
  if (found == columns_.end()) return {};
  return factors_[found->second];
}

std::span<const float> AwqScales::rows(size_t tensor) const {
  const auto found = rows_.find(tensor);
  if (found == rows_.end()) return {};
  return factors_[found->second];
}

}  // namespace dsv4
