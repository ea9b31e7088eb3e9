#include "model/names.h"

#include "base/error.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace dsv4 {
namespace {

struct Names {
  std::string_view released;
  std::string_view hugging_face;
  std::string_view gguf;
};

constexpr Names kGlobal[] = {
    {"embed.weight", "embed_tokens.weight", "token_embd.weight"},
    {"head.weight", "lm_head.weight", "output.weight"},
    {"norm.weight", "norm.weight", "output_norm.weight"},
    {"hc_head_fn", "hc_head.hc_fn", "output_hc_fn.weight"},
    {"hc_head_base", "hc_head.hc_base", "output_hc_base.weight"},
    {"hc_head_scale", "hc_head.hc_scale", "output_hc_scale.weight"},
};

// Behind "layers.N." (released, Hugging Face), "blk.N." (GGUF) or "mtp.0.".
constexpr Names kLayer[] = {
    {"attn_norm.weight", "input_layernorm.weight", "attn_norm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight", "ffn_norm.weight"},
    {"hc_attn_fn", "attn_hc.fn", "hc_attn_fn.weight"},
    {"hc_attn_base", "attn_hc.base", "hc_attn_base.weight"},
    {"hc_attn_scale", "attn_hc.scale", "hc_attn_scale.weight"},
    {"hc_ffn_fn", "ffn_hc.fn", "hc_ffn_fn.weight"},
    {"hc_ffn_base", "ffn_hc.base", "hc_ffn_base.weight"},
    {"hc_ffn_scale", "ffn_hc.scale", "hc_ffn_scale.weight"},
    {"attn.wq_a.weight", "self_attn.q_a_proj.weight", "attn_q_a.weight"},
    {"attn.q_norm.weight", "self_attn.q_a_norm.weight", "attn_q_a_norm.weight"},
    {"attn.wq_b.weight", "self_attn.q_b_proj.weight", "attn_q_b.weight"},
    {"attn.wkv.weight", "self_attn.kv_proj.weight", "attn_kv.weight"},
    {"attn.kv_norm.weight", "self_attn.kv_norm.weight", "attn_kv_a_norm.weight"},
    {"attn.attn_sink", "self_attn.sinks", "attn_sinks.weight"},
    {"attn.wo_a.weight", "self_attn.o_a_proj.weight", "attn_output_a.weight"},
    {"attn.wo_b.weight", "self_attn.o_b_proj.weight", "attn_output_b.weight"},
    {"attn.compressor.wkv.weight", "self_attn.compressor.kv_proj.weight",
     "attn_compressor_kv.weight"},
    {"attn.compressor.wgate.weight", "self_attn.compressor.gate_proj.weight",
     "attn_compressor_gate.weight"},
    {"attn.compressor.ape", "self_attn.compressor.position_bias", "attn_compressor_ape.weight"},
    {"attn.compressor.norm.weight", "self_attn.compressor.kv_norm.weight",
     "attn_compressor_norm.weight"},
    {"attn.indexer.wq_b.weight", "self_attn.compressor.indexer.q_b_proj.weight",
     "indexer.attn_q_b.weight"},
    {"attn.indexer.weights_proj.weight", "self_attn.compressor.indexer.scorer.weights_proj.weight",
     "indexer.proj.weight"},
    {"attn.indexer.weights_proj.weight", "self_attn.compressor.indexer.weights_proj.weight",
     "indexer.proj.weight"},
    {"attn.indexer.compressor.wkv.weight", "self_attn.compressor.indexer.kv_proj.weight",
     "indexer_compressor_kv.weight"},
    {"attn.indexer.compressor.wgate.weight", "self_attn.compressor.indexer.gate_proj.weight",
     "indexer_compressor_gate.weight"},
    {"attn.indexer.compressor.ape", "self_attn.compressor.indexer.position_bias",
     "indexer_compressor_ape.weight"},
    {"attn.indexer.compressor.norm.weight", "self_attn.compressor.indexer.kv_norm.weight",
     "indexer_compressor_norm.weight"},
    {"ffn.gate.weight", "mlp.gate.weight", "ffn_gate_inp.weight"},
    {"ffn.gate.tid2eid", "mlp.gate.tid2eid", "ffn_gate_tid2eid.weight"},
    {"ffn.gate.bias", "mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    {"ffn.shared_experts.w1.weight", "mlp.shared_experts.gate_proj.weight",
     "ffn_gate_shexp.weight"},
    {"ffn.shared_experts.w2.weight", "mlp.shared_experts.down_proj.weight",
     "ffn_down_shexp.weight"},
    {"ffn.shared_experts.w3.weight", "mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"},
};

// Of the MTP block only; GGUF files that have one name them as the release does.
constexpr std::string_view kMtpOnly[] = {"e_proj.weight", "h_proj.weight", "enorm.weight",
                                         "hnorm.weight",  "norm.weight",   "hc_head_fn",
                                         "hc_head_base",  "hc_head_scale"};

// Of each routed expert e: "ffn.experts.e.w1.weight", "mlp.experts.e.gate_proj.weight", and the
// stack of all of them in GGUF.
constexpr Names kExpert[] = {
    {"w1.weight", "gate_proj.weight", "ffn_gate_exps.weight"},
    {"w2.weight", "down_proj.weight", "ffn_down_exps.weight"},
    {"w3.weight", "up_proj.weight", "ffn_up_exps.weight"},
};

// What can stand for "weight" at the end of a name, and what the release calls it.
constexpr std::pair<std::string_view, std::string_view> kSuffixes[] = {
    {"weight_scale_inv", "scale"},
    {"weight_packed", "weight_packed"},
    {"weight_scale", "weight_scale"},
    {"weight_shape", "weight_shape"},
    {"weight_g_idx", "weight_g_idx"},
    {"weight_zero_point", "weight_zero_point"},
    {"scale", "scale"},
    {"qweight", "qweight"},
    {"qzeros", "qzeros"},
    {"scales", "scales"},
};

// "PREFIX12.rest" to 12 and "rest".
struct Numbered {
  int64_t number;
  std::string_view rest;
};
std::optional<Numbered> split_number(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.' || number < 0) {
    return std::nullopt;
  }
  return Numbered{number, name.substr(static_cast<size_t>(end - name.data()) + 1)};
}

