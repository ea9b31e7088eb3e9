// The work of a step against sums made by hand, and against what the model's own counters say.
#include "plan/step_cost.h"

#include "cache/checkpoint.h"
#include "model/model.h"
#include "model/param_count.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

namespace dsv4 {
namespace {

StateLayout layout_of(const ModelConfig& config) {
  return Model::layout_of(config, {.numerics = Numerics::kFast});
}

StepWork work_of(const ModelConfig& config, const StepShape& shape, const char* format = "Q8_0") {
  return step_work(weight_table(config, format), layout_of(config), shape);
}

// Activated parameters, as param_count counts them, are those that a decoded token goes through.
TEST(StepCost, a_decoded_token_goes_through_the_activated_parameters) {
  for (const char* name : {"tiny", "flash", "745b", "pro"}) {
    const ModelConfig config = preset_config(name);
    const StepWork work = work_of(config, {});
    const auto activated = static_cast<double>(count_params(config).activated);
    // Vectors take part in no product.
    EXPECT_NEAR(work.product_ops / 2, activated, 0.002 * activated) << name;
    EXPECT_LE(work.product_ops / 2, activated) << name;
  }
}

TEST(StepCost, bytes_of_products_are_those_of_their_weights) {
  const ModelConfig config = preset_config("flash");
  const StepWork work = work_of(config, {});
  double q8 = 0;
  double q8_weights = 0;
  for (const ProductWork& product : work.products) {
    if (product.format != "Q8_0") continue;
    q8 += product.bytes;
    q8_weights += product.weights;
  }
  EXPECT_GT(q8_weights, 1e10);
  EXPECT_DOUBLE_EQ(q8, q8_weights * 34 / 32);  // 32 weights in 34 bytes
}

TEST(StepCost, experts_are_as_many_as_independent_draws_choose) {
  ModelConfig config = preset_config("tiny");  // 2 of 8
  EXPECT_DOUBLE_EQ(expected_experts(config, 1, 0), 2);
  EXPECT_NEAR(expected_experts(config, 2, 0), 8 * (1 - 0.75 * 0.75), 1e-9);
  EXPECT_NEAR(expected_experts(config, 1000, 0), 8, 1e-9);
  // A skew makes fewer experts do the work.
  EXPECT_LT(expected_experts(config, 4, 1), expected_experts(config, 4, 0));

  // The products of all counts together have every choice once.
  for (const double skew : {0.0, 0.8}) {
    const StepWork work = work_of(config, {.n_tokens = 33, .n_logits = 0, .expert_skew = skew});
    const auto expert = static_cast<double>(config.hidden_size * config.expert_dim);
    double choices = 0;
    for (const ProductWork& product : work.products) {
      const double size = product.weights / product.n_products;
      if (std::abs(product.n_products - std::round(product.n_products)) > 1e-12 && size == expert) {
        choices += product.n_tokens * product.n_products / 3;
      }
    }
    EXPECT_NEAR(choices, skew == 0 ? 33.0 * 2 * 4 : choices, 0.01) << skew;
    EXPECT_GT(choices, 0.8 * 33 * 2 * 4);
    EXPECT_LE(choices, 33.0 * 2 * 4 + 0.01);
  }
}

TEST(StepCost, attention_reads_the_window_and_the_chosen_entries) {
  const ModelConfig config = preset_config("flash");
  constexpr int64_t kContext = 131071;
  const StepWork work = work_of(config, {.context = kContext});
  double entries = 0;
  double scored = 0;
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    entries += 128;
    if (config.kind(layer) == LayerKind::kCsa) {
      entries += 512;
      scored += 131072.0 / 4;
    } else if (config.kind(layer) == LayerKind::kHca) {
      entries += 131072.0 / 128;
    }
  }
  EXPECT_DOUBLE_EQ(work.operations.at("attend").work, entries * 64 * 512);
  EXPECT_DOUBLE_EQ(work.operations.at("indexer_scores").work, scored * 64 * 128);
  EXPECT_DOUBLE_EQ(work.operations.at("top_k").work, scored);
  const StateLayout layout = layout_of(config);
  EXPECT_DOUBLE_EQ(work.state_bytes,
                   entries * static_cast<double>(layout.layers[2].entry.bytes()) +
                       scored * static_cast<double>(layout.layers[2].index_entry.bytes()));
}

TEST(StepCost, a_short_context_has_no_index_scores) {
  const StepWork work = work_of(preset_config("flash"), {.context = 1000});
  EXPECT_FALSE(work.operations.contains("indexer_scores"));
}

TEST(StepCost, work_grows_with_tokens_and_only_reading_does_not) {
  const ModelConfig config = preset_config("flash");
  const StepWork one = work_of(config, {});
  const StepWork many = work_of(config, {.n_tokens = 512, .n_logits = 1});
  EXPECT_EQ(one.rows, 1);
  EXPECT_EQ(many.rows, 512);
  EXPECT_GT(many.product_ops, 450 * one.product_ops);
  EXPECT_LT(many.weight_bytes, 40 * one.weight_bytes);
  for (const auto& [name, operation] : one.operations) {
    EXPECT_GE(many.operations.at(name).work, operation.work) << name;
  }
}

// Below 256 tokens no table has a full page: the rest of a checkpoint is the same for all of them.
TEST(RestoredBytes, are_those_of_a_checkpoints_buffer) {
  const StateLayout layout = layout_of(preset_config("flash"));
  const auto pool = std::make_shared<PagePool>();
  const auto lists = [&](int64_t n) {
    const StateCheckpoint kept(layout, pool, n, std::max<int64_t>(0, n - layout.rollback_tokens));
    return static_cast<double>(kept.buffer_bytes()) - restored_bytes(layout, n);
  };
  const double expected = lists(1);
  EXPECT_LT(expected, 1e4);
  for (const int64_t n : {2, 100, 128, 255}) EXPECT_EQ(lists(n), expected) << n;
}

TEST(RestoredBytes, do_not_grow_with_full_pages) {
  const StateLayout layout = layout_of(preset_config("flash"));
  EXPECT_GT(restored_bytes(layout, 1 << 14), 0);
  EXPECT_EQ(restored_bytes(layout, 1 << 16), restored_bytes(layout, 1 << 14));
}

}  // namespace
}  // namespace dsv4
