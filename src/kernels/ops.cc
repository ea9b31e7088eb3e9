// Shape checks, shared by every implementation.
#include "kernels/ops.h"

#include <bit>

namespace dsv4 {
namespace {

template <typename T>
void check_lists(const ListsOf<T>& lists, int64_t n_tokens) {
  CHECK(lists.n_tokens() == n_tokens, lists.n_tokens(), n_tokens);
  CHECK(lists.begin.size() == lists.end.size(), lists.begin.size(), lists.end.size());
  for (size_t i = 0; i < lists.begin.size(); ++i) {
    const int64_t begin = lists.begin[i];
    const int64_t end = lists.end[i];
    CHECK(0 <= begin && begin <= end && end <= static_cast<int64_t>(lists.rows.size()), begin, end);
  }
}

// Kernels walk through the heads of a token without a stride.
template <typename T>
void check_heads(View<T, 3> x) {
  CHECK(x.size(1) <= 1 || x.stride(1) == x.size(2), x.stride(1), x.size(2));
}

void check_int8_rows(const Int8Rows& rows, int64_t n, int64_t cols) {
  const auto& [values, scales, sums, _] = rows;
  CHECK(values.size(0) == n && values.size(1) == cols, values.size(0), n, values.size(1), cols);
  CHECK(scales.size(0) == n && scales.size(1) == cols / 32, scales.size(0), scales.size(1), cols);
  CHECK(sums.size(0) == n && sums.size(1) == cols / 16, sums.size(0), sums.size(1), cols);
  const int64_t stride = values.stride(0);
  CHECK(n <= 1 || (scales.stride(0) * 32 == stride && sums.stride(0) * 16 == stride), stride);
}

template <typename A, typename B>
void check_same_shape(const A& a, const B& b) {
  CHECK(a.shape() == b.shape(), a.size(0), b.size(0), a.size(1), b.size(1));
}

}  // namespace

void Ops::linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y) {
  CHECK(x.size(1) == w.cols && y.size(1) == w.rows, x.size(1), w.cols, y.size(1), w.rows);
  CHECK(x.size(0) == y.size(0), x.size(0), y.size(0));
  if (!y.empty()) do_linear(x, w, y);
}

std::optional<ColumnOrder> int8_order(const QuantMatrix& w) {
  if (w.format == WeightFormat::kFP4 && w.scale_format == ScaleFormat::kE8M0 && w.block_rows == 1 &&
      w.block_cols == 32 && w.cols % 32 == 0) {
    return ColumnOrder::kEvenOdd;
  }
  if (w.format == WeightFormat::kFP8 && w.scale_format != ScaleFormat::kNone &&
      w.block_cols % 32 == 0 && w.cols % 32 == 0) {
    return ColumnOrder::kNatural;
  }
  if (w.has_blocks()) return ColumnOrder::kNatural;
  if (w.format == WeightFormat::kAwqInt4 && w.zeros != nullptr && w.block_cols % 32 == 0 &&
      w.cols % 32 == 0 && w.scale_format == ScaleFormat::kF16 && w.scale_cols % 16 == 0 &&
      w.first_row % 16 == 0) {
    return ColumnOrder::kNatural;
  }
  if (w.format == WeightFormat::kPackedInt4 && w.block_cols % 32 == 0 && w.cols % 32 == 0 &&
      scale_bytes(w.scale_format) >= 2) {
    return ColumnOrder::kEvenOdd;
  }
  return std::nullopt;
}

void Ops::quantize_int8(Matrix<const float> x, const Int8Rows& out) {
  CHECK(x.size(1) % 32 == 0, x.size(1));
  check_int8_rows(out, x.size(0), x.size(1));
  if (!x.empty()) do_quantize_int8(x, out);
}

void Ops::linear_int8(const Int8Rows& x, const QuantMatrix& w, Matrix<float> y) {
  const Int8Product product{x, w, y};
  linear_int8({&product, 1});
}

void Ops::linear_int8(std::span<const Int8Product> products) {
  for (const auto& [x, w, y] : products) {
    CHECK(int8_order(w) == x.order, static_cast<int>(w.format));
    CHECK(y.size(1) == w.rows, w.rows, y.size(1));
    CHECK(y.size(0) == products[0].y.size(0), y.size(0), products[0].y.size(0));
    check_int8_rows(x, y.size(0), w.cols);
  }
  if (!products.empty() && products[0].y.size(0) > 0) do_linear_int8(products);
}

