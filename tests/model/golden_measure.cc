#include "golden_measure.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include <fmt/core.h>

namespace dsv4::golden {
namespace {

// A vector file: tensors by name.
class Vectors {
 public:
  explicit Vectors(const std::string& path) : file_(Checkpoint::open(path)) {}

  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  const std::vector<StoredTensor>& tensors() const { return file_.tensors(); }
  std::vector<float> floats(const std::string& name) const { return read<float>(name); }
  std::vector<int32_t> ints(const std::string& name) const { return read<int32_t>(name); }

 private:
  template <typename T>
  std::vector<T> read(const std::string& name) const {
    const StoredTensor* tensor = file_.find(name);
    CHECK(tensor != nullptr, name);
    std::vector<T> values(tensor->data.size() / sizeof(T));
    std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
    return values;
  }

  Checkpoint file_;
};

Tensor<float, 3> copy(View<const float, 3> streams) {
  Tensor<float, 3> result(streams.shape());
  std::copy_n(streams.data(), streams.count(), result.view().data());
  return result;
}

int32_t argmax(std::span<const float> row) {
  return static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
}

LogitsRow compare_logits(const std::string& vector, const std::vector<float>& golden,
                         Matrix<const float> ours) {
  LogitsRow row{.vector = vector, .n_rows = ours.size(0)};
  CHECK(static_cast<int64_t>(golden.size()) == ours.count(), golden.size(), ours.count());
  double sum = 0;
  for (size_t i = 0; i < golden.size(); ++i) {
    const double difference = double{golden[i]} - ours.data()[i];
    row.max_abs = std::max(row.max_abs, std::fabs(difference));
    if (std::isnan(difference)) row.max_abs = INFINITY;
    sum += difference * difference;
  }
  row.rms = std::sqrt(sum / static_cast<double>(golden.size()));
  return row;
}

// Stages of choices are compared as sets per row; weights of experts follow their ids.
bool is_set(const std::string& stage) {
  return stage.ends_with("router.ids") || stage.ends_with("indexer.topk");
}

class Run {
 public:
  Run(const std::string& name, Numerics numerics, Ops& ops)
      : model_(folder(name), ops, {.numerics = numerics}),
        vectors_(folder(name) + (numerics == Numerics::kOfficial ? "/vectors_official.safetensors"
                                                                 : "/vectors.safetensors")) {}

  Measurement run() {
    for (const int n : {1, 3, 7, 33, 130, 300}) prompt(fmt::format("p{}", n));
    for (const char* name : {"d1", "d7", "d120", "tf120"}) decode(name);
    for (const StoredTensor& tensor : vectors_.tensors()) {
      if (tensor.name.starts_with("trace.") && !compared_.contains(tensor.name)) {
        result_.missing.push_back(tensor.name);
      }
    }
    return std::move(result_);
  }

 private:
  // Streams of a forward pass (copied) and their logits.
  struct Pass {
    Tensor<float, 3> streams;
    Tensor<float, 2> logits;
  };

  Pass forward(SequenceState& state, std::span<const int32_t> ids, Trace* trace) {
    Batch batch;
    batch.add(state, ids);
    Pass pass{copy(model_.forward(batch, trace)), {}};
    pass.logits = Tensor<float, 2>({batch.n_tokens(), model_.config().vocab_size});
    model_.logits(pass.streams.view(), pass.logits.view(), trace);
    return pass;
  }

  Tensor<float, 2> mtp(SequenceState& state, std::span<const int32_t> next, const Pass& pass,
                       Trace* trace) {
    Batch batch;
    batch.add(state, next);
    const Tensor<float, 3> streams = copy(model_.mtp_forward(batch, pass.streams.view(), trace));
    Tensor<float, 2> logits({batch.n_tokens(), model_.config().vocab_size});
    model_.mtp_logits(streams.view(), logits.view(), trace);
    return logits;
  }

  void add(const std::string& vector, Matrix<const float> ours, int64_t n_argmax_wrong = 0) {
    if (!vectors_.has(vector)) return;
    result_.logits.push_back(compare_logits(vector, vectors_.floats(vector), ours));
    result_.logits.back().n_argmax_wrong = n_argmax_wrong;
  }

  void prompt(const std::string& name) {
    const std::string prefix = "prompt." + name + ".";
    const std::vector<int32_t> ids = vectors_.ints(prefix + "ids");
    const int32_t next_id = vectors_.ints(prefix + "argmax")[0];
    const auto last = static_cast<int64_t>(ids.size()) - 1;
    SequenceState state(model_.state_layout());
    SequenceState mtp_state(model_.mtp_state_layout());
    Trace trace;
    const Pass pass = forward(state, ids, &trace);
    std::vector<int32_t> next(ids.begin() + 1, ids.end());
    next.push_back(next_id);
    const Tensor<float, 2> mtp_logits = mtp(mtp_state, next, pass, &trace);

    const Matrix<float> last_row = pass.logits.view().slice(last, 1);
    add(prefix + "logits_last", last_row, argmax(last_row[0].span()) != next_id);
    add(prefix + "logits_all", pass.logits.view());
    add(prefix + "mtp_logits_last", mtp_logits.view().slice(last, 1));
    add(prefix + "mtp_logits_all", mtp_logits.view());
    compare_trace("trace." + name + ".", trace);
  }

