#include "model/moe.h"

#include <algorithm>
#include <vector>

namespace dsv4 {
namespace {

// Chooses k experts for each token: by the largest biased score, or by the table of a hash layer.
void choose_experts(Step& step, const MoeWeights& w, Matrix<const float> scores,
                    Matrix<int32_t> ids) {
  const int64_t n = ids.size(0);
  const int64_t k = ids.size(1);
  if (!w.token_experts.empty()) {
    for (int64_t t = 0; t < n; ++t) {
      std::copy_n(w.token_experts.begin() + step.batch.ids[static_cast<size_t>(t)] * k, k,
                  &ids(t, 0));
    }
    return;
  }
  const Matrix<float> biased = step.work.biased_scores.first(n);
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t e = 0; e < scores.size(1); ++e) {
      biased(t, e) = scores(t, e) + w.bias[static_cast<size_t>(e)];
    }
  }
  step.work.n_scores.assign(static_cast<size_t>(n), scores.size(1));
  step.ops().top_k(biased, step.work.n_scores, TopKOrder::kByScore, ids);
}

// Scores without bias, normalised over the chosen experts and scaled.
void weigh_experts(Step& step, Matrix<const float> scores, Matrix<const int32_t> ids,
                   Matrix<float> weights) {
  const auto scaling = static_cast<float>(step.config.routed_scaling);
  for (int64_t t = 0; t < ids.size(0); ++t) {
    float sum = 0;
    for (int64_t i = 0; i < ids.size(1); ++i) sum += weights(t, i) = scores(t, ids(t, i));
    for (int64_t i = 0; i < ids.size(1); ++i) weights(t, i) = weights(t, i) / sum * scaling;
  }
}

// Router, in float32 in every numerics: work.expert_ids and work.expert_weights.
void route(Step& step, const MoeWeights& w) {
  const int64_t n = step.n_tokens();
  const Matrix<float> scores = step.work.router_scores.first(n);
  const Matrix<int32_t> ids = step.work.expert_ids.first(n);
  const Matrix<float> weights = step.work.expert_weights.first(n);
  step.ops().linear(step.work.x.first(n), w.gate, scores);
  step.ops().sqrt_softplus(scores);
  choose_experts(step, w, scores, ids);
  weigh_experts(step, scores, ids, weights);
  step.record("ffn.router.scores", scores);
  step.record("ffn.router.weights", weights);
  if (step.trace != nullptr) step.trace->record_ids("ffn.router.ids", ids);
  if (step.routing != nullptr) step.routing->add_layer(ids.reshape<1>({ids.count()}).span());
}

// y = w2 (row_weight * swiglu(w1 x, w3 x)).
void run_expert(Step& step, const ExpertWeights& w, Matrix<const float> x,
                std::span<const float> row_weight, Matrix<float> y) {
  const Matrix<float> gate = step.work.gate.first(x.size(0));
  const Matrix<float> up = step.work.up.first(x.size(0));
  step.math.linear(x, {&w.w1, gate}, {&w.w3, up});
  step.ops().swiglu(gate, up, static_cast<float>(step.config.swiglu_limit), row_weight, gate);
  step.math.round(gate);
  step.math.linear(gate, w.w2, y);
}

// work.expert_tokens, and of those that are not empty work.chosen_experts and work.expert_groups.
void group_by_expert(Step& step, const MoeWeights& w) {
  std::vector<ExpertTokens>& tokens = step.work.expert_tokens;
  tokens.resize(static_cast<size_t>(step.config.n_experts));
  for (ExpertTokens& expert : tokens) expert.rows.clear(), expert.weights.clear();
  const Matrix<int32_t> ids = step.work.expert_ids.first(step.n_tokens());
  for (int64_t t = 0; t < ids.size(0); ++t) {
    for (int64_t i = 0; i < ids.size(1); ++i) {
      ExpertTokens& group = tokens[static_cast<size_t>(ids(t, i))];
      const float weight = step.work.expert_weights.view()(t, i);
      if (!group.rows.empty() && group.rows.back() == t) {
        group.weights.back() += weight;  // a hash table may name an expert twice
      } else {
        group.rows.push_back(static_cast<int32_t>(t));
        group.weights.push_back(weight);
      }
    }
  }
  step.work.chosen_experts.clear();
  step.work.expert_groups.clear();
  for (size_t e = 0; e < tokens.size(); ++e) {
    const ExpertWeights& expert = w.experts[e];
    if (tokens[e].rows.empty()) continue;
    step.work.chosen_experts.push_back(static_cast<int32_t>(e));
    step.work.expert_groups.push_back(
        {&expert.w1, &expert.w2, &expert.w3, tokens[e].rows, tokens[e].weights});
  }
}

// y = sum over each token's experts, in ascending order, so that it is one whatever the batch.
void run_routed_experts(Step& step, const MoeWeights& w, Matrix<const float> x, Matrix<float> y) {
  group_by_expert(step, w);
  if (step.experts != nullptr) step.experts->require(step.layer, step.work.chosen_experts);
  const std::vector<ExpertGroup>& groups = step.work.expert_groups;
  step.work.expert_runs[static_cast<size_t>(step.layer)] += std::ssize(groups);
  std::fill_n(y.data(), y.count(), 0.0f);
  const int64_t n = step.n_tokens();
  const ExpertBuffers buffers{step.work.gate.first(n), step.work.up.first(n),
                              step.work.expert_y.first(n)};
  const auto limit = static_cast<float>(step.config.swiglu_limit);
  if (step.math.experts(x, groups, limit, buffers, y)) return;
  for (const ExpertGroup& group : groups) {
    const auto n_rows = static_cast<int64_t>(group.rows.size());
    const Matrix<float> expert_x = step.work.expert_x.first(n_rows);
    const Matrix<float> expert_y = step.work.expert_y.first(n_rows);
    step.ops().gather_rows(x, group.rows, expert_x);
    run_expert(step, {*group.w1, *group.w2, *group.w3}, expert_x, group.weights, expert_y);
    step.ops().scatter_add_rows(expert_y, group.rows, y);
  }
}

}  // namespace

void mixture_of_experts(Step& step, const MoeWeights& w) {
  const int64_t n = step.n_tokens();
  const Matrix<float> x = step.work.x.first(n);
  const Matrix<float> y = step.work.y.first(n);
  step.record("ffn.in", x);
  route(step, w);

  run_routed_experts(step, w, x, y);
  step.record("ffn.routed", y);

  const Matrix<float> shared = step.work.expert_y.first(n);
  run_expert(step, w.shared, x, {}, shared);
  step.record("ffn.shared", shared);
  step.ops().add(shared, y);
  step.math.round(y);
  step.record("ffn.out", y);
}

}  // namespace dsv4
