#include "plan/planner.h"

#include "base/error.h"
#include "model/model.h"
#include "plan/layer_split.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

namespace dsv4 {
namespace {

std::string gb(double bytes) { return fmt::format("{:.1f} GB", bytes * 1e-9); }

Estimate operator+(const Estimate& a, const Estimate& b) {
  return {a.low + b.low, a.expected + b.expected, a.high + b.high};
}

Estimate operator*(double factor, const Estimate& e) {
  return {factor * e.low, factor * e.expected, factor * e.high};
}

Estimate same(double seconds) { return {seconds, seconds, seconds}; }

// `count` in each of so many seconds: the fastest rate belongs to the least time.
Estimate per(double count, const Estimate& seconds) {
  return {count / seconds.high, count / seconds.expected, count / seconds.low};
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

class Planner {
 public:
  Planner(const WeightTable& table, const Machine& machine, const Workload& workload,
          const PlanOptions& options)
      : table_(table),
        config_(table.config),
        machine_(machine),
        load_(workload),
        options_(options) {
    layout_ = Model::layout_of(
        config_, {.numerics = Numerics::kFast, .kv = load_.kv, .context = load_.context});
    plan_.machine = machine.name;
    plan_.format = table.format;
    plan_.workload = workload;
    plan_.file_bytes = table.file_bytes;
    plan_.bits_per_weight = bits_per_weight(table.groups(), config_);
    plan_.measured = machine.probe.has_value();
    plan_.runs_here = machine.kind == DeviceKind::kCpu;
    plan_.narrow = is_narrow(config_);
  }

  Plan make() {
    count_memory();
    choose();
    if (plan_.verdict == Verdict::kNo) return std::move(plan_);
    time_decoding();
    time_prompts();
    time_waits();
    return std::move(plan_);
  }

 private:
  void explain(std::string what, std::string formula, std::string inputs, std::string result) {
    plan_.formulas.push_back(
        {std::move(what), std::move(formula), std::move(inputs), std::move(result)});
  }

  // Scratch and program are there once on every device; the sequences are shared out.
  void count_memory() {
    plan_.memory = memory_need(table_, load_);
    MemoryNeed& m = plan_.memory;
    const auto n = static_cast<double>(machine_.n_devices);
    m.scratch *= n;
    m.runtime *= n;
    plan_.available_bytes = machine_.usable_bytes();
    explain("memory", "weights + state + scratch + runtime",
            fmt::format("{} dense + {} experts + {} state of {} x {} tokens + {} + {}", gb(m.dense),
                        gb(m.experts), gb(m.state()), load_.users, load_.context, gb(m.scratch),
                        gb(m.runtime)),
            gb(m.total()));
    explain("memory there is", "devices x (memory - reserved)",
            fmt::format("{} x ({} - {})", machine_.n_devices, gb(machine_.memory_bytes),
                        gb(machine_.reserved_bytes)),
            gb(plan_.available_bytes));
  }

  void choose() {
    const MemoryNeed& m = plan_.memory;
    const double room = plan_.available_bytes - (m.total() - m.experts);  // for experts
    if (m.total() <= plan_.available_bytes) {
      plan_.verdict = Verdict::kResident;
      plan_.reason = fmt::format("needs {} of {}", gb(m.total()), gb(plan_.available_bytes));
    } else if (!offload(room) && !split() && !from_disk(room)) {
      plan_.verdict = Verdict::kNo;
    }
  }

  // The experts in the memory of the machine that the GPUs are in.
  bool offload(double room) {
    const bool fits = machine_.kind == DeviceKind::kGpu && machine_.host_link > 0 &&
                      plan_.memory.experts <= machine_.host_memory_bytes && room >= least_experts();
    if (!fits || !options_.expert_model) return false;
    plan_.verdict = Verdict::kExpertsOffload;
    plan_.reason = fmt::format("{} of {} experts on the GPUs, the rest in host memory", gb(room),
                               gb(plan_.memory.experts));
    read_experts(room, {.read = machine_.host_link});
    return true;
  }

  bool from_disk(double room) {
    if (room < least_experts()) {
      if (!plan_.reason.empty()) return false;
      plan_.reason =
          fmt::format("needs {} besides the experts, there is {}",
                      gb(plan_.memory.total() - plan_.memory.experts), gb(plan_.available_bytes));
      return false;
    }
    if (machine_.disk.read <= 0 || !options_.expert_model) {
      plan_.reason = fmt::format("needs {}, there is {}; how fast its disk is, is not known",
                                 gb(plan_.memory.total()), gb(plan_.available_bytes));
      return false;
    }
    plan_.verdict = Verdict::kExpertsOnDisk;
    plan_.reason = fmt::format("{} of {} experts in memory", gb(room), gb(plan_.memory.experts));
    read_experts(room, machine_.disk);
    return true;
  }

  void read_experts(double room, const DiskRates& source) {
    expert_source_ = source;
    plan_.experts = options_.expert_model(room, source);
    explain("experts that are read", "misses of the expert cache x bytes of an expert",
            fmt::format("{:.1f} % hits with {} for experts; {:.1f} MB a token at {:.1f} GB/s",
                        100 * plan_.experts.hit_rate, gb(plan_.experts.resident_bytes),
                        plan_.experts.bytes_per_token * 1e-6, source.read * 1e-9),
            fmt::format("{:.2f} ms a step", 1e3 * plan_.experts.mean_s));
  }

  // What a token chooses in one layer.
  double least_experts() const {
    return plan_.memory.experts * static_cast<double>(config_.n_active_experts) /
           static_cast<double>(config_.n_experts * config_.n_layers);
  }

  // Bytes of each layer with its part of the state; embedding and head beside the last.
  std::vector<double> layer_bytes() const {
    const auto n = static_cast<size_t>(config_.n_layers);
    std::vector<double> bytes(n, 0);
    for (const TableWeight& w : table_.weights) {
      if (w.cls == TensorClass::kMtp || w.cls == TensorClass::kEmbedding) continue;
      const bool in_layer = w.layer >= 0 && w.layer < config_.n_layers;
      bytes[in_layer ? static_cast<size_t>(w.layer) : n - 1] += static_cast<double>(w.bytes);
    }
    for (size_t i = 0; i < n; ++i) {
      bytes[i] +=
          static_cast<double>(load_.users) *
          static_cast<double>(
              state_bytes(layout_.layers[i], layout_.rollback_tokens, load_.context).total());
    }
    return bytes;
  }

  bool split() {
    if (options_.cluster_link <= 0) return false;
    const std::vector<double> bytes = layer_bytes();
    const double room = plan_.available_bytes - plan_.memory.scratch - plan_.memory.runtime;
    for (int64_t n = 2; n <= std::min(options_.max_machines, config_.n_layers); ++n) {
      const LayerSplit layers = split_layers(bytes, n);
      if (layers.largest > room) continue;
      plan_.verdict = Verdict::kSplit;
      plan_.n_machines = std::ssize(layers.first_layers);
      plan_.first_layers = layers.first_layers;
      plan_.reason =
          fmt::format("{} machines, {} of {} on the fullest", plan_.n_machines,
                      gb(layers.largest + plan_.available_bytes - room), gb(plan_.available_bytes));
      const auto extra = static_cast<double>(plan_.n_machines);
      plan_.memory.scratch *= extra;
      plan_.memory.runtime *= extra;
      explain(
          "from a machine to the next", "latency + bytes / link",
          fmt::format("{:.1f} us + {:.0f} bytes of a token at {:.3g} GB/s{}{}",
                      1e6 * options_.cluster_latency_s, hop_bytes(1), options_.cluster_link * 1e-9,
                      options_.cluster_source.empty() ? "" : ", ", options_.cluster_source),
          fmt::format("{:.1f} us", 1e6 * hop_s(1)));
      return true;
    }
    plan_.reason =
        fmt::format("needs {}, {} machines of {} are not enough", gb(plan_.memory.total()),
                    options_.max_machines, gb(plan_.available_bytes));
    return false;
  }

  // Streams of the residual go from each machine to the next.
  double hop_bytes(double rows) const {
    return rows * static_cast<double>(config_.hc_mult * config_.hidden_size) * 4;
  }
  double hop_s(double rows) const {
    return options_.cluster_latency_s + hop_bytes(rows) / options_.cluster_link;
  }
  double hops_s(double rows) const {
    return plan_.n_machines == 1 ? 0 : static_cast<double>(plan_.n_machines - 1) * hop_s(rows);
  }

  void time_decoding() {
    // Machines that hold some of the layers work on different users at once.
    const int64_t groups = std::min(load_.users, plan_.n_machines);
    const int64_t rows = ceil_div(load_.users, groups);
    const StepShape shape{.n_sequences = rows,
                          .context = load_.context - 1,
                          .n_logits = rows,
                          .expert_skew = load_.expert_skew};
    const StepWork work = step_work(table_, layout_, shape);
    const StepTime time = step_time(work, machine_, config_);
    step_ = time.seconds + same(hops_s(static_cast<double>(rows)));
    plan_.decode_limit = hops_s(1) > time.seconds.expected ? Limit::kLink : time.limit;
    if (plan_.experts.mean_s > time.seconds.expected) plan_.decode_limit = reading_limit();
    const Estimate with_reads = step_ + same(plan_.experts.mean_s);
    plan_.decode = per(1, with_reads);
    plan_.decode_total = per(static_cast<double>(load_.users), with_reads);
    explain("a step of decoding",
            plan_.measured ? "products + attention + other operations, at measured speeds"
                           : "max(bytes / (read x share), operations / (rate x share)) + calls",
            fmt::format("{} tokens, {} of weights, {} of state, {:.1f} Gop in products; {:.2f} ms "
                        "products, {:.2f} ms attention, {:.2f} ms other, {:.2f} ms links",
                        rows, gb(work.weight_bytes), gb(work.state_bytes), work.product_ops * 1e-9,
                        1e3 * time.weights_s, 1e3 * time.attention_s, 1e3 * time.other_s,
                        1e3 * (time.link_s + hops_s(static_cast<double>(rows)))),
            fmt::format("{:.2f} ms", 1e3 * with_reads.expected));
  }

  Limit reading_limit() const {
    return plan_.verdict == Verdict::kExpertsOffload ? Limit::kLink : Limit::kDisk;
  }

  int64_t computed_tokens() const {
    const double computed = static_cast<double>(load_.prompt_tokens) * (1 - load_.cached_share);
    return std::max<int64_t>(1, std::llround(computed));
  }

  // Of a prompt's first `n_tokens` tokens, which the prefix cache has. Without any of the whole
  // prompt, for the price of a token.
  void time_prefix(int64_t n_tokens) {
    const int64_t kept = n_tokens > 0 ? n_tokens : load_.prompt_tokens;
    const double bytes = restored_bytes(layout_, kept);
    // Each machine of a split copies its layers.
    const Estimate restore =
        1 / static_cast<double>(plan_.n_machines) * copy_seconds(bytes, machine_);
    plan_.cached = per(static_cast<double>(kept), restore);
    if (n_tokens > 0) restore_ = restore;
    explain(
        "a kept prefix",
        fmt::format(
            "2 x copied bytes / {}; none is computed, full pages are shared",
            plan_.measured ? "read rate of one thread" : "(devices x read x share) / machines"),
        fmt::format("{} tokens{}: {:.2f} MB of windows, inputs of compressors, pages in progress",
                    kept, n_tokens > 0 ? "" : ", if they were kept", bytes * 1e-6),
        fmt::format("{:.3f} ms", 1e3 * restore.expected));
  }

  void time_prompts() {
    const int64_t tokens = computed_tokens();
    const int64_t piece = std::min(load_.chunk, tokens);
    const int64_t before = load_.prompt_tokens - tokens;  // from the cache
    time_prefix(before);
    const StepShape shape{.n_tokens = piece,
                          .context = before + (tokens - piece) / 2,
                          .n_logits = 1,
                          .expert_skew = load_.expert_skew};
    const StepTime time = step_time(step_work(table_, layout_, shape), machine_, config_);
    piece_ = time.seconds + same(hops_s(static_cast<double>(piece)) + piece_read_s(piece));
    plan_.prefill_limit =
        piece_read_s(piece) > time.seconds.expected ? reading_limit() : time.limit;
    const double n_pieces = static_cast<double>(tokens) / static_cast<double>(piece);
    // While a machine computes its layers of one piece, the one before it computes the next piece.
    const auto stages = static_cast<double>(plan_.n_machines);
    prompt_ = ((n_pieces + stages - 1) / stages) * piece_;
    plan_.prefill = per(static_cast<double>(tokens), prompt_);
    plan_.first_token_s = restore_ + prompt_ + step_ + same(plan_.experts.mean_s);
    explain("a prompt", "pieces x time of a piece, plus filling the pipeline of machines",
            fmt::format("{} tokens to compute ({} cached), {:.2f} pieces of {}, each {:.1f} ms: "
                        "{:.1f} products, {:.1f} attention, {:.1f} other",
                        tokens, before, n_pieces, piece, 1e3 * piece_.expected,
                        1e3 * time.weights_s, 1e3 * time.attention_s, 1e3 * time.other_s),
            fmt::format("{:.2f} s", prompt_.expected));
  }

  // A piece of a prompt chooses most experts, and each is read again by the next piece.
  double piece_read_s(int64_t piece) const {
    if (expert_source_.read <= 0) return 0;
    const double chosen = expected_experts(config_, piece, load_.expert_skew) /
                          static_cast<double>(config_.n_experts);
    const double missing = 1 - std::min(1.0, plan_.experts.resident_bytes / plan_.memory.experts);
    return chosen * missing * plan_.memory.experts / expert_source_.read;
  }

  // A step of all sequences may carry a piece of somebody's prompt.
  void time_waits() {
    const double pieces = std::ceil(static_cast<double>(computed_tokens()) /
                                    static_cast<double>(std::min(load_.chunk, computed_tokens())));
    const double with_piece = load_.users == 1
                                  ? 0
                                  : std::min(1.0, static_cast<double>(load_.users) * pieces /
                                                      static_cast<double>(load_.reply_tokens));
    const auto wait = [&](double quantile, double read_s) {
      const Estimate plain = step_ + same(read_s);
      return with_piece > 1 - quantile ? plain + piece_ : plain;
    };
    plan_.between_p50_s = wait(0.50, plan_.experts.p50_s);
    plan_.between_p95_s = wait(0.95, plan_.experts.p95_s);
    plan_.between_p99_s = wait(0.99, plan_.experts.p99_s);
    explain("steps that carry a piece of a prompt",
            "users x pieces of a prompt / tokens of a reply",
            fmt::format("{} x {:.0f} / {}, none for a single user", load_.users, pieces,
                        load_.reply_tokens),
            fmt::format("{:.1f} %", 100 * with_piece));
  }

  const WeightTable& table_;
  const ModelConfig& config_;
  const Machine& machine_;
  const Workload& load_;
  const PlanOptions& options_;
  StateLayout layout_;
  Plan plan_;
  DiskRates expert_source_;  // of experts that are not in memory
  Estimate step_;            // of decoding, without reads of experts
  Estimate piece_;           // of a prompt
  Estimate restore_;         // of the state behind the cached part of a prompt
  Estimate prompt_;          // all pieces
};

}  // namespace

void check_workload(const Workload& w, const ModelConfig& config) {
  const auto check = [](bool good, const char* field, const std::string& message) {
    if (!good) throw Error(ErrorCode::kInvalidInput, field, message);
  };
  constexpr int64_t kMostUsers = 1'000'000;
  constexpr int64_t kMostTokens = int64_t{1} << 24;
  check(w.context >= 1 && w.context <= kMostTokens, "context",
        fmt::format("{} is not within 1 to {}", w.context, kMostTokens));
  check(config.max_position_embeddings == 0 || w.context <= config.max_position_embeddings,
        "context",
        fmt::format("{} tokens are more than the model's {}", w.context,
                    config.max_position_embeddings));
  check(w.users >= 1 && w.users <= kMostUsers, "users",
        fmt::format("{} is not within 1 to {}", w.users, kMostUsers));
  check(w.prompt_tokens >= 1, "prompt", fmt::format("{} is less than one token", w.prompt_tokens));
  check(w.reply_tokens >= 1, "reply", fmt::format("{} is less than one token", w.reply_tokens));
  check(w.prompt_tokens + w.reply_tokens <= w.context, "context",
        fmt::format("a prompt of {} and a reply of {} tokens do not fit into {}", w.prompt_tokens,
                    w.reply_tokens, w.context));
  check(w.cached_share >= 0 && w.cached_share <= 1, "cached",
        fmt::format("{} is not within 0 to 1", w.cached_share));
  check(w.chunk >= 1 && w.chunk <= 1 << 16, "chunk",
        fmt::format("{} is not within 1 to 65536", w.chunk));
  check(w.expert_skew >= 0 && w.expert_skew <= 10, "skew",
        fmt::format("{} is not within 0 to 10", w.expert_skew));
}

std::string_view verdict_name(Verdict verdict) {
  constexpr std::string_view kNames[] = {"runs", "experts in host memory", "experts on disk",
                                         "several machines", "does not run"};
  return kNames[static_cast<size_t>(verdict)];
}

Plan make_plan(const WeightTable& table, const Machine& machine, const Workload& workload,
               const PlanOptions& options) {
  check_workload(workload, table.config);
  return Planner(table, machine, workload, options).make();
}

const std::vector<std::string>& compared_formats() {
  static const std::vector<std::string> kFormats = {"F16",    "Q8_0",     "FP8",    "Q6_K",
                                                    "Q5_K_M", "AWQ-INT4", "Q4_K_M", "FP4",
                                                    "Q3_K_M", "Q2_K",     "IQ2_XXS"};
  return kFormats;
}

}  // namespace dsv4
