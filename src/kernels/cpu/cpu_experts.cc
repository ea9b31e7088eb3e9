// Experts one after the other, each shared by all threads. In one stage of the work lie the output
// of an expert, the hidden activations of the next and the gathering of the rows of the one after,
// so that threads wait for each other once per expert.
#include "kernels/cpu/cpu_ops_impl.h"

#include <algorithm>
#include <vector>

namespace dsv4 {
namespace {

constexpr int64_t kScaleCols = 32;  // Int8Rows
constexpr int64_t kSumCols = 16;

// Stage s has gather(s), gate_and_up(s - 1) and down(s - 2), which touch different scratch memory.
class Experts {
 public:
  Experts(const ThreadPool& pool, const KernelTable& kernels, const Int8Rows& x,
          std::span<const ExpertGroup> groups, float limit, const ExpertScratch& scratch,
          Matrix<float> y)
      : pool_(pool),
        kernels_(kernels),
        x_(x),
        groups_(groups),
        limit_(limit),
        scratch_(scratch),
        y_(y) {}

  size_t n_stages() const { return groups_.size() + 2; }

  // Units of a stage: those of gather, then of gate_and_up, then of down.
  Loop loop(size_t stage) const {
    return {n_gather_units(stage) + n_gate_units(stage) + n_down_units(stage), 1};
  }

  void run(size_t stage, int64_t begin, int64_t end) const {
    // Calls part(first, last) with what of [begin, end) lies in the next n units.
    const auto with_next = [&](int64_t n, auto part) {
      const int64_t first = std::max<int64_t>(begin, 0);
      const int64_t last = std::min(end, n);
      if (first < last) part(first, last);
      begin -= n, end -= n;
    };
    with_next(n_gather_units(stage),
              [&](int64_t first, int64_t last) { gather(stage, first, last); });
    const int64_t first_gate = n_gather_units(stage);
    with_next(n_gate_units(stage), [&](int64_t first, int64_t last) {
      gate_and_up(stage - 1, first, last, weights_after(stage, first_gate + last));
    });
    const int64_t first_down = first_gate + n_gate_units(stage);
    with_next(n_down_units(stage), [&](int64_t first, int64_t last) {
      down(stage - 2, first, last, weights_after(stage, first_down + last));
    });
  }

 private:
  int64_t n_gather_units(size_t stage) const {
    if (stage >= groups_.size() || takes_all(stage)) return 0;
    return n_units(std::ssize(groups_[stage].rows), kPanelGrain);
  }
  int64_t n_gate_units(size_t stage) const {
    return stage >= 1 && stage <= groups_.size() ? n_units(scratch_.gate.size(1), kPanelGrain) : 0;
  }
  int64_t n_down_units(size_t stage) const {
    return stage >= 2 ? n_units(y_.size(1), down_grain()) : 0;
  }
  static int64_t n_units(int64_t n, int64_t grain) { return (n + grain - 1) / grain; }

  // Columns of the output that cost about as much as kPanelGrain rows of gate and up.
  int64_t down_grain() const {
    return kPanelGrain * std::max<int64_t>(1, 2 * y_.size(1) / scratch_.gate.size(1));
  }

  // What a thread that has done the units before this one reads next: weights of this unit, or of
  // the first one of the thread's part of the next stage.
  ReadAhead weights_after(size_t stage, int64_t unit) const {
    for (int part = 0; part < pool_.n_threads(); ++part) {
      if (unit != pool_.part_begin(loop(stage), part + 1)) continue;
      if (stage + 1 == n_stages()) return {};
      return weights_of(stage + 1, pool_.part_begin(loop(stage + 1), part));
    }
    return weights_of(stage, unit);
  }

  // Those that a unit begins with; of gathering, which has none, those that come then.
  ReadAhead weights_of(size_t stage, int64_t unit) const {
    const int64_t gate = std::max<int64_t>(0, unit - n_gather_units(stage));
    const int64_t down = gate - n_gate_units(stage);
    if (down < 0) return read_ahead(*groups_[stage - 1].w1, gate * kPanelGrain);
    return stage < 2 ? ReadAhead{} : read_ahead(*groups_[stage - 2].w2, down * down_grain());
  }

