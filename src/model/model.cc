#include "model/model.h"

#include "base/error.h"
#include "model/block.h"
#include "model/hyper_connection.h"
#include "model/names.h"

#include <algorithm>
#include <numeric>
#include <string>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

LayerLayout layer_layout(const ModelConfig& config, int64_t ratio, KvStorage storage) {
  return {ratio, config.window, entry_format(storage, config.head_dim, config.rope_dim),
          index_key_format(storage, config.index_head_dim)};
}

// Counted up when a numerics gives other bits than before, so that old states are not mixed in.
constexpr uint64_t kNumericsRevision = 1;

// Binds snapshots to the geometry, the numerics and the weights (a sample of the embedding and of
// the output matrix: reading all weights would take minutes).
uint64_t fingerprint(const ModelConfig& config, Numerics numerics, const ModelWeights& weights) {
  const std::string geometry = config_to_json(config);
  uint64_t hash = XXH3_64bits_withSeed(geometry.data(), geometry.size(), kNumericsRevision);
  for (const QuantMatrix* matrix : {&weights.embed, &weights.output}) {
    const auto n = static_cast<size_t>(std::min<int64_t>(matrix->rows, 16) * matrix->row_bytes());
    hash = XXH3_64bits_withSeed(matrix->data, n, hash);
  }
  return hash + static_cast<uint64_t>(numerics);
}

// The widest input of a quantised product.
int64_t max_quantized_width(const ModelConfig& c) {
  return std::max({c.hc_mult * c.hidden_size, c.q_lora_rank, c.n_heads * c.head_dim,
                   c.o_groups * c.o_lora_rank, c.expert_dim});
}

ArithmeticSizes arithmetic_sizes(const ModelConfig& c, const ModelOptions& options) {
  return {options.max_batch_tokens, max_quantized_width(c), c.hidden_size, c.expert_dim};
}

ModelConfig with_context(ModelConfig config, int64_t context) {
  if (context > 0) config.max_position_embeddings = context;
  return config;
}

}  // namespace

KvStorage kv_storage(const ModelOptions& options) {
  const bool fast = options.numerics == Numerics::kFast;
  const KvStorage storage = options.kv.value_or(fast ? KvStorage::kNative : KvStorage::kF32);
  if (fast || storage == KvStorage::kF32) return storage;
  throw Error(ErrorCode::kInvalidInput, "--kv",
              fmt::format("{} stores entries as f32 only: {}; {} is for --numerics fast",
                          numerics_name(options.numerics),
                          options.numerics == Numerics::kExact
                              ? "it rounds nothing"
                              : "it makes the roundings of the released code itself",
                          kv_storage_name(storage)));
}

Model::Model(const std::filesystem::path& path, Ops& ops, const ModelOptions& options)
    : options_(options),
      config_(with_context(load_config(path), options.context)),
      checkpoint_(open_checkpoint(path)),
      weights_(load_weights(checkpoint_, config_)),
      experts_(options.expert_memory > 0
                   ? std::make_unique<ExpertStore>(weights_, checkpoint_, options.expert_memory)
                   : nullptr),
      embedding_(checkpoint_, weights_.embed),
      main_layout_(layout_of(config_, options)),
      mtp_layout_{{layer_layout(config_, 0, main_layout_.storage)},
                  main_layout_.storage,
                  main_layout_.max_tokens,
                  options.rollback_tokens,
                  0},
      math_(ops, options.numerics, arithmetic_sizes(config_, options)),
      work_(config_, options.max_batch_tokens, main_layout_.storage),
      main_rope_(config_, RopeVariant::kMain, options.max_batch_tokens),
      compress_rope_(config_, RopeVariant::kCompress, options.max_batch_tokens) {
  main_layout_.fingerprint = fingerprint(config_, options.numerics, weights_);
  mtp_layout_.fingerprint = main_layout_.fingerprint + 0x100;
  if (!loads_whole(checkpoint_.tensor_bytes(), options)) return;
  for (const MappedFile& file : checkpoint_.files()) file.load(0, file.bytes().size());
}

bool Model::loads_whole(int64_t stored_bytes, const ModelOptions& options) {
  constexpr int64_t kSmall = int64_t{32} << 20;
  return stored_bytes <= kSmall && options.expert_memory == 0;
}

int64_t Model::workspace_bytes(const ModelConfig& config, const ModelOptions& options) {
  const int64_t n = options.max_batch_tokens;
  const int64_t quantized = Arithmetic::bytes(options.numerics, arithmetic_sizes(config, options));
  const int64_t ropes = 2 * RopeTable(config, RopeVariant::kMain, n).bytes();
  return Workspace(with_context(config, options.context), n, kv_storage(options)).bytes() +
         quantized + ropes;
}

StateLayout Model::layout_of(const ModelConfig& config, const ModelOptions& options) {
  StateLayout layout;
  layout.storage = kv_storage(options);
  for (const int64_t ratio : config.compress_ratios) {
    layout.layers.push_back(layer_layout(config, ratio, layout.storage));
  }
  layout.max_tokens = options.context > 0 ? options.context : config.max_position_embeddings;
  layout.rollback_tokens = options.rollback_tokens;
  return layout;
}

void Model::check(const Batch& batch) const {
  CHECK(batch.n_tokens() <= options_.max_batch_tokens, batch.n_tokens());
  for (const int32_t id : batch.ids) {
    if (id < 0 || id >= config_.vocab_size) {
      throw Error(
          ErrorCode::kInvalidInput, "",
          fmt::format("token id {} is outside the vocabulary of {}", id, config_.vocab_size));
    }
  }
  for (const Segment& segment : batch.segments) segment.state->reserve(segment.end_position());
}

