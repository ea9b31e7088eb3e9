#include "plan/footprint.h"

#include "cache/layout.h"
#include "model/int4_weights.h"
#include "model/tensor_specs.h"
#include "synth/stored_tensors.h"
#include "synth/synth.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace dsv4 {
namespace {

// Sums by class and type; tensors that belong to no class come last.
class Groups {
 public:
  void add(const StoredGroup& more) {
    const size_t cls = more.cls ? static_cast<size_t>(*more.cls) : kTensorClasses;
    const auto [found, is_new] = groups_.emplace(std::tuple(cls, more.dtype, more.int4), more);
    if (is_new) return;
    found->second.n_tensors += more.n_tensors;
    found->second.n_bytes += more.n_bytes;
  }

  std::vector<StoredGroup> list() const {
    std::vector<StoredGroup> result;
    for (const auto& [key, group] : groups_) result.push_back(group);
    return result;
  }

 private:
  std::map<std::tuple<size_t, DType, bool>, StoredGroup> groups_;
};

// The name with every number in it replaced by 0: equal for tensors of one kind.
std::string without_numbers(std::string_view name) {
  std::string result;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    const bool number = !part.empty() && std::ranges::all_of(part, [](unsigned char c) {
      return c >= '0' && c <= '9';
    });
    if (!result.empty()) result += '.';
    result += number ? std::string_view("0") : part;
    begin = end + 1;
  }
  return result;
}

// Class of each tensor name without numbers.
std::unordered_map<std::string, TensorClass> class_table(ModelConfig config) {
  config.n_experts = 1;
  constexpr std::string_view kWeight = "weight";
  std::unordered_map<std::string, TensorClass> classes;
  const auto add = [&](const std::vector<TensorSpec>& specs) {
    for (const TensorSpec& spec : specs) {
      const std::string name = without_numbers(spec.name);
      classes.emplace(name, spec.cls);
      if (name.ends_with(kWeight)) {
        const std::string stem = name.substr(0, name.size() - kWeight.size());
        for (const std::string& suffix : int4_suffixes()) classes.emplace(stem + suffix, spec.cls);
      }
      if (spec.kind != TensorKind::kLinear && spec.kind != TensorKind::kExpert) continue;
      classes.emplace(scale_name(name), spec.cls);
      classes.emplace(name + "_scale_inv", spec.cls);
    }
  };
  add(global_specs(config));
  for (const EqualLayers& layers : group_equal_layers(config)) {
    add(layer_specs(config, layers.first));
  }
  add(mtp_specs(config));
  return classes;
}

bool has_int4_words(const StoredTensor& tensor) {
  const std::string_view name = tensor.name;
  return tensor.dtype == DType::kI32 &&
         (name.ends_with(".qweight") || name.ends_with(".qzeros") ||
          name.ends_with(".weight_packed") || name.ends_with(".weight_zero_point"));
}

// One layer and everything outside the layers, as a release stores them; BF16 where FP4 cannot.
SynthPlan plan_of_layer(const ModelConfig& config, int64_t layer) {
  ModelConfig one = select_layers(config, {layer});
  one.n_mtp_layers = config.has_dspark ? 0 : config.n_mtp_layers;
  const bool fp4 = config.hidden_size % 32 == 0 && config.expert_dim % 32 == 0;
  return plan_tensors(one, fp4 ? SynthFormat::kNative : SynthFormat::kBf16);
}

bool is_expert_table(const StoredGroup& group) {
  const bool ids = group.dtype == DType::kI64 || group.dtype == DType::kI32;
  return group.cls == TensorClass::kRouter && ids && !group.int4;
}

// Expected share of the routed experts that some token chose.
double chosen_share(const ModelConfig& config, int64_t n_tokens) {
  const double active =
      static_cast<double>(config.n_active_experts) / static_cast<double>(config.n_experts);
  return 1 - std::pow(1 - active, static_cast<double>(n_tokens));
}

// Bytes of a group that a run reads where the given share of the experts is chosen. Rows of the
// embedding are copied.
int64_t read_bytes(const StoredGroup& group, double chosen_share) {
  if (!group.cls) return 0;
  switch (*group.cls) {
    case TensorClass::kMtp:
    case TensorClass::kEmbedding:
      return 0;
    case TensorClass::kRoutedExpert:
      return static_cast<int64_t>(static_cast<double>(group.n_bytes) * chosen_share);
    default:
      return group.n_bytes;
  }
}

int64_t stored_bytes(const std::vector<StoredGroup>& groups) {
  int64_t sum = 0;
  for (const StoredGroup& group : groups) sum += group.n_bytes;
  return sum;
}

}  // namespace

