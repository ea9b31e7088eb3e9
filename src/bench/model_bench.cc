#include "bench/model_bench.h"

#include "base/rng.h"
#include "model/tensor_specs.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include <fmt/core.h>

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

int64_t stored_bytes(const Checkpoint& checkpoint, const std::string& name) {
  int64_t bytes = 0;
  for (const std::string& part : {name, scale_name(name), name + "_scale_inv"}) {
    const StoredTensor* tensor = checkpoint.find(part);
    if (tensor != nullptr) bytes += std::ssize(tensor->data);
  }
  return bytes;
}

// Entries of one layer that a token at this position reads, in bytes.
int64_t entry_bytes(const ModelConfig& c, const LayerLayout& layout, int64_t layer,
                    int64_t context) {
  const int64_t ratio = c.ratio(layer);
  int64_t entries = std::min(context + 1, c.window);
  int64_t index_bytes = 0;
  if (ratio > 0) {
    const int64_t n_compressed = (context + 1) / ratio;
    const bool selects = c.kind(layer) == LayerKind::kCsa && n_compressed > c.index_topk;
    entries += selects ? c.index_topk : n_compressed;
    if (selects) index_bytes = n_compressed * layout.index_entry.bytes();
  }
  return entries * layout.entry.bytes() + index_bytes;
}

// row(i) is where row i is written.
void fill_rows(const EntryFormat& format, int64_t begin, int64_t end, uint64_t& counter,
               const auto& row) {
  std::vector<float> values(static_cast<size_t>(format.width));
  for (int64_t i = begin; i < end; ++i) {
    for (float& value : values) {
      value = static_cast<float>(random_uniform(0, 0, counter++) * 2 - 1);
    }
    encode_entry(format, values.data(), reinterpret_cast<std::byte*>(row(i)));
  }
}

template <typename T>
void fill_ring(const RowRing<T>& ring, const EntryFormat& format, int64_t n_tokens,
               uint64_t& counter) {
  fill_rows(format, std::max<int64_t>(0, n_tokens - ring.capacity()), n_tokens, counter,
            [&](int64_t i) { return ring.row(i); });
}

void fill_compressor(CompressorState& state, const EntryFormat& format, int64_t n_tokens,
                     int64_t ratio, uint64_t& counter) {
  const EntryFormat tail{EntryType::kF32, state.values.width(), 0};
  fill_ring(state.values, tail, n_tokens, counter);
  fill_ring(state.scores, tail, n_tokens, counter);
  fill_rows(format, 0, n_tokens / ratio, counter,
            [&](int64_t i) { return state.entries.writable_row(i); });
}

}  // namespace

int64_t StepCost::bytes() const {
  return std::accumulate(weight_bytes.begin(), weight_bytes.end(), state_bytes);
}

SequenceState random_state(const StateLayout& layout, int64_t n_tokens) {
  SequenceState state(layout);
  state.reserve(n_tokens);
  uint64_t counter = 0;
  for (size_t i = 0; i < layout.layers.size(); ++i) {
    LayerState& layer = state.layer(static_cast<int64_t>(i));
    const LayerLayout& formats = layout.layers[i];
    fill_ring(layer.window, formats.entry, n_tokens, counter);
    for (CompressorState& s : layer.compressor) {
      fill_compressor(s, formats.entry, n_tokens, formats.ratio, counter);
    }
    for (CompressorState& s : layer.indexer) {
      fill_compressor(s, formats.index_entry, n_tokens, formats.ratio, counter);
    }
  }
  state.advance(n_tokens);
  return state;
}

ModelBench::ModelBench(Model& model, RoofMeter& meter) : model_(model), meter_(meter) {
  const ModelConfig& config = model.config();
  const auto count = [&](const std::vector<TensorSpec>& specs) {
    int64_t expert = 0;
    for (const TensorSpec& spec : specs) {
      const int64_t bytes = stored_bytes(model.checkpoint(), spec.name);
      if (spec.cls == TensorClass::kRoutedExpert) {
        if (spec.name.find(".experts.0.") != std::string::npos) expert += bytes;
      } else if (spec.cls != TensorClass::kEmbedding && spec.kind != TensorKind::kTokenMap) {
        fixed_.weight_bytes[static_cast<size_t>(spec.cls)] += bytes;
      }
    }
    return expert;
  };
  count(global_specs(config));
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    expert_bytes_.push_back(count(layer_specs(config, layer)));
  }
}

