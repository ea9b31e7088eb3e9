#include "plan/plan_curves.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

// Runs up to 8 users of 4096 tokens, at 1000 tokens/s for each user and 1024 tokens.
Plan plan_for(size_t format, const Workload& load) {
  Plan plan;
  plan.workload = load;
  const auto users = static_cast<double>(load.users);
  const double speed = 1000 * 1024 / (users * static_cast<double>(load.context));
  plan.decode = {speed / 2, speed, speed * 2};
  plan.decode_total = {users * speed / 2, users * speed, users * speed * 2};
  const bool fits = load.users * load.context <= 8 * 4096;
  plan.verdict = format == 0 && fits ? Verdict::kResident : Verdict::kNo;
  return plan;
}

TEST(SpeedCurves, have_a_point_wherever_a_format_runs) {
  const Workload load{.context = 4096, .users = 2, .prompt_tokens = 2048, .reply_tokens = 512};
  const SpeedCurves curves = speed_curves({"a", "b"}, load, 20000, plan_for);
  ASSERT_EQ(curves.by_context.size(), 2u);
  const std::vector<CurvePoint>& points = curves.by_context[0].points;
  ASSERT_EQ(points.size(), 5u);  // 1024 to 16384; 20000 is too much for two users
  EXPECT_EQ(points[0].x, 1024);
  EXPECT_EQ(points[4].x, 16384);
  EXPECT_DOUBLE_EQ(points[0].y.expected, 500);
  EXPECT_DOUBLE_EQ(points[4].y.low, 500.0 / 16 / 2);
  ASSERT_EQ(curves.by_users[0].points.size(), 4u);  // 1, 2, 4, 8
  EXPECT_DOUBLE_EQ(curves.by_users[0].points[3].y.expected, 250.0 / 8);
  EXPECT_DOUBLE_EQ(curves.by_users_total[0].points[3].y.expected, 250);
  EXPECT_TRUE(curves.by_context[1].points.empty());
  EXPECT_TRUE(curves.by_users[1].points.empty());
}

TEST(SpeedCurves, end_at_the_models_context_with_loads_that_fit) {
  const ModelConfig config = preset_config("flash");
  for (const int64_t most : {int64_t{2}, int64_t{100}, int64_t{1500}, int64_t{4096}}) {
    int64_t largest = 0;
    speed_curves({"a"},
                 {.context = std::min<int64_t>(most, 4096), .prompt_tokens = 1, .reply_tokens = 1},
                 most, [&](size_t, const Workload& load) {
                   check_workload(load, config);
                   largest = std::max(largest, load.context);
                   return Plan{};
                 });
    EXPECT_EQ(largest, most);
  }
}

TEST(SpeedCurves, shorten_prompts_and_replies_for_short_contexts) {
  const Workload load{.context = 8192, .prompt_tokens = 6000, .reply_tokens = 2000};
  speed_curves({"a"}, load, 8192, [&](size_t, const Workload& w) {
    check_workload(w, preset_config("flash"));
    EXPECT_EQ(w.reply_tokens, std::min<int64_t>(2000, w.context / 2));
    EXPECT_EQ(w.prompt_tokens, std::min<int64_t>(6000, w.context - w.reply_tokens));
    return Plan{};
  });
}

TEST(OtherLoads, forecasts_reads_of_experts_once_for_what_is_nearly_the_same) {
  const std::vector<WeightTable> tables = {weight_table(preset_config("flash"), "Q4_K_M")};
  Machine machine;
  machine.memory_bytes = 0.5 * static_cast<double>(tables[0].expert_bytes()) + 20e9;
  machine.rates = {.read = 1e11, .f32 = 1e12, .bf16 = 1e12, .int8 = 1e12};
  machine.disk = {.read = 1e9, .latency_s = 1e-4};
  int models = 0, forecasts = 0;
  OtherLoads plan_for(tables, machine, {}, [&](const WeightTable&, const Workload&) {
    ++models;
    return [&](double room, const DiskRates&) {
      ++forecasts;
      return ExpertTraffic{.resident_bytes = room, .hit_rate = 0.5, .bytes_per_token = 1e8};
    };
  });
  Workload load{.context = 8192};
  EXPECT_EQ(plan_for(0, load).verdict, Verdict::kExpertsOnDisk);
  load.context = 8193;
  const Plan second = plan_for(0, load);
  EXPECT_EQ(models, 1);
  EXPECT_EQ(forecasts, 1);
  EXPECT_EQ(second.experts.bytes_per_token, 1e8);
  load.users = OtherLoads::kMostUsers + 1;
  EXPECT_EQ(plan_for(0, load).verdict, Verdict::kNo);
  EXPECT_EQ(models, 1);
}

// 2 s of prompt and 8 s of reply at the expected speeds; 3.6 an hour.
PricedFormat priced() {
  PricedFormat p{.format = "a"};
  p.input.price.per_hour = 3.6;
  p.input.usage = {.requests_per_day = 1, .prompt_tokens = 2000, .output_tokens = 800};
  p.input.speeds = {1000, 100, 1e6};
  p.prefill = {500, 1000, 2000};
  p.decode = {50, 100, 200};
  p.cached = {5e5, 1e6, 2e6};
  return p;
}

TEST(CostByHours, is_the_rent_of_a_day_for_what_was_answered) {
  const Curve curve = cost_by_hours(priced());
  const CurvePoint& whole_day = curve.points.back();
  EXPECT_EQ(whole_day.x, 24);
  // 10 s of 0.001 a second for 800 tokens.
  EXPECT_NEAR(whole_day.y.expected, 10 * 0.001 / 800 * 1e6, 1e-6);
  EXPECT_NEAR(whole_day.y.low, whole_day.y.expected / 2, 1e-6);
  EXPECT_NEAR(whole_day.y.high, whole_day.y.expected * 2, 1e-6);
  for (const CurvePoint& p : curve.points) {
    EXPECT_NEAR(p.y.expected, whole_day.y.expected * 24 / p.x, 1e-5) << p.x;
  }
}

TEST(CostByHours, meets_a_tariff_where_the_machine_breaks_even) {
  PricedFormat p = priced();
  Tariff tariff{.name = "t"};
  tariff.input = 4;
  tariff.cached_input = 1;
  tariff.output = 40;
  const double per_million = tariff_cost_per_million(p.input.usage, tariff);
  EXPECT_DOUBLE_EQ(per_million, 40 + 4 * 2.5);
  const double requests = break_even_requests_per_day(p.input, tariff).value();
  const double hours = requests * 10 / 3600;
  EXPECT_NEAR(cost_by_hours(p).points.back().y.expected * 24 / hours, per_million, 1e-5);
}

}  // namespace
}  // namespace dsv4