  void decode(const std::string& name) {
    const std::string prefix = "decode." + name + ".";
    const std::vector<int32_t> prompt_ids = vectors_.ints(prefix + "prompt_ids");
    const std::vector<int32_t> ids = vectors_.ints(prefix + "ids");
    const std::vector<int32_t> next_ids = vectors_.ints(prefix + "next_ids");
    const std::vector<int32_t> steps = vectors_.ints(prefix + "steps");
    SequenceState state(model_.state_layout());
    SequenceState mtp_state(model_.mtp_state_layout());
    const Pass prefill = forward(state, prompt_ids, nullptr);
    add(prefix + "prefill_logits",
        prefill.logits.view().slice(static_cast<int64_t>(prompt_ids.size()) - 1, 1));
    std::vector<int32_t> shifted(prompt_ids.begin() + 1, prompt_ids.end());
    shifted.push_back(ids[0]);
    mtp(mtp_state, shifted, prefill, nullptr);

    Tensor<float, 2> logits({static_cast<int64_t>(steps.size()), model_.config().vocab_size});
    Tensor<float, 2> mtp_logits(logits.view().shape());
    int64_t n_wrong = 0;
    for (size_t j = 0; j < ids.size(); ++j) {
      const std::string trace_prefix = fmt::format("trace.{}.pos{}.", name, state.n_tokens());
      Trace trace;
      const Pass pass = forward(state, std::span(ids).subspan(j, 1), &trace);
      if (vectors_.has(trace_prefix + "h0")) compare_trace(trace_prefix, trace);
      n_wrong += argmax(pass.logits.view()[0].span()) != next_ids[j] ? 1 : 0;
      const int32_t next = j + 1 < ids.size() ? ids[j + 1] : next_ids[j];
      const Tensor<float, 2> mtp_row = mtp(mtp_state, std::span(&next, 1), pass, nullptr);
      const auto row = std::ranges::find(steps, static_cast<int32_t>(j)) - steps.begin();
      if (row == std::ssize(steps)) continue;
      std::ranges::copy(pass.logits.view()[0].span(), logits.view()[row].span().begin());
      std::ranges::copy(mtp_row.view()[0].span(), mtp_logits.view()[row].span().begin());
    }
    add(prefix + "logits", logits.view(), n_wrong);
    add(prefix + "mtp_logits", mtp_logits.view());
  }

  void compare_trace(const std::string& prefix, const Trace& trace) {
    for (const auto& [name, stage] : trace.stages()) {
      const std::string vector = prefix + name;
      if (!vectors_.has(vector)) continue;
      compared_.insert(vector);
      if (is_set(name)) {
        compare_choices(vector, stage);
      } else if (name.ends_with("router.weights")) {
        compare_weights(vector, stage, trace.stages().at(name.substr(0, name.size() - 7) + "ids"));
      } else {
        compare_floats(vector, stage.floats, vectors_.floats(vector));
      }
    }
  }

  // Streams of the long prompts list the last positions; the stages of the experts the first.
  void compare_floats(const std::string& vector, const std::vector<float>& ours,
                      const std::vector<float>& golden) {
    const bool last = vector.ends_with("h_attn") || vector.ends_with("h_ffn");
    const size_t offset = last ? ours.size() - golden.size() : 0;
    StageRow row{.vector = vector};
    double largest = 0;
    double sum = 0;
    for (size_t i = 0; i < golden.size(); ++i) {
      const double difference = double{golden[i]} - ours[offset + i];
      row.relative = std::max(row.relative, std::fabs(difference));
      largest = std::max(largest, std::fabs(double{golden[i]}));
      sum += difference * difference;
    }
    row.rms = std::sqrt(sum / static_cast<double>(golden.size()));
    row.relative /= largest > 0 ? largest : 1;
    result_.stages.push_back(row);
  }

  void compare_choices(const std::string& vector, const Trace::Stage& ours) {
    const std::vector<int32_t> golden = vectors_.ints(vector);
    const auto width = static_cast<size_t>(ours.shape[1]);
    StageRow row{.vector = vector};
    for (size_t begin = 0; begin < golden.size(); begin += width) {
      const std::multiset<int32_t> a(&golden[begin], &golden[begin] + width);
      const std::multiset<int32_t> b(&ours.ints[begin], &ours.ints[begin] + width);
      std::vector<int32_t> extra;
      std::ranges::set_difference(a, b, std::back_inserter(extra));
      row.n_ids_wrong += std::ssize(extra);
    }
    result_.stages.push_back(row);
  }

  void compare_weights(const std::string& vector, const Trace::Stage& weights,
                       const Trace::Stage& ids) {
    const std::vector<float> golden = vectors_.floats(vector);
    const std::vector<int32_t> golden_ids =
        vectors_.ints(vector.substr(0, vector.size() - 7) + "ids");
    std::map<int32_t, float> by_id;
    for (size_t i = 0; i < golden.size(); ++i) by_id[ids.ints[i]] = weights.floats[i];
    std::vector<float> ours;
    for (const int32_t id : golden_ids) ours.push_back(by_id[id]);
    compare_floats(vector, ours, golden);
  }

  Model model_;
  Vectors vectors_;
  Measurement result_;
  std::set<std::string> compared_;
};

}  // namespace

std::string folder(const std::string& name) {
  return std::string(DSV4_SOURCE_DIR) + "/tests/golden/" + name;
}

Measurement measure(const std::string& name, Numerics numerics, Ops& ops) {
  return Run(name, numerics, ops).run();
}

}  // namespace dsv4::golden
