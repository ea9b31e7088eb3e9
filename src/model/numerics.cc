#include "model/numerics.h"

#include <algorithm>

namespace dsv4 {
namespace {

constexpr int64_t kActivationBlock = 128;  // inputs of quantised products
constexpr int64_t kEntryBlock = 64;        // key/value entries
constexpr int64_t kInt8Scale = 32;         // columns that share a scale and a sum (Int8Rows)
constexpr int64_t kInt8Sum = 16;

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

int64_t Arithmetic::bytes(Numerics numerics, int64_t max_tokens, int64_t max_width) {
  const int64_t n = max_tokens * max_width;
  if (numerics == Numerics::kOfficial) return n * int64_t{sizeof(float)};
  return numerics == Numerics::kFast ? n + n / kInt8Scale * 4 + n / kInt8Sum * 4 : 0;
}

Arithmetic::Arithmetic(Ops& ops, Numerics numerics, int64_t max_tokens, int64_t max_width)
    : ops_(ops), numerics_(numerics) {
  const int64_t n = max_tokens * max_width;
  if (official()) quantized_ = Tensor<float, 1>({n});
  if (numerics != Numerics::kFast) return;
  int8_values_ = Tensor<int8_t, 1>({n});
  int8_scales_ = Tensor<float, 1>({n / kInt8Scale});
  int8_sums_ = Tensor<int32_t, 1>({n / kInt8Sum});
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
  const auto order = numerics_ == Numerics::kFast ? int8_order(w) : std::nullopt;
  if (!order) return ops_.linear(x, w, y);
  const auto buffer = [n = x.size(0), cols = x.size(1)](auto& tensor, int64_t block) {
    return tensor.first(n * (cols / block)).template reshape<2>({n, cols / block});
  };
  const Int8Rows rows{buffer(int8_values_, 1), buffer(int8_scales_, kInt8Scale),
                      buffer(int8_sums_, kInt8Sum), *order};
  ops_.quantize_int8(x, rows);
  ops_.linear_int8(rows, w, y);
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
