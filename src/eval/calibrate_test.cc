// Importance against the mean squares of what a trace of the same passes recorded.
#include "eval/calibrate.h"

#include "base/rng.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

namespace dsv4 {
namespace {

constexpr int64_t kChunk = 48;

std::vector<std::vector<int32_t>> random_chunks(int32_t vocab_size) {
  std::vector<std::vector<int32_t>> chunks;
  for (const int64_t n : {kChunk, kChunk, int64_t{5}}) {
    chunks.emplace_back();
    for (int64_t i = 0; i < n; ++i) {
      const uint64_t bits = random_bits(9, chunks.size(), static_cast<uint64_t>(i));
      chunks.back().push_back(static_cast<int32_t>(bits % static_cast<uint64_t>(vocab_size)));
    }
  }
  return chunks;
}

// Rows of all chunks, stage by stage.
Trace trace_of(Model& model, std::span<const std::vector<int32_t>> chunks) {
  Trace trace;
  Tensor<float, 2> logits({kChunk, model.config().vocab_size});
  for (const std::vector<int32_t>& chunk : chunks) {
    SequenceState state(model.state_layout());
    Batch batch;
    batch.add(state, chunk);
    const View<const float, 3> streams = model.forward(batch, &trace);
    model.logits(streams, logits.first(std::ssize(chunk)), &trace);
  }
  return trace;
}

class Calibrate : public testing::TestWithParam<const char*> {
 protected:
  Calibrate()
      : ops_(make_cpu_ops(pool_)),
        model_(fmt::format("{}/tests/golden/{}", DSV4_SOURCE_DIR, GetParam()), *ops_,
               {.max_batch_tokens = kChunk}),
        chunks_(random_chunks(static_cast<int32_t>(model_.config().vocab_size))) {}

  // Checks one group of a matrix against rows [.., cols] of which the inputs are columns
  // [first, first + cols).
  void expect_squares(const std::string& name, int64_t group, const std::vector<float>& rows,
                      size_t width, size_t first, size_t cols) const {
    ASSERT_TRUE(result_.table.matrices.contains(name)) << name;
    const InputSquares& got = result_.table.matrices.at(name);
    const size_t n = rows.size() / width;
    const auto g = static_cast<size_t>(group);
    ASSERT_EQ(got.squares.size(), static_cast<size_t>(got.groups) * cols) << name;
    EXPECT_EQ(got.tokens[g], static_cast<int64_t>(n)) << name;
    for (size_t i = 0; i < cols; ++i) {
      double sum = 0;
      for (size_t t = 0; t < n; ++t) sum += std::pow(double{rows[t * width + first + i]}, 2);
      const double mean = sum / static_cast<double>(n);
      ASSERT_NEAR(got.squares[g * cols + i], mean, 1e-5 * mean + 1e-12) << name << " " << i;
    }
  }

  ThreadPool pool_{2};
  std::unique_ptr<Ops> ops_;
  Model model_;
  std::vector<std::vector<int32_t>> chunks_;
  Calibration result_;
};

INSTANTIATE_TEST_SUITE_P(Golden, Calibrate, testing::Values("t1", "t3"));

TEST_P(Calibrate, means_the_squares_of_what_each_matrix_is_fed_with) {
  const Trace trace = trace_of(model_, chunks_);
  result_ = calibrate(model_, chunks_);
  EXPECT_EQ(result_.table.n_tokens, 2 * kChunk + 5);
  const ModelConfig& config = model_.config();
  const auto check = [&](const std::string& stage, const std::string& matrix) {
    const std::vector<float>& rows = trace.find(stage)->floats;
    const size_t width = rows.size() / (2 * kChunk + 5);
    expect_squares(matrix, 0, rows, width, 0, width);
  };
  check("head.norm_out", "head.weight");
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    const std::string at = fmt::format("layers.{}.", layer);
    check(at + "attn.in", at + "attn.wq_a.weight");
    check(at + "attn.in", at + "attn.wkv.weight");
    check(at + "attn.qr", at + "attn.wq_b.weight");
    check(at + "attn.o_lora", at + "attn.wo_b.weight");
    check(at + "ffn.in", at + "ffn.shared_experts.w1.weight");
    if (config.ratio(layer) != 0) {
      check(at + "attn.in", at + "attn.compressor.wkv.weight");
      check(at + "attn.in", at + "attn.compressor.wgate.weight");
    }
    if (config.ratio(layer) == 4) check(at + "attn.qr", at + "attn.indexer.wq_b.weight");
    const auto width = static_cast<size_t>(config.n_heads * config.head_dim);
    const auto n_groups = static_cast<size_t>(config.o_groups);
    for (size_t g = 0; g < n_groups; ++g) {
      expect_squares(at + "attn.wo_a.weight", static_cast<int64_t>(g),
                     trace.find(at + "attn.o")->floats, width, g * width / n_groups,
                     width / n_groups);
    }
  }
}

float dot(const QuantMatrix& w, int64_t row, const float* x) {
  std::vector<float> weights(static_cast<size_t>(w.cols));
  w.decode(row, 0, w.cols, weights.data());
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) sum += double{weights[i]} * x[i];
  return static_cast<float>(sum);
}

