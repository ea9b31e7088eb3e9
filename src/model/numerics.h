// The two numerics of a forward pass and what differs between them: the roundings. Exact is float32
// everywhere. Official makes every rounding of the released implementation (architecture.md
// section 4), so that its results can be compared with it tightly.
#pragma once

#include "kernels/ops.h"

#include <string_view>

namespace dsv4 {

enum class Numerics { kExact, kOfficial };

std::string_view numerics_name(Numerics numerics);

// Ops plus the roundings of a numerics; with kExact the roundings do nothing.
class Arithmetic {
 public:
  // `max_tokens` and `max_width` bound the inputs of quantised products.
  Arithmetic(Ops& ops, Numerics numerics, int64_t max_tokens, int64_t max_width);

  Ops& ops() const { return ops_; }
  bool official() const { return numerics_ == Numerics::kOfficial; }
  // For operations that round inside.
  Rounding rounding() const { return official() ? Rounding::kBf16 : Rounding::kNone; }
  int64_t bytes() const { return static_cast<int64_t>(quantized_.bytes()); }

  // A linear layer of the model: official quantises the input where the weight is quantised
  // (FP8 in blocks of 128) and rounds the output to BF16.
  void linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y);
  // The same without quantising the input (wo_a).
  void linear_unquantized(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y);

  // Activations that the reference holds in BF16.
  void round(Matrix<float> x) const;
  void round(View<float, 3> x) const;
  // Storage of key/value entries: the first `n_plain` columns in FP8, blocks of 64.
  void round_entries(Matrix<float> entries, int64_t n_plain) const;
  // Storage of index queries and keys: FP4.
  void round_index(Matrix<float> x) const;

 private:
  Ops& ops_;
  Numerics numerics_;
  Tensor<float, 1> quantized_;  // the quantised input of a product
};

}  // namespace dsv4
