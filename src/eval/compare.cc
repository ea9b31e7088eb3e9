#include "eval/compare.h"

#include "base/error.h"
#include "quant/float_formats.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <compare>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace dsv4 {
namespace {

// Stages inside a block as they are computed; names of the golden manifests.
constexpr std::string_view kBlockStages[] = {
    "h0",
    "hc_attn.pre",
    "hc_attn.post",
    "hc_attn.comb",
    "attn.in",
    "attn.qr",
    "attn.q",
    "attn.kv",
    "indexer.q",
    "indexer.weights",
    "indexer.compressed_kv",
    "indexer.score",
    "indexer.topk",
    "attn.compressed_kv",
    "attn.o",
    "attn.o_lora",
    "attn.out",
    "h_attn",
    "hc_ffn.pre",
    "hc_ffn.post",
    "hc_ffn.comb",
    "ffn.in",
    "ffn.router.scores",
    "ffn.router.ids",
    "ffn.router.weights",
    "ffn.routed",
    "ffn.shared",
    "ffn.out",
    "h_ffn",
    "head.hc_out",
    "head.norm_out",
};
constexpr int64_t kUnknownStage = std::size(kBlockStages);

int64_t stage_index(std::string_view stage) {
  return std::ranges::find(kBlockStages, stage) - std::begin(kBlockStages);
}

// Splits "layers.12.attn.q" into 12 and "attn.q"; nothing where the form is another.
std::optional<std::pair<int64_t, std::string_view>> split_layer(std::string_view name,
                                                                std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  int64_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  const auto n_digits = static_cast<size_t>(end - name.data());
  const bool dot = n_digits < name.size() && name[n_digits] == '.';
  if (error != std::errc() || layer < 0 || layer > 100000 || !dot) return std::nullopt;
  return std::pair(layer, name.substr(n_digits + 1));
}

bool is_float_type(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         dtype == DType::kF8E4M3;
}

// Elements [first, first + out.size()) as T, of the stored type S.
template <typename S, typename T, typename Convert>
void read_as(const StoredTensor& tensor, int64_t first, std::vector<T>& out,
             const Convert& convert) {
  const std::byte* data = tensor.data.data() + static_cast<size_t>(first) * sizeof(S);
  for (T& value : out) {
    S stored;
    std::memcpy(&stored, data, sizeof(S));  // data in files is not aligned
    value = convert(stored);
    data += sizeof(S);
  }
}

void read_floats(const StoredTensor& tensor, int64_t first, std::vector<float>& out) {
  if (tensor.dtype == DType::kF32) {
    read_as<float>(tensor, first, out, [](float value) { return value; });
  } else if (tensor.dtype == DType::kF16) {
    read_as<uint16_t>(tensor, first, out, f16_to_float);
  } else if (tensor.dtype == DType::kBF16) {
    read_as<uint16_t>(tensor, first, out, bf16_to_float);
  } else {
    read_as<uint8_t>(tensor, first, out, e4m3_to_float);
  }
}

void read_ints(const StoredTensor& tensor, int64_t first, std::vector<int64_t>& out) {
  const auto widen = [](auto value) { return static_cast<int64_t>(value); };
  if (tensor.dtype == DType::kI64) {
    read_as<int64_t>(tensor, first, out, widen);
  } else if (tensor.dtype == DType::kI32) {
    read_as<int32_t>(tensor, first, out, widen);
  } else if (tensor.dtype == DType::kI8) {
    read_as<int8_t>(tensor, first, out, widen);
  } else {
    read_as<uint8_t>(tensor, first, out, widen);
  }
}

int64_t count_of(const StoredTensor& tensor) {
  return static_cast<int64_t>(tensor.data.size() / dtype_bytes(tensor.dtype));
}

// The part of two tensors that is compared, as rows of the last dimension.
struct Rows {
  int64_t width = 0;
  int64_t n = 0;
  int64_t first_a = 0;  // element
  int64_t first_b = 0;
};

// Positions that the golden vectors keep of a stage when they do not keep all.
bool keeps_first_positions(std::string_view name) {
  return name.find("ffn.r") != std::string_view::npos || name.ends_with("ffn.shared");
}

// Nothing when the shapes do not fit: beyond the first dimension, which may be missing or shorter
// on one side, they are equal.
std::optional<Rows> common_rows(const StoredTensor& a, const StoredTensor& b, bool first) {
  const bool a_longer = a.shape.size() != b.shape.size() ? a.shape.size() > b.shape.size()
                                                         : count_of(a) >= count_of(b);
  const std::vector<int64_t>& longer = a_longer ? a.shape : b.shape;
  const std::vector<int64_t>& shorter = a_longer ? b.shape : a.shape;
  if (longer.empty() != shorter.empty()) return std::nullopt;
  if (!longer.empty()) {
    const std::span<const int64_t> tail(longer.begin() + 1, longer.end());
    const bool one_row = shorter.size() + 1 == longer.size();
    const std::span<const int64_t> other(shorter.begin() + (one_row ? 0 : 1), shorter.end());
    if (shorter != longer && !std::ranges::equal(tail, other)) return std::nullopt;
  }
  Rows rows;
  rows.width = shorter.empty() ? 1 : shorter.back();
  const int64_t n_elements = std::min(count_of(a), count_of(b));
  rows.n = rows.width == 0 ? 0 : n_elements / rows.width;
  rows.first_a = first ? 0 : count_of(a) - n_elements;
  rows.first_b = first ? 0 : count_of(b) - n_elements;
  return rows;
}

bool rows_are_sets(std::string_view name) {
  return name.ends_with("indexer.topk") || name.ends_with("router.ids") ||
         name.ends_with("router.weights");
}

// log(sum(exp(row))), of the finite entries.
double log_sum_exp(const std::vector<float>& row) {
  const double largest = static_cast<double>(std::ranges::max(row));
  double sum = 0;
  for (const float value : row) sum += std::exp(static_cast<double>(value) - largest);
  return largest + std::log(sum);
}

void add_logits(const std::vector<float>& a, const std::vector<float>& b, LogitDifference& total) {
  const double norm_a = log_sum_exp(a);
  const double norm_b = log_sum_exp(b);
  double kl = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double log_a = static_cast<double>(a[i]) - norm_a;
    const double log_b = static_cast<double>(b[i]) - norm_b;
    if (std::isfinite(log_a)) kl += std::exp(log_a) * (log_a - log_b);
  }
  total.mean_kl += kl;  // the sum until all rows are in
  total.max_kl = std::isnan(kl) ? kl : std::max(total.max_kl, kl);
  const auto top = [](const std::vector<float>& row) {
    return std::ranges::max_element(row) - row.begin();
  };
  total.n_same_top1 += top(a) == top(b) ? 1 : 0;
  ++total.n_rows;
}

