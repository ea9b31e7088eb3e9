#include "model/numerics.h"

#include <algorithm>

namespace dsv4 {
namespace {

constexpr int64_t kActivationBlock = 128;  // inputs of quantised products
constexpr int64_t kEntryBlock = 64;        // key/value entries

}  // namespace

std::string_view numerics_name(Numerics numerics) {
  switch (numerics) {
    case Numerics::kFast:
      return "fast";
    case Numerics::kExact:
      return "exact";
    case Numerics::kOfficial:
      break;
  }
  return "official";
}

int64_t Arithmetic::bytes(Numerics numerics, const ArithmeticSizes& sizes) {
  const int64_t n = sizes.tokens;
  if (numerics == Numerics::kOfficial) return n * sizes.width * int64_t{sizeof(float)};
  if (numerics == Numerics::kExact) return 0;
  return Int8Buffer::bytes(n, sizes.width) + 2 * Int8Buffer::bytes(n, sizes.hidden_size) +
         2 * Int8Buffer::bytes(n, sizes.expert_dim);
}

Arithmetic::Arithmetic(Ops& ops, Numerics numerics, const ArithmeticSizes& sizes)
    : ops_(ops), numerics_(numerics) {
  const int64_t n = sizes.tokens;
  if (official()) quantized_ = Tensor<float, 1>({n * sizes.width});
  if (numerics != Numerics::kFast) return;
  int8_ = Int8Buffer(n, sizes.width);
  for (Int8Buffer& buffer : expert_x_) buffer = Int8Buffer(n, sizes.hidden_size);
  for (Int8Buffer& buffer : expert_hidden_) buffer = Int8Buffer(n, sizes.expert_dim);
}

void Arithmetic::linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y) {
  if (!official() || !w.is_quantized()) {
    product(x, w, y);
  } else {
    const Matrix<float> codes =
        quantized_.first(x.size(0) * x.size(1)).reshape<2>({x.size(0), x.size(1)});
    for (int64_t t = 0; t < x.size(0); ++t) std::copy_n(&x(t, 0), x.size(1), &codes(t, 0));
    ops_.fp8_round_trip(codes, kActivationBlock);
    product(codes, w, y);
  }
  round(y);
}

void Arithmetic::product(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y) {
  if (observer_ != nullptr) observer_->observe(x, w);
  const auto order = fast_order(w);
  if (!order) return ops_.linear(x, w, y);
  ops_.linear_int8(quantize(x, *order), w, y);
}

void Arithmetic::linear(Matrix<const float> x, const Projection& first, const Projection& second) {
  const auto order = fast_order(*first.w);
  if (!order || fast_order(*second.w) != order || observer_ != nullptr) {
    linear(x, *first.w, first.y);
    return linear(x, *second.w, second.y);
  }
  const Int8Rows rows = quantize(x, *order);
  const Int8Product products[] = {{rows, *first.w, first.y}, {rows, *second.w, second.y}};
  ops_.linear_int8(products);
}

void Arithmetic::grouped_product(Matrix<const float> x, const QuantMatrix& w, int64_t n_groups,
                                 Matrix<float> y) {
  const int64_t width = w.cols;
  const int64_t rank = w.rows / n_groups;
  const auto order = fast_order(w);
  if (!order || observer_ != nullptr) {
    for (int64_t g = 0; g < n_groups; ++g) {
      product(x.columns(g * width, width), w.slice_rows(g * rank, rank), y.columns(g * rank, rank));
    }
    return;
  }
  const Int8Rows rows = quantize(x, *order);
  products_.clear();
  for (int64_t g = 0; g < n_groups; ++g) {
    products_.push_back(
        {rows.columns(g * width, width), w.slice_rows(g * rank, rank), y.columns(g * rank, rank)});
  }
  ops_.linear_int8(products_);
}

std::optional<ColumnOrder> Arithmetic::fast_order(const QuantMatrix& w) const {
  return numerics_ == Numerics::kFast ? int8_order(w) : std::nullopt;
}

Int8Rows Arithmetic::quantize(Matrix<const float> x, ColumnOrder order) {
  const Int8Rows rows = int8_.rows(x.size(0), x.size(1), order);
  ops_.quantize_int8(x, rows);
  return rows;
}

bool Arithmetic::experts(Matrix<const float> x, std::span<const ExpertGroup> groups, float limit,
                         const ExpertBuffers& buffers, Matrix<float> y) {
  if (numerics_ != Numerics::kFast || observer_ != nullptr || groups.empty()) return false;
  const auto in = int8_order(*groups[0].w1);
  const auto hidden = int8_order(*groups[0].w2);
  for (const ExpertGroup& group : groups) {
    const bool fits = in && hidden && int8_order(*group.w1) == in && int8_order(*group.w3) == in &&
                      int8_order(*group.w2) == hidden;
    if (!fits) return false;
  }
  const int64_t n = x.size(0);
  const int64_t d = x.size(1);
  const int64_t fe = buffers.gate.size(1);
  const Int8Rows rows = quantize(x, *in);
  const ExpertScratch scratch{
      .gate = buffers.gate,
      .up = buffers.up,
      .y = buffers.y,
      .x = {expert_x_[0].rows(n, d, *in), expert_x_[1].rows(n, d, *in)},
      .hidden = {expert_hidden_[0].rows(n, fe, *hidden), expert_hidden_[1].rows(n, fe, *hidden)}};
  ops_.experts_int8(rows, groups, limit, scratch, y);
  return true;
}

void Arithmetic::round(Matrix<float> x) const {
  if (official()) ops_.round_bf16(x);
}

void Arithmetic::round(View<float, 3> x) const {
  if (official()) ops_.round_bf16(x.reshape<2>({x.size(0) * x.size(1), x.size(2)}));
}

void Arithmetic::round_entries(Matrix<float> entries, int64_t n_plain) const {
  if (official() && n_plain > 0) ops_.fp8_round_trip(entries.columns(0, n_plain), kEntryBlock);
}

void Arithmetic::round_index(Matrix<float> x) const {
  if (official()) ops_.fp4_round_trip(x);
}

}  // namespace dsv4
