// Scratch memory of a forward pass, allocated once for a number of tokens. Shapes beside each
// field; n = max_tokens, symbols as in config.h.
#pragma once

#include "kernels/ops.h"
#include "model/config.h"
#include "model/rope.h"
#include "tensor/tensor.h"

#include <cstdint>
#include <vector>

namespace dsv4 {

// Lists of rows, one per token, built in order.
template <typename T>
class ListBuilder {
 public:
  void clear() { rows_.clear(), begin_.clear(), end_.clear(); }
  void start() { begin_.push_back(size()), end_.push_back(size()); }
  void add(const T* row) { rows_.push_back(row), ++end_.back(); }
  // A list that is the first `count` rows from `first_row` on, which add_shared() has appended.
  void share(int64_t first_row, int64_t count) {
    begin_.push_back(first_row), end_.push_back(first_row + count);
  }
  void add_shared(const T* row) { rows_.push_back(row); }

  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  ListsOf<T> lists() const { return {rows_, begin_, end_}; }

 private:
  std::vector<const T*> rows_;
  std::vector<int64_t> begin_;
  std::vector<int64_t> end_;
};

// An entry completed in this pass: `index` covers tokens [index r, (index + 1) r).
struct NewEntry {
  size_t segment = 0;  // of the batch
  int64_t index = 0;
};

// The tokens that chose an expert, and with which weight.
struct ExpertTokens {
  std::vector<int32_t> rows;
  std::vector<float> weights;
};

struct Workspace {
  Workspace(const ModelConfig& config, int64_t max_tokens, KvStorage storage);

  int64_t max_tokens;
  EntryFormat entry_format;  // of the sequences' states
  EntryFormat index_format;

  Tensor<float, 3> streams;  // [n, hc, d] residual streams
  Tensor<float, 2> x;        // [n, d] input of a sublayer, normed
  Tensor<float, 2> y;        // [n, d] output of a sublayer

  // Hyper-connections
  Tensor<float, 2> maps;  // [n, (2 + hc) hc]
  Tensor<float, 2> pre;   // [n, hc]
  Tensor<float, 2> post;  // [n, hc]
  Tensor<float, 3> mix;   // [n, hc, hc]

  // Attention
  Tensor<float, 2> qr;             // [n, rq]
  Tensor<float, 3> q;              // [n, H, c]
  Tensor<float, 2> kv;             // [n, c]
  Tensor<std::byte, 2> kv_stored;  // [n, bytes of an entry]
  Tensor<float, 3> o;              // [n, H, c]
  Tensor<float, 2> o_lora;         // [n, G ro]
  ListBuilder<std::byte> keys;

  // Compressor and indexer
  Tensor<float, 2> values;              // [n, 2 max(c, ci)]
  Tensor<float, 2> scores;              // [n, 2 max(c, ci)]
  Tensor<float, 2> entries;             // [n, max(c, ci)] completed in this pass
  Tensor<std::byte, 2> entries_stored;  // [n, bytes of an entry of either kind]
  Tensor<float, 3> index_q;             // [n, Hi, ci]
  Tensor<float, 2> index_weights;       // [n, Hi]
  Tensor<float, 1> index_scores;        // a slice of tokens against all entries
  Tensor<int32_t, 2> index_ids;         // [n, Ki]
  RopeTable entry_rope;                 // angles of entries, which sit at their first token
  ListBuilder<float> slot_values;
  ListBuilder<float> slot_scores;
  ListBuilder<std::byte> index_keys;
  std::vector<NewEntry> new_entries;     // completed in this pass
  std::vector<int64_t> entry_positions;  // of their first tokens
  std::vector<int64_t> n_visible;        // entries, by token

  // Experts
  Tensor<float, 2> router_scores;           // [n, E]
  Tensor<float, 2> biased_scores;           // [n, E]
  Tensor<int32_t, 2> expert_ids;            // [n, k]
  Tensor<float, 2> expert_weights;          // [n, k]
  Tensor<float, 2> expert_x;                // [n, d] tokens of one expert
  Tensor<float, 2> gate;                    // [n, fe]
  Tensor<float, 2> up;                      // [n, fe]
  Tensor<float, 2> expert_y;                // [n, d]
  std::vector<int64_t> n_scores;            // of each token
  std::vector<ExpertTokens> expert_tokens;  // by expert
  std::vector<int32_t> chosen_experts;      // by some token, ascending
  std::vector<ExpertGroup> expert_groups;   // of these
  std::vector<int64_t> expert_runs;  // by main layer: experts that some token chose, of all passes

  // Of all tensors. Memory is touched only as it is used, so constructing a workspace to learn its
  // size costs nothing.
  int64_t bytes() const;
};

}  // namespace dsv4