void Ops::rms_norm(Matrix<const float> x, std::span<const float> weight, float eps,
                   Matrix<float> y) {
  check_same_shape(x, y);
  CHECK(weight.empty() || static_cast<int64_t>(weight.size()) == x.size(1), weight.size());
  if (!x.empty()) do_rms_norm(x, weight, eps, y);
}

void Ops::head_norm(Matrix<float> x, float eps, Rounding rounding) {
  if (!x.empty()) do_head_norm(x, eps, rounding);
}

void Ops::scale_by_rms(Matrix<const float> x, float eps, Matrix<float> y) {
  CHECK(x.size(0) == y.size(0), x.size(0), y.size(0));
  if (!y.empty()) do_scale_by_rms(x, eps, y);
}

void Ops::hyper_connection_maps(Matrix<const float> m, const HyperConnectionParams& params,
                                Matrix<float> pre, Matrix<float> post, View<float, 3> mix) {
  const int64_t n = m.size(0);
  const int64_t h = pre.size(1);
  CHECK(m.size(1) == (2 + h) * h && params.scale.size() == 3, m.size(1), h);
  CHECK(static_cast<int64_t>(params.base.size()) == m.size(1), params.base.size());
  CHECK(pre.size(0) == n && post.size(0) == n && mix.size(0) == n, n);
  CHECK(post.size(1) == h && mix.size(1) == h && mix.size(2) == h, h);
  check_heads(mix);
  if (n > 0) do_hyper_connection_maps(m, params, pre, post, mix);
}

void Ops::collapse(View<const float, 3> streams, Matrix<const float> pre, Matrix<float> x) {
  CHECK(streams.size(0) == x.size(0) && streams.size(2) == x.size(1), streams.size(2), x.size(1));
  CHECK(pre.size(0) == x.size(0) && pre.size(1) == streams.size(1), pre.size(0), pre.size(1));
  if (!x.empty()) do_collapse(streams, pre, x);
}

void Ops::expand(Matrix<const float> y, Matrix<const float> post, View<const float, 3> mix,
                 View<float, 3> streams) {
  const int64_t h = streams.size(1);
  CHECK(streams.size(0) == y.size(0) && streams.size(2) == y.size(1), streams.size(2), y.size(1));
  CHECK(post.size(1) == h && mix.size(1) == h && mix.size(2) == h, h, post.size(1));
  CHECK(post.size(0) == y.size(0) && mix.size(0) == y.size(0), y.size(0));
  if (!y.empty()) do_expand(y, post, mix, streams);
}

void Ops::rope(View<float, 3> x, const RopeAngles& angles, Rotation rotation) {
  CHECK(angles.cos.shape() == angles.sin.shape(), angles.cos.size(0), angles.sin.size(0));
  CHECK(angles.cos.size(0) == x.size(0) && 2 * angles.cos.size(1) <= x.size(2), x.size(2));
  if (!x.empty()) do_rope(x, angles, rotation);
}

void Ops::pool_slots(const RowLists& values, const RowLists& scores, Matrix<float> out) {
  check_lists(values, out.size(0));
  check_lists(scores, out.size(0));
  for (int64_t i = 0; i < out.size(0); ++i) {
    CHECK(values.of(i).size() == scores.of(i).size(), values.of(i).size(), scores.of(i).size());
  }
  if (!out.empty()) do_pool_slots(values, scores, out);
}

void Ops::hadamard(Matrix<float> x) {
  CHECK(std::has_single_bit(static_cast<uint64_t>(x.size(1))), x.size(1));
  if (!x.empty()) do_hadamard(x);
}

void Ops::encode_entries(Matrix<const float> x, const EntryFormat& format, Matrix<std::byte> out) {
  CHECK(x.size(1) == format.width && out.size(1) == format.bytes(), x.size(1), out.size(1));
  CHECK(x.size(0) == out.size(0), x.size(0), out.size(0));
  if (!x.empty()) do_encode_entries(x, format, out);
}

void Ops::indexer_scores(View<const float, 3> q, Matrix<const float> w, const EntryLists& keys,
                         Rounding rounding, Matrix<float> score) {
  CHECK(w.size(0) == q.size(0) && w.size(1) == q.size(1), w.size(0), w.size(1));
  check_lists(keys.lists, q.size(0));
  CHECK(keys.format.width == q.size(2), keys.format.width, q.size(2));
  for (int64_t t = 0; t < q.size(0); ++t) {
    CHECK(static_cast<int64_t>(keys.of(t).size()) <= score.size(1), score.size(1));
  }
  check_heads(q);
  if (!score.empty()) do_indexer_scores(q, w, keys, rounding, score);
}

