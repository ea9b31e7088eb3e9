#include "plan/cost.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

namespace dsv4 {
namespace {

constexpr double kMillion = 1e6;
constexpr double kHourSeconds = 3600;
constexpr double kDaySeconds = 86400;
// Far above what there is, and low enough that n_machines is a number.
constexpr double kMaxValue = 1e12;

void refuse(const char* field, double value, const char* expected) {
  throw Error(ErrorCode::kInvalidInput, field,
              fmt::format("expected {}, found {}", expected, value));
}

// Written so that NaN is refused, here and below.
void check_amount(const char* field, double value) {
  if (!(value >= 0 && value <= kMaxValue)) refuse(field, value, "a number of at least 0");
}

void check_speed(const char* field, double value) {
  if (!(value >= 1e-9 && value <= kMaxValue)) refuse(field, value, "tokens per second above 0");
}

void check_share(const char* field, double value) {
  if (!(value >= 0 && value <= 1)) refuse(field, value, "a share from 0 to 1");
}

void check_usage(const UsageProfile& usage) {
  check_amount("usage.requests_per_day", usage.requests_per_day);
  check_amount("usage.prompt_tokens", usage.prompt_tokens);
  check_amount("usage.output_tokens", usage.output_tokens);
  check_share("usage.cached_share", usage.cached_share);
  check_share("usage.thinking_share", usage.thinking_share);
  if (usage.thinking_share == 1) refuse("usage.thinking_share", 1, "a share below 1");
  if (!(usage.idle_hours_per_day >= 0 && usage.idle_hours_per_day < 24)) {
    refuse("usage.idle_hours_per_day", usage.idle_hours_per_day, "hours from 0 to below 24");
  }
}

void check_price(const MachinePrice& price, Ownership ownership) {
  check_amount("price.per_hour", price.per_hour);
  check_amount("price.purchase", price.purchase);
  check_amount("price.watts", price.watts);
  check_amount("price.idle_watts", price.idle_watts);
  if (!(price.lifetime_years >= 1e-3 && price.lifetime_years <= 1000)) {
    refuse("price.lifetime_years", price.lifetime_years, "years above 0");
  }
  if (ownership == Ownership::kRented && price.per_hour == 0) {
    refuse("price.per_hour", 0, "what the machine is rented for");
  }
  if (ownership == Ownership::kBought && price.purchase == 0 && price.watts == 0) {
    refuse("price.purchase", 0, "what the machine is bought for, or its watts");
  }
}

void check_input(const CostInput& input) {
  check_price(input.price, input.ownership);
  check_amount("electricity_per_kwh", input.electricity_per_kwh);
  check_usage(input.usage);
  check_speed("speeds.prefill", input.speeds.prefill);
  check_speed("speeds.decode", input.speeds.decode);
  check_speed("speeds.cached", input.speeds.cached);
}

double cached_tokens(const UsageProfile& usage) { return usage.prompt_tokens * usage.cached_share; }

double new_tokens(const UsageProfile& usage) {
  return usage.prompt_tokens * (1 - usage.cached_share);
}

// Per million: what one token of each kind takes, times what a second costs.
TokenCosts token_costs(const CostInput& input, double second_cost) {
  const TokenSpeeds& speeds = input.speeds;
  TokenCosts costs;
  costs.input = second_cost * kMillion / speeds.prefill;
  costs.cached = second_cost * kMillion / speeds.cached;
  costs.output = second_cost * kMillion / speeds.decode;
  costs.answer = costs.output / (1 - input.usage.thinking_share);
  return costs;
}

double request_seconds(const CostInput& input) {
  const UsageProfile& usage = input.usage;
  const double seconds = new_tokens(usage) / input.speeds.prefill +
                         cached_tokens(usage) / input.speeds.cached +
                         usage.output_tokens / input.speeds.decode;
  if (!(seconds > 0)) refuse("usage.output_tokens", usage.output_tokens, "tokens that take time");
  return seconds;
}

double cost_per_hour(const CostInput& input, double load) {
  const MachinePrice& price = input.price;
  if (input.ownership == Ownership::kRented) return price.per_hour;
  const double watts = load * price.watts + (1 - load) * price.idle_watts;
  return price.purchase / (price.lifetime_years * kHoursPerYear) +
         input.electricity_per_kwh * watts / 1000;
}

double max_requests(const CostInput& input) {
  return (24 - input.usage.idle_hours_per_day) * kHourSeconds / request_seconds(input);
}

}  // namespace

Cost machine_cost(const CostInput& input) {
  check_input(input);
  Cost cost;
  cost.request_s = request_seconds(input);
  cost.max_requests_day = max_requests(input);
  cost.busy_share = input.usage.requests_per_day / cost.max_requests_day;
  if (cost.busy_share > kMaxValue) {
    refuse("usage.requests_per_day", input.usage.requests_per_day, "fewer requests");
  }
  cost.n_machines = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(cost.busy_share)));

  const auto n = static_cast<double>(cost.n_machines);
  cost.load = input.usage.requests_per_day * cost.request_s / kDaySeconds / n;
  cost.per_hour = cost_per_hour(input, cost.load);
  cost.per_day = cost.per_hour * 24 * n;
  if (cost.load > 0) {
    cost.per_million = token_costs(input, cost.per_hour / (kHourSeconds * cost.load));
  }
  cost.full_load_per_million = token_costs(input, cost_per_hour(input, 1) / kHourSeconds);
  return cost;
}

double tariff_request_cost(const UsageProfile& usage, const Tariff& tariff) {
  check_usage(usage);
  return (new_tokens(usage) * tariff.input + cached_tokens(usage) * tariff.cached_input +
          usage.output_tokens * tariff.output) /
         kMillion;
}

std::optional<double> break_even_requests_per_day(const CostInput& input, const Tariff& tariff) {
  check_input(input);
  if (input.price.currency != tariff.currency) {
    throw Error(ErrorCode::kInvalidInput, tariff.name,
                fmt::format("prices are in {}, those of the machine in {}", tariff.currency,
                            input.price.currency));
  }
  const double idle_hour = cost_per_hour(input, 0);
  const double request_energy =
      (cost_per_hour(input, 1) - idle_hour) * request_seconds(input) / kHourSeconds;
  const double saved = tariff_request_cost(input.usage, tariff) - request_energy;
  if (saved <= 0) return std::nullopt;
  const double requests = 24 * idle_hour / saved;
  if (requests > max_requests(input)) return std::nullopt;
  return requests;
}

}  // namespace dsv4
