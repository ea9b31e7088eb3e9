// The list of operations of a forward pass: the boundary between the model, which reads like the
// report, and the arithmetic. RefOps (ref/) is the specification: naive loops, double accumulators.
// CpuOps (cpu/) is fast. Public functions check shapes once (ops.cc) and call the implementation.
//
// All activations are float32. Rows may be apart from each other; the heads of a token (mix, q, o)
// are contiguous where an operation reads them as a whole. Two promises of CpuOps that the engine
// builds on: a row of a result depends on its own inputs only, and neither the number of rows nor
// of threads changes its bits.
#pragma once

#include "quant/entry_format.h"
#include "quant/quant_matrix.h"
#include "tensor/tensor.h"

#include <cstdint>
#include <optional>
#include <span>

namespace dsv4 {

// The roundings to BF16 that the official implementation makes inside an operation.
enum class Rounding { kNone, kBf16 };

enum class Rotation { kForward, kInverse };

// Angles of the rotary embedding for each token: cos and sin [n_tokens, rope_dim / 2].
struct RopeAngles {
  Matrix<const float> cos;
  Matrix<const float> sin;
};

// For each token its own list of rows: rows[begin[t] .. end[t]); lists may share rows.
template <typename T>
struct ListsOf {
  std::span<const T* const> rows;
  std::span<const int64_t> begin;
  std::span<const int64_t> end;

  int64_t n_tokens() const { return static_cast<int64_t>(begin.size()); }
  std::span<const T* const> of(int64_t token) const {
    const auto i = static_cast<size_t>(token);
    return rows.subspan(static_cast<size_t>(begin[i]), static_cast<size_t>(end[i] - begin[i]));
  }
};
using RowLists = ListsOf<float>;

// Lists of stored entries, all in one format. A null row (attend only) is an absent entry that
// still takes a place: the official implementation partitions keys by place.
struct EntryLists {
  EntryFormat format;
  ListsOf<std::byte> lists;

  std::span<const std::byte* const> of(int64_t token) const { return lists.of(token); }
};

// Parameters of the mixing maps of a hyper-connection (report: mHC; architecture.md 5.2).
struct HyperConnectionParams {
  std::span<const float> base;   // [(2 + n) n]
  std::span<const float> scale;  // [3]: pre, post, mixing matrix
  float eps = 0;                 // hc_eps
  int64_t sinkhorn_iters = 0;
};

// The order of int8 activations in memory: as they are, or in every 32 columns first the even ones,
// as the codes of released FP4 weights lie in the nibbles of their bytes.
enum class ColumnOrder { kNatural, kEvenOdd };

// Activations as int8, each 32 columns with a scale: x = scale * value. The strides of scales and
// sums are a 32nd and a 16th of that of values.
struct Int8Rows {
  Matrix<int8_t> values;  // [n, cols], in the given order
  Matrix<float> scales;   // [n, cols / 32]
  Matrix<int32_t> sums;   // [n, cols / 16], of the values of 16 columns
  ColumnOrder order = ColumnOrder::kNatural;

  // The columns [begin, begin + n) of all rows, multiples of 32.
  Int8Rows columns(int64_t begin, int64_t n) const {
    return {values.columns(begin, n), scales.columns(begin / 32, n / 32),
            sums.columns(begin / 16, n / 16), order};
  }
};

// One of several products with the same number of tokens.
struct Int8Product {
  Int8Rows x;     // [n, in]
  QuantMatrix w;  // [out, in]
  Matrix<float> y;
};

// The order of activations that linear_int8 wants for this weight; nothing where it has none
// because the weight is not made of integers with scales.
std::optional<ColumnOrder> int8_order(const QuantMatrix& w);

// An expert and the tokens that it works for.
struct ExpertGroup {
  const QuantMatrix* w1 = nullptr;  // [fe, d] gate
  const QuantMatrix* w2 = nullptr;  // [d, fe] down
  const QuantMatrix* w3 = nullptr;  // [fe, d] up
  std::span<const int32_t> rows;    // of x and y, ascending
  std::span<const float> weights;   // of these rows
};

// Memory for experts_int8: rows for the largest group, two sets where threads run ahead.
struct ExpertScratch {
  Matrix<float> gate;  // [m, fe]
  Matrix<float> up;    // [m, fe]
  Matrix<float> y;     // [m, d]
  Int8Rows x[2];       // [m, d], in the order of the gates
  Int8Rows hidden[2];  // [m, fe], in the order of the down projections
};

// Which of equal scores top_k prefers is always the lower index.
enum class TopKOrder { kByIndex, kByScore };

class Ops {
 public:
  virtual ~Ops() = default;