template <size_t N>
const Names* find_by(const Names (&table)[N], std::string_view Names::*column,
                     std::string_view name) {
  const auto found = std::ranges::find(table, name, column);
  return found == std::end(table) ? nullptr : found;
}

// The released name of a tensor that a table names.
std::optional<std::string> listed_in_hugging_face(std::string_view name) {
  if (const Names* names = find_by(kGlobal, &Names::hugging_face, name)) {
    return std::string(names->released);
  }
  const auto layer = split_number(name, "layers.");
  if (!layer) return std::nullopt;
  const std::string prefix = fmt::format("layers.{}.", layer->number);
  if (const Names* names = find_by(kLayer, &Names::hugging_face, layer->rest)) {
    return prefix + std::string(names->released);
  }
  const auto expert = split_number(layer->rest, "mlp.experts.");
  const Names* names = expert ? find_by(kExpert, &Names::hugging_face, expert->rest) : nullptr;
  if (names == nullptr) return std::nullopt;
  return fmt::format("{}ffn.experts.{}.{}", prefix, expert->number, names->released);
}

std::optional<std::string> from_hugging_face(std::string_view name) {
  if (name.starts_with("model.")) name.remove_prefix(6);
  if (auto listed = listed_in_hugging_face(name)) return listed;
  // "X.scale" and the like belong to "X.weight".
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto suffix = std::ranges::find(kSuffixes, name.substr(dot + 1),
                                        &std::pair<std::string_view, std::string_view>::first);
  if (suffix == std::end(kSuffixes)) return std::nullopt;
  constexpr std::string_view kWeight = "weight";
  const auto weight =
      listed_in_hugging_face(std::string(name.substr(0, dot + 1)) + std::string(kWeight));
  if (!weight) return std::nullopt;
  return weight->substr(0, weight->size() - kWeight.size()) + std::string(suffix->second);
}

std::optional<std::string> from_gguf(std::string_view name) {
  if (const Names* names = find_by(kGlobal, &Names::gguf, name))
    return std::string(names->released);
  const auto block = split_number(name, "blk.");
  const bool mtp = name.starts_with("mtp.0.");
  if (!block && !mtp) return std::nullopt;
  const std::string_view rest = block ? block->rest : name.substr(6);
  const std::string prefix = block ? fmt::format("layers.{}.", block->number) : "mtp.0.";
  const Names* names = find_by(kLayer, &Names::gguf, rest);
  if (names == nullptr) return std::nullopt;
  return prefix + std::string(names->released);
}