// In an order that NaN has a place in.
void sort_floats(std::vector<float>& row) {
  std::ranges::sort(row, [](float x, float y) { return std::strong_order(x, y) < 0; });
}

// Sums over the floats of a tensor.
struct FloatSums {
  double squares = 0;
  double max_abs = 0;
  double largest = 0;  // |a|

  void add(const std::vector<float>& a, const std::vector<float>& b, TensorDifference& result) {
    constexpr float kMasked = -std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i] == kMasked || b[i] == kMasked) continue;
      ++result.n_elements;
      const bool same = a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]));
      if (same && !std::isfinite(a[i])) continue;
      const double difference = static_cast<double>(b[i]) - static_cast<double>(a[i]);
      const double size = std::isfinite(difference) ? std::abs(difference)
                                                    : std::numeric_limits<double>::quiet_NaN();
      result.n_different += same ? 0 : 1;
      squares += size * size;
      max_abs = std::isnan(size) || std::isnan(max_abs) ? std::numeric_limits<double>::quiet_NaN()
                                                        : std::max(max_abs, size);
      if (std::isfinite(a[i])) largest = std::max(largest, std::abs(static_cast<double>(a[i])));
    }
  }
};

void compare_floats(const StoredTensor& a, const StoredTensor& b, const Rows& rows,
                    TensorDifference& result) {
  std::vector<float> row_a(static_cast<size_t>(rows.width));
  std::vector<float> row_b(row_a.size());
  if (result.name.find("logits") != std::string::npos && rows.width > 1) result.logits.emplace();
  const bool sets = rows_are_sets(result.name);
  FloatSums sums;
  for (int64_t i = 0; i < rows.n; ++i) {
    read_floats(a, rows.first_a + i * rows.width, row_a);
    read_floats(b, rows.first_b + i * rows.width, row_b);
    if (result.logits) add_logits(row_a, row_b, *result.logits);
    if (sets) {
      sort_floats(row_a);
      sort_floats(row_b);
    }
    sums.add(row_a, row_b, result);
  }
  const auto n = static_cast<double>(std::max<int64_t>(1, result.n_elements));
  result.max_abs = sums.max_abs;
  result.rms = std::sqrt(sums.squares / n);
  result.relative = sums.max_abs == 0 ? 0 : sums.max_abs / sums.largest;
  if (result.logits && rows.n > 0) result.logits->mean_kl /= static_cast<double>(rows.n);
}

