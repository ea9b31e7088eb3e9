#include "model/numerics.h"

#include <algorithm>

namespace dsv4 {
namespace {

constexpr int64_t kActivationBlock = 128;  // inputs of quantised products
constexpr int64_t kEntryBlock = 64;        // key/value entries

}  // namespace

std::string_view numerics_name(Numerics numerics) {
  return numerics == Numerics::kExact ? "exact" : "official";
}

Arithmetic::Arithmetic(Ops& ops, Numerics numerics, int64_t max_tokens, int64_t max_width)
    : ops_(ops), numerics_(numerics) {
  if (official()) quantized_ = Tensor<float, 1>({max_tokens * max_width});
}

void Arithmetic::linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y) {
  if (!official() || !w.is_quantized()) return linear_unquantized(x, w, y);
  const Matrix<float> codes =
      quantized_.first(x.size(0) * x.size(1)).reshape<2>({x.size(0), x.size(1)});
  for (int64_t t = 0; t < x.size(0); ++t) std::copy_n(&x(t, 0), x.size(1), &codes(t, 0));
  ops_.fp8_round_trip(codes, kActivationBlock);
  linear_unquantized(codes, w, y);
}

void Arithmetic::linear_unquantized(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y) {
  ops_.linear(x, w, y);
  round(y);
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