  // Rows are ascending, so that as many as there are are all of them.
  bool takes_all(size_t g) const { return std::ssize(groups_[g].rows) == x_.values.size(0); }

  void gather(size_t g, int64_t first_unit, int64_t last_unit) const {
    const Int8Rows& to = scratch_.x[g % 2];
    const std::span<const int32_t> rows = groups_[g].rows;
    const int64_t end = std::min(std::ssize(rows), last_unit * kPanelGrain);
    const int64_t cols = x_.values.size(1);
    for (int64_t i = first_unit * kPanelGrain; i < end; ++i) {
      const int64_t row = rows[static_cast<size_t>(i)];
      std::copy_n(&x_.values(row, 0), cols, &to.values(i, 0));
      std::copy_n(&x_.scales(row, 0), cols / kScaleCols, &to.scales(i, 0));
      std::copy_n(&x_.sums(row, 0), cols / kSumCols, &to.sums(i, 0));
    }
  }

  // Columns of the hidden activations, quantised.
  void gate_and_up(size_t g, int64_t first_unit, int64_t last_unit, ReadAhead then) const {
    const ExpertGroup& group = groups_[g];
    const auto n = std::ssize(group.rows);
    const Int8Block x = int8_block(takes_all(g) ? x_ : scratch_.x[g % 2]);
    const Matrix<float>& gate = scratch_.gate;
    const Matrix<float>& up = scratch_.up;
    const int64_t begin = first_unit * kPanelGrain;
    const int64_t end = std::min(gate.size(1), last_unit * kPanelGrain);
    kernels_.linear_int8(x, n, *group.w1, begin, end, read_ahead(*group.w3, begin), gate.data(),
                         gate.stride(0));
    kernels_.linear_int8(x, n, *group.w3, begin, end, then, up.data(), up.stride(0));
    const Int8Rows& hidden = scratch_.hidden[g % 2];
    for (int64_t i = 0; i < n; ++i) {
      kernels_.rows.swiglu(&gate(i, begin), &up(i, begin), end - begin, limit_,
                           group.weights[static_cast<size_t>(i)], &gate(i, begin));
      kernels_.quantize_int8(&gate(i, begin), end - begin, hidden.order == ColumnOrder::kEvenOdd,
                             &hidden.values(i, begin), &hidden.scales(i, begin / kScaleCols),
                             &hidden.sums(i, begin / kSumCols));
    }
  }

  // Columns of the output.
  void down(size_t g, int64_t first_unit, int64_t last_unit, ReadAhead then) const {
    const ExpertGroup& group = groups_[g];
    const auto n = std::ssize(group.rows);
    const Matrix<float>& out = scratch_.y;
    const int64_t begin = first_unit * down_grain();
    const int64_t end = std::min(y_.size(1), last_unit * down_grain());
    kernels_.linear_int8(int8_block(scratch_.hidden[g % 2]), n, *group.w2, begin, end, then,
                         out.data(), out.stride(0));
    for (int64_t i = 0; i < n; ++i) {
      float* sum = &y_(group.rows[static_cast<size_t>(i)], 0);
      for (int64_t c = begin; c < end; ++c) sum[c] += out(i, c);
    }
  }

  const ThreadPool& pool_;
  const KernelTable& kernels_;
  const Int8Rows& x_;
  std::span<const ExpertGroup> groups_;
  float limit_;
  const ExpertScratch& scratch_;
  Matrix<float> y_;
};

}  // namespace

void CpuOps::do_experts_int8(const Int8Rows& x, std::span<const ExpertGroup> groups, float limit,
                             const ExpertScratch& scratch, Matrix<float> y) {
  const Experts experts(pool_, kernels_, x, groups, limit, scratch, y);
  std::vector<Loop> stages(experts.n_stages());
  for (size_t i = 0; i < stages.size(); ++i) stages[i] = experts.loop(i);
  pool_.run_loops(
      stages, [&](size_t stage, int64_t begin, int64_t end) { experts.run(stage, begin, end); });
}

}  // namespace dsv4
