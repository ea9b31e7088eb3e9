#include "model/param_count.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

constexpr double kBillion = 1e9;

double billions(int64_t params) { return static_cast<double>(params) / kBillion; }

// The formulas of architecture.md section 2, written out independently of the tensor table.
int64_t formula_main_model(const ModelConfig& c) {
  const int64_t d = c.hidden_size, rq = c.q_lora_rank, n = c.hc_mult;
  const int64_t hc_width = c.n_heads * c.head_dim, ci = c.index_head_dim;
  int64_t total = 2 * c.vocab_size * d + d + (n * n * d + n + 1);
  for (int64_t l = 0; l < c.n_layers; ++l) {
    const int64_t r = c.ratio(l);
    const int64_t cf = r == 4 ? 2 : 1;
    total += d * rq + rq + rq * hc_width + d * c.head_dim + c.head_dim + c.n_heads +
             hc_width / c.o_groups * (c.o_groups * c.o_lora_rank) + c.o_groups * c.o_lora_rank * d;
    if (r != 0) total += 2 * d * (cf * c.head_dim) + r * (cf * c.head_dim) + c.head_dim;
    if (r == 4) {
      total += rq * c.n_index_heads * ci + d * c.n_index_heads + 2 * d * 2 * ci + 4 * 2 * ci + ci;
    }
    total += 2 * ((2 + n) * n * (n * d) + (2 + n) * n + 3) + 2 * d;
    total += c.n_experts * d + (c.is_hash_layer(l) ? 0 : c.n_experts);
    total += (c.n_experts + 1) * 3 * d * c.expert_dim;
  }
  return total;
}

TEST(ParamCount, agrees_with_the_formulas_of_the_specification) {
  for (const char* name : {"flash", "pro", "745b", "tiny"}) {
    const ModelConfig config = preset_config(name);
    EXPECT_EQ(count_params(config).main_model(), formula_main_model(config)) << name;
  }
}

// The table of section 2, in billions.
struct Published {
  const char* preset;
  double attention, routed, shared, router, hyper, embedding_and_head, total, mtp, with_mtp, active;
};

TEST(ParamCount, agrees_with_the_published_table) {
  for (const Published& p :
       {Published{"flash", 5.086, 277.025, 1.082, 0.045, 0.034, 1.059, 284.33, 6.61, 290.94, 13.27},
        Published{"pro", 19.465, 1547.396, 4.030, 0.168, 0.084, 1.853, 1573.00, 25.84, 1598.84,
                  48.85}}) {
    const ParamCount count = count_params(preset_config(p.preset));
    const auto of = [&](TensorClass cls) { return billions(count[cls]); };
    EXPECT_NEAR(of(TensorClass::kAttention) + of(TensorClass::kCompressor), p.attention, 5e-4);
    EXPECT_NEAR(of(TensorClass::kRoutedExpert), p.routed, 5e-4);
    EXPECT_NEAR(of(TensorClass::kSharedExpert), p.shared, 5e-4);
    EXPECT_NEAR(of(TensorClass::kRouter), p.router, 5e-4);
    EXPECT_NEAR(of(TensorClass::kHyperConnection), p.hyper, 5e-4);
    EXPECT_NEAR(of(TensorClass::kEmbedding) + of(TensorClass::kHead), p.embedding_and_head, 5e-4);
    EXPECT_NEAR(billions(count.main_model()), p.total, 5e-3);
    EXPECT_NEAR(of(TensorClass::kMtp), p.mtp, 5e-3);
    EXPECT_NEAR(billions(count.with_mtp()), p.with_mtp, 5e-3);
    EXPECT_NEAR(billions(count.activated), p.active, 5e-3);
  }
}

TEST(ParamCount, the_745b_size_is_what_its_name_says) {
  const ParamCount count = count_params(preset_config("745b"));
  EXPECT_NEAR(billions(count.main_model()), 744.6, 0.05);
  EXPECT_NEAR(billions(count.activated), 38.2, 0.05);
}

TEST(ParamCount, counts_an_mtp_block_only_where_there_is_one) {
  ModelConfig config = preset_config("tiny");
  const int64_t with = count_params(config).with_mtp();
  EXPECT_GT(with, count_params(config).main_model());
  config.n_mtp_layers = 0;
  EXPECT_EQ(count_params(config).with_mtp(), count_params(config).main_model());
}

}  // namespace
}  // namespace dsv4
