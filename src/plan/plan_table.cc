#include "plan/plan_table.h"

#include <algorithm>

#include <fmt/core.h>

namespace dsv4 {

bool runs(const Plan& plan) { return plan.verdict != Verdict::kNo; }

std::string gb_text(double bytes) {
  const double value = bytes * 1e-9;
  return value < 9.995   ? fmt::format("{:.2f}", value)
         : value < 99.95 ? fmt::format("{:.1f}", value)
                         : fmt::format("{:.0f}", value);
}

std::string rate_text(double value) {
  return value < 0.0995  ? fmt::format("{:.3f}", value)
         : value < 0.995 ? fmt::format("{:.2f}", value)
         : value < 9.95  ? fmt::format("{:.1f}", value)
                         : fmt::format("{:.0f}", value);
}

std::string range_text(const Estimate& rate) {
  const std::string low = rate_text(rate.low);
  const std::string high = rate_text(rate.high);
  return low == high ? low : low + "-" + high;
}

std::string seconds_text(const Estimate& seconds) {
  const double s = seconds.expected;
  if (s < 0.0995) return fmt::format("{:.1f} ms", s * 1e3);
  if (s < 0.9995) return fmt::format("{:.0f} ms", s * 1e3);
  if (s < 599.5) return fmt::format("{:.1f} s", s);
  return fmt::format("{:.0f} min", s / 60);
}

std::string load_text(const Workload& w) {
  return fmt::format(
      "{} user{} x {} tokens of context; a request has {} tokens ({:.0f} % cached) and a reply of "
      "{}",
      w.users, w.users == 1 ? "" : "s", w.context, w.prompt_tokens, 100 * w.cached_share,
      w.reply_tokens);
}

std::vector<std::string> table_notes(const PlanTable& table) {
  const auto any = [&](auto&& is) { return std::ranges::any_of(table.plans, is); };
  const int64_t users = table.workload.users;
  std::vector<std::string> notes = {
      fmt::format("GB are 10^9 bytes; tokens/s and the time to the first token are of one user{}.",
                  users > 1 ? fmt::format(" of {}", users) : "")};
  if (any([](const Plan& p) { return runs(p) && !p.measured; })) {
    notes.emplace_back(
        "Times follow from the machine's limits and the share of them that engines reach, not from "
        "a measurement.");
  }
  if (any([](const Plan& p) { return runs(p) && !p.runs_here; })) {
    notes.emplace_back(
        "dsv4 has kernels for x86 processors only: for this machine the times say what its limits "
        "allow.");
  }
  if (any([](const Plan& p) { return runs(p) && p.narrow; })) notes.emplace_back(kNarrowNote);
  return notes;
}

}  // namespace dsv4
