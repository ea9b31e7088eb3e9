#include "plan/step_cost.h"

#include "quant/quant_matrix.h"

#include <algorithm>
#include <cmath>

namespace dsv4 {
namespace {

// Chance of each expert to be among the k of a token, by Zipf's law over their ranks.
std::vector<double> expert_chances(const ModelConfig& c, double skew) {
  std::vector<double> chances;
  double sum = 0;
  for (int64_t e = 0; e < c.n_experts; ++e) {
    chances.push_back(std::pow(static_cast<double>(e + 1), -skew));
    sum += chances.back();
  }
  for (double& chance : chances) {
    chance = std::min(1.0, static_cast<double>(c.n_active_experts) * chance / sum);
  }
  return chances;
}

bool takes_int8(const TableWeight& weight) {
  return weight.dtype != DType::kF32 && weight.dtype != DType::kF16 && weight.dtype != DType::kBF16;
}

// Entries that a token of the step attends to on average, and index keys that it is scored against.
struct Entries {
  double attended = 0;
  double scored = 0;
};

Entries entries_of(const ModelConfig& c, int64_t layer, const StepShape& shape) {
  const int64_t ratio = c.ratio(layer);
  Entries sum;
  // A few positions stand for all.
  const int64_t n_samples = std::min<int64_t>(shape.n_tokens, 64);
  for (int64_t i = 0; i < n_samples; ++i) {
    const int64_t position = shape.context + (2 * i + 1) * shape.n_tokens / (2 * n_samples);
    int64_t attended = std::min(position + 1, c.window);
    if (ratio > 0) {
      const int64_t compressed = (position + 1) / ratio;
      const bool selects = c.kind(layer) == LayerKind::kCsa &&
                           (shape.context + shape.n_tokens) / ratio > c.index_topk;
      attended += selects ? std::min(compressed, c.index_topk) : compressed;
      if (selects) sum.scored += static_cast<double>(compressed);
    }
    sum.attended += static_cast<double>(attended);
  }
  sum.attended /= static_cast<double>(n_samples);
  sum.scored /= static_cast<double>(n_samples);
  return sum;
}

class WorkCounter {
 public:
  WorkCounter(const WeightTable& table, const StateLayout& layout, const StepShape& shape)
      : table_(table), c_(table.config), layout_(layout), shape_(shape) {}

  StepWork count() {
    work_.rows = n();
    for (const TableWeight& weight : table_.weights) count_weight(weight);
    for (int64_t layer = 0; layer < c_.n_layers; ++layer) {
      count_hyper_connections();
      count_attention(layer);
      count_experts();
    }
    count_head();
    return work_;
  }

 private:
  double n() const { return static_cast<double>(shape_.rows()); }

  void add(const char* operation, double elements, double calls = 1) {
    if (elements <= 0) return;
    OperationWork& entry = work_.operations[operation];
    entry.calls += calls;
    work_.calls += calls;
    entry.work += elements;
  }

  void add_product(const TableWeight& weight, double n_tokens, double n_products) {
    if (n_products <= 0 || n_tokens <= 0) return;
    const auto size = static_cast<double>(weight.rows * weight.cols);
    const double bytes =
        n_products * static_cast<double>(weight.bytes) / static_cast<double>(weight.n_matrices);
    work_.products.push_back(
        {std::string(weight.format()), n_tokens, n_products, n_products * size, bytes});
    work_.weight_bytes += bytes;
    work_.product_ops += 2 * n_tokens * n_products * size;
  }

  void count_weight(const TableWeight& weight) {
    const bool is_used = !weight.ids && weight.rows > 1 && weight.cls != TensorClass::kEmbedding &&
                         weight.cls != TensorClass::kMtp;
    if (!is_used) {
      // Vectors are read at each step too.
      const bool is_vector = !weight.ids && weight.rows == 1 && weight.cls != TensorClass::kMtp;
      if (is_vector) work_.weight_bytes += static_cast<double>(weight.bytes);
      return;
    }
    ++work_.calls;
    if (weight.cls == TensorClass::kRoutedExpert) return count_expert_weight(weight);
    const bool of_head = weight.layer == kNoLayer;
    add_product(weight, of_head ? static_cast<double>(shape_.n_logits) : n(), 1);
  }

  // Experts by how many tokens choose them: a binomial distribution.
  void count_expert_weight(const TableWeight& weight) {
    if (shape_.rows() == 1) {
      add_product(weight, 1, static_cast<double>(c_.n_active_experts));
    } else {
      for (const auto& [n_tokens, n_experts] : tokens_of_experts()) {
        add_product(weight, static_cast<double>(n_tokens), n_experts);
      }
    }
  }

  // Expected number of experts with so many tokens.
  const std::map<int64_t, double>& tokens_of_experts() {
    if (!tokens_of_experts_.empty()) return tokens_of_experts_;
    constexpr double kNegligible = 1e-6;
    const int64_t rows = shape_.rows();
    for (const double chance : expert_chances(c_, shape_.expert_skew)) {
      if (chance >= 1) {
        tokens_of_experts_[rows] += 1;
        continue;
      }
      const double odds = std::log(chance) - std::log1p(-chance);
      double log_share = static_cast<double>(rows) * std::log1p(-chance);  // of no token
      for (int64_t m = 1; m <= rows; ++m) {
        log_share +=
            odds + std::log(static_cast<double>(rows - m + 1)) - std::log(static_cast<double>(m));
        const double share = std::exp(log_share);
        if (share > kNegligible) tokens_of_experts_[m] += share;
      }
    }
    return tokens_of_experts_;
  }