  // y[t] = W x[t].  x [n, in], w [out, in], y [n, out]. Cost: 2*n*in*out flop, reads w once.
  void linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y);

  // value = x / scale to the nearest, ties to even, scale = max |x| / 127 over 32 columns. A block
  // below 2^-100 becomes zero; one with a value that is not finite gets NaN as scale.
  // x [n, cols], cols a multiple of 32.
  void quantize_int8(Matrix<const float> x, const Int8Rows& out);

  // y[t] = W x[t] for a weight that has an int8_order, with activations in it. Sums of 16 or 32
  // columns, as the weight's scales stand, are exact integers. FP8 weights count as integers too:
  // multiples of 2^-6 of the power of two in the largest of 32 (docs/numerics.md). E8M0 scales
  // above 2^100 count as not a number.
  void linear_int8(const Int8Rows& x, const QuantMatrix& w, Matrix<float> y);
  // Several of them, which threads go through without waiting for each other.
  void linear_int8(std::span<const Int8Product> products);

  // y = x * rsqrt(mean(x^2) + eps) * weight, per row; an empty weight is all ones.
  // x, y [n, d], may be the same.
  void rms_norm(Matrix<const float> x, std::span<const float> weight, float eps, Matrix<float> y);

  // x *= rsqrt(mean(x^2) + eps) per row, every step rounded as the reference does in BF16.
  void head_norm(Matrix<float> x, float eps, Rounding rounding);

  // y[t] *= rsqrt(mean(x[t]^2) + eps).  x [n, d], y [n, m].
  void scale_by_rms(Matrix<const float> x, float eps, Matrix<float> y);

  // Maps of a hyper-connection from the projections m [n, (2 + h) h] of the streams:
  //   pre = sigmoid(m_pre * scale0 + base) + eps            [n, h]
  //   post = 2 sigmoid(m_post * scale1 + base)              [n, h]
  //   mix = sinkhorn(m_mix * scale2 + base)                 [n, h, h], source stream first
  void hyper_connection_maps(Matrix<const float> m, const HyperConnectionParams& params,
                             Matrix<float> pre, Matrix<float> post, View<float, 3> mix);

  // x[t] = sum_i pre[t, i] * streams[t, i].  streams [n, h, d], x [n, d].
  void collapse(View<const float, 3> streams, Matrix<const float> pre, Matrix<float> x);

  // streams[t, j] = post[t, j] * y[t] + sum_i mix[t, i, j] * streams[t, i], in place.
  void expand(Matrix<const float> y, Matrix<const float> post, View<const float, 3> mix,
              View<float, 3> streams);

  // Rotates pairs (2i, 2i + 1) of the last rope_dim entries of each head, in place.
  // x [n, heads, head_dim].
  void rope(View<float, 3> x, const RopeAngles& angles, Rotation rotation);

  // Compressed entries: per column a softmax over the slots of an entry, then the weighted sum.
  //   out[j, i] = sum_s softmax_s(scores[s][i]) * values[s][i]
  // values, scores: one list of slots per entry, rows of at least `width`; out [entries, width].
  void pool_slots(const RowLists& values, const RowLists& scores, Matrix<float> out);

  // Walsh-Hadamard transform of each row, natural order, scaled by d^-1/2. d is a power of two.
  void hadamard(Matrix<float> x);

  // Stores rows of values as entries (quant/entry_format.h).  x [n, format.width], out [n, bytes].
  void encode_entries(Matrix<const float> x, const EntryFormat& format, Matrix<std::byte> out);

  // Scores of the lightning indexer:  score[t, j] = sum_h w[t, h] * relu(q[t, h] . key_j)
  // q [n, h, d], w [n, h], one list of keys per token, score [n, >= longest list].
  void indexer_scores(View<const float, 3> q, Matrix<const float> w, const EntryLists& keys,
                      Rounding rounding, Matrix<float> score);

  // Indices of the k largest of scores[t, 0 .. counts[t]), padded with -1.  ids [n, k].
  void top_k(Matrix<const float> scores, std::span<const int64_t> counts, TopKOrder order,
             Matrix<int32_t> ids);

  // Attention of each head over the token's rows, which are key and value at once:
  //   o = sum_e exp(l_e) e / (sum_e exp(l_e) + exp(sink_h)),  l_e = scale * q_h . e
  // of the decoded entries, computed with a running maximum over blocks of 64 rows, in the order of
  // the list. q, o [n, h, c]. Rounding kBf16 rounds the exponentials for the value product.
  void attend(View<const float, 3> q, const EntryLists& keys, std::span<const float> sink,
              float scale, Rounding rounding, View<float, 3> o);

