// How many bytes a model takes: on disk by class and type, as state of a sequence, in memory.
#pragma once

#include "formats/checkpoint.h"
#include "model/model.h"
#include "model/param_count.h"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace dsv4 {

// Tensors of one class and stored type. Block scales belong to the class of their weight. Words of
// 4-bit integers are a type of their own.
struct StoredGroup {
  std::optional<TensorClass> cls;  // nothing: no tensor of the model (DSpark stages, for example)
  DType dtype = DType::kF32;
  bool int4 = false;  // eight integers in each I32
  int64_t n_tensors = 0;
  int64_t n_bytes = 0;
};

// Name of the class, or "other".
std::string_view group_name(const StoredGroup& group);
// Name of the type: "INT4", or as in a file.
std::string_view type_name(const StoredGroup& group);

// By class, then type: of a checkpoint, and as a release would store this geometry.
std::vector<StoredGroup> stored_groups(const Checkpoint& checkpoint, const ModelConfig& config);
std::vector<StoredGroup> released_groups(const ModelConfig& config);

// Bits that a parameter of the main model takes on average, with its scales. Tables of expert ids
// and the MTP block are no part of it.
double bits_per_weight(const std::vector<StoredGroup>& groups, const ModelConfig& config);

// Bytes of the state of one sequence of `n_tokens` tokens in the storage that the model was trained
// for (architecture.md 6.5): window and compressed entries FP8 with BF16 rotary dimensions, index
// entries FP4.
int64_t trained_state_bytes(const ModelConfig& config, int64_t n_tokens);

// Bytes that one more token adds to a long sequence, as this program stores it.
double state_bytes_per_token(const StateLayout& layout);

// Memory at the end of a run of `n_sequences` of `n_tokens` tokens each. Weights are parts of files
// and count where they were read: not the embedding, whose rows are copied; of the experts those
// that some token chose. Small files are mapped whole (Model::loads_whole).
struct MemoryForecast {
  int64_t weights = 0;
  int64_t state = 0;
  int64_t workspace = 0;
  int64_t program = 0;  // code, tables of tensors, decoded vectors, logits of one position

  int64_t total() const { return weights + state + workspace + program; }
};
MemoryForecast forecast_memory(const ModelConfig& config, const std::vector<StoredGroup>& groups,
                               ModelOptions options, int64_t n_tokens, int64_t n_sequences = 1);

}  // namespace dsv4