  void count_hyper_connections() {
    const double d = static_cast<double>(c_.hidden_size);
    const double streams = n() * static_cast<double>(c_.hc_mult) * d;
    add("rms_norm", 2 * (streams + n() * d), 4);
    add("hyper_connection_maps", 2 * n(), 2);
    add("collapse", 2 * streams, 2);
    add("expand", 2 * streams, 2);
  }

  void count_attention(int64_t layer) {
    const auto heads = n() * static_cast<double>(c_.n_heads * c_.head_dim);
    const auto entry = n() * static_cast<double>(c_.head_dim);
    const auto rank = n() * static_cast<double>(c_.q_lora_rank);
    const auto o_rank = n() * static_cast<double>(c_.o_groups * c_.o_lora_rank);
    const Entries entries = entries_of(c_, layer, shape_);
    add("quantize_int8", n() * static_cast<double>(c_.hidden_size) + rank + heads + o_rank, 4);
    add("rms_norm", rank + heads + entry, 3);
    add("rope", n() * static_cast<double>((2 * c_.n_heads + 1) * c_.rope_dim), 3);
    add("encode_entries", entry);
    add("attend", heads * entries.attended);
    const LayerLayout& formats = layout_.layers[static_cast<size_t>(layer)];
    const auto sequences = static_cast<double>(shape_.n_sequences);
    work_.state_bytes += sequences * entries.attended * static_cast<double>(formats.entry.bytes());
    if (!formats.has_compressor()) return;
    count_compressor(formats, c_.head_dim);
    if (!formats.has_indexer()) return;
    const auto index_width = n() * static_cast<double>(c_.n_index_heads * c_.index_head_dim);
    count_compressor(formats, c_.index_head_dim);
    add("hadamard",
        n() / static_cast<double>(formats.ratio) * static_cast<double>(c_.index_head_dim));
    add("rope", n() * static_cast<double>(c_.n_index_heads * c_.rope_dim));
    add("quantize_int8", rank);
    add("hadamard", index_width);
    add("indexer_scores", index_width * entries.scored);
    add("top_k", n() * entries.scored);
    work_.state_bytes +=
        sequences * entries.scored * static_cast<double>(formats.index_entry.bytes());
  }

  void count_compressor(const LayerLayout& layer, int64_t width) {
    const double n_entries = n() / static_cast<double>(layer.ratio);
    const auto w = static_cast<double>(width);
    // Most steps of one token complete no entry.
    const double calls = std::min(1.0, n_entries);
    add("pool_slots", n_entries * static_cast<double>(layer.overlap() * layer.ratio) * w, calls);
    add("rms_norm", n_entries * w, calls);
    add("rope", n_entries * static_cast<double>(c_.rope_dim), calls);
    add("encode_entries", n_entries * w, calls);
  }

  void count_experts() {
    const double d = n() * static_cast<double>(c_.hidden_size);
    const auto hidden = n() * static_cast<double>(c_.expert_dim);
    const auto k = static_cast<double>(c_.n_active_experts);
    add("sqrt_softplus", n() * static_cast<double>(c_.n_experts));
    add("quantize_int8", 2 * d + (k + 1) * hidden, 3);
    add("swiglu", (k + 1) * hidden, 2);
    add("add", (k + 1) * d, 2);
  }

  void count_head() {
    const auto rows = static_cast<double>(shape_.n_logits);
    const double d = rows * static_cast<double>(c_.hidden_size);
    add("rms_norm", d * static_cast<double>(c_.hc_mult + 1), 2);
    add("collapse", d * static_cast<double>(c_.hc_mult));
    const bool int8_head = std::ranges::any_of(table_.weights, [](const TableWeight& weight) {
      return weight.cls == TensorClass::kHead && takes_int8(weight);
    });
    if (int8_head) add("quantize_int8", d);
  }

  const WeightTable& table_;
  const ModelConfig& c_;
  const StateLayout& layout_;
  StepShape shape_;
  StepWork work_;
  std::map<int64_t, double> tokens_of_experts_;
};

}  // namespace

StepWork step_work(const WeightTable& table, const StateLayout& layout, const StepShape& shape) {
  return WorkCounter(table, layout, shape).count();
}

double restored_bytes(const StateLayout& layout, int64_t n_tokens) {
  int64_t bytes =
      ring_bytes(layout, n_tokens, std::max<int64_t>(0, n_tokens - layout.rollback_tokens));
  for (const auto& [ratio, row_bytes] : table_layouts(layout)) {
    bytes += n_tokens / ratio % kEntriesPerPage * row_bytes;
  }
  return static_cast<double>(bytes);
}

double expected_experts(const ModelConfig& config, int64_t n_tokens, double skew) {
  if (n_tokens == 1) return static_cast<double>(config.n_active_experts);
  double sum = 0;
  for (const double chance : expert_chances(config, skew)) {
    sum += 1 - std::pow(1 - chance, static_cast<double>(n_tokens));
  }
  return sum;
}

}  // namespace dsv4
