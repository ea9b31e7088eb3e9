// Scales that move importance from inputs into weights: they lower the error of the outputs, and
// nothing else changes.
#include "quantize/awq_scales.h"

#include "kernels/cpu/cpu_ops.h"
#include "model/model.h"
#include "quantize/quantize_testing.h"

#include <cmath>

namespace dsv4 {
namespace {

constexpr Style kBf16 = {.name = "BF16", .linear = DType::kBF16, .expert = DType::kBF16};

class AwqScalesTest : public QuantizeFixture {
 protected:
  // Some inputs of every weight are a thousand times as strong as others.
  static ImportanceTable importance_of(const SourceModel& source) {
    ImportanceTable table;
    for (const SourceTensor& tensor : source.tensors()) {
      const std::string& name = tensor.spec.name;
      const bool is_fed = name == "head.weight" || name.ends_with("attn.wq_a.weight") ||
                          name.ends_with("attn.wq_b.weight") ||
                          name.ends_with("attn.wo_b.weight") || name.ends_with(".w1.weight");
      if (!is_fed || name.starts_with("mtp.")) continue;
      InputSquares& entry = table.matrices[name];
      entry.tokens = {1000};
      for (int64_t i = 0; i < tensor.matrix.cols; ++i) {
        entry.squares.push_back(i % 16 == 5 ? 1000.0f : 1.0f + static_cast<float>(i % 3));
      }
    }
    return table;
  }

  static QuantizePlan int4_plan(const SourceModel& source) {
    TypeChoice types;
    types.mix = mix_of_name("AWQ-INT4");
    return plan_quantize(source, types, Container::kSafetensors);
  }

  ThreadPool pool_{2};
};

TEST_F(AwqScalesTest, are_powers_of_two_that_makers_take_back) {
  const SourceModel source(write_model("source", kBf16));
  TypeChoice types;
  types.mix = mix_of_name("AWQ-INT4");
  types.mix.head = DType::kI32;
  const AwqScales scales(source, plan_quantize(source, types, Container::kSafetensors),
                         importance_of(source), pool_);
  std::map<std::string, size_t> places;
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    places[source.tensors()[i].spec.name] = i;
  }
  const auto expect_pair = [&](std::span<const float> maker, const std::string& weight) {
    const auto factors = scales.columns(places.at(weight));
    ASSERT_EQ(factors.size(), static_cast<size_t>(matrix_of(source, weight).cols)) << weight;
    ASSERT_EQ(maker.size(), factors.size()) << weight;
    for (size_t i = 0; i < factors.size(); ++i) {
      int exponent = 0;
      EXPECT_EQ(std::frexp(factors[i], &exponent), 0.5f);
      EXPECT_EQ(maker[i] * factors[i], 1) << weight;
    }
    EXPECT_GT(factors[5], factors[0]) << weight;  // the input that matters
  };
  for (int64_t layer = 0; layer < 3; ++layer) {
    const std::string at = fmt::format("layers.{}.", layer);
    const auto norm = [&](const char* name) { return scales.columns(places.at(at + name)); };
    expect_pair(norm("attn_norm.weight"), at + "attn.wq_a.weight");
    expect_pair(norm("attn_norm.weight"), at + "attn.wkv.weight");
    expect_pair(norm("attn.q_norm.weight"), at + "attn.wq_b.weight");
    expect_pair(norm("ffn_norm.weight"), at + "ffn.gate.weight");
    expect_pair(norm("ffn_norm.weight"), at + "ffn.experts.2.w3.weight");
    expect_pair(norm("ffn_norm.weight"), at + "ffn.shared_experts.w1.weight");
    EXPECT_TRUE(scales.columns(places.at(at + "ffn.experts.2.w2.weight")).empty());
  }
  expect_pair(scales.columns(places.at("layers.1.attn_norm.weight")),
              "layers.1.attn.indexer.weights_proj.weight");
  expect_pair(scales.columns(places.at("layers.1.attn_norm.weight")),
              "layers.1.attn.indexer.compressor.wgate.weight");
  expect_pair(scales.columns(places.at("layers.1.attn.q_norm.weight")),
              "layers.1.attn.indexer.wq_b.weight");
  expect_pair(scales.rows(places.at("layers.1.attn.wo_a.weight")), "layers.1.attn.wo_b.weight");
  EXPECT_TRUE(scales.columns(places.at("head.weight")).empty());  // has two makers
}

TEST_F(AwqScalesTest, leave_inputs_alone_that_other_encoded_types_meet) {
  const SourceModel source(write_model("source", kBf16));
  TypeChoice types;
  types.mix = mix_of_name("AWQ-INT4");
  types.mix.shared = DType::kF8E4M3;
  const AwqScales scales(source, plan_quantize(source, types, Container::kSafetensors),
                         importance_of(source), pool_);
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const std::string& name = source.tensors()[i].spec.name;
    const bool scaled = !scales.columns(i).empty();
    if (name.find("ffn") != std::string::npos) {
      EXPECT_FALSE(scaled) << name;
    } else if (name.ends_with("wq_a.weight") && name.starts_with("layers.")) {
      EXPECT_TRUE(scaled) << name;
    }
  }
}