// Experts [E, out, in] one behind the other as tensors of their own.
class ExpertStack {
 public:
  // The stack that a tensor is, by the name of its rows in the layer.
  static std::optional<ExpertStack> find(const Checkpoint& checkpoint, const StoredTensor& tensor) {
    std::string_view name = tensor.name;
    if (name.starts_with("model.")) name.remove_prefix(6);
    const auto gguf = split_number(name, "blk.");
    const auto layer = gguf ? gguf : split_number(name, "layers.");
    const bool mtp = name.starts_with("mtp.0.");
    if ((!layer && !mtp) || tensor.shape.size() != 3) return std::nullopt;
    const std::string_view rest = layer ? layer->rest : name.substr(6);
    const std::string prefix = layer ? fmt::format("layers.{}.", layer->number) : "mtp.0.";
    if (const Names* names = find_by(kExpert, &Names::gguf, rest)) {
      return ExpertStack(checkpoint, tensor, prefix, {names->released});
    }
    if (rest == "mlp.experts.gate_up_proj") {  // the gate's rows first
      return ExpertStack(checkpoint, tensor, prefix, {"w1.weight", "w3.weight"});
    }
    if (rest == "mlp.experts.down_proj")
      return ExpertStack(checkpoint, tensor, prefix, {"w2.weight"});
    return std::nullopt;
  }

  void take_apart(std::vector<StoredTensor>& out) const {
    const auto n_parts = static_cast<int64_t>(parts_.size());
    const int64_t rows = tensor_.shape[1] / n_parts;
    const size_t bytes = tensor_.data.size() / static_cast<size_t>(tensor_.shape[0] * n_parts);
    size_t begin = 0;
    for (int64_t e = 0; e < tensor_.shape[0]; ++e) {
      for (const std::string_view part : parts_) {
        out.push_back({fmt::format("{}ffn.experts.{}.{}", prefix_, e, part),
                       tensor_.dtype,
                       {rows, tensor_.shape[2]},
                       tensor_.data.subspan(begin, bytes),
                       tensor_.file,
                       tensor_.offset + begin});
        begin += bytes;
      }
    }
  }

 private:
  ExpertStack(const Checkpoint& checkpoint, const StoredTensor& tensor, std::string prefix,
              std::vector<std::string_view> parts)
      : tensor_(tensor), prefix_(std::move(prefix)), parts_(std::move(parts)) {
    const auto n_parts = static_cast<int64_t>(parts_.size());
    if (!tensor.data.empty() && tensor.shape[1] % n_parts == 0) return;
    throw Error(
        ErrorCode::kInvalidInput, checkpoint.describe(tensor),
        fmt::format("has shape [{}], which is no stack of experts", fmt::join(tensor.shape, ", ")));
  }

  const StoredTensor& tensor_;
  std::string prefix_;
  std::vector<std::string_view> parts_;  // in an expert's rows
};

// Blocks of GGUF that draft tokens in llama.cpp's layout, whose halves of eh_proj are not
// specified: they are left out.
std::set<int64_t> nextn_blocks(const Checkpoint& checkpoint) {
  std::set<int64_t> blocks;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const auto block = split_number(tensor.name, "blk.");
    if (block && block->rest.starts_with("nextn.")) blocks.insert(block->number);
  }
  return blocks;
}

}  // namespace

Checkpoint open_checkpoint(const std::filesystem::path& path) {
  Checkpoint checkpoint = Checkpoint::open(path);
  use_released_names(checkpoint);
  return checkpoint;
}

void use_released_names(Checkpoint& checkpoint) {
  if (checkpoint.find("embed.weight") != nullptr) return;
  std::vector<StoredTensor> tensors;
  tensors.reserve(checkpoint.tensors().size());
  const std::set<int64_t> drafters = nextn_blocks(checkpoint);
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const auto block = split_number(tensor.name, "blk.");
    if (block && drafters.contains(block->number)) continue;
    if (const auto stack = ExpertStack::find(checkpoint, tensor)) {
      stack->take_apart(tensors);
      continue;
    }
    const auto name =
        checkpoint.gguf() != nullptr ? from_gguf(tensor.name) : from_hugging_face(tensor.name);
    tensors.push_back(tensor);
    if (name) tensors.back().name = *name;
  }
  checkpoint.replace_tensors(std::move(tensors));
}

std::optional<std::string> gguf_name(std::string_view released) {
  if (const Names* names = find_by(kGlobal, &Names::released, released)) {
    return std::string(names->gguf);
  }
  const auto layer = split_number(released, "layers.");
  const bool mtp = released.starts_with("mtp.0.");
  if (!layer && !mtp) return std::nullopt;
  const std::string_view rest = layer ? layer->rest : released.substr(6);
  const std::string prefix = layer ? fmt::format("blk.{}.", layer->number) : "mtp.0.";
  if (const Names* names = find_by(kLayer, &Names::released, rest)) {
    return prefix + std::string(names->gguf);
  }
  if (mtp && std::ranges::find(kMtpOnly, rest) != std::end(kMtpOnly)) return std::string(released);
  const auto expert = split_number(rest, "ffn.experts.");
  const Names* names = expert ? find_by(kExpert, &Names::released, expert->rest) : nullptr;
  if (names == nullptr) return std::nullopt;
  return prefix + std::string(names->gguf);
}

}  // namespace dsv4
