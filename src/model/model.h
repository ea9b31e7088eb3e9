// DeepSeek V4: token ids to logits, given the state of the sequences.
#pragma once

#include "cache/sequence_state.h"
#include "formats/checkpoint.h"
#include "kernels/ops.h"
#include "model/config.h"
#include "model/embedding.h"
#include "model/numerics.h"
#include "model/step.h"
#include "model/weights.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

namespace dsv4 {

struct ModelOptions {
  Numerics numerics = Numerics::kExact;
  std::optional<KvStorage> kv;     // of the state; nothing: native for fast, else f32
  int64_t max_batch_tokens = 512;  // rows of one forward pass
  int64_t context = 0;             // tokens of a sequence; 0: as config.json says
  int64_t rollback_tokens = 32;    // of each sequence
  int64_t expert_memory = 0;       // bytes for routed experts; 0: all may stay in memory
};

// What a model with these options keeps its entries in. Throws Error(kInvalidInput) for numerics
// that have one storage only and are asked for another.
KvStorage kv_storage(const ModelOptions& options);

// Owns the mapped checkpoint and the scratch memory. Used by one thread at a time (its operations
// use their own threads); `ops` must outlive it.
class Model {
 public:
  // `path` is a model folder. Throws Error for anything wrong with its files.
  Model(const std::filesystem::path& path, Ops& ops, const ModelOptions& options = {});

  const ModelConfig& config() const { return config_; }
  const ModelOptions& options() const { return options_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  bool has_mtp() const { return weights_.mtp.has_value(); }

  // Layout of a sequence's state: for the main layers, and for the MTP block's one layer.
  const StateLayout& state_layout() const { return main_layout_; }
  const StateLayout& mtp_state_layout() const { return mtp_layout_; }

  // Runs the tokens of the batch through all layers and counts them in their sequences. Returns the
  // final residual streams [n, hc, d], valid until the next call. Throws Error(kInvalidInput) for
  // an id outside the vocabulary and Error(kOutOfRange) beyond the context length; the sequences
  // are then as before. Throws Error(kIo) where an expert cannot be read (with expert_memory only);
  // the sequences are then empty.
  View<const float, 3> forward(const Batch& batch, Trace* trace = nullptr);

  // Logits of streams: [m, hc, d] to [m, V]. m <= max_batch_tokens.
  void logits(View<const float, 3> streams, Matrix<float> out, Trace* trace = nullptr);

  // The MTP block (architecture.md section 7): `streams` are the main model's for the positions
  // before the batch's tokens: row t pairs the streams of position i with the token at i + 1. The
  // sequences of the batch have the mtp_state_layout. Returns the block's streams.
  View<const float, 3> mtp_forward(const Batch& batch, View<const float, 3> streams,
                                   Trace* trace = nullptr);
  void mtp_logits(View<const float, 3> streams, Matrix<float> out, Trace* trace = nullptr);

  // How many experts have been run in each layer, over all passes: each reads its weights once. The
  // MTP block counts as layer 0.
  const std::vector<int64_t>& expert_runs() const { return work_.expert_runs; }
  int64_t n_expert_runs() const;  // their sum

  // Null without a limit of expert_memory.
  const ExpertStore* experts() const { return experts_.get(); }
  // What a trace of this model's routing is of.
  RoutingShape routing_shape() const;
  // Records the experts of each forward pass from now on; nullptr for none.
  void record_routing(RoutingTraceWriter* writer) { routing_ = writer; }

  const ModelWeights& weights() const { return weights_; }
  // Shows the inputs of all products to `observer` from now on; nullptr for none.
  void observe_inputs(InputObserver* observer) { math_.observe_inputs(observer); }

  // Whether a checkpoint of so many bytes is mapped at once when it is opened: a small one is in
  // the system's cache in few large pieces, which some systems map whole and others in parts.
  static bool loads_whole(int64_t stored_bytes, const ModelOptions& options);
  // Scratch memory of a model of this geometry.
  static int64_t workspace_bytes(const ModelConfig& config, const ModelOptions& options);
  // Layout of the main layers' state, from the geometry alone (fingerprint 0).
  static StateLayout layout_of(const ModelConfig& config, const ModelOptions& options);

 private:
  void check(const Batch& batch) const;
  void run_layers(const Batch& batch, Trace* trace);
  void embed(std::span<const int32_t> ids);
  Step make_step(const Batch& batch, RopeVariant variant, Trace* trace);
  void project(const HeadWeights& w, View<const float, 3> streams, Matrix<float> out,
               const char* scope, Trace* trace);

  ModelOptions options_;
  ModelConfig config_;
  Checkpoint checkpoint_;
  ModelWeights weights_;
  std::unique_ptr<ExpertStore> experts_;
  RoutingTraceWriter* routing_ = nullptr;
  EmbeddingTable embedding_;
  StateLayout main_layout_;
  StateLayout mtp_layout_;
  Arithmetic math_;
  Workspace work_;
  RopeTable main_rope_;
  RopeTable compress_rope_;
  Tensor<float, 3> mtp_normed_;  // [n, hc, d], allocated by the first mtp_forward
};

}  // namespace dsv4
