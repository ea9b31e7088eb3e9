#include "plan/cost_table.h"

#include "base/check.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

bool has_price(const CostInput& input) {
  return input.ownership == Ownership::kRented ? input.price.per_hour > 0
                                               : input.price.purchase > 0;
}

PricedFormat priced_format(const Plan& plan, CostInput input) {
  const Workload& load = plan.workload;
  input.usage.prompt_tokens = static_cast<double>(load.prompt_tokens);
  input.usage.output_tokens = static_cast<double>(load.reply_tokens);
  input.usage.cached_share = load.cached_share;
  input.speeds = {plan.prefill.expected, plan.decode_total.expected, plan.cached.expected};
  const auto n = static_cast<double>(plan.n_machines);
  for (double* part : {&input.price.per_hour, &input.price.purchase, &input.price.watts,
                       &input.price.idle_watts}) {
    *part *= n;
  }
  return {plan.format, input, plan.prefill, plan.decode_total, plan.cached, machine_cost(input)};
}

}  // namespace

const PricedFormat& CostTable::cheapest() const {
  CHECK(!formats.empty());
  return *std::ranges::min_element(formats, {}, [](const PricedFormat& priced) {
    return priced.cost.full_load_per_million.output;
  });
}

CostTable price_plans(const std::vector<Plan>& plans, const CostInput& input,
                      std::vector<Tariff> tariffs) {
  CostTable table{.currency = input.price.currency};
  for (const Plan& plan : plans) {
    if (plan.verdict == Verdict::kNo) continue;
    if (has_price(input)) {
      table.formats.push_back(priced_format(plan, input));
    } else {
      table.lacks_price = true;
    }
  }
  table.tariffs = std::move(tariffs);
  return table;
}

std::string_view ownership_name(Ownership ownership) {
  return ownership == Ownership::kRented ? "rented" : "bought";
}

std::string money_text(double value) {
  if (value > 0 && value < 0.0005) return "<0.001";
  return value < 0.995 ? fmt::format("{:.3f}", value)
         : value < 1e4 ? fmt::format("{:.2f}", value)
                       : fmt::format("{:.0f}", value);
}

CostTexts cost_texts(const Cost& cost) {
  const auto now = [&](double TokenCosts::*kind) {
    return cost.per_million ? money_text((*cost.per_million).*kind) : "-";
  };
  return {.busy = fmt::format("{:.0f}%", 100 * cost.busy_share),
          .machines = fmt::format("{}", cost.n_machines),
          .per_day = money_text(cost.per_day),
          .input = now(&TokenCosts::input),
          .cached = now(&TokenCosts::cached),
          .output = now(&TokenCosts::output),
          .full_load_input = money_text(cost.full_load_per_million.input),
          .full_load_output = money_text(cost.full_load_per_million.output)};
}

std::string break_even_text(const PricedFormat& priced, const Tariff& tariff) {
  if (tariff.currency != priced.input.price.currency) return "other money";
  const auto requests = break_even_requests_per_day(priced.input, tariff);
  return requests ? fmt::format("{:.0f}/day", *requests) : "never";
}

}  // namespace dsv4
