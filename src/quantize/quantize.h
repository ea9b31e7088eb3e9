// Writes a model in other types: to one GGUF file or to a safetensors checkpoint, piece by piece in
// little memory. A run that was stopped is gone on with by the same command.
#pragma once

#include "base/thread_pool.h"
#include "quantize/encode_matrix.h"
#include "quantize/importance.h"
#include "quantize/output_files.h"
#include "quantize/plan.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace dsv4 {

struct QuantizeOptions {
  std::filesystem::path output;  // a GGUF file, or the folder of a checkpoint
  std::string type_name;         // of the mix, for the metadata
  int64_t shard_bytes = kShardBytes;
  bool replace = false;  // what is there already
};

struct QuantizeReport {
  struct Part {
    int64_t weights = 0;
    int64_t bytes = 0;
    EncodingError error;  // of those that were encoded in this run, not copied
  };
  std::map<std::string, Part> parts;  // by part_name
  int64_t bytes = 0;                  // of all tensors
  int64_t resumed_bytes = 0;          // of those that an earlier run had written
  int64_t n_without_importance = 0;   // matrices, where there is an importance table
};

// Called with bytes written and bytes of all tensors.
using QuantizeProgress = std::function<void(int64_t done, int64_t total)>;

// `importance` may be null. Throws Error(kIo, kOutOfRange) for an output that is there already or
// does not fit the disk, and Error(kInvalidInput) for weights that cannot be stored or an
// importance table of another model.
QuantizeReport quantize(const SourceModel& source, const QuantizePlan& plan,
                        const ImportanceTable* importance, const QuantizeOptions& options,
                        ThreadPool& pool, const QuantizeProgress& progress = {});

}  // namespace dsv4
