#include "cli/plan_report.h"

#include <algorithm>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

using Json = nlohmann::ordered_json;

// File sizes and memory in 10^9 bytes, as machines are sold.
std::string gb(double bytes) {
  const double value = bytes * 1e-9;
  return value < 9.995   ? fmt::format("{:.2f}", value)
         : value < 99.95 ? fmt::format("{:.1f}", value)
                         : fmt::format("{:.0f}", value);
}

std::string number(double value) {
  return value < 0.0995  ? fmt::format("{:.3f}", value)
         : value < 0.995 ? fmt::format("{:.2f}", value)
         : value < 9.95  ? fmt::format("{:.1f}", value)
                         : fmt::format("{:.0f}", value);
}

std::string range(const Estimate& e) {
  const std::string low = number(e.low);
  const std::string high = number(e.high);
  return low == high ? low : low + "-" + high;
}

std::string seconds(const Estimate& e) {
  const double s = e.expected;
  if (s < 0.0995) return fmt::format("{:.1f} ms", s * 1e3);
  if (s < 0.9995) return fmt::format("{:.0f} ms", s * 1e3);
  if (s < 599.5) return fmt::format("{:.1f} s", s);
  return fmt::format("{:.0f} min", s / 60);
}

bool runs(const Plan& plan) { return plan.verdict != Verdict::kNo; }

Json json_of(const Estimate& e) {
  return {{"low", e.low}, {"expected", e.expected}, {"high", e.high}};
}

void print_row(const Plan& plan) {
  fmt::print("{:<10}{:>9}{:>9}  {:<22}", plan.format, gb(static_cast<double>(plan.file_bytes)),
             gb(plan.memory.total()), verdict_name(plan.verdict));
  if (!runs(plan)) {
    fmt::print(" {}\n", plan.reason);
    return;
  }
  fmt::print("{:>13}{:>13}{:>10}{:>10}  {}\n", range(plan.decode), range(plan.prefill),
             seconds(plan.first_token_s), seconds(plan.between_p99_s),
             limit_name(plan.decode_limit));
}

// What a reader must know who sees the times.
void print_notes(const PlanTable& table) {
  const auto any = [&](auto&& is) { return std::ranges::any_of(table.plans, is); };
  fmt::print("GB are 10^9 bytes; tokens/s and the time to the first token are of one user");
  if (table.workload.users > 1) fmt::print(" of {}", table.workload.users);
  fmt::print(".\n");
  if (any([](const Plan& p) { return runs(p) && !p.measured; })) {
    fmt::print(
        "Times follow from the machine's limits and the share of them that engines reach, not from "
        "a measurement.\n");
  }
  if (any([](const Plan& p) { return runs(p) && !p.runs_here; })) {
    fmt::print(
        "dsv4 has kernels for x86 processors only: for this machine the times say what its limits "
        "allow.\n");
  }
}

Json memory_json(const MemoryNeed& m) {
  return {{"dense_weights", m.dense}, {"experts", m.experts}, {"kv_swa", m.kv_swa},
          {"kv_csa", m.kv_csa},       {"kv_hca", m.kv_hca},   {"tails", m.tails},
          {"scratch", m.scratch},     {"runtime", m.runtime}, {"total", m.total()}};
}

}  // namespace

void print_table(const PlanTable& table) {
  const Workload& w = table.workload;
  fmt::print("{}\non {}: {} GB usable\n", table.model, table.machine,
             gb(table.plans.empty() ? 0 : table.plans.front().available_bytes));
  fmt::print(
      "{} user{} x {} tokens of context; a request has {} tokens ({:.0f} % cached) and a "
      "reply of {}\n\n",
      w.users, w.users == 1 ? "" : "s", w.context, w.prompt_tokens, 100 * w.cached_share,
      w.reply_tokens);
  fmt::print("{:<10}{:>9}{:>9}  {:<22}{:>13}{:>13}{:>10}{:>10}  {}\n", "format", "file GB",
             "memory", "verdict", "tokens/s", "prompt t/s", "first", "p99 next", "limit");
  for (const Plan& plan : table.plans) print_row(plan);
  fmt::print("\n");
  print_notes(table);
}

void print_formulas(const PlanTable& table) {
  for (const Plan& plan : table.plans) {
    fmt::print("\n{} on {}: {}{}{}\n", plan.format, table.machine, verdict_name(plan.verdict),
               plan.reason.empty() ? "" : ", ", plan.reason);
    if (plan.n_machines > 1) {
      fmt::print("  first layer of each machine: {}\n", fmt::join(plan.first_layers, ", "));
    }
    for (const Formula& f : plan.formulas) {
      fmt::print("  {} = {}\n    = {}\n    = {}\n", f.what, f.formula, f.inputs, f.result);
    }
  }
}

nlohmann::ordered_json to_json(const Plan& plan) {
  Json json = {{"machine", plan.machine},
               {"format", plan.format},
               {"verdict", verdict_name(plan.verdict)},
               {"reason", plan.reason},
               {"machines", plan.n_machines},
               {"first_layers", plan.first_layers},
               {"file_bytes", plan.file_bytes},
               {"bits_per_weight", plan.bits_per_weight},
               {"available_bytes", plan.available_bytes},
               {"memory", memory_json(plan.memory)},
               {"measured", plan.measured},
               {"runs_here", plan.runs_here}};
  if (runs(plan)) {
    json["decode_tokens_s"] = json_of(plan.decode);
    json["decode_total_tokens_s"] = json_of(plan.decode_total);
    json["prefill_tokens_s"] = json_of(plan.prefill);
    json["first_token_s"] = json_of(plan.first_token_s);
    json["between_tokens_s"] = {{"p50", json_of(plan.between_p50_s)},
                                {"p95", json_of(plan.between_p95_s)},
                                {"p99", json_of(plan.between_p99_s)}};
    json["decode_limit"] = limit_name(plan.decode_limit);
    json["prefill_limit"] = limit_name(plan.prefill_limit);
    json["experts"] = {{"resident_bytes", plan.experts.resident_bytes},
                       {"hit_rate", plan.experts.hit_rate},
                       {"bytes_per_token", plan.experts.bytes_per_token}};
  }
  json["formulas"] = Json::array();
  for (const Formula& f : plan.formulas) {
    json["formulas"].push_back(
        {{"what", f.what}, {"formula", f.formula}, {"inputs", f.inputs}, {"result", f.result}});
  }
  return json;
}

nlohmann::ordered_json to_json(const PlanTable& table) {
  const Workload& w = table.workload;
  Json json = {{"model", table.model},
               {"machine", table.machine},
               {"workload",
                {{"context", w.context},
                 {"users", w.users},
                 {"prompt_tokens", w.prompt_tokens},
                 {"reply_tokens", w.reply_tokens},
                 {"cached_share", w.cached_share},
                 {"chunk", w.chunk},
                 {"expert_skew", w.expert_skew}}},
               {"plans", Json::array()}};
  for (const Plan& plan : table.plans) json["plans"].push_back(to_json(plan));
  return json;
}

}  // namespace dsv4::cli
