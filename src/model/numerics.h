// The numerics of a forward pass and what differs between them. Exact is float32 everywhere. Fast
// is that too, but products with weights that are integers with scales take int8 activations.
// Official makes every rounding of the released implementation (architecture.md section 4), so that
// its results can be compared with it tightly.
#pragma once

#include "kernels/int8_buffer.h"
#include "kernels/ops.h"

#include <optional>
#include <string_view>
#include <vector>

namespace dsv4 {

enum class Numerics { kFast, kExact, kOfficial };

std::string_view numerics_name(Numerics numerics);

// Sees the input of every product with a weight that passes through Arithmetic.
class InputObserver {
 public:
  virtual ~InputObserver() = default;
  // Rows [n, w.cols], before any quantisation of them.
  virtual void observe(Matrix<const float> x, const QuantMatrix& w) = 0;
};

// The widths that scratch memory must do for.
struct ArithmeticSizes {
  int64_t tokens = 0;  // of a batch
  int64_t width = 0;   // inputs of any product
  int64_t hidden_size = 0;
  int64_t expert_dim = 0;
};

// One of several linear layers with the same input.
struct Projection {
  const QuantMatrix* w;  // [out, in]
  Matrix<float> y;       // [n, out]
};

// What experts compute in, float32, for the tokens of one of them.
struct ExpertBuffers {
  Matrix<float> gate;  // [n, fe]
  Matrix<float> up;    // [n, fe]
  Matrix<float> y;     // [n, d]
};

// Ops plus what a numerics adds to them; with kExact nothing.
class Arithmetic {
 public:
  Arithmetic(Ops& ops, Numerics numerics, const ArithmeticSizes& sizes);

  Ops& ops() const { return ops_; }
  bool official() const { return numerics_ == Numerics::kOfficial; }
  // For operations that round inside.
  Rounding rounding() const { return official() ? Rounding::kBf16 : Rounding::kNone; }
  // Scratch memory of a numerics.
  static int64_t bytes(Numerics numerics, const ArithmeticSizes& sizes);

  // From now on; nullptr for none.
  void observe_inputs(InputObserver* observer) { observer_ = observer; }

  // A linear layer of the model. Fast: int8 activations where the weight has an int8_order.
  // Official quantises the input where the weight is quantised (FP8 in blocks of 128) and rounds
  // the output to BF16.
  void linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y);
  // Two of them.
  void linear(Matrix<const float> x, const Projection& first, const Projection& second);
  // The same without the roundings of official: what the reference keeps in float32.
  void product(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y);
  // Block-diagonal: the g-th of n_groups equal parts of the columns of x times the g-th part of the
  // rows of w, into the g-th part of the columns of y.
  void grouped_product(Matrix<const float> x, const QuantMatrix& w, int64_t n_groups,
                       Matrix<float> y);

  // Fast, where the weights of all groups are integers with scales: all of them in one operation,
  // with the bits that linear() and the operations between give; y += their outputs. Else false,
  // and nothing is done.
  bool experts(Matrix<const float> x, std::span<const ExpertGroup> groups, float limit,
               const ExpertBuffers& buffers, Matrix<float> y);

  // Activations that the reference holds in BF16.
  void round(Matrix<float> x) const;
  void round(View<float, 3> x) const;
  // Storage of key/value entries: the first `n_plain` columns in FP8, blocks of 64.
  void round_entries(Matrix<float> entries, int64_t n_plain) const;
  // Storage of index queries and keys: FP4.
  void round_index(Matrix<float> x) const;

 private:
  // Fast, where w is an integer with scales: the order that it wants x in.
  std::optional<ColumnOrder> fast_order(const QuantMatrix& w) const;
  // x as int8, in int8_.
  Int8Rows quantize(Matrix<const float> x, ColumnOrder order);

  Ops& ops_;
  Numerics numerics_;
  InputObserver* observer_ = nullptr;
  Tensor<float, 1> quantized_;         // official: the quantised input of a product
  Int8Buffer int8_;                    // fast: the same
  Int8Buffer expert_x_[2];             // fast: inputs of single experts
  Int8Buffer expert_hidden_[2];        // fast: between their projections
  std::vector<Int8Product> products_;  // fast: of one operation
};

}  // namespace dsv4