std::vector<int32_t> ModelBench::random_ids(int64_t n) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t draw = random_bits(1, 1, n_drawn_++);
    ids.push_back(static_cast<int32_t>(draw % static_cast<uint64_t>(model_.config().vocab_size)));
  }
  return ids;
}

StepCost ModelBench::cost_of(const std::vector<int64_t>& expert_runs, int64_t context,
                             int64_t batch) const {
  StepCost cost = fixed_;
  for (size_t i = 0; i < expert_bytes_.size(); ++i) {
    cost.weight_bytes[static_cast<size_t>(TensorClass::kRoutedExpert)] +=
        expert_runs[i] * expert_bytes_[i];
    cost.state_bytes += batch * entry_bytes(model_.config(), model_.state_layout().layers[i],
                                            static_cast<int64_t>(i), context);
  }
  return cost;
}

// Each call of step() runs one, of `batch` sequences of `context` tokens, and returns its time.
ModelRow ModelBench::measure(const SlicePlan& plan, const std::function<double()>& step,
                             int64_t context, int64_t batch) {
  const std::vector<int64_t> before = model_.expert_runs();
  ModelRow row;
  row.timing = measure_slices(
      plan, [&] { return meter_.measure(); }, step);
  std::vector<int64_t> runs = model_.expert_runs();
  for (size_t i = 0; i < runs.size(); ++i) runs[i] = (runs[i] - before[i]) / row.timing.n_steps;
  row.context = context;
  row.cost = cost_of(runs, context, batch);
  return row;
}

ModelRow ModelBench::decode(int64_t context, int64_t batch) {
  std::vector<SequenceState> states;
  for (int64_t i = 0; i < batch; ++i) {
    states.push_back(random_state(model_.state_layout(), context));
  }
  const Tensor<float, 2> logits({batch, model_.config().vocab_size});
  const auto step = [&] {
    Batch tokens;
    for (SequenceState& state : states) tokens.add(state, random_ids(1));
    const Clock::time_point start = Clock::now();
    model_.logits(model_.forward(tokens), logits.view());
    const double seconds = seconds_since(start);
    // Back to where it was, so that every step has this context.
    for (SequenceState& state : states) state.rollback(1);
    return seconds;
  };
  for (int i = 0; i < 3; ++i) step();
  ModelRow row = measure({.n_slices = 9, .min_seconds = 0.2}, step, context, batch);
  row.work = "decode";
  row.n_tokens = batch;
  row.cost.ops = 2.0 * static_cast<double>(count_params(model_.config()).activated * batch);
  return row;
}

ModelRow ModelBench::prefill(int64_t n_tokens) {
  const std::vector<int32_t> ids = random_ids(n_tokens);
  const Tensor<float, 2> logits({1, model_.config().vocab_size});
  const int64_t chunk = model_.options().max_batch_tokens;
  const auto step = [&] {
    SequenceState state(model_.state_layout());
    const Clock::time_point start = Clock::now();
    for (int64_t begin = 0; begin < n_tokens; begin += chunk) {
      const int64_t n = std::min(chunk, n_tokens - begin);
      Batch batch;
      batch.add(state, std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(n)));
      const View<const float, 3> streams = model_.forward(batch);
      if (begin + n == n_tokens) model_.logits(streams.slice(n - 1, 1), logits.view());
    }
    return seconds_since(start);
  };
  step();
  ModelRow row = measure({.n_slices = 3, .min_seconds = 0.3}, step, 0, 1);
  row.work = "prefill";
  row.n_tokens = n_tokens;
  const ParamCount params = count_params(model_.config());
  const int64_t head = params[TensorClass::kHead];
  row.cost.ops = 2.0 * static_cast<double>((params.activated - head) * n_tokens + head);
  return row;
}

}  // namespace dsv4
