// The class behind make_cpu_ops(); only the files of this folder include it.
#pragma once

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/kernel_table.h"

#include <atomic>
#include <vector>

namespace dsv4 {

class CpuOps : public Ops {
 public:
  CpuOps(ThreadPool& pool, const KernelTable& kernels)
      : pool_(pool), kernels_(kernels), scratch_busy_(static_cast<size_t>(pool.n_threads())) {}

 protected:
  void do_linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y) override;
  void do_quantize_int8(Matrix<const float> x, const Int8Rows& out) override;
  void do_linear_int8(std::span<const Int8Product> products) override;
  void do_rms_norm(Matrix<const float> x, std::span<const float> weight, float eps,
                   Matrix<float> y) override;
  void do_head_norm(Matrix<float> x, float eps, Rounding rounding) override;
  void do_scale_by_rms(Matrix<const float> x, float eps, Matrix<float> y) override;
  void do_hyper_connection_maps(Matrix<const float> m, const HyperConnectionParams& params,
                                Matrix<float> pre, Matrix<float> post, View<float, 3> mix) override;
  void do_collapse(View<const float, 3> streams, Matrix<const float> pre, Matrix<float> x) override;
  void do_expand(Matrix<const float> y, Matrix<const float> post, View<const float, 3> mix,
                 View<float, 3> streams) override;
  void do_rope(View<float, 3> x, const RopeAngles& angles, Rotation rotation) override;
  void do_pool_slots(const RowLists& values, const RowLists& scores, Matrix<float> out) override;
  void do_hadamard(Matrix<float> x) override;
  void do_encode_entries(Matrix<const float> x, const EntryFormat& format,
                         Matrix<std::byte> out) override;
  void do_indexer_scores(View<const float, 3> q, Matrix<const float> w, const EntryLists& keys,
                         Rounding rounding, Matrix<float> score) override;
  void do_top_k(Matrix<const float> scores, std::span<const int64_t> counts, TopKOrder order,
                Matrix<int32_t> ids) override;
  void do_attend(View<const float, 3> q, const EntryLists& keys, std::span<const float> sink,
                 float scale, Rounding rounding, View<float, 3> o) override;
  void do_sqrt_softplus(Matrix<float> scores) override;
  void do_swiglu(Matrix<const float> gate, Matrix<const float> up, float limit,
                 std::span<const float> row_weight, Matrix<float> out) override;
  void do_experts_int8(const Int8Rows& x, std::span<const ExpertGroup> groups, float limit,
                       const ExpertScratch& scratch, Matrix<float> y) override;
  void do_gather_rows(Matrix<const float> x, std::span<const int32_t> rows,
                      Matrix<float> out) override;
  void do_scatter_add_rows(Matrix<const float> x, std::span<const int32_t> rows,
                           Matrix<float> out) override;
  void do_add(Matrix<const float> y, Matrix<float> x) override;
  void do_round_bf16(Matrix<float> x) override;
  void do_fp8_round_trip(Matrix<float> x, int64_t block) override;
  void do_fp4_round_trip(Matrix<float> x) override;

 private:
  // Calls body(t) for each row t of n, in parallel; `row_work` is the rough number of operations
  // for one row, so that small loops stay on one thread.
  template <typename Body>
  void for_each_row(int64_t n, int64_t row_work, const Body& body) {
    constexpr int64_t kWorkWorthAThread = 8192;
    const int64_t grain = 1 + kWorkWorthAThread / (1 + row_work);
    pool_.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) body(t);
    });
  }

  class Scratch;

  ThreadPool& pool_;
  const KernelTable& kernels_;
  Tensor<float, 1> scratch_;  // a part for each thread
  std::vector<std::atomic<bool>> scratch_busy_;
};

constexpr int64_t kPanelGrain = 64;  // rows of a weight that int8 kernels work on together

Int8Block int8_block(const Int8Rows& rows);

// The first rows that a kernel works on when it comes to this row; nothing behind the last one.
ReadAhead read_ahead(const QuantMatrix& w, int64_t row);

}  // namespace dsv4