void compare_ints(const StoredTensor& a, const StoredTensor& b, const Rows& rows,
                  TensorDifference& result) {
  std::vector<int64_t> row_a(static_cast<size_t>(rows.width));
  std::vector<int64_t> row_b(row_a.size());
  const bool sets = rows_are_sets(result.name);
  for (int64_t i = 0; i < rows.n; ++i) {
    read_ints(a, rows.first_a + i * rows.width, row_a);
    read_ints(b, rows.first_b + i * rows.width, row_b);
    if (sets) {
      std::ranges::sort(row_a);
      std::ranges::sort(row_b);
    }
    result.n_elements += rows.width;
    for (size_t k = 0; k < row_a.size(); ++k) result.n_different += row_a[k] == row_b[k] ? 0 : 1;
  }
}

TensorDifference compare_tensors(std::string name, const StoredTensor& a, const StoredTensor& b) {
  TensorDifference result;
  result.name = std::move(name);
  result.shape_a = a.shape;
  result.shape_b = b.shape;
  result.is_float = is_float_type(a.dtype);
  const std::optional<Rows> rows = common_rows(a, b, keeps_first_positions(result.name));
  if (!rows) {
    result.problem = fmt::format("shapes {} and {}", a.shape, b.shape);
  } else if (result.is_float != is_float_type(b.dtype)) {
    result.problem = fmt::format("types {} and {}", dtype_name(a.dtype), dtype_name(b.dtype));
  } else if (result.is_float) {
    compare_floats(a, b, *rows, result);
  } else {
    compare_ints(a, b, *rows, result);
  }
  return result;
}

using ByName = std::map<std::string, const StoredTensor*>;

ByName with_prefix(const Checkpoint& checkpoint, const std::string& prefix) {
  ByName result;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (tensor.name.starts_with(prefix)) result[tensor.name.substr(prefix.size())] = &tensor;
  }
  return result;
}

}  // namespace

std::pair<int64_t, int64_t> forward_order(std::string_view name) {
  constexpr int64_t kHead = 1'000'000;  // after all layers
  constexpr int64_t kMtp = 2'000'000;
  constexpr int64_t kOther = 3'000'000;
  if (name == "h0") return {-1, 0};
  if (const auto layer = split_layer(name, "layers.")) {
    return {layer->first, stage_index(layer->second)};
  }
  if (const auto block = split_layer(name, "mtp.")) {
    return {kMtp + block->first, stage_index(block->second)};
  }
  if (name.starts_with("head.")) return {kHead, stage_index(name)};
  if (name.starts_with("logits")) return {kHead, kUnknownStage + 1};
  if (name.starts_with("mtp_logits")) return {kOther - 1, 0};
  return {kOther, 0};
}

bool TensorDifference::exceeds(double tolerance) const {
  if (!problem.empty()) return true;
  return is_float ? !(max_abs <= tolerance) : n_different > 0;
}

const TensorDifference* Comparison::first_different() const {
  const auto found = std::ranges::find_if(tensors, &TensorDifference::differs);
  return found == tensors.end() ? nullptr : &*found;
}

const TensorDifference* Comparison::first_beyond(double relative) const {
  const auto found = std::ranges::find_if(tensors, [&](const TensorDifference& tensor) {
    if (!tensor.problem.empty()) return true;
    return tensor.is_float ? !(tensor.relative <= relative) : tensor.n_different > 0;
  });
  return found == tensors.end() ? nullptr : &*found;
}

bool Comparison::agrees(double tolerance) const {
  return only_in_a.empty() &&
         std::ranges::none_of(tensors, [&](const auto& t) { return t.exceeds(tolerance); });
}

Comparison compare(const Checkpoint& a, const Checkpoint& b, const CompareOptions& options) {
  const ByName tensors_a = with_prefix(a, options.prefix_a);
  ByName tensors_b = with_prefix(b, options.prefix_b);
  for (const auto& [name_a, name_b] : options.renamed) {
    const auto found = tensors_b.find(name_b);
    if (!tensors_a.contains(name_a) || found == tensors_b.end()) {
      throw Error(ErrorCode::kNotFound, fmt::format("{}={}", name_a, name_b),
                  fmt::format("there is no such tensor in the {} file",
                              found == tensors_b.end() ? "second" : "first"));
    }
    const StoredTensor* tensor = found->second;
    tensors_b.erase(found);
    tensors_b[name_a] = tensor;
  }
  Comparison result;
  for (const auto& [name, tensor] : tensors_a) {
    const auto found = tensors_b.find(name);
    if (found == tensors_b.end()) {
      result.only_in_a.push_back(name);
    } else {
      result.tensors.push_back(compare_tensors(name, *tensor, *found->second));
    }
  }
  for (const auto& [name, tensor] : tensors_b) {
    if (!tensors_a.contains(name)) result.only_in_b.push_back(name);
  }
  std::ranges::stable_sort(result.tensors, {}, [](const TensorDifference& tensor) {
    return forward_order(tensor.name);
  });
  return result;
}

}  // namespace dsv4
