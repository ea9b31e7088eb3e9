#include "plan/cost.h"

#include "base/error.h"

#include <cmath>
#include <functional>

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

// 1,000 prompt tokens, 500 of them kept: 4 s for the others at 125 tokens/s, 1 s for these at 500.
// 200 of output at 10 tokens/s: 20 s. 25 s a request; 12 hours hold 1,728 of them.
CostInput rented() {
  CostInput input;
  input.price.per_hour = 9;
  input.usage = {.requests_per_day = 864,
                 .prompt_tokens = 1000,
                 .output_tokens = 200,
                 .cached_share = 0.5,
                 .thinking_share = 0.75,
                 .idle_hours_per_day = 12};
  input.speeds = {.prefill = 125, .decode = 10, .cached = 500};
  return input;
}

// 8,766 a year for one year is 1 an hour; 2 kW at 0.25 a kWh are 0.5 an hour, idle 0.1.
CostInput bought() {
  CostInput input = rented();
  input.ownership = Ownership::kBought;
  input.price = {.purchase = 8766, .watts = 2000, .idle_watts = 400, .lifetime_years = 1};
  input.electricity_per_kwh = 0.25;
  return input;
}

Tariff tariff(double input, double cached_input, double output) {
  Tariff tariff;
  tariff.name = "t";
  tariff.input = input;
  tariff.cached_input = cached_input;
  tariff.output = output;
  return tariff;
}

std::string field_of(const std::function<void(CostInput&)>& change, CostInput input) {
  change(input);
  try {
    machine_cost(input);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    return error.where();
  }
  return "accepted";
}

TEST(MachineCost, spreads_idle_time_over_the_tokens) {
  const Cost cost = machine_cost(rented());
  EXPECT_DOUBLE_EQ(cost.request_s, 25);
  EXPECT_DOUBLE_EQ(cost.max_requests_day, 1728);
  EXPECT_DOUBLE_EQ(cost.busy_share, 0.5);
  EXPECT_EQ(cost.n_machines, 1);
  EXPECT_DOUBLE_EQ(cost.load, 0.25);  // 864 x 25 s of 86,400 s
  EXPECT_DOUBLE_EQ(cost.per_hour, 9);
  EXPECT_DOUBLE_EQ(cost.per_day, 216);
  // A second of work costs 9 / 3600 / 0.25 = 0.01.
  ASSERT_TRUE(cost.per_million.has_value());
  EXPECT_DOUBLE_EQ(cost.per_million->input, 80);
  EXPECT_DOUBLE_EQ(cost.per_million->cached, 20);
  EXPECT_DOUBLE_EQ(cost.per_million->output, 1000);
  EXPECT_DOUBLE_EQ(cost.per_million->answer, 4000);
  EXPECT_DOUBLE_EQ(cost.full_load_per_million.input, 20);
  EXPECT_DOUBLE_EQ(cost.full_load_per_million.output, 250);
}

TEST(MachineCost, adds_up_to_what_the_machine_costs) {
  const Cost cost = machine_cost(bought());
  const TokenCosts& per_million = cost.per_million.value();
  const double request =
      (500 * per_million.input + 500 * per_million.cached + 200 * per_million.output) / 1e6;
  EXPECT_NEAR(864 * request, cost.per_day, 1e-9);
  EXPECT_DOUBLE_EQ(per_million.cached * 500, per_million.input * 125);
}

TEST(MachineCost, of_a_bought_machine_is_its_price_and_its_power) {
  const Cost cost = machine_cost(bought());
  EXPECT_DOUBLE_EQ(cost.load, 0.25);
  EXPECT_DOUBLE_EQ(cost.per_hour, 1.2);  // 1 + 0.25 * 0.5 + 0.75 * 0.1
  EXPECT_NEAR(cost.full_load_per_million.output, 1.5 / 3600 / 10 * 1e6, 1e-9);
}

TEST(MachineCost, counts_the_machines_that_the_load_needs) {
  CostInput input = rented();
  input.usage.requests_per_day = 1728;
  EXPECT_EQ(machine_cost(input).n_machines, 1);
  EXPECT_LE(machine_cost(input).busy_share, 1);
  input.usage.requests_per_day = 4320;
  const Cost cost = machine_cost(input);
  EXPECT_DOUBLE_EQ(cost.busy_share, 2.5);
  EXPECT_EQ(cost.n_machines, 3);
  EXPECT_DOUBLE_EQ(cost.per_day, 648);
  EXPECT_DOUBLE_EQ(cost.load, 1.25 / 3);
  // 9 / 3600 / (1.25 / 3) = 0.006 a second.
  EXPECT_NEAR(cost.per_million->output, 600, 1e-9);
}

