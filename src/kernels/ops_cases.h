// Every operation as a function from random inputs to a case that any build of the operations can
// run, on all rows or on some.
#pragma once

#include "kernels/int8_buffer.h"
#include "kernels/ops_testing.h"

#include <algorithm>
#include <functional>

namespace dsv4::testing {

// An operation on given inputs. run() writes the rows [begin, begin + count) of its result, one for
// each token, to `out`, which has as many rows.
struct OpCase {
  int64_t n_tokens = 0;
  int64_t width = 0;
  std::function<void(Ops&, int64_t begin, int64_t count, Matrix<float> out)> run;
};

inline void copy(Matrix<const float> from, Matrix<float> to) {
  for (int64_t t = 0; t < to.size(0); ++t) std::copy_n(&from(t, 0), to.size(1), &to(t, 0));
}

template <typename T>
ListsOf<T> slice(const ListsOf<T>& lists, int64_t begin, int64_t count) {
  const auto first = static_cast<size_t>(begin);
  const auto n = static_cast<size_t>(count);
  return {lists.rows, lists.begin.subspan(first, n), lists.end.subspan(first, n)};
}

template <typename T>
std::span<T> slice(std::span<T> values, int64_t begin, int64_t count) {
  return values.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
}

inline EntryLists slice(const EntryLists& entries, int64_t begin, int64_t count) {
  return {entries.format, slice(entries.lists, begin, count)};
}

inline OpCase linear_case(Inputs& in) {
  const auto format = in.one_of({WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16,
                                 WeightFormat::kFP8, WeightFormat::kFP8, WeightFormat::kFP4});
  const int64_t n = in.n_tokens();
  int64_t cols = in.width();
  if (format == WeightFormat::kFP4) cols += cols % 2;  // stored in pairs
  const QuantMatrix w = in.weight(in.integer(1, 40), cols, format);
  const Matrix<const float> x = in.matrix(n, cols);
  return {n, w.rows, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            ops.linear(x.slice(begin, count), w, out);
          }};
}

// The activations, and behind them the sums of 16.
inline OpCase quantize_int8_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t cols = 32 * in.integer(1, 20);
  const auto order = in.one_of({ColumnOrder::kNatural, ColumnOrder::kEvenOdd});
  const Matrix<const float> x = in.matrix(n, cols);
  return {n, cols + cols / 16, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            Int8Buffer buffer(count, cols);
            const Int8Rows rows = buffer.rows(count, cols, order);
            ops.quantize_int8(x.slice(begin, count), rows);
            const auto& [values, scales, sums, _] = rows;
            for (int64_t t = 0; t < count; ++t) {
              for (int64_t i = 0; i < cols; ++i) {
                out(t, i) = scales(t, i / 32) * static_cast<float>(values(t, i));
              }
              for (int64_t i = 0; i < cols / 16; ++i) {
                out(t, cols + i) = static_cast<float>(sums(t, i));
              }
            }
          }};
}

template <WeightFormat kFormat>
OpCase linear_int8_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t cols = in.size("width", in.one_of<int64_t>({256, 512, 768, 2048}));
  const QuantMatrix w = in.int8_weight(in.integer(1, 70), cols, kFormat);
  const ColumnOrder order = int8_order(w).value();
  const Matrix<const float> x = in.matrix(n, w.cols);
  return {n, w.rows, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            Int8Buffer buffer(count, w.cols);
            const Int8Rows rows = buffer.rows(count, w.cols, order);
            ops.quantize_int8(x.slice(begin, count), rows);
            ops.linear_int8(rows, w, out);
          }};
}

inline OpCase rms_norm_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t d = in.width();
  const Matrix<const float> x = in.matrix(n, d);
  const std::span<const float> weight = in.coin() ? in.vector(d) : std::span<float>();
  const bool in_place = in.coin();
  return {n, d, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            if (in_place) copy(x.slice(begin, count), out);
            ops.rms_norm(in_place ? out : x.slice(begin, count), weight, 1e-6f, out);
          }};
}

template <Rounding kRounding>
OpCase head_norm_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t d = in.width();
  const Matrix<const float> x = in.matrix(n, d);
  return {n, d, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            copy(x.slice(begin, count), out);
            ops.head_norm(out, 1e-6f, kRounding);
          }};
}

inline OpCase scale_by_rms_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const Matrix<const float> x = in.matrix(n, in.width());
  const Matrix<const float> y = in.matrix(n, in.integer(1, 30));
  return {n, y.size(1), [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            copy(y.slice(begin, count), out);
            ops.scale_by_rms(x.slice(begin, count), 1e-6f, out);
          }};
}

