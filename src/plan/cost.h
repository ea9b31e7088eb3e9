// What tokens cost on a machine of one's own. Plain arithmetic; every formula stands here, beside
// the field that it gives. Money is in the currency of the machine's price.
#pragma once

#include "plan/machine.h"
#include "plan/tariff.h"

#include <cstdint>
#include <optional>

namespace dsv4 {

// A year has 365.25 days.
inline constexpr double kHoursPerYear = 8766;

// How the machine is used, on average.
struct UsageProfile {
  double requests_per_day = 0;
  double prompt_tokens = 0;       // of one request, cached ones included
  double output_tokens = 0;       // of one request, thinking included
  double cached_share = 0;        // of the prompt, 0 to 1, whose state is kept
  double thinking_share = 0;      // of the output, 0 to 1 (not 1): paid for, but no answer
  double idle_hours_per_day = 0;  // 0 to 24 (not 24), without any request; the machine stays on
};

// requests per hour that is not idle -> per day.
inline double requests_per_day(double per_hour, double idle_hours_per_day) {
  return per_hour * (24 - idle_hours_per_day);
}

// Tokens per second of all requests together, at the concurrency that is used. Prefill and decode
// take turns: each as if the machine did nothing else.
struct TokenSpeeds {
  double prefill = 0;
  double decode = 0;
  double cached = 0;  // tokens of a kept prefix, whose state is copied
};

enum class Ownership { kRented, kBought };

struct CostInput {
  MachinePrice price;
  Ownership ownership = Ownership::kRented;
  double electricity_per_kwh = 0;  // of no matter for a rented machine
  UsageProfile usage;
  TokenSpeeds speeds;
};

// Of a million tokens of each kind. A kind costs what the machine costs in the time that it takes.
struct TokenCosts {
  double input = 0;   // second_cost * 1e6 / prefill
  double cached = 0;  // second_cost * 1e6 / cached
  double output = 0;  // second_cost * 1e6 / decode, thinking included
  double answer = 0;  // output / (1 - thinking_share): output that is no thinking
};

struct Cost {
  double request_s = 0;         // machine time of a request: sum over kinds of tokens / speed
  double max_requests_day = 0;  // of one machine: (24 - idle_hours) * 3600 / request_s
  // requests_per_day / max_requests_day; above 1: too much for one
  double busy_share = 0;
  int64_t n_machines = 1;  // max(1, ceil(busy_share)), which share the load evenly

  // Of one machine whose load is u of the whole day, u = requests_per_day * request_s / 86400 /
  // n_machines:
  //   rented: per_hour
  //   bought: purchase / (lifetime_years * 8766)
  //           + electricity_per_kwh * (u * watts + (1 - u) * idle_watts) / 1000
  double load = 0;  // u
  double per_hour = 0;
  double per_day = 0;  // per_hour * 24 * n_machines

  // second_cost = per_hour / (3600 u): time without work is spread over the work. Nothing without
  // requests. The parts add up: requests_per_day * (tokens of each kind * cost) = per_day.
  std::optional<TokenCosts> per_million;
  // The same with u = 1.
  TokenCosts full_load_per_million;
};

// Throws Error(kInvalidInput) naming the field: not finite, negative, a share above 1, speeds or
// tokens of zero, a price that is not known (per_hour of a rented machine; purchase and watts of a
// bought one are both 0).
Cost machine_cost(const CostInput& input);

// What a request costs by a tariff, in its currency:
//   (prompt * (1 - cached_share) * input + prompt * cached_share * cached_input
//    + output_tokens * output) / 1e6
double tariff_request_cost(const UsageProfile& usage, const Tariff& tariff);

// Requests a day from which the machine costs less than the tariff:
//   idle_day / (tariff_request_cost - request_energy)
// with idle_day = 24 * per_hour at u = 0 and request_energy = electricity_per_kwh * (watts -
// idle_watts) / 1000 * request_s / 3600 (nothing if rented). Nothing when that is never: a request
// costs no less even on a machine at its limit, max_requests_day. More machines change nothing,
// since each has to pay for itself. Throws Error(kInvalidInput) as machine_cost does, and when
// currencies differ.
std::optional<double> break_even_requests_per_day(const CostInput& input, const Tariff& tariff);

}  // namespace dsv4