Step Model::make_step(const Batch& batch, RopeVariant variant, Trace* trace) {
  RopeTable& table = variant == RopeVariant::kMain ? main_rope_ : compress_rope_;
  return {.config = config_,
          .batch = batch,
          .math = math_,
          .work = work_,
          .rope = table.angles(batch.positions),
          .trace = trace};
}

// Every stream starts as the token's embedding.
void Model::embed(std::span<const int32_t> ids) {
  const auto n = static_cast<int64_t>(ids.size());
  const Matrix<float> x = work_.x.first(n);
  const View<float, 3> streams = work_.streams.first(n);
  embedding_.lookup(ids, x);
  math_.round(x);
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t i = 0; i < config_.hc_mult; ++i) {
      std::copy_n(&x(t, 0), config_.hidden_size, &streams(t, i, 0));
    }
  }
}

View<const float, 3> Model::forward(const Batch& batch, Trace* trace) {
  check(batch);
  try {
    run_layers(batch, trace);
  } catch (...) {  // rings have rows of tokens that will not be counted
    for (const Segment& segment : batch.segments) segment.state->clear();
    throw;
  }
  for (const Segment& segment : batch.segments) segment.state->advance(segment.n_tokens);
  return work_.streams.first(batch.n_tokens());
}

void Model::run_layers(const Batch& batch, Trace* trace) {
  Step main = make_step(batch, RopeVariant::kMain, trace);
  Step compress = make_step(batch, RopeVariant::kCompress, trace);
  for (Step* step : {&main, &compress}) {
    step->experts = experts_.get();
    step->routing = routing_;
  }
  if (routing_ != nullptr) routing_->begin_pass(batch.n_tokens());
  embed(batch.ids);
  if (trace != nullptr) trace->enter("");
  main.record("h0", work_.streams.first(batch.n_tokens()));

  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    Step& step = rope_variant(config_.ratio(layer)) == RopeVariant::kMain ? main : compress;
    step.layer = layer;
    if (trace != nullptr) trace->enter(fmt::format("layers.{}.", layer));
    block_forward(step, weights_.layers[static_cast<size_t>(layer)], config_.kind(layer));
  }
}

int64_t Model::n_expert_runs() const {
  return std::accumulate(work_.expert_runs.begin(), work_.expert_runs.end(), int64_t{0});
}

RoutingShape Model::routing_shape() const {
  return {.n_layers = config_.n_layers,
          .n_experts = config_.n_experts,
          .n_active = config_.n_active_experts,
          .fingerprint = main_layout_.fingerprint,
          .expert_bytes = expert_bytes_by_layer(weights_, checkpoint_)};
}

void Model::project(const HeadWeights& w, View<const float, 3> streams, Matrix<float> out,
                    const char* scope, Trace* trace) {
  CHECK(streams.size(0) <= options_.max_batch_tokens, streams.size(0));
  const Batch none;
  Step step{
      .config = config_, .batch = none, .math = math_, .work = work_, .rope = {}, .trace = trace};
  const Matrix<float> x = work_.x.first(streams.size(0));
  if (trace != nullptr) trace->enter(scope);
  hyper_connection_head(step, w, streams, x);
  math_.product(x, weights_.output, out);
}

void Model::logits(View<const float, 3> streams, Matrix<float> out, Trace* trace) {
  project(weights_.head, streams, out, "", trace);
}

View<const float, 3> Model::mtp_forward(const Batch& batch, View<const float, 3> streams,
                                        Trace* trace) {
  CHECK(has_mtp());
  check(batch);
  const int64_t n = batch.n_tokens();
  const int64_t hc = config_.hc_mult;
  const int64_t d = config_.hidden_size;
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const MtpWeights& w = *weights_.mtp;
  if (mtp_normed_.view().empty()) {
    mtp_normed_ = Tensor<float, 3>({options_.max_batch_tokens, hc, d});
  }

  // X0[i] = e_proj norm(embed[id]) + h_proj norm(X[i])
  const Matrix<float> normed = mtp_normed_.first(n).reshape<2>({n * hc, d});
  const View<float, 3> x0 = work_.streams.first(n);
  const Matrix<float> e = work_.x.first(n);
  const Matrix<float> e_projected = work_.y.first(n);
  math_.ops().rms_norm(streams.reshape<2>({n * hc, d}), w.hnorm, eps, normed);
  math_.round(normed);
  math_.linear(normed, w.h_proj, x0.reshape<2>({n * hc, d}));
  embedding_.lookup(batch.ids, e);
  math_.ops().rms_norm(e, w.enorm, eps, e);
  math_.round(e);
  math_.linear(e, w.e_proj, e_projected);
  for (int64_t i = 0; i < hc; ++i) {
    const Matrix<float> stream(&x0(0, i, 0), {n, d}, {hc * d, 1});
    math_.ops().add(e_projected, stream);
  }
  math_.round(x0);

  if (trace != nullptr) trace->enter("mtp.0.");
  Step step = make_step(batch, RopeVariant::kMain, trace);
  step.record("h0", x0);
  block_forward(step, w.block, LayerKind::kSwa);
  for (const Segment& segment : batch.segments) segment.state->advance(segment.n_tokens);
  return x0;
}

void Model::mtp_logits(View<const float, 3> streams, Matrix<float> out, Trace* trace) {
  CHECK(has_mtp());
  project(weights_.mtp->head, streams, out, "mtp.0.", trace);
}

}  // namespace dsv4