std::string_view group_name(const StoredGroup& group) {
  return group.cls ? tensor_class_name(*group.cls) : "other";
}

std::string_view type_name(const StoredGroup& group) {
  return group.int4 ? "INT4" : dtype_name(group.dtype);
}

std::vector<StoredGroup> stored_groups(const Checkpoint& checkpoint, const ModelConfig& config) {
  const auto classes = class_table(config);
  Groups groups;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const auto found = classes.find(without_numbers(tensor.name));
    groups.add({.cls = found == classes.end() ? std::nullopt : std::optional(found->second),
                .dtype = tensor.dtype,
                .int4 = has_int4_words(tensor),
                .n_tensors = 1,
                .n_bytes = std::ssize(tensor.data)});
  }
  return groups.list();
}

std::vector<StoredGroup> released_groups(const ModelConfig& config) {
  Groups groups;
  const size_t n_global = global_specs(config).size();
  bool first = true;
  for (const EqualLayers& layers : group_equal_layers(config)) {
    const SynthPlan plan = plan_of_layer(config, layers.first);
    for (const PlannedTensor& tensor : plan.tensors) {
      const TensorClass cls = plan.specs[tensor.spec].cls;
      const bool in_layer = tensor.spec >= n_global && cls != TensorClass::kMtp;
      const int64_t times = in_layer ? layers.number : first ? 1 : 0;
      groups.add({.cls = cls,
                  .dtype = tensor.dtype,
                  .n_tensors = times,
                  .n_bytes = times * tensor.bytes()});
    }
    first = false;
  }
  return groups.list();
}

double bits_per_weight(const std::vector<StoredGroup>& groups, const ModelConfig& config) {
  int64_t n_bytes = 0;
  for (const StoredGroup& group : groups) {
    if (!group.cls || *group.cls == TensorClass::kMtp || is_expert_table(group)) continue;
    n_bytes += group.n_bytes;
  }
  return 8 * static_cast<double>(n_bytes) / static_cast<double>(count_params(config).main_model());
}

int64_t trained_state_bytes(const ModelConfig& c, int64_t n_tokens) {
  constexpr int64_t kFp8Block = 64;
  constexpr int64_t kFp4Block = 32;
  const int64_t plain = c.head_dim - c.rope_dim;
  const int64_t entry = plain + (plain + kFp8Block - 1) / kFp8Block + 2 * c.rope_dim;
  const int64_t index_entry = c.index_head_dim / 2 + c.index_head_dim / kFp4Block;
  int64_t bytes = 0;
  for (const int64_t ratio : c.compress_ratios) {
    bytes += std::min(n_tokens, c.window) * entry;
    if (ratio == 0) continue;
    bytes += n_tokens / ratio * entry;
    if (ModelConfig::kind_of_ratio(ratio) == LayerKind::kCsa) {
      bytes += n_tokens / ratio * index_entry;
    }
  }
  return bytes;
}

double state_bytes_per_token(const StateLayout& layout) {
  constexpr int64_t kLong = int64_t{1} << 22;
  const int64_t growth =
      state_bytes(layout, 2 * kLong).total() - state_bytes(layout, kLong).total();
  return static_cast<double>(growth) / kLong;
}

MemoryForecast forecast_memory(const ModelConfig& config, const std::vector<StoredGroup>& groups,
                               ModelOptions options, int64_t n_tokens, int64_t n_sequences) {
  constexpr int64_t kProgramBytes = 12'000'000;
  constexpr int64_t kTableBytes = 800;  // of each tensor, in tables and in the file's header
  MemoryForecast forecast;
  forecast.program = kProgramBytes + n_sequences * config.vocab_size * int64_t{sizeof(float)};
  const bool whole = Model::loads_whole(stored_bytes(groups), options);
  const double chosen = chosen_share(config, n_sequences * n_tokens);
  for (const StoredGroup& group : groups) {
    forecast.program += group.n_tensors * kTableBytes;
    forecast.weights += whole ? group.n_bytes : read_bytes(group, chosen);
    if (!is_expert_table(group)) continue;
    // Kept as 32-bit numbers.
    if (group.dtype == DType::kI64) forecast.program += group.n_bytes / 2;
    if (group.dtype == DType::kI32) forecast.program += group.n_bytes;
  }
  forecast.state = n_sequences * state_bytes(Model::layout_of(config, options), n_tokens).total();
  options.max_batch_tokens = std::min(options.max_batch_tokens, std::max(n_tokens, n_sequences));
  // Of scratch memory too, only what is used.
  const int64_t context = options.context > 0 ? options.context : config.max_position_embeddings;
  options.context = std::min(context, n_tokens);
  forecast.workspace = Model::workspace_bytes(config, options);
  return forecast;
}

}  // namespace dsv4
