// Synthetic checkpoints: random, well-scaled weights in the layout of a release, streamed to disk.
// They have the cost and the shapes of the real model, and nothing to say.
#pragma once

#include "base/thread_pool.h"
#include "model/config.h"
#include "synth/stored_tensors.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace dsv4 {

struct SynthOptions {
  std::filesystem::path folder;
  SynthFormat format = SynthFormat::kNative;
  Mix mix;  // of a GGUF file
  uint64_t seed = 0;
  int64_t shard_bytes = 5'000'000'000;  // a file has at least one tensor
  bool replace = false;                 // write over an earlier checkpoint in the folder
};

struct SynthReport {
  int64_t n_tensors = 0;
  int64_t n_bytes = 0;  // of all tensors
  int64_t n_files = 0;  // shards
  bool has_tokenizer = false;
};

// `done` of `total` bytes are written.
using SynthProgress = std::function<void(int64_t done, int64_t total)>;

// Layers by number from "4" (the first four) or "0,2,3" (these; "3," is layer 3 alone). Throws
// Error(kInvalidInput) for anything else and for layers that the model does not have.
std::vector<int64_t> parse_layers(const std::string& text, int64_t n_layers);

// The configuration with these of its layers, numbered anew, and without an MTP block unless all
// were chosen. Throws Error(kInvalidInput) when a hash-routed layer follows one that is not.
ModelConfig select_layers(const ModelConfig& config, const std::vector<int64_t>& layers);

// Writes config.json, generation_config.json, tokenizer.json (where the vocabulary has room for
// its tokens), the shards, and last model.safetensors.index.json; or one model.gguf with all of it.
// One MTP block is written where config.n_mtp_layers > 0, not to GGUF. The bytes depend on
// configuration, format, seed and shard size only. Throws Error(kIo, kOutOfRange) when the folder
// is not empty, the disk has too little room or writing fails.
SynthReport synthesize(const ModelConfig& config, const SynthOptions& options, ThreadPool& pool,
                       const SynthProgress& progress = {});

}  // namespace dsv4
