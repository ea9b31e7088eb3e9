// The files of a quantised model besides its weights: metadata, shards, index, side files; and how
// large all of them are before any is written.
#pragma once

#include "formats/gguf.h"
#include "quantize/plan.h"
#include "quantize/source_model.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {

inline constexpr const char* kIndexName = "model.safetensors.index.json";
inline constexpr int64_t kShardBytes = 5'000'000'000;  // of a shard at most, if it has two tensors

template <typename Writer>
std::vector<typename Writer::Declaration> declarations(std::span<const PlannedWeight> weights) {
  std::vector<typename Writer::Declaration> result;
  for (const PlannedWeight& weight : weights) {
    for (const StoredShape& tensor : weight.tensors) {
      result.push_back({tensor.name, tensor.dtype, tensor.shape});
    }
  }
  return result;
}

// With the tokenizer of the source. `type_name` is that of the mix.
GgufBuilder gguf_metadata(const SourceModel& source, const std::string& type_name);

// Everything of the folder but its weights and their index, by file name.
std::map<std::string, std::string> side_files(const SourceModel& source, const QuantizePlan& plan);

// The weights of each file.
std::vector<std::span<const PlannedWeight>> cut_shards(const QuantizePlan& plan,
                                                       int64_t shard_bytes);
std::string shard_name(size_t i, size_t n);
const std::map<std::string, std::string>& shard_metadata();
std::string index_text(const QuantizePlan& plan,
                       std::span<const std::span<const PlannedWeight>> shards);

// Bytes of all files together. From a geometry alone: without a tokenizer's.
int64_t output_bytes(const SourceModel& source, const QuantizePlan& plan,
                     const std::string& type_name, int64_t shard_bytes = kShardBytes);
int64_t output_bytes(const ModelConfig& config, const QuantizePlan& plan,
                     const std::string& type_name, int64_t shard_bytes = kShardBytes);

}  // namespace dsv4