void Ops::top_k(Matrix<const float> scores, std::span<const int64_t> counts, TopKOrder order,
                Matrix<int32_t> ids) {
  CHECK(static_cast<int64_t>(counts.size()) == ids.size(0), counts.size(), ids.size(0));
  CHECK(scores.size(0) == ids.size(0), scores.size(0), ids.size(0));
  for (const int64_t count : counts) CHECK(count >= 0 && count <= scores.size(1), count);
  if (!ids.empty()) do_top_k(scores, counts, order, ids);
}

void Ops::attend(View<const float, 3> q, const EntryLists& keys, std::span<const float> sink,
                 float scale, Rounding rounding, View<float, 3> o) {
  check_same_shape(q, o);
  CHECK(static_cast<int64_t>(sink.size()) == q.size(1), sink.size(), q.size(1));
  check_lists(keys.lists, q.size(0));
  CHECK(keys.format.width == q.size(2), keys.format.width, q.size(2));
  check_heads(q);
  check_heads(o);
  if (!q.empty()) do_attend(q, keys, sink, scale, rounding, o);
}

void Ops::sqrt_softplus(Matrix<float> scores) {
  if (!scores.empty()) do_sqrt_softplus(scores);
}

void Ops::swiglu(Matrix<const float> gate, Matrix<const float> up, float limit,
                 std::span<const float> row_weight, Matrix<float> out) {
  check_same_shape(gate, up);
  check_same_shape(gate, out);
  CHECK(row_weight.empty() || static_cast<int64_t>(row_weight.size()) == gate.size(0));
  if (!out.empty()) do_swiglu(gate, up, limit, row_weight, out);
}

void Ops::experts_int8(const Int8Rows& x, std::span<const ExpertGroup> groups, float limit,
                       const ExpertScratch& scratch, Matrix<float> y) {
  check_same_shape(scratch.gate, scratch.up);
  check_int8_rows(x, y.size(0), y.size(1));
  for (const ExpertGroup& group : groups) {
    const int64_t fe = scratch.gate.size(1);
    CHECK(group.w1->rows == fe && group.w3->rows == fe && group.w2->cols == fe, fe);
    CHECK(group.w1->cols == y.size(1) && group.w3->cols == y.size(1), y.size(1));
    CHECK(group.w2->rows == y.size(1) && scratch.y.size(1) == y.size(1), y.size(1));
    CHECK(int8_order(*group.w1) == x.order && int8_order(*group.w3) == x.order);
    CHECK(int8_order(*group.w2) == scratch.hidden[0].order);
    const auto n = static_cast<int64_t>(group.rows.size());
    CHECK(n <= scratch.gate.size(0) && n <= scratch.y.size(0), n, scratch.gate.size(0));
    CHECK(group.weights.size() == group.rows.size(), group.weights.size(), n);
    for (int64_t i = 0; i < n; ++i) {
      const int32_t row = group.rows[static_cast<size_t>(i)];
      CHECK(row >= 0 && row < y.size(0), row);
      CHECK(i == 0 || group.rows[static_cast<size_t>(i) - 1] < row, row);
    }
  }
  if (!groups.empty() && !y.empty()) do_experts_int8(x, groups, limit, scratch, y);
}

void Ops::gather_rows(Matrix<const float> x, std::span<const int32_t> rows, Matrix<float> out) {
  CHECK(static_cast<int64_t>(rows.size()) == out.size(0) && x.size(1) == out.size(1), rows.size());
  for (const int32_t row : rows) CHECK(row >= 0 && row < x.size(0), row);
  if (!out.empty()) do_gather_rows(x, rows, out);
}

void Ops::scatter_add_rows(Matrix<const float> x, std::span<const int32_t> rows,
                           Matrix<float> out) {
  CHECK(static_cast<int64_t>(rows.size()) == x.size(0) && x.size(1) == out.size(1), rows.size());
  for (const int32_t row : rows) CHECK(row >= 0 && row < out.size(0), row);
  if (!x.empty()) do_scatter_add_rows(x, rows, out);
}

void Ops::add(Matrix<const float> y, Matrix<float> x) {
  check_same_shape(x, y);
  if (!x.empty()) do_add(y, x);
}

void Ops::round_bf16(Matrix<float> x) {
  if (!x.empty()) do_round_bf16(x);
}

void Ops::fp8_round_trip(Matrix<float> x, int64_t block) {
  CHECK(block > 0, block);
  if (!x.empty()) do_fp8_round_trip(x, block);
}

void Ops::fp4_round_trip(Matrix<float> x) {
  if (!x.empty()) do_fp4_round_trip(x);
}

}  // namespace dsv4