TEST(MachineCost, has_no_price_of_a_token_without_requests) {
  CostInput input = bought();
  input.usage.requests_per_day = 0;
  const Cost cost = machine_cost(input);
  EXPECT_FALSE(cost.per_million.has_value());
  EXPECT_DOUBLE_EQ(cost.per_hour, 1.1);
}

TEST(MachineCost, names_the_field_that_makes_no_sense) {
  const double nan = std::nan("");
  EXPECT_EQ(field_of([&](auto& c) { c.usage.requests_per_day = nan; }, rented()),
            "usage.requests_per_day");
  EXPECT_EQ(field_of([](auto& c) { c.usage.prompt_tokens = -1; }, rented()), "usage.prompt_tokens");
  EXPECT_EQ(field_of([](auto& c) { c.usage.cached_share = 1.1; }, rented()), "usage.cached_share");
  EXPECT_EQ(field_of([](auto& c) { c.usage.thinking_share = 1; }, rented()),
            "usage.thinking_share");
  EXPECT_EQ(field_of([](auto& c) { c.usage.idle_hours_per_day = 24; }, rented()),
            "usage.idle_hours_per_day");
  EXPECT_EQ(field_of([](auto& c) { c.speeds.prefill = 0; }, rented()), "speeds.prefill");
  EXPECT_EQ(field_of([&](auto& c) { c.speeds.decode = HUGE_VAL; }, rented()), "speeds.decode");
  EXPECT_EQ(field_of([](auto& c) { c.speeds.cached = 0; }, rented()), "speeds.cached");
  EXPECT_EQ(field_of([](auto& c) { c.price.per_hour = 0; }, rented()), "price.per_hour");
  EXPECT_EQ(field_of([](auto& c) { c.price.watts = -5; }, bought()), "price.watts");
  EXPECT_EQ(field_of([](auto& c) { c.price.lifetime_years = 0; }, bought()),
            "price.lifetime_years");
  EXPECT_EQ(field_of([](auto& c) { c.price.purchase = c.price.watts = 0; }, bought()),
            "price.purchase");
  EXPECT_EQ(field_of([](auto& c) { c.electricity_per_kwh = -0.1; }, bought()),
            "electricity_per_kwh");
  EXPECT_EQ(field_of([](auto& c) { c.usage.prompt_tokens = c.usage.output_tokens = 0; }, rented()),
            "usage.output_tokens");
}

TEST(RequestsPerDay, come_in_the_hours_that_are_not_idle) {
  EXPECT_DOUBLE_EQ(requests_per_day(10, 14), 100);
}

TEST(TariffRequestCost, counts_kept_tokens_at_their_own_price) {
  // 500 x 2 + 500 x 0.2 + 200 x 10 = 3,100 millionths.
  EXPECT_DOUBLE_EQ(tariff_request_cost(rented().usage, tariff(2, 0.2, 10)), 0.0031);
}

TEST(BreakEven, is_where_both_cost_the_same) {
  // 216 a day against 0.2 a request.
  const Tariff dear = tariff(200, 0, 500);
  EXPECT_DOUBLE_EQ(tariff_request_cost(rented().usage, dear), 0.2);
  const std::optional<double> requests = break_even_requests_per_day(rented(), dear);
  ASSERT_TRUE(requests.has_value());
  EXPECT_DOUBLE_EQ(*requests, 1080);
}

TEST(BreakEven, of_a_bought_machine_counts_the_power_of_a_request) {
  // 26.4 a day idle; 25 s of 0.4 an hour more: 0.4 / 144 a request.
  const Tariff dear = tariff(0, 0, 100);
  const double expected = 26.4 / (0.02 - 0.4 / 144);
  const std::optional<double> requests = break_even_requests_per_day(bought(), dear);
  ASSERT_TRUE(requests.has_value());
  EXPECT_NEAR(*requests, expected, 1e-9);
  // There the machine's bill is the tariff's.
  CostInput input = bought();
  input.usage.requests_per_day = *requests;
  EXPECT_NEAR(machine_cost(input).per_day, *requests * 0.02, 1e-9);
}

TEST(BreakEven, is_never_when_a_full_machine_costs_more) {
  // 1,728 requests at 0.1 are 172.8, less than 216.
  EXPECT_EQ(break_even_requests_per_day(rented(), tariff(0, 0, 500)), std::nullopt);
  // 1,728 at 0.125 are 216: at the limit.
  EXPECT_TRUE(break_even_requests_per_day(rented(), tariff(0, 0, 625)).has_value());
  // Power alone is dearer.
  EXPECT_EQ(break_even_requests_per_day(bought(), tariff(0, 0, 1)), std::nullopt);
}

TEST(BreakEven, wants_one_currency) {
  Tariff other = tariff(1, 1, 1);
  other.currency = "CNY";
  try {
    break_even_requests_per_day(rented(), other);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "t: prices are in CNY, those of the machine in USD");
  }
}

}  // namespace
}  // namespace dsv4