inline OpCase hyper_connection_maps_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t h = in.size("streams", in.coin() ? 4 : in.integer(1, 16));
  const Matrix<const float> m = in.matrix(n, (2 + h) * h);
  const HyperConnectionParams params{in.vector((2 + h) * h), in.vector(3), 1e-6f,
                                     in.size("iters", in.integer(1, 20))};
  return {n, (2 + h) * h, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            ops.hyper_connection_maps(m.slice(begin, count), params, out.columns(0, h),
                                      out.columns(h, h),
                                      Inputs::as_heads(out.columns(2 * h, h * h), h, h));
          }};
}

inline OpCase collapse_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t h = in.size("streams", in.integer(1, 6));
  const int64_t d = in.width();
  const View<const float, 3> streams = in.heads(n, h, d + 3).columns(in.integer(0, 3), d);
  const Matrix<const float> pre = in.matrix(n, h);
  return {n, d, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            ops.collapse(streams.slice(begin, count), pre.slice(begin, count), out);
          }};
}

inline OpCase expand_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t h = in.size("streams", in.integer(1, 16));
  const int64_t d = in.width();
  const Matrix<const float> streams = in.matrix(n, h * (d + 2));
  const Matrix<const float> y = in.matrix(n, d);
  const Matrix<const float> post = in.matrix(n, h);
  const View<const float, 3> mix = in.heads(n, h, h);
  return {n, h * (d + 2), [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            copy(streams.slice(begin, count), out);
            ops.expand(y.slice(begin, count), post.slice(begin, count), mix.slice(begin, count),
                       Inputs::as_heads(out, h, d + 2).columns(1, d));
          }};
}

inline OpCase rope_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t heads = in.size("heads", in.integer(1, 9));
  const int64_t n_pairs = in.size("pairs", in.integer(1, 32));
  const int64_t d = in.size("head_dim", 2 * n_pairs + in.integer(0, 70));
  const Matrix<const float> x = in.matrix(n, heads * d);
  const Matrix<const float> cos = in.matrix(n, n_pairs);
  const Matrix<const float> sin = in.matrix(n, n_pairs);
  const Rotation rotation = in.one_of({Rotation::kForward, Rotation::kInverse});
  return {n, heads * d, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            copy(x.slice(begin, count), out);
            ops.rope(Inputs::as_heads(out, heads, d),
                     {cos.slice(begin, count), sin.slice(begin, count)}, rotation);
          }};
}

inline OpCase pool_slots_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t d = in.width();
  const RowLists values = in.lists(n, 1, 140, d, /*with_nulls=*/false);
  const RowLists scores = in.lists_like(values, d);
  return {n, d, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            ops.pool_slots(slice(values, begin, count), slice(scores, begin, count), out);
          }};
}

inline OpCase hadamard_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t d = in.size("d", int64_t{1} << in.integer(0, 9));
  const Matrix<const float> x = in.matrix(n, d);
  return {n, d, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            copy(x.slice(begin, count), out);
            ops.hadamard(out);
          }};
}

template <EntryType kType>
OpCase encode_entries_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t width = in.width();
  const EntryFormat format = in.entry_format(width, kType);
  const Matrix<const float> x = in.matrix(n, width);
  return {n, format.bytes(), [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            const Tensor<std::byte, 2> rows({count, format.bytes()});
            ops.encode_entries(x.slice(begin, count), format, rows.view());
            for (int64_t t = 0; t < count; ++t) {
              for (int64_t i = 0; i < format.bytes(); ++i) {
                out(t, i) = static_cast<float>(rows.view()(t, i));
              }
            }
          }};
}

template <Rounding kRounding, EntryType kType>
OpCase indexer_scores_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t heads = in.size("heads", in.integer(1, 9));
  const bool many_keys = in.integer(0, 4) == 0;
  const int64_t d = in.size("d", many_keys ? 8 : in.one_of<int64_t>({1, 17, 32, 64, 128, 1030}));
  const View<const float, 3> q = in.heads(n, heads, d);
  const Matrix<const float> w = in.matrix(n, heads);
  const EntryLists keys = in.entry_lists(n, many_keys ? 2500 : 90, d, kType, /*with_nulls=*/false);
  const int64_t width = std::ssize(keys.lists.rows) + 2;
  return {n, width, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            for (int64_t t = 0; t < count; ++t) std::fill_n(&out(t, 0), width, -5.0f);
            ops.indexer_scores(q.slice(begin, count), w.slice(begin, count),
                               slice(keys, begin, count), kRounding, out);
          }};
}

inline OpCase top_k_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t width = in.size("scores", in.integer(1, 300));
  const int64_t k = in.size("k", in.one_of<int64_t>({1, 6, width, width + 3, 40}));
  const TopKOrder order = in.one_of({TopKOrder::kByIndex, TopKOrder::kByScore});
  const Matrix<float> scores = in.matrix(n, width);
  if (in.coin()) {  // many ties
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t i = 0; i < width; ++i) scores(t, i) = std::round(scores(t, i));
    }
  }
  std::vector<int64_t> counts;
  for (int64_t t = 0; t < n; ++t) counts.push_back(in.coin() ? width : in.integer(0, width));
  return {n, k, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            const Tensor<int32_t, 2> ids({count, k});
            ops.top_k(scores.slice(begin, count),
                      slice(std::span<const int64_t>(counts), begin, count), order, ids.view());
            for (int64_t t = 0; t < count; ++t) {
              for (int64_t i = 0; i < k; ++i) out(t, i) = static_cast<float>(ids.view()(t, i));
            }
          }};
}

