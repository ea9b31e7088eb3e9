#include "text/bpe.h"

#include "base/error.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <tuple>

namespace dsv4 {

namespace {

// Up to this length the plain quadratic loop is faster than a heap, and almost every pre-token is
// shorter.
constexpr size_t kShort = 48;

}  // namespace

BytePairEncoder::BytePairEncoder(const std::array<int32_t, 256>& byte_ids,
                                 const std::vector<Merge>& merges, const std::string& where)
    : byte_ids_(byte_ids) {
  std::vector<uint32_t> order(merges.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::tie(merges[a].left, merges[a].right, a) <
           std::tie(merges[b].left, merges[b].right, b);
  });
  entries_.reserve(merges.size());
  results_.reserve(merges.size());
  const Merge* previous = nullptr;
  for (const uint32_t rank : order) {
    const Merge& merge = merges[rank];
    if (previous != nullptr && previous->left == merge.left && previous->right == merge.right) {
      throw Error(ErrorCode::kInvalidInput, where,
                  fmt::format("merge {} repeats the pair of an earlier one", rank));
    }
    first_entry_.resize(static_cast<size_t>(merge.left) + 1,
                        static_cast<uint32_t>(entries_.size()));
    entries_.push_back({merge.right, rank});
    previous = &merge;
  }
  first_entry_.push_back(static_cast<uint32_t>(entries_.size()));
  for (const Merge& merge : merges) results_.push_back(merge.result);
}

uint32_t BytePairEncoder::rank_of(int32_t left, int32_t right) const {
  const auto i = static_cast<size_t>(left);
  if (i + 1 >= first_entry_.size()) return kNoRank;
  const Entry* end = entries_.data() + first_entry_[i + 1];
  const Entry* entry =
      std::lower_bound(entries_.data() + first_entry_[i], end, right,
                       [](const Entry& e, int32_t wanted) { return e.right < wanted; });
  return entry != end && entry->right == right ? entry->rank : kNoRank;
}

void BytePairEncoder::encode(std::string_view bytes, std::vector<int32_t>& out) const {
  bytes.size() <= kShort ? encode_short(bytes, out) : encode_long(bytes, out);
}

void BytePairEncoder::encode_short(std::string_view bytes, std::vector<int32_t>& out) const {
  std::array<int32_t, kShort> ids;
  std::array<uint32_t, kShort> ranks;  // of the pair (i, i + 1)
  size_t n = bytes.size();
  for (size_t i = 0; i < n; ++i) ids[i] = byte_ids_[static_cast<unsigned char>(bytes[i])];
  for (size_t i = 0; i + 1 < n; ++i) ranks[i] = rank_of(ids[i], ids[i + 1]);
  while (n > 1) {
    const auto best = std::min_element(ranks.begin(), ranks.begin() + static_cast<long>(n) - 1);
    if (*best == kNoRank) break;
    const size_t i = static_cast<size_t>(best - ranks.begin());
    ids[i] = results_[*best];
    std::copy(ids.data() + i + 2, ids.data() + n, ids.data() + i + 1);
    std::copy(ranks.data() + i + 1, ranks.data() + n - 1, ranks.data() + i);
    --n;
    if (i > 0) ranks[i - 1] = rank_of(ids[i - 1], ids[i]);
    if (i + 1 < n) ranks[i] = rank_of(ids[i], ids[i + 1]);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + static_cast<long>(n));
}

void BytePairEncoder::encode_long(std::string_view bytes, std::vector<int32_t>& out) const {
  // The symbols are a doubly linked list in an array; a merge keeps the left node and unlinks the
  // right one. Candidates in the heap may be out of date: a node whose pair has changed in the
  // meantime has another rank now.
  constexpr uint32_t kEnd = UINT32_MAX;
  struct Node {
    int32_t id;
    uint32_t previous;
    uint32_t next;
    uint32_t rank;  // of this node with the next one
  };
  const uint32_t n = static_cast<uint32_t>(bytes.size());
  std::vector<Node> nodes(n);
  for (uint32_t i = 0; i < n; ++i) {
    nodes[i] = {byte_ids_[static_cast<unsigned char>(bytes[i])], i == 0 ? kEnd : i - 1,
                i + 1 < n ? i + 1 : kEnd, kNoRank};
  }
  // Rank first, then position: the lowest rank, the leftmost of equal ones.
  std::vector<uint64_t> candidates;
  candidates.reserve(n);
  const auto update_rank = [&](uint32_t i) {
    Node& node = nodes[i];
    node.rank = node.next == kEnd ? kNoRank : rank_of(node.id, nodes[node.next].id);
    return node.rank == kNoRank ? UINT64_MAX : static_cast<uint64_t>(node.rank) << 32 | i;
  };
  for (uint32_t i = 0; i < n; ++i) {
    if (const uint64_t candidate = update_rank(i); candidate != UINT64_MAX) {
      candidates.push_back(candidate);
    }
  }
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> heap(std::greater<>(),
                                                                            std::move(candidates));
  while (!heap.empty()) {
    const uint32_t i = static_cast<uint32_t>(heap.top());
    const uint32_t rank = static_cast<uint32_t>(heap.top() >> 32);
    heap.pop();
    Node& node = nodes[i];
    if (node.rank != rank) continue;
    Node& right = nodes[node.next];
    node.id = results_[rank];
    node.next = right.next;
    right.rank = kNoRank;
    if (node.next != kEnd) nodes[node.next].previous = i;
    for (const uint32_t changed : {node.previous, i}) {
      if (changed == kEnd) continue;
      if (const uint64_t candidate = update_rank(changed); candidate != UINT64_MAX) {
        heap.push(candidate);
      }
    }
  }
  for (uint32_t i = 0; i != kEnd; i = nodes[i].next) out.push_back(nodes[i].id);
}

}  // namespace dsv4
