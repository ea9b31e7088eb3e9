#include "plan/cost_table.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

// As in cost_test.cc at 10 tokens of output a second: 25 s a request.
Plan plan_of(const char* format, double decode) {
  Plan plan{.format = format, .verdict = Verdict::kResident};
  plan.workload = {.prompt_tokens = 1000, .reply_tokens = 200, .cached_share = 0.5};
  plan.prefill = {100, 125, 150};
  plan.decode_total = {decode / 2, decode, decode * 2};
  plan.cached = {400, 500, 600};
  return plan;
}

CostInput rented() {
  CostInput input;
  input.price.per_hour = 9;
  input.usage = {.requests_per_day = 864, .idle_hours_per_day = 12};
  return input;
}

TEST(PricePlans, takes_tokens_and_speeds_from_the_plans) {
  const CostTable table = price_plans({plan_of("a", 10)}, rented(), {});
  ASSERT_EQ(table.formats.size(), 1u);
  const PricedFormat& priced = table.formats[0];
  EXPECT_EQ(priced.format, "a");
  EXPECT_EQ(priced.input.usage.prompt_tokens, 1000);
  EXPECT_EQ(priced.input.usage.output_tokens, 200);
  EXPECT_EQ(priced.input.usage.cached_share, 0.5);
  EXPECT_EQ(priced.input.usage.requests_per_day, 864);
  EXPECT_EQ(priced.input.speeds.prefill, 125);
  EXPECT_EQ(priced.input.speeds.decode, 10);
  EXPECT_EQ(priced.input.speeds.cached, 500);
  EXPECT_EQ(priced.cached.low, 400);
  EXPECT_EQ(priced.decode.high, 20);
  EXPECT_EQ(priced.cost.per_day, machine_cost(priced.input).per_day);
  EXPECT_EQ(table.currency, "USD");
}

TEST(PricePlans, multiplies_the_price_by_the_machines_of_a_split) {
  Plan plan = plan_of("a", 10);
  plan.n_machines = 3;
  EXPECT_EQ(price_plans({plan}, rented(), {}).formats[0].input.price.per_hour, 27);
}

TEST(PricePlans, leaves_out_what_does_not_run_or_has_no_price) {
  Plan no = plan_of("no", 0);
  no.verdict = Verdict::kNo;
  const CostTable some = price_plans({no, plan_of("a", 10)}, rented(), {});
  EXPECT_EQ(some.formats.size(), 1u);
  EXPECT_FALSE(some.lacks_price);
  CostInput unpriced = rented();
  unpriced.ownership = Ownership::kBought;
  EXPECT_TRUE(price_plans({plan_of("a", 10)}, unpriced, {}).formats.empty());
  EXPECT_TRUE(price_plans({plan_of("a", 10)}, unpriced, {}).lacks_price);
  EXPECT_FALSE(price_plans({no}, unpriced, {}).lacks_price);
}

TEST(CostTable, is_cheapest_where_a_token_of_output_is) {
  const CostTable table =
      price_plans({plan_of("a", 10), plan_of("b", 12), plan_of("c", 11)}, rented(), {});
  EXPECT_EQ(table.cheapest().format, "b");
}

TEST(CostTexts, are_short) {
  EXPECT_EQ(money_text(0), "0.000");
  EXPECT_EQ(money_text(0.0004), "<0.001");
  EXPECT_EQ(money_text(0.1234), "0.123");
  EXPECT_EQ(money_text(0.995), "0.99");
  EXPECT_EQ(money_text(12.345), "12.35");
  EXPECT_EQ(money_text(12345.6), "12346");
  EXPECT_EQ(ownership_name(Ownership::kBought), "bought");
  const CostTable table = price_plans({plan_of("a", 10)}, rented(), {});
  const CostTexts texts = cost_texts(table.formats[0].cost);
  EXPECT_EQ(texts.busy, "50%");
  EXPECT_EQ(texts.machines, "1");
  EXPECT_EQ(texts.per_day, "216.00");
  EXPECT_EQ(texts.input, "80.00");
  EXPECT_EQ(texts.cached, "20.00");
  EXPECT_EQ(texts.output, "1000.00");
  EXPECT_EQ(texts.full_load_input, "20.00");
  EXPECT_EQ(texts.full_load_output, "250.00");
}

TEST(CostTexts, of_tokens_are_empty_without_requests) {
  CostInput idle = rented();
  idle.usage.requests_per_day = 0;
  const CostTexts texts = cost_texts(price_plans({plan_of("a", 10)}, idle, {}).formats[0].cost);
  EXPECT_EQ(texts.input, "-");
  EXPECT_EQ(texts.cached, "-");
  EXPECT_EQ(texts.output, "-");
  EXPECT_EQ(texts.full_load_output, "250.00");
}

TEST(BreakEvenText, is_requests_a_day_or_never_or_that_money_differs) {
  const PricedFormat priced = price_plans({plan_of("a", 10)}, rented(), {}).formats[0];
  Tariff tariff{.name = "t"};
  tariff.output = 1e6;  // 200 a request; a day of the machine costs 216
  EXPECT_EQ(break_even_text(priced, tariff), "1/day");
  tariff.output = 1;
  EXPECT_EQ(break_even_text(priced, tariff), "never");
  tariff.currency = "EUR";
  EXPECT_EQ(break_even_text(priced, tariff), "other money");
}

}  // namespace
}  // namespace dsv4
