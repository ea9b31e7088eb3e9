// Verdicts and times on machines whose answers can be computed by hand.
#include "plan/planner.h"

#include "base/error.h"
#include "model/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace dsv4 {
namespace {

// A processor that does 10^12 operations and reads 10^11 bytes a second.
Machine machine_of(double memory_bytes) {
  Machine m;
  m.name = "test";
  m.memory_bytes = memory_bytes;
  m.rates = {.read = 1e11, .f32 = 1e12, .bf16 = 1e12, .int8 = 1e12};
  return m;
}

Workload small_load() { return {.context = 1024, .prompt_tokens = 512, .reply_tokens = 128}; }

Plan plan_of(const Machine& machine, const char* format = "Q4_K",
             const Workload& load = small_load(), const PlanOptions& options = {}) {
  return make_plan(weight_table(preset_config("flash"), format), machine, load, options);
}

std::string error_of(const std::function<void(Workload&)>& change) {
  Workload load = small_load();
  change(load);
  try {
    plan_of(machine_of(1e12), "Q4_K", load);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Planner, a_model_runs_where_its_bytes_fit_and_not_with_one_byte_less) {
  const double needed = plan_of(machine_of(1e12)).memory.total();
  EXPECT_EQ(plan_of(machine_of(needed)).verdict, Verdict::kResident);
  EXPECT_EQ(plan_of(machine_of(needed - 1)).verdict, Verdict::kNo);
  Machine reserved = machine_of(needed + 10);
  reserved.reserved_bytes = 11;
  EXPECT_EQ(plan_of(reserved).verdict, Verdict::kNo);
}

TEST(Planner, decoding_takes_the_time_of_its_bytes_at_the_share_that_engines_reach) {
  const Plan plan = plan_of(machine_of(1e12));
  const StepWork work = step_work(
      weight_table(preset_config("flash"), "Q4_K"),
      Model::layout_of(preset_config("flash"), {.numerics = Numerics::kFast}), {.context = 1023});
  const double at_limit = (work.weight_bytes + work.state_bytes) / 1e11;
  const Efficiency share = memory_efficiency(DeviceKind::kCpu);
  const Efficiency call = call_seconds(DeviceKind::kCpu);
  EXPECT_GT(work.calls, 43 * 20);
  EXPECT_LT(work.calls, 43 * 60);
  EXPECT_DOUBLE_EQ(1 / plan.decode.low, at_limit / share.low + work.calls * call.low);
  EXPECT_DOUBLE_EQ(1 / plan.decode.high, at_limit / share.high + work.calls * call.high);
  EXPECT_EQ(plan.decode_limit, Limit::kMemory);
  EXPECT_EQ(plan.prefill_limit, Limit::kArithmetic);
  EXPECT_FALSE(plan.measured);
}

TEST(Planner, devices_of_a_machine_share_weights_and_talk_in_every_layer) {
  Machine two = machine_of(1e12);
  two.n_devices = 2;
  const Plan one = plan_of(machine_of(1e12));
  const Plan both = plan_of(two);
  const Efficiency call = call_seconds(DeviceKind::kCpu);
  const double calls =
      step_work(weight_table(preset_config("flash"), "Q4_K"),
                Model::layout_of(preset_config("flash"), {.numerics = Numerics::kFast}),
                {.context = 1023})
          .calls *
      (call.low + call.high) / 2;
  EXPECT_NEAR(1 / both.decode.expected - calls, (1 / one.decode.expected - calls) / 2, 1e-9);
  two.link = 1e9;
  two.link_latency_s = 1e-5;
  const Plan linked = plan_of(two);
  const double d = 4096;
  const double talk = 43 * 2 * (1e-5 + d * 2 / 1e9);  // half of the sum there and back
  EXPECT_NEAR(1 / linked.decode.expected, 1 / both.decode.expected + talk, 1e-9);
}

TEST(Planner, machines_that_are_too_small_share_layers_where_they_are_linked) {
  const double needed = plan_of(machine_of(1e12)).memory.total();
  const Machine small = machine_of(needed * 0.4);
  EXPECT_EQ(plan_of(small).verdict, Verdict::kNo);
  const PlanOptions linked{.max_machines = 4,
                           .cluster_link = 1e9,
                           .cluster_latency_s = 1e-5,
                           .cluster_source = "from a test"};
  const Plan plan = plan_of(small, "Q4_K", small_load(), linked);
  EXPECT_EQ(plan.verdict, Verdict::kSplit);
  EXPECT_EQ(plan.n_machines, 3);
  EXPECT_EQ(plan.first_layers.size(), 3u);
  const auto hop = std::ranges::find(plan.formulas, "from a machine to the next", &Formula::what);
  ASSERT_NE(hop, plan.formulas.end());
  EXPECT_EQ(hop->inputs, "10.0 us + 65536 bytes of a token at 1 GB/s, from a test");
  EXPECT_EQ(hop->result, "75.5 us");
  // One user waits for all of them, so he is no faster than on one large machine.
  EXPECT_LT(plan.decode.expected, plan_of(machine_of(1e12)).decode.expected);
  const PlanOptions two{.max_machines = 2, .cluster_link = 1e9};
  EXPECT_EQ(plan_of(small, "Q4_K", small_load(), two).verdict, Verdict::kNo);
}

TEST(Planner, experts_come_from_disk_where_the_rest_fits) {
  const MemoryNeed need = plan_of(machine_of(1e12)).memory;
  Machine small = machine_of(need.total() - 0.5 * need.experts);
  small.disk = {.read = 1e9, .latency_s = 1e-4};
  double asked = 0;
  PlanOptions options;
  options.expert_model = [&](double bytes, const DiskRates& source) {
    EXPECT_EQ(source.read, 1e9);
    asked = bytes;
    return ExpertTraffic{
        .resident_bytes = bytes, .hit_rate = 0.5, .mean_s = 1, .p50_s = 1, .p99_s = 2};
  };
  const Plan plan = plan_of(small, "Q4_K", small_load(), options);
  EXPECT_EQ(plan.verdict, Verdict::kExpertsOnDisk);
  EXPECT_NEAR(asked, 0.5 * need.experts, 1);
  const Plan resident = plan_of(machine_of(1e12));
  EXPECT_NEAR(1 / plan.decode.expected, 1 / resident.decode.expected + 1, 1e-9);
  EXPECT_NEAR(plan.between_p99_s.expected, resident.between_p50_s.expected + 2, 1e-9);
  EXPECT_EQ(plan.decode_limit, Limit::kDisk);
  EXPECT_LT(plan.prefill.expected, resident.prefill.expected);

  small.disk = {};
  EXPECT_EQ(plan_of(small, "Q4_K", small_load(), options).verdict, Verdict::kNo);
}

TEST(Planner, experts_of_gpus_come_over_the_link_of_a_host_that_holds_them) {
  const MemoryNeed need = plan_of(machine_of(1e12)).memory;
  Machine gpu = machine_of(need.total() - 0.5 * need.experts);
  gpu.kind = DeviceKind::kGpu;
  gpu.host_memory_bytes = need.experts;
  gpu.host_link = 5e10;
  gpu.disk = {.read = 1e9};
  double rate = 0;
  PlanOptions options;
  options.expert_model = [&](double, const DiskRates& source) {
    rate = source.read;
    return ExpertTraffic{.mean_s = 1};
  };
  const Plan plan = plan_of(gpu, "Q4_K", small_load(), options);
  EXPECT_EQ(plan.verdict, Verdict::kExpertsOffload);
  EXPECT_EQ(rate, 5e10);
  EXPECT_EQ(plan.decode_limit, Limit::kLink);
  gpu.host_memory_bytes = need.experts - 1;
  EXPECT_EQ(plan_of(gpu, "Q4_K", small_load(), options).verdict, Verdict::kExpertsOnDisk);
  EXPECT_EQ(rate, 1e9);
}

TEST(Planner, cached_tokens_are_not_computed) {
  Workload load = small_load();
  const Plan cold = plan_of(machine_of(1e12), "Q4_K", load);
  load.cached_share = 1;
  const Plan warm = plan_of(machine_of(1e12), "Q4_K", load);
  EXPECT_LT(warm.first_token_s.expected, 0.3 * cold.first_token_s.expected);
}

TEST(Planner, a_kept_prefix_takes_the_time_of_copying_its_state) {
  const ModelConfig config = preset_config("flash");
  const StateLayout layout =
      Model::layout_of(config, {.numerics = Numerics::kFast, .context = small_load().context});
  const Machine machine = machine_of(1e12);
  const auto tokens_s = [&](int64_t n) {
    return static_cast<double>(n) / copy_seconds(restored_bytes(layout, n), machine).expected;
  };
  Workload load = small_load();
  load.cached_share = 0.5;
  const Plan half = plan_of(machine, "Q4_K", load);
  EXPECT_DOUBLE_EQ(half.cached.expected, tokens_s(256));
  EXPECT_GT(half.cached.expected, 100 * half.prefill.expected);
  const auto formula = std::ranges::find(half.formulas, "a kept prefix", &Formula::what);
  ASSERT_NE(formula, half.formulas.end());
  EXPECT_TRUE(formula->inputs.starts_with("256 tokens: ")) << formula->inputs;
  // Of a prompt without cached tokens: as if all of it were kept.
  EXPECT_DOUBLE_EQ(plan_of(machine).cached.expected, tokens_s(512));
  // The first token comes behind the copy, the 256 tokens that are left, and a step.
  const double computed_s = 256 / half.prefill.expected + 1 / half.decode.expected;
  EXPECT_NEAR(half.first_token_s.expected, 256 / half.cached.expected + computed_s, 1e-9);
}

TEST(Planner, others_wait_for_pieces_of_prompts_in_some_steps_only) {
  Workload load{.context = 4096, .users = 4, .prompt_tokens = 512, .reply_tokens = 1000};
  const Plan rare = plan_of(machine_of(1e12), "Q4_K", load);  // 4 pieces in 1000 steps
  EXPECT_EQ(rare.between_p50_s.expected, rare.between_p99_s.expected);
  load.reply_tokens = 100;
  const Plan often = plan_of(machine_of(1e12), "Q4_K", load);  // 4 in 100
  EXPECT_GT(often.between_p99_s.expected, often.between_p95_s.expected);
}

TEST(Planner, memory_grows_with_users_by_their_state_alone) {
  Workload load = small_load();
  const MemoryNeed one = plan_of(machine_of(1e13), "Q4_K", load).memory;
  load.users = 11;
  const MemoryNeed many = plan_of(machine_of(1e13), "Q4_K", load).memory;
  EXPECT_DOUBLE_EQ(many.state(), 11 * one.state());
  EXPECT_EQ(many.weights(), one.weights());
  EXPECT_EQ(many.scratch, one.scratch);
}

TEST(Planner, refuses_loads_that_make_no_sense_by_their_field) {
  EXPECT_NE(error_of([](Workload& w) { w.context = 0; }).find("context"), std::string::npos);
  EXPECT_NE(error_of([](Workload& w) { w.context = 1 << 21; }).find("context"), std::string::npos);
  EXPECT_NE(error_of([](Workload& w) { w.users = -1; }).find("users"), std::string::npos);
  EXPECT_NE(error_of([](Workload& w) { w.prompt_tokens = 0; }).find("prompt"), std::string::npos);
  EXPECT_NE(error_of([](Workload& w) { w.reply_tokens = 0; }).find("reply"), std::string::npos);
  EXPECT_NE(error_of([](Workload& w) { w.reply_tokens = 600; }).find("do not fit"),
            std::string::npos);
  EXPECT_NE(error_of([](Workload& w) { w.cached_share = 1.5; }).find("cached"), std::string::npos);
  EXPECT_NE(error_of([](Workload& w) { w.chunk = 0; }).find("chunk"), std::string::npos);
  EXPECT_NE(error_of([](Workload& w) { w.expert_skew = -1; }).find("skew"), std::string::npos);
}

}  // namespace
}  // namespace dsv4
