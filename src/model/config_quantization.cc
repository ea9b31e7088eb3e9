#include "model/config_quantization.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

constexpr int64_t kMaxBlock = 1 << 18;

void read_fp8(const ConfigReader& r, ModelConfig& c) {
  r.expect({"fmt"}, "e4m3");
  const nlohmann::json* block = r.find({"weight_block_size"});
  if (block == nullptr) return;
  if (!block->is_array() || block->size() != 2) {
    r.refuse("weight_block_size", "expected two numbers");
  }
  c.fp8_block.rows = r.check_integer((*block)[0], "weight_block_size", 1, kMaxBlock);
  c.fp8_block.cols = r.check_integer((*block)[1], "weight_block_size", 1, kMaxBlock);
}

// The one supported number of bits; it has no default.
void require_four_bits(const ConfigReader& r, ConfigReader::Names names) {
  r.integer(names, 1, 64);
  r.expect(names, 4);
}

// -1 stands for whole rows.
int64_t read_group_size(const ConfigReader& r) {
  const int64_t size = r.integer({"group_size", "q_group_size"}, -1, kMaxBlock);
  if (size == 0) r.refuse("group_size", "expected at least 1, or -1 for whole rows");
  return size < 0 ? 0 : size;
}

Int4Config read_awq(const ConfigReader& r) {
  require_four_bits(r, {"bits", "w_bit"});
  const nlohmann::json* version = r.find({"version"});
  if (version != nullptr && *version != "GEMM") r.expect({"version"}, "gemm");
  return {Int4Method::kAwq, read_group_size(r), /*symmetric=*/false};
}

// What a group of modules has: the scheme of their weights.
Int4Config read_scheme(const ConfigReader& group) {
  group.expect({"format"}, "pack-quantized");
  for (const char* name : {"input_activations", "output_activations"}) {
    group.expect({name}, nullptr);
  }
  if (group.find({"weights"}) == nullptr) group.refuse("weights", "is missing");
  const ConfigReader weights = group.child("weights");
  require_four_bits(weights, {"num_bits"});
  weights.expect({"type"}, "int");
  weights.expect({"dynamic"}, false);
  const nlohmann::json* order = weights.find({"actorder"});
  // With order "weight" (or "static") the columns of a group lie side by side, as without.
  if (order != nullptr && *order != "weight" && *order != "static" && *order != false) {
    weights.refuse_unsupported(
        "actorder", fmt::format("is {}; quantise again with \"weight\"", weights.shown(*order)));
  }
  const nlohmann::json* symmetric = weights.find({"symmetric"});
  if (symmetric != nullptr && !symmetric->is_boolean()) {
    weights.refuse("symmetric", "expected true or false");
  }
  Int4Config scheme{Int4Method::kCompressedTensors, 0, symmetric == nullptr || *symmetric == true};
  const nlohmann::json* strategy = weights.find({"strategy"});
  const bool whole_rows = strategy != nullptr && *strategy == "channel";
  if (!whole_rows) {
    weights.expect({"strategy"}, "group");
    scheme.group_size = read_group_size(weights);
  }
  return scheme;
}

Int4Config read_compressed_tensors(const ConfigReader& r) {
  r.expect({"format"}, "pack-quantized");
  const ConfigReader sparsity = r.child("sparsity_config");
  sparsity.expect({"format"}, "dense");
  const nlohmann::json* groups = r.find({"config_groups"});
  if (groups == nullptr || !groups->is_object() || groups->empty()) {
    r.refuse("config_groups", "expected an object with at least one group");
  }
  Int4Config scheme;
  const ConfigReader reader = r.child("config_groups");
  for (const auto& [name, group] : groups->items()) {
    const Int4Config other = read_scheme(reader.child(name.c_str()));
    if (scheme.method != Int4Method::kNone && scheme != other) {
      r.refuse_unsupported("config_groups",
                           "with different schemes in its groups; dsv4 supports "
                           "one for all");
    }
    scheme = other;
  }
  return scheme;
}

}  // namespace

void read_quantization(const ConfigReader& config, ModelConfig& c) {
  if (config.find({"quantization_config"}) == nullptr) return;
  const ConfigReader r = config.child("quantization_config");
  const nlohmann::json* method = r.find({"quant_method"});
  if (method == nullptr || *method == "fp8") return read_fp8(r, c);
  if (*method == "awq") {
    c.int4 = read_awq(r);
  } else if (*method == "compressed-tensors") {
    c.int4 = read_compressed_tensors(r);
  } else {
    r.refuse_unsupported(
        "quant_method",
        fmt::format("is {}, dsv4 supports \"fp8\", \"awq\" and \"compressed-tensors\"",
                    r.shown(*method)));
  }
}

}  // namespace dsv4