template <Rounding kRounding, EntryType kType>
OpCase attend_case(Inputs& in) {
  const int64_t n = in.size("n", in.integer(1, 9));
  const int64_t heads = in.size("heads", in.integer(1, 9));
  const int64_t c = in.size("c", in.one_of<int64_t>({1, 16, 17, 24, 64, 80, 512, 1030}));
  const View<const float, 3> q = in.heads(n, heads, c);
  const EntryLists keys =
      in.entry_lists(n, in.coin() ? 200 : 3, c, kType, /*with_nulls=*/in.coin());
  const std::span<float> sink = in.vector(heads);
  for (float& z : sink) z += in.one_of({0.0f, 0.0f, 100.0f, -100.0f});
  const float scale = in.one_of({1.0f, 4.0f}) / std::sqrt(static_cast<float>(c));
  return {n, heads * c, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            ops.attend(q.slice(begin, count), slice(keys, begin, count), sink, scale, kRounding,
                       Inputs::as_heads(out, heads, c));
          }};
}

inline OpCase sqrt_softplus_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const Matrix<float> x = in.matrix(n, in.width());
  const float spread = in.one_of({1.0f, 10.0f});  // softplus is the identity from 20 on
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t i = 0; i < x.size(1); ++i) x(t, i) *= spread;
  }
  return {n, x.size(1), [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            copy(x.slice(begin, count), out);
            ops.sqrt_softplus(out);
          }};
}

inline OpCase swiglu_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const int64_t d = in.width();
  const Matrix<const float> gate = in.matrix(n, d);
  const Matrix<const float> up = in.matrix(n, d);
  const float limit = in.one_of({0.0f, 0.5f, 10.0f});
  const std::span<const float> weight = in.coin() ? in.vector(n) : std::span<float>();
  const int64_t alias = in.size("alias", in.integer(0, 2));  // of out: none, gate, up
  return {n, d, [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            const auto g = gate.slice(begin, count);
            const auto u = up.slice(begin, count);
            const auto row_weight = weight.empty() ? weight : slice(weight, begin, count);
            if (alias > 0) copy(alias == 1 ? g : u, out);
            ops.swiglu(alias == 1 ? out : g, alias == 2 ? out : u, limit, row_weight, out);
          }};
}

inline OpCase gather_rows_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const Matrix<const float> x = in.matrix(in.integer(1, 40), in.width());
  const std::span<const int32_t> rows = in.indices(n, x.size(0));
  return {n, x.size(1), [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            ops.gather_rows(x, slice(rows, begin, count), out);
          }};
}

inline OpCase scatter_add_rows_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const Matrix<const float> x = in.matrix(n, in.width());
  const Matrix<const float> base = in.matrix(n + in.integer(0, 9), x.size(1));
  const std::span<const int32_t> rows = in.distinct_indices(n, base.size(0));
  return {n, x.size(1), [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            const Tensor<float, 2> sums({base.size(0), base.size(1)});
            copy(base, sums.view());
            const auto some = slice(rows, begin, count);
            ops.scatter_add_rows(x.slice(begin, count), some, sums.view());
            for (int64_t t = 0; t < count; ++t) {
              copy(sums.view().slice(some[static_cast<size_t>(t)], 1), out.slice(t, 1));
            }
          }};
}

inline OpCase add_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const Matrix<const float> x = in.matrix(n, in.width());
  const Matrix<const float> y = in.matrix(n, x.size(1));
  return {n, x.size(1), [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            copy(x.slice(begin, count), out);
            ops.add(y.slice(begin, count), out);
          }};
}

template <auto kApply>
OpCase in_place_case(Inputs& in) {
  const int64_t n = in.n_tokens();
  const Matrix<const float> x = in.matrix(n, in.width());
  const int64_t block = in.size("block", in.one_of<int64_t>({7, 32, 64, 128}));
  return {n, x.size(1), [=](Ops& ops, int64_t begin, int64_t count, Matrix<float> out) {
            copy(x.slice(begin, count), out);
            kApply(ops, out, block);
          }};
}

inline void round_bf16(Ops& ops, Matrix<float> x, int64_t) { ops.round_bf16(x); }
inline void fp8_round_trip(Ops& ops, Matrix<float> x, int64_t block) {
  ops.fp8_round_trip(x, block);
}
inline void fp4_round_trip(Ops& ops, Matrix<float> x, int64_t) { ops.fp4_round_trip(x); }

}  // namespace dsv4::testing