  // scores = sqrt(softplus(logits)), in place.
  void sqrt_softplus(Matrix<float> scores);

  // out = row_weight * silu(min(gate, limit)) * clamp(up, -limit, limit); limit 0: no clamp;
  // an empty row_weight is all ones.  gate, up, out [n, d]; out may be gate or up.
  void swiglu(Matrix<const float> gate, Matrix<const float> up, float limit,
              std::span<const float> row_weight, Matrix<float> out);

  // For each group in order, with r = rows[i]: y[r] += W2 h, h = swiglu(W1 x[r], W3 x[r]) with the
  // row's weight, as linear_int8, swiglu, quantize_int8 and scatter_add_rows do one after the
  // other. Gates and ups have one int8_order, that of x; so have the down projections.
  void experts_int8(const Int8Rows& x, std::span<const ExpertGroup> groups, float limit,
                    const ExpertScratch& scratch, Matrix<float> y);

  // out[i] = x[rows[i]]
  void gather_rows(Matrix<const float> x, std::span<const int32_t> rows, Matrix<float> out);
  // out[rows[i]] += x[i]; rows are distinct.
  void scatter_add_rows(Matrix<const float> x, std::span<const int32_t> rows, Matrix<float> out);
  // x += y
  void add(Matrix<const float> y, Matrix<float> x);

  // Roundings of the official numerics, in place (quant/float_formats.h).
  void round_bf16(Matrix<float> x);
  void fp8_round_trip(Matrix<float> x, int64_t block);
  void fp4_round_trip(Matrix<float> x);

 protected:
  virtual void do_linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y) = 0;
  virtual void do_quantize_int8(Matrix<const float> x, const Int8Rows& out) = 0;
  virtual void do_linear_int8(std::span<const Int8Product> products) = 0;
  virtual void do_rms_norm(Matrix<const float> x, std::span<const float> weight, float eps,
                           Matrix<float> y) = 0;
  virtual void do_head_norm(Matrix<float> x, float eps, Rounding rounding) = 0;
  virtual void do_scale_by_rms(Matrix<const float> x, float eps, Matrix<float> y) = 0;
  virtual void do_hyper_connection_maps(Matrix<const float> m, const HyperConnectionParams& params,
                                        Matrix<float> pre, Matrix<float> post,
                                        View<float, 3> mix) = 0;
  virtual void do_collapse(View<const float, 3> streams, Matrix<const float> pre,
                           Matrix<float> x) = 0;
  virtual void do_expand(Matrix<const float> y, Matrix<const float> post, View<const float, 3> mix,
                         View<float, 3> streams) = 0;
  virtual void do_rope(View<float, 3> x, const RopeAngles& angles, Rotation rotation) = 0;
  virtual void do_pool_slots(const RowLists& values, const RowLists& scores, Matrix<float> out) = 0;
  virtual void do_hadamard(Matrix<float> x) = 0;
  virtual void do_encode_entries(Matrix<const float> x, const EntryFormat& format,
                                 Matrix<std::byte> out) = 0;
  virtual void do_indexer_scores(View<const float, 3> q, Matrix<const float> w,
                                 const EntryLists& keys, Rounding rounding,
                                 Matrix<float> score) = 0;
  virtual void do_top_k(Matrix<const float> scores, std::span<const int64_t> counts,
                        TopKOrder order, Matrix<int32_t> ids) = 0;
  virtual void do_attend(View<const float, 3> q, const EntryLists& keys,
                         std::span<const float> sink, float scale, Rounding rounding,
                         View<float, 3> o) = 0;
  virtual void do_sqrt_softplus(Matrix<float> scores) = 0;
  virtual void do_swiglu(Matrix<const float> gate, Matrix<const float> up, float limit,
                         std::span<const float> row_weight, Matrix<float> out) = 0;
  virtual void do_experts_int8(const Int8Rows& x, std::span<const ExpertGroup> groups, float limit,
                               const ExpertScratch& scratch, Matrix<float> y) = 0;
  virtual void do_gather_rows(Matrix<const float> x, std::span<const int32_t> rows,
                              Matrix<float> out) = 0;
  virtual void do_scatter_add_rows(Matrix<const float> x, std::span<const int32_t> rows,
                                   Matrix<float> out) = 0;
  virtual void do_add(Matrix<const float> y, Matrix<float> x) = 0;
  virtual void do_round_bf16(Matrix<float> x) = 0;
  virtual void do_fp8_round_trip(Matrix<float> x, int64_t block) = 0;
  virtual void do_fp4_round_trip(Matrix<float> x) = 0;
};

}  // namespace dsv4
