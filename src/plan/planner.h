// Whether a model runs on a machine, in how much memory, how fast, and why: the answer of
// `dsv4 plan` for one machine, one format and one load. docs/planning.md states every formula.
#pragma once

#include "plan/machine.h"
#include "plan/step_time.h"
#include "plan/weight_table.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dsv4 {

// What is asked of the model.
struct Workload {
  int64_t context = 8192;        // tokens of each sequence at its end
  int64_t users = 1;             // sequences at once
  int64_t prompt_tokens = 2048;  // of a request
  int64_t reply_tokens = 512;
  double cached_share = 0;  // of a prompt's tokens, that the prefix cache has
  int64_t chunk = 512;      // tokens of a prompt in one step
  double expert_skew = 0;   // see StepShape
  std::optional<KvStorage> kv;
};

// Throws Error(kInvalidInput) naming the field that makes no sense, or is beyond the model.
void check_workload(const Workload& workload, const ModelConfig& config);

enum class Verdict {
  kResident,        // all weights in the memory that reads them
  kExpertsOffload,  // experts in the host's memory, read over the link
  kExpertsOnDisk,   // some experts in memory, the others read from disk when chosen
  kSplit,           // over several such machines
  kNo
};
std::string_view verdict_name(Verdict verdict);

// Bytes by what they are for.
struct MemoryNeed {
  double dense = 0;  // weights but routed experts and the embedding, whose rows are read as needed
  double experts = 0;  // routed experts
  double kv_swa = 0;   // entries of all sequences, by kind of layer
  double kv_csa = 0;
  double kv_hca = 0;
  double tails = 0;    // inputs of compressors
  double scratch = 0;  // of a forward pass
  double runtime = 0;  // program, tables of tensors, logits

  double state() const { return kv_swa + kv_csa + kv_hca + tails; }
  double weights() const { return dense + experts; }
  double total() const { return weights() + state() + scratch + runtime; }
};
MemoryNeed memory_need(const WeightTable& table, const Workload& workload);

// How the experts that are not in memory are reached.
struct ExpertTraffic {
  double resident_bytes = 0;   // for experts
  double hit_rate = 1;         // of choices of experts, decoding
  double bytes_per_token = 0;  // read from disk or host
  double mean_s = 0;           // reading for one step of decoding
  double p50_s = 0;
  double p95_s = 0;
  double p99_s = 0;
};
// What so much memory for experts makes of it, where the others come from `source`: a replay of a
// recorded trace or of a stated skew (plan/expert_replay.h).
using ExpertModel = std::function<ExpertTraffic(double resident_bytes, const DiskRates& source)>;
using ExpertModelFor = std::function<ExpertModel(const WeightTable&, const Workload&)>;

// A number with how it came about, for --explain.
struct Formula {
  std::string what;
  std::string formula;
  std::string inputs;
  std::string result;
};

struct Plan {
  std::string machine;
  std::string format;
  Workload workload;
  Verdict verdict = Verdict::kNo;
  std::string reason;  // one line
  int64_t n_machines = 1;
  std::vector<int64_t> first_layers;  // of each machine
  MemoryNeed memory;                  // of all together
  double available_bytes = 0;         // of one machine
  int64_t file_bytes = 0;
  double bits_per_weight = 0;
  bool measured = false;  // times from a probe, not from the machine's limits
  bool runs_here = true;  // dsv4 has kernels for the machine
  bool narrow = false;    // step_time.h
  // Empty where it does not run.
  Estimate decode;        // tokens per second of one user
  Estimate decode_total;  // of all users together
  Estimate prefill;       // tokens per second of a prompt
  Estimate cached;  // tokens per second of a kept prefix, whose state is copied and not computed
  Estimate first_token_s;  // of a prompt of which only the part that is not cached is computed
  Estimate between_p50_s;  // time between two tokens of a reply
  Estimate between_p95_s;
  Estimate between_p99_s;
  Limit decode_limit = Limit::kMemory;
  Limit prefill_limit = Limit::kArithmetic;
  ExpertTraffic experts;
  std::vector<Formula> formulas;
};

struct PlanOptions {
  int64_t max_machines = 16;
  double cluster_link = 0;  // bytes per second between machines; 0: they cannot share a model
  double cluster_latency_s = 0;
  std::string cluster_source;  // where these two are from, for people
  ExpertModel expert_model;
};

Plan make_plan(const WeightTable& table, const Machine& machine, const Workload& workload,
               const PlanOptions& options);

// The formats that `dsv4 plan` compares, most bits first.
const std::vector<std::string>& compared_formats();

}  // namespace dsv4
