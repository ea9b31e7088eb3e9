#include "quantize/output_files.h"

#include "base/mapped_file.h"
#include "formats/safetensors.h"
#include "model/gguf_config.h"
#include "model/gguf_tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

// llama.cpp's number of a mix, which some programs show.
std::optional<uint32_t> file_type(std::string_view name) {
  constexpr std::pair<std::string_view, uint32_t> kNumbers[] = {
      {"F32", 0},     {"F16", 1},      {"Q4_0", 2},    {"Q4_1", 3},  {"Q8_0", 7},
      {"Q5_0", 8},    {"Q5_1", 9},     {"Q2_K", 10},   {"Q3_K", 11}, {"Q3_K_M", 12},
      {"Q4_K_S", 14}, {"Q4_K", 14},    {"Q4_K_M", 15}, {"Q5_K", 16}, {"Q5_K_M", 17},
      {"Q6_K", 18},   {"IQ2_XXS", 19}, {"BF16", 32},   {"MXFP4", 38}};
  for (const auto& [known, number] : kNumbers) {
    if (known == name) return number;
  }
  return std::nullopt;
}

std::string model_name(const SourceModel& source) {
  if (source.checkpoint().gguf() != nullptr) {
    const GgufValue* name = source.checkpoint().gguf()->find("general.name");
    if (name != nullptr && name->as_string()) return std::string(*name->as_string());
  }
  const fs::path path = fs::weakly_canonical(source.path());
  return fs::is_directory(path) ? path.filename().string() : path.stem().string();
}

void add_source_tokenizer(const SourceModel& source, GgufBuilder& metadata) {
  if (const GgufMetadata* gguf = source.checkpoint().gguf()) {
    for (const GgufKey& key : gguf->keys()) {
      if (key.key.starts_with("tokenizer.")) metadata.add(key.key, key.value);
    }
    return;
  }
  const fs::path path = source.path() / "tokenizer.json";
  if (!fs::is_regular_file(path)) return;
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  const ModelConfig& config = source.config();
  add_tokenizer(text, config.vocab_size, static_cast<int32_t>(config.bos_token_id),
                static_cast<int32_t>(config.eos_token_id), metadata);
}

GgufBuilder metadata_without_tokenizer(const ModelConfig& config, const std::string& name,
                                       const std::string& type_name) {
  GgufBuilder metadata;
  add_config(config, metadata);
  metadata.add_string("general.name", name);
  metadata.add_string("general.type", "model");
  metadata.add_u32("general.quantization_version", 2);
  if (const auto number = file_type(type_name)) metadata.add_u32("general.file_type", *number);
  metadata.add_string("dsv4.quantize.type", type_name);
  return metadata;
}

std::string config_text(ModelConfig config, const QuantizePlan& plan) {
  // Weights whose scales lie in tensors of their own.
  const auto uses = [&](DType type) {
    return std::ranges::any_of(plan.weights, [&](const PlannedWeight& weight) {
      return weight.type == type && weight.tensors.size() > 1;
    });
  };
  config.fp8_block = {};
  config.int4 = {};
  if (uses(DType::kI32)) config.int4 = {Int4Method::kAwq, plan.types.int4_group, false};
  auto json = nlohmann::ordered_json::parse(config_to_json(config));
  if (uses(DType::kI8)) json["expert_dtype"] = "fp4";
  if (!uses(DType::kI8) && !uses(DType::kF8E4M3) && !uses(DType::kI32)) {
    json.erase("quantization_config");
  }
  return json.dump(2) + "\n";
}

int64_t checkpoint_bytes(const QuantizePlan& plan, int64_t shard_bytes) {
  const auto shards = cut_shards(plan, shard_bytes);
  auto bytes = std::ssize(index_text(plan, shards));
  for (const auto& shard : shards) {
    bytes += static_cast<int64_t>(
        SafetensorsWriter::file_bytes(declarations<SafetensorsWriter>(shard), shard_metadata()));
  }
  return bytes;
}

int64_t gguf_bytes(const QuantizePlan& plan, const GgufBuilder& metadata) {
  return static_cast<int64_t>(
      GgufWriter::file_bytes(metadata, declarations<GgufWriter>(plan.weights)));
}

}  // namespace

GgufBuilder gguf_metadata(const SourceModel& source, const std::string& type_name) {
  GgufBuilder metadata = metadata_without_tokenizer(source.config(), model_name(source), type_name);
  add_source_tokenizer(source, metadata);
  return metadata;
}

std::map<std::string, std::string> side_files(const SourceModel& source, const QuantizePlan& plan) {
  std::map<std::string, std::string> files = {{"config.json", config_text(source.config(), plan)}};
  if (const GgufMetadata* gguf = source.checkpoint().gguf()) {
    if (gguf->find("tokenizer.ggml.model") != nullptr) {
      files["tokenizer.json"] = tokenizer_json_from_gguf(*gguf, source.path().string());
    }
    return files;
  }
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    const fs::path from = source.path() / name;
    if (fs::is_regular_file(from)) files[name] = read_file(from);
  }
  return files;
}

std::vector<std::span<const PlannedWeight>> cut_shards(const QuantizePlan& plan, int64_t limit) {
  const std::span<const PlannedWeight> all = plan.weights;
  std::vector<std::span<const PlannedWeight>> shards;
  size_t begin = 0;
  int64_t size = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const int64_t bytes = all[i].bytes();
    if (i > begin && size + bytes > limit) {
      shards.push_back(all.subspan(begin, i - begin));
      begin = i;
      size = 0;
    }
    size += bytes;
  }
  shards.push_back(all.subspan(begin));
  return shards;
}

std::string shard_name(size_t i, size_t n) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, n);
}

const std::map<std::string, std::string>& shard_metadata() {
  static const std::map<std::string, std::string> kMetadata = {{"format", "pt"}};
  return kMetadata;
}

std::string index_text(const QuantizePlan& plan,
                       std::span<const std::span<const PlannedWeight>> shards) {
  nlohmann::json map = nlohmann::json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const auto& tensor : declarations<SafetensorsWriter>(shards[i])) {
      map[tensor.name] = shard_name(i, shards.size());
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", plan.bytes()}}}, {"weight_map", map}};
  return index.dump(2) + "\n";
}

int64_t output_bytes(const SourceModel& source, const QuantizePlan& plan,
                     const std::string& type_name, int64_t shard_bytes) {
  if (plan.container == Container::kGguf) {
    return gguf_bytes(plan, gguf_metadata(source, type_name));
  }
  int64_t bytes = checkpoint_bytes(plan, shard_bytes);
  for (const auto& [name, text] : side_files(source, plan)) bytes += std::ssize(text);
  return bytes;
}

int64_t output_bytes(const ModelConfig& config, const QuantizePlan& plan,
                     const std::string& type_name, int64_t shard_bytes) {
  if (plan.container == Container::kGguf) {
    return gguf_bytes(plan, metadata_without_tokenizer(config, "model", type_name));
  }
  return checkpoint_bytes(plan, shard_bytes) + std::ssize(config_text(config, plan));
}

}  // namespace dsv4
