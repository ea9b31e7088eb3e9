#include "model/workspace.h"

#include <algorithm>

namespace dsv4 {
namespace {

// Index scores of a pass are computed in slices of tokens of about this many scores.
constexpr int64_t kScoreSlice = int64_t{1} << 22;

// Room for the scores of at least one token at the full context, at most of all tokens.
int64_t n_index_scores(const ModelConfig& c, int64_t n) {
  const int64_t n_entries = c.max_position_embeddings / 4 + 1;
  return std::max(n_entries, std::min(n * n_entries, kScoreSlice));
}

int64_t entry_width(const ModelConfig& c) { return std::max(c.head_dim, c.index_head_dim); }

}  // namespace

Workspace::Workspace(const ModelConfig& c, int64_t n, KvStorage storage)
    : max_tokens(n),
      entry_format(dsv4::entry_format(storage, c.head_dim, c.rope_dim)),
      index_format(index_key_format(storage, c.index_head_dim)),
      streams({n, c.hc_mult, c.hidden_size}),
      x({n, c.hidden_size}),
      y({n, c.hidden_size}),
      maps({n, (2 + c.hc_mult) * c.hc_mult}),
      pre({n, c.hc_mult}),
      post({n, c.hc_mult}),
      mix({n, c.hc_mult, c.hc_mult}),
      qr({n, c.q_lora_rank}),
      q({n, c.n_heads, c.head_dim}),
      kv({n, c.head_dim}),
      kv_stored({n, entry_format.bytes()}),
      o({n, c.n_heads, c.head_dim}),
      o_lora({n, c.o_groups * c.o_lora_rank}),
      values({n, 2 * entry_width(c)}),
      scores({n, 2 * entry_width(c)}),
      entries({n, entry_width(c)}),
      entries_stored({n, std::max(entry_format.bytes(), index_format.bytes())}),
      index_q({n, c.n_index_heads, c.index_head_dim}),
      index_weights({n, c.n_index_heads}),
      index_scores({n_index_scores(c, n)}),
      index_ids({n, c.index_topk}),
      entry_rope(c, RopeVariant::kCompress, n),
      router_scores({n, c.n_experts}),
      biased_scores({n, c.n_experts}),
      expert_ids({n, c.n_active_experts}),
      expert_weights({n, c.n_active_experts}),
      expert_x({n, c.hidden_size}),
      gate({n, c.expert_dim}),
      up({n, c.expert_dim}),
      expert_y({n, c.hidden_size}),
      expert_runs(static_cast<size_t>(c.n_layers)) {}

int64_t Workspace::bytes() const {
  const auto sum = [](const auto&... tensors) {
    return static_cast<int64_t>((tensors.bytes() + ...));
  };
  return sum(streams, x, y, maps, pre, post, mix, qr, q, kv, kv_stored, o, o_lora, values, scores,
             entries, entries_stored, index_q, index_weights, index_scores, index_ids, entry_rope,
             router_scores, biased_scores, expert_ids, expert_weights, expert_x, gate, up,
             expert_y);
}

}  // namespace dsv4