// What an expert's down projection is fed with, by the definition of SwiGLU with its limit.
std::vector<float> hidden_of(const ExpertWeights& expert, const ModelConfig& config,
                             const float* x) {
  std::vector<float> hidden(static_cast<size_t>(config.expert_dim));
  const auto limit = static_cast<float>(config.swiglu_limit);
  for (int64_t i = 0; i < config.expert_dim; ++i) {
    const float gate = std::min(dot(expert.w1, i, x), limit);
    const float up = std::clamp(dot(expert.w3, i, x), -limit, limit);
    hidden[static_cast<size_t>(i)] = gate / (1 + std::exp(-gate)) * up;
  }
  return hidden;
}

// Tokens of each expert from the router's choices; the squares of its first input from the layer's.
TEST_P(Calibrate, gives_each_expert_what_was_routed_to_it) {
  const Trace trace = trace_of(model_, chunks_);
  result_ = calibrate(model_, chunks_);
  const ModelConfig& config = model_.config();
  int64_t n_unseen = 0;
  int64_t n_rare = 0;
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    const std::string at = fmt::format("layers.{}.ffn.", layer);
    const std::vector<int32_t>& ids = trace.find(at + "router.ids")->ints;
    const std::vector<float>& weights = trace.find(at + "router.weights")->floats;
    const std::vector<float>& x = trace.find(at + "in")->floats;
    const auto width = static_cast<size_t>(config.hidden_size);
    const auto k = static_cast<size_t>(config.n_active_experts);
    for (int64_t e = 0; e < config.n_experts; ++e) {
      std::vector<float> rows;
      std::vector<float> hidden;
      for (size_t t = 0; t < ids.size() / k; ++t) {
        double weight = 0;
        for (size_t i = 0; i < k; ++i) weight += ids[t * k + i] == e ? weights[t * k + i] : 0;
        if (weight == 0) continue;
        rows.insert(rows.end(), &x[t * width], &x[t * width] + width);
        if (e > 1) continue;  // two of them are enough
        const auto& expert = model_.weights().layers[static_cast<size_t>(layer)].moe.experts;
        for (const float h : hidden_of(expert[static_cast<size_t>(e)], config, &x[t * width])) {
          hidden.push_back(h * static_cast<float>(weight));  // before the down projection
        }
      }
      const auto n = static_cast<int64_t>(rows.size() / width);
      n_unseen += n == 0 ? 1 : 0;
      n_rare += n < kPriorTokens ? 1 : 0;
      const std::string name = fmt::format("{}experts.{}.", at, e);
      EXPECT_FALSE(result_.table.matrices.contains(name + "w3.weight"));
      if (n == 0) {
        EXPECT_EQ(result_.table.matrices.at(name + "w1.weight").tokens[0], 0);
        continue;
      }
      expect_squares(name + "w1.weight", 0, rows, width, 0, width);
      if (e > 1) continue;
      const auto expert_dim = static_cast<size_t>(config.expert_dim);
      expect_squares(name + "w2.weight", 0, hidden, expert_dim, 0, expert_dim);
    }
  }
  EXPECT_EQ(result_.n_experts, config.n_layers * config.n_experts);
  EXPECT_EQ(result_.n_unseen, n_unseen);
  EXPECT_EQ(result_.n_rare, n_rare);
  EXPECT_GT(n_rare, 0);
  EXPECT_LT(n_rare, result_.n_experts);
}

TEST_P(Calibrate, reports_experts_that_saw_nothing) {
  const std::vector<std::vector<int32_t>> one = {{7}};
  result_ = calibrate(model_, one);
  const ModelConfig& config = model_.config();
  const int64_t seen = config.n_layers * config.n_active_experts;
  EXPECT_LE(result_.n_unseen, result_.n_experts - config.n_layers);  // a table may name one twice
  EXPECT_GE(result_.n_unseen, result_.n_experts - seen);
  EXPECT_EQ(result_.n_rare, result_.n_experts);
  blend_rare_experts(result_.table);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    const auto squares = [&](int64_t e) -> const std::vector<float>& {
      return result_.table.matrices.at(fmt::format("layers.{}.ffn.experts.{}.w1.weight", layer, e))
          .squares;
    };
    // All experts of a layer that saw one token count its squares.
    for (int64_t e = 1; e < config.n_experts; ++e) {
      for (size_t i = 0; i < squares(0).size(); ++i) {
        ASSERT_NEAR(squares(e)[i], squares(0)[i], 1e-5 * squares(0)[i]);
      }
    }
  }
}

TEST_P(Calibrate, does_not_depend_on_threads_and_leaves_the_model_as_it_was) {
  result_ = calibrate(model_, chunks_);
  const Calibration again = calibrate(model_, chunks_);
  ThreadPool one(1);
  const auto ops = make_cpu_ops(one);
  Model other(fmt::format("{}/tests/golden/{}", DSV4_SOURCE_DIR, GetParam()), *ops,
              {.max_batch_tokens = kChunk});
  const Calibration single = calibrate(other, chunks_);
  for (const auto& [name, matrix] : result_.table.matrices) {
    EXPECT_EQ(again.table.matrices.at(name).squares, matrix.squares) << name;
    EXPECT_EQ(single.table.matrices.at(name).squares, matrix.squares) << name;
  }
}

}  // namespace
}  // namespace dsv4
