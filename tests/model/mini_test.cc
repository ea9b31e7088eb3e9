// The bundled trained model: greedy continuations and MTP drafts of its golden.jsonl, token by
// token.
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

const std::string kFolder = std::string(DSV4_SOURCE_DIR) + "/models/mini";

int32_t argmax(std::span<const float> row) {
  return static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
}

// Greedy decoding with the MTP block running along.
class Continuation {
 public:
  explicit Continuation(Model& model)
      : model_(model), state_(model.state_layout()), mtp_state_(model.mtp_state_layout()) {}

  // Feeds tokens; returns the likeliest next one. Keeps their streams for draft().
  int32_t feed(const std::vector<int32_t>& ids) {
    Batch batch;
    batch.add(state_, ids);
    const View<const float, 3> streams = model_.forward(batch);
    streams_ = Tensor<float, 3>(streams.shape());
    std::copy_n(streams.data(), streams.count(), streams_.view().data());
    model_.logits(streams.slice(batch.n_tokens() - 1, 1), logits_.view());
    return argmax(logits_.view()[0].span());
  }

  // The MTP block's guess for the token after `next_ids`, which follow the tokens last fed.
  int32_t draft(const std::vector<int32_t>& next_ids) {
    Batch batch;
    batch.add(mtp_state_, next_ids);
    const View<const float, 3> streams = model_.mtp_forward(batch, streams_.view());
    Tensor<float, 2> logits({1, model_.config().vocab_size});
    model_.mtp_logits(streams.slice(batch.n_tokens() - 1, 1), logits.view());
    return argmax(logits.view()[0].span());
  }

  std::span<const float> logits() const { return logits_.view()[0].span(); }

 private:
  Model& model_;
  SequenceState state_;
  SequenceState mtp_state_;
  Tensor<float, 3> streams_;
  Tensor<float, 2> logits_{{1, model_.config().vocab_size}};
};

TEST(Mini, continues_every_golden_prompt_token_by_token) {
  ThreadPool pool(2);
  const auto ops = make_cpu_ops(pool);
  Model model(kFolder, *ops);
  std::istringstream lines(read_file(kFolder + "/golden.jsonl"));
  int n_cases = 0;
  for (std::string line; std::getline(lines, line); ++n_cases) {
    const nlohmann::json golden = parse_json(line, "golden.jsonl");
    SCOPED_TRACE(golden["id"]);
    const std::vector<int32_t> reference = golden["reference_ids"];
    std::vector<int32_t> next_ids = golden["prompt_ids"];
    Continuation continuation(model);
    std::vector<int32_t> ids;
    std::vector<int32_t> drafts;
    std::vector<int32_t> fed = next_ids;
    for (size_t i = 0; i < reference.size(); ++i) {
      ids.push_back(continuation.feed(fed));
      ASSERT_EQ(ids[i], reference[i]) << "token " << i;
      if (i == 0) {
        for (const auto& [id, logit] :
             golden["top5_first"].get<std::vector<std::pair<int, double>>>()) {
          EXPECT_NEAR(continuation.logits()[static_cast<size_t>(id)], logit, 2e-4);
        }
      }
      // The draft needs the token that follows each fed one.
      std::vector<int32_t> following(fed.begin() + 1, fed.end());
      following.push_back(ids[i]);
      drafts.push_back(continuation.draft(following));
      fed = {ids[i]};
    }
    const std::vector<int32_t> golden_drafts = golden["mtp_draft_ids"];
    drafts.resize(golden_drafts.size());
    EXPECT_EQ(drafts, golden_drafts);
  }
  EXPECT_EQ(n_cases, 24);
}

}  // namespace
}  // namespace dsv4
