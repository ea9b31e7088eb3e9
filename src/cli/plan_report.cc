#include "cli/plan_report.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Estimate& e) {
  return {{"low", e.low}, {"expected", e.expected}, {"high", e.high}};
}

void print_row(const Plan& plan) {
  fmt::print("{:<10}{:>9}{:>9}  {:<22}", plan.format, gb_text(static_cast<double>(plan.file_bytes)),
             gb_text(plan.memory.total()), verdict_name(plan.verdict));
  if (!runs(plan)) {
    fmt::print(" {}\n", plan.reason);
    return;
  }
  fmt::print("{:>13}{:>13}{:>10}{:>10}  {}\n", range_text(plan.decode), range_text(plan.prefill),
             seconds_text(plan.first_token_s), seconds_text(plan.between_p99_s),
             limit_name(plan.decode_limit));
}

Json memory_json(const MemoryNeed& m) {
  return {{"dense_weights", m.dense}, {"experts", m.experts}, {"kv_swa", m.kv_swa},
          {"kv_csa", m.kv_csa},       {"kv_hca", m.kv_hca},   {"tails", m.tails},
          {"scratch", m.scratch},     {"runtime", m.runtime}, {"total", m.total()}};
}

Json plan_json(const Plan& plan) {
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
    json["cached_tokens_s"] = json_of(plan.cached);
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

}  // namespace

void print_table(const PlanTable& table) {
  fmt::print("{}\non {}: {} GB usable\n", table.model, table.machine,
             gb_text(table.plans.empty() ? 0 : table.plans.front().available_bytes));
  fmt::print("{}\n\n", load_text(table.workload));
  fmt::print("{:<10}{:>9}{:>9}  {:<22}{:>13}{:>13}{:>10}{:>10}  {}\n", "format", "file GB",
             "memory", "verdict", "tokens/s", "prompt t/s", "first", "p99 next", "limit");
  for (const Plan& plan : table.plans) print_row(plan);
  fmt::print("\n");
  for (const std::string& note : table_notes(table)) fmt::print("{}\n", note);
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
  for (const Plan& plan : table.plans) json["plans"].push_back(plan_json(plan));
  return json;
}

}  // namespace dsv4::cli
