// Attention and indexer: how the work is cut over threads, and the memory that each works in.
#include "kernels/cpu/cpu_ops_impl.h"

#include <algorithm>
#include <atomic>

namespace dsv4 {
namespace {

constexpr int64_t kHeadGrain = 4;        // heads that share the reads of an entry
constexpr int64_t kKeysPerTask = 1024;   // of the indexer
constexpr int64_t kTokensPerThread = 8;  // from which on they are not cut over heads
constexpr int64_t kLine = 16;            // floats

int64_t whole_lines(int64_t floats) { return (floats + kLine - 1) / kLine * kLine; }

// Entries apart by an odd number of lines: at a power of two they would share few places of the
// first cache.
int64_t tile_stride(int64_t width) { return (whole_lines(width) / kLine | 1) * kLine; }

// The token to take as the i-th of n: later ones attend to more, so that the first and the last
// are paired and threads that take a range each have as much to do.
int64_t light_with_heavy(int64_t i, int64_t n) { return i % 2 == 0 ? i / 2 : n - 1 - i / 2; }

}  // namespace

// Memory for as many ranges of a loop as are worked on at a time, kept from loop to loop.
class CpuOps::Scratch {
 public:
  Scratch(CpuOps& ops, int64_t floats) : floats_(whole_lines(floats)), busy_(ops.scratch_busy_) {
    const int64_t all = floats_ * std::ssize(busy_);
    if (ops.scratch_.view().size(0) < all) ops.scratch_ = Tensor<float, 1>({all});
    data_ = ops.scratch_.view().data();
  }

  // Calls use(memory) with memory that nobody else uses meanwhile.
  template <typename Use>
  void with(const Use& use) {
    size_t i = 0;
    while (busy_[i].exchange(true, std::memory_order_acquire)) i = (i + 1) % busy_.size();
    use(data_ + floats_ * static_cast<int64_t>(i));
    busy_[i].store(false, std::memory_order_release);
  }

 private:
  float* data_;
  int64_t floats_;
  std::vector<std::atomic<bool>>& busy_;
};

void CpuOps::do_encode_entries(Matrix<const float> x, const EntryFormat& format,
                               Matrix<std::byte> out) {
  for_each_row(x.size(0), 16 * x.size(1),
               [&](int64_t t) { encode_entry(format, &x(t, 0), &out(t, 0)); });
}

void CpuOps::do_indexer_scores(View<const float, 3> q, Matrix<const float> w,
                               const EntryLists& keys, Rounding rounding, Matrix<float> score) {
  const int64_t stride = tile_stride(q.size(2));
  Scratch scratch(*this, (kKeyBlock + kKeyRows) * stride);
  // Few tokens with many keys split by keys, many tokens by tokens.
  const int64_t n_parts = (score.size(1) + kKeysPerTask - 1) / kKeysPerTask;
  const auto score_part = [&](int64_t t, int64_t first, const EntryTile& tile) {
    const auto rows = keys.of(t);
    const int64_t n = std::min(kKeysPerTask, std::ssize(rows) - first);
    if (n <= 0) return;
    kernels_.indexer_scores({&q(t, 0, 0), &w(t, 0), q.size(1), q.size(2), &keys.format,
                             rows.data() + first, n, rounding == Rounding::kBf16},
                            tile, &score(t, first));
  };
  pool_.parallel_for(q.size(0) * n_parts, 1, [&](int64_t begin, int64_t end) {
    scratch.with([&](float* data) {
      for (int64_t task = begin; task < end; ++task) {
        score_part(light_with_heavy(task / n_parts, q.size(0)), task % n_parts * kKeysPerTask,
                   {data, stride});
      }
    });
  });
}

void CpuOps::do_attend(View<const float, 3> q, const EntryLists& keys, std::span<const float> sink,
                       float scale, Rounding rounding, View<float, 3> o) {
  const int64_t n_heads = q.size(1);
  const int64_t stride = tile_stride(q.size(2));
  const int64_t tile = kKeyBlock * stride;
  Scratch scratch(*this, tile + n_heads * (kKeyBlock + 3));
  const auto attend = [&](int64_t t, int64_t head, int64_t head_end, float* data) {
    const auto rows = keys.of(t);
    float* per_head = data + tile + n_heads * kKeyBlock;
    kernels_.attend(
        {&q(t, head, 0), head_end - head, q.size(2), &keys.format, rows.data(), std::ssize(rows),
         sink.data() + head, scale, rounding == Rounding::kBf16, &o(t, head, 0)},
        {{data, stride}, data + tile, per_head, per_head + n_heads, per_head + 2 * n_heads});
  };
  // Groups of heads, token by token; those of a token in one range share the decoding of entries.
  // So many tokens are cut between tokens, and few into one range for each thread.
  const int64_t n_groups = (n_heads + kHeadGrain - 1) / kHeadGrain;
  const int64_t n = q.size(0) * n_groups;
  const int64_t n_threads = pool_.n_threads();
  const bool many = q.size(0) >= kTokensPerThread * n_threads;
  const int64_t grain = many ? n_groups : (n + n_threads - 1) / n_threads;
  pool_.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    scratch.with([&](float* data) {
      while (begin < end) {
        const int64_t group = begin % n_groups;
        const int64_t group_end = std::min(n_groups, group + end - begin);
        attend(light_with_heavy(begin / n_groups, q.size(0)), group * kHeadGrain,
               std::min(group_end * kHeadGrain, n_heads), data);
        begin += group_end - group;
      }
    });
  });
}

}  // namespace dsv4
