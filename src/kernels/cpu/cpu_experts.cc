// Experts one after the other, each shared by all threads: a thread owns rows of the gate and up
// projections, the same columns of what is between them and the down projection, and columns of the
// output, so that threads wait for each other once per expert.
#include "kernels/cpu/cpu_ops_impl.h"

#include <algorithm>
#include <utility>

namespace dsv4 {
namespace {

constexpr int64_t kScaleCols = 32;  // Int8Rows
constexpr int64_t kSumCols = 16;

// One thread's share.
class ExpertThread {
 public:
  ExpertThread(const ThreadPool::Team& team, const KernelTable& kernels, const Int8Rows& x,
               std::span<const ExpertGroup> groups, float limit, const ExpertScratch& scratch,
               Matrix<float> y)
      : team_(team),
        kernels_(kernels),
        x_(x),
        groups_(groups),
        limit_(limit),
        scratch_(scratch),
        y_(y) {}

  void run() const {
    gather(0);
    team_.barrier();
    for (size_t g = 0; g < groups_.size(); ++g) {
      gate_and_up(g);
      if (g + 1 < groups_.size()) gather(g + 1);
      team_.barrier();
      down(g);
    }
  }

 private:
  // Rows are ascending, so that as many as there are are all of them.
  bool takes_all(size_t g) const { return std::ssize(groups_[g].rows) == x_.values.size(0); }

  void gather(size_t g) const {
    if (takes_all(g)) return;
    const Int8Rows& to = scratch_.x[g % 2];
    const std::span<const int32_t> rows = groups_[g].rows;
    const auto [begin, end] = team_.range(std::ssize(rows), 1);
    const int64_t cols = x_.values.size(1);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = rows[static_cast<size_t>(i)];
      std::copy_n(&x_.values(row, 0), cols, to.values.data() + i * cols);
      std::copy_n(&x_.scales(row, 0), cols / kScaleCols,
                  to.scales.data() + i * (cols / kScaleCols));
      std::copy_n(&x_.sums(row, 0), cols / kSumCols, to.sums.data() + i * (cols / kSumCols));
    }
  }

  // Own columns of the hidden activations, quantised.
  void gate_and_up(size_t g) const {
    const ExpertGroup& group = groups_[g];
    const auto n = std::ssize(group.rows);
    const Int8Block x = int8_block(takes_all(g) ? x_ : scratch_.x[g % 2]);
    const Matrix<float>& gate = scratch_.gate;
    const Matrix<float>& up = scratch_.up;
    const auto [begin, end] = team_.range(gate.size(1), kPanelGrain);
    if (begin >= end) return;
    kernels_.linear_int8(x, n, *group.w1, begin, end, first_reads(team_, *group.w3), gate.data(),
                         gate.stride(0));
    kernels_.linear_int8(x, n, *group.w3, begin, end, first_reads(team_, *group.w2), up.data(),
                         up.stride(0));
    const Int8Rows& hidden = scratch_.hidden[g % 2];
    const int64_t fe = gate.size(1);
    for (int64_t i = 0; i < n; ++i) {
      swiglu_row(&gate(i, begin), &up(i, begin), end - begin, limit_,
                 group.weights[static_cast<size_t>(i)], &gate(i, begin));
      kernels_.quantize_int8(&gate(i, begin), end - begin, hidden.order == ColumnOrder::kEvenOdd,
                             hidden.values.data() + i * fe + begin,
                             hidden.scales.data() + (i * fe + begin) / kScaleCols,
                             hidden.sums.data() + (i * fe + begin) / kSumCols);
    }
  }

  // Own columns of the output.
  void down(size_t g) const {
    const ExpertGroup& group = groups_[g];
    const auto n = std::ssize(group.rows);
    const Matrix<float>& out = scratch_.y;
    const auto [begin, end] = team_.range(y_.size(1), kPanelGrain);
    if (begin >= end) return;
    const ReadAhead then =
        g + 1 < groups_.size() ? first_reads(team_, *groups_[g + 1].w1) : ReadAhead();
    kernels_.linear_int8(int8_block(scratch_.hidden[g % 2]), n, *group.w2, begin, end, then,
                         out.data(), out.stride(0));
    for (int64_t i = 0; i < n; ++i) {
      float* sum = &y_(group.rows[static_cast<size_t>(i)], 0);
      for (int64_t c = begin; c < end; ++c) sum[c] += out(i, c);
    }
  }

  const ThreadPool::Team& team_;
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
  pool_.run_team([&](const ThreadPool::Team& team) {
    ExpertThread(team, kernels_, x, groups, limit, scratch, y).run();
  });
}

}  // namespace dsv4