// Sums of importance times squared error. Encoding by importance alone gets most of the way; plain
// rounding is what it is compared with in encode_matrix_test.cc.
TEST_F(AwqScalesTest, lower_the_weighted_error) {
  const SourceModel source(write_model("source", kBf16));
  const ImportanceTable importance = importance_of(source);
  const AwqScales scales(source, int4_plan(source), importance, pool_);
  const auto error = [&](const SourceTensor& tensor, std::span<const float> squares,
                         std::span<const float> factors) {
    std::vector<float> weights(squares.begin(), squares.end());
    for (size_t i = 0; i < factors.size(); ++i) weights[i] /= factors[i] * factors[i];
    const Encoding e{
        .from = tensor.matrix, .to = DType::kI32, .importance = weights, .column_factors = factors};
    EncodedRows rows;
    encode_rows(e, 0, tensor.matrix.rows, pool_, rows);
    const QuantMatrix coded{.data = rows.weights.data(),
                            .scales = rows.scales.data(),
                            .zeros = rows.zeros.data(),
                            .rows = tensor.matrix.rows,
                            .cols = tensor.matrix.cols,
                            .block_cols = 128,
                            .scale_cols = tensor.matrix.rows,
                            .format = WeightFormat::kAwqInt4,
                            .scale_format = ScaleFormat::kF16};
    double sum = 0;
    for (int64_t row = 0; row < coded.rows; ++row) {
      const std::vector<float> x = row_of(tensor.matrix, row);
      const std::vector<float> y = row_of(coded, row);
      for (size_t i = 0; i < x.size(); ++i) {
        const double got = factors.empty() ? y[i] : y[i] / factors[i];
        sum += squares[i] * (x[i] - got) * (x[i] - got);
      }
    }
    return sum;
  };
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const SourceTensor& tensor = source.tensors()[i];
    const auto found = importance.matrices.find(tensor.spec.name);
    if (found == importance.matrices.end() || scales.columns(i).empty()) continue;
    const double with = error(tensor, found->second.squares, scales.columns(i));
    EXPECT_LT(with, 0.92 * error(tensor, found->second.squares, {})) << tensor.spec.name;
  }
}

std::vector<float> logits_of(const std::filesystem::path& folder) {
  ThreadPool pool(2);
  const auto ops = make_cpu_ops(pool);
  Model model(folder, *ops, {.numerics = Numerics::kExact, .max_batch_tokens = 40});
  SequenceState state(model.state_layout());
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 40; ++i) ids.push_back(i * 7 % 500);
  Batch batch;
  batch.add(state, ids);
  Tensor<float, 2> logits({40, model.config().vocab_size});
  model.logits(model.forward(batch), logits.view());
  return {logits.view().data(), logits.view().data() + logits.view().count()};
}

// The scaled model and one in float32 whose weights had their scales taken out again.
TEST_F(AwqScalesTest, change_no_bit_of_the_logits) {
  const SourceModel source(fmt::format("{}/tests/golden/t1", DSV4_SOURCE_DIR));
  const ImportanceTable importance = importance_of(source);
  quantize_to(source, "AWQ-INT4", folder_ / "awq", {.importance = &importance});
  const SourceModel awq(folder_ / "awq");
  const AwqScales scales(source, int4_plan(source), importance, pool_);
  Tensors tensors;
  int n_scaled = 0;
  for (size_t t = 0; t < awq.tensors().size(); ++t) {
    const SourceTensor& tensor = awq.tensors()[t];
    Stored& stored = tensors[tensor.spec.name];
    stored = {DType::kF32, tensor.spec.shape, {}};
    if (tensor.table != nullptr) {
      stored.dtype = tensor.table->dtype;
      stored.data.assign(tensor.table->data.begin(), tensor.table->data.end());
      continue;
    }
    n_scaled += scales.columns(t).empty() ? 0 : 1;
    for (int64_t row = 0; row < tensor.matrix.rows; ++row) {
      std::vector<float> values = row_of(tensor.matrix, row);
      for (size_t i = 0; i < values.size(); ++i) {
        if (!scales.columns(t).empty()) values[i] /= scales.columns(t)[i];
        if (!scales.rows(t).empty()) values[i] /= scales.rows(t)[static_cast<size_t>(row)];
      }
      const auto bytes = std::as_bytes(std::span(values));
      stored.data.insert(stored.data.end(), bytes.begin(), bytes.end());
    }
  }
  EXPECT_GT(n_scaled, 50);
  const auto unscaled = write_model("unscaled", source.config(), tensors);
  EXPECT_EQ(logits_of(folder_ / "awq"), logits_of(unscaled));
}

}  // namespace
}  // namespace dsv4
