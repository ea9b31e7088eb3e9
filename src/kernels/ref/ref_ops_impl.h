// The class behind make_ref_ops(); only the files of this folder include it.
#pragma once

#include "kernels/ref/ref_ops.h"

namespace dsv4::ref {

class RefOps : public Ops {
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
};

}  // namespace dsv4::ref
