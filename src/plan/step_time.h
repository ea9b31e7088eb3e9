// How long a step takes on a machine: from the speeds of this program's kernels where a probe has
// measured them, else from the machine's limits and the share of them that engines reach
// (docs/planning.md).
#pragma once

#include "plan/machine.h"
#include "plan/step_cost.h"

#include <string_view>

namespace dsv4 {

// What binds a step: the largest part of its time.
enum class Limit { kMemory, kArithmetic, kDisk, kLink, kCalls };
std::string_view limit_name(Limit limit);

// The least, the expected and the most.
struct Estimate {
  double low = 0;
  double expected = 0;
  double high = 0;
};

// The share of a machine's limits that decoding and prompts reach where nothing was measured.
struct Efficiency {
  double low = 0;
  double high = 0;
};
Efficiency memory_efficiency(DeviceKind kind);
Efficiency arithmetic_efficiency(DeviceKind kind);
// Seconds that each call of an operation takes besides: from `high` to `low` efficiency.
Efficiency call_seconds(DeviceKind kind);

struct StepTime {
  Estimate seconds;
  Limit limit = Limit::kMemory;
  // Parts of the expected time.
  double weights_s = 0;    // products
  double attention_s = 0;  // attention, index scores, top-k
  double other_s = 0;      // everything else on rows of activations
  double link_s = 0;       // between devices
};

// Whether products of this model are narrower than those of a probe, so that they take longer than
// its rates say.
bool is_narrow(const ModelConfig& config);
constexpr std::string_view kNarrowNote =
    "This model is smaller than those that times are known for: prompts may take four times as "
    "long.";

// On one machine, whose devices share the work of every layer.
StepTime step_time(const StepWork& work, const Machine& machine, const ModelConfig& config);

// To read and write so many bytes of memory: by one thread, where a probe has measured it.
Estimate copy_seconds(double bytes, const Machine& machine);

// Expected seconds of a prompt that is computed in pieces of `chunk` tokens behind `before` others.
double prompt_seconds(const WeightTable& table, const StateLayout& layout, const Machine& machine,
                      int64_t before, int64_t n_tokens, int64_t chunk);

// Seconds of products with weights of a format, as the probe has it: between measured numbers of
// tokens by a straight line, beyond the last at its time per token. Where memory gives `read` bytes
// per second now, products that wait for it change with it, those that compute do not. A format
// that was not measured takes the time of the one with the next larger bytes per weight.
double product_seconds(const Probe& probe, const ProductWork& product, double read);

// Operations per second that products with this format can reach; 0 if not known.
double arithmetic_rate(const Machine& machine, std::string_view format);

}  // namespace dsv4
