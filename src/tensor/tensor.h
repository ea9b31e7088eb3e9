// Activations: Tensor owns aligned memory, View looks at it. Rows are contiguous; the outer
// dimensions may be strided, so that a column range of a matrix is a view too.
#pragma once

#include "base/check.h"
#include "tensor/memory.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

namespace dsv4 {

// A look at T[shape[0], ..., shape[R-1]]. Cheap to copy; never outlives what it looks at.
template <typename T, size_t R>
class View {
 public:
  using Shape = std::array<int64_t, R>;

  View() = default;
  View(T* data, const Shape& shape) : data_(data), shape_(shape) {
    int64_t step = 1;
    for (size_t i = R; i-- > 0; step *= shape[i]) strides_[i] = step;
  }
  View(T* data, const Shape& shape, const Shape& strides)
      : data_(data), shape_(shape), strides_(strides) {}

  // NOLINTNEXTLINE(google-explicit-constructor): a mutable view is also a constant one
  operator View<const T, R>() const requires(!std::is_const_v<T>) {
    return {data_, shape_, strides_};
  }

  T* data() const { return data_; }
  const Shape& shape() const { return shape_; }
  int64_t size(size_t i) const { return shape_[i]; }
  int64_t stride(size_t i) const { return strides_[i]; }
  bool empty() const {
    for (const int64_t extent : shape_) {
      if (extent == 0) return true;
    }
    return false;
  }

  template <typename... Index>
  T& operator()(Index... index) const {
    static_assert(sizeof...(Index) == R);
    const Shape at = {static_cast<int64_t>(index)...};
    int64_t offset = 0;
    for (size_t i = 0; i < R; ++i) {
      DCHECK(at[i] >= 0 && at[i] < shape_[i], at[i], shape_[i]);
      offset += at[i] * strides_[i];
    }
    return data_[offset];
  }

  // The i-th element of the first dimension; for a matrix see span().
  View<T, R - 1> operator[](int64_t i) const requires(R > 1) {
    DCHECK(i >= 0 && i < shape_[0], i, shape_[0]);
    typename View<T, R - 1>::Shape shape;
    typename View<T, R - 1>::Shape strides;
    for (size_t k = 1; k < R; ++k) shape[k - 1] = shape_[k], strides[k - 1] = strides_[k];
    return {data_ + i * strides_[0], shape, strides};
  }

  // The last dimension as a span (vectors only).
  std::span<T> span() const requires(R == 1) { return {data_, static_cast<size_t>(shape_[0])}; }

  // Elements [begin, begin + count) of the first dimension.
  View slice(int64_t begin, int64_t count) const {
    CHECK(begin >= 0 && count >= 0 && begin + count <= shape_[0], begin, count, shape_[0]);
    View view = *this;
    view.data_ += begin * strides_[0];
    view.shape_[0] = count;
    return view;
  }

  // Elements [begin, begin + count) of the last dimension.
  View columns(int64_t begin, int64_t count) const {
    CHECK(begin >= 0 && count >= 0 && begin + count <= shape_[R - 1], begin, count, shape_[R - 1]);
    View view = *this;
    view.data_ += begin;
    view.shape_[R - 1] = count;
    return view;
  }

  // Another shape of the same elements, which must be contiguous.
  template <size_t R2>
  View<T, R2> reshape(const std::array<int64_t, R2>& shape) const {
    const View<T, R2> view(data_, shape);
    CHECK(is_contiguous() && view.count() == count(), view.count(), count());
    return view;
  }

  int64_t count() const {
    int64_t product = 1;
    for (const int64_t extent : shape_) product *= extent;
    return product;
  }

  bool is_contiguous() const {
    int64_t step = 1;
    for (size_t i = R; i-- > 0; step *= shape_[i]) {
      if (shape_[i] > 1 && strides_[i] != step) return false;
    }
    return true;
  }

 private:
  T* data_ = nullptr;
  Shape shape_{};
  Shape strides_{};
};

template <typename T>
using Vector = View<T, 1>;
template <typename T>
using Matrix = View<T, 2>;

// Owns T[shape], aligned for vector instructions. Not initialised: users write before they read.
template <typename T, size_t R>
class Tensor {
 public:
  using Shape = typename View<T, R>::Shape;

  Tensor() = default;
  explicit Tensor(const Shape& shape) : view_(nullptr, shape) {
    data_ = {static_cast<T*>(allocate_memory(bytes())), Free{bytes()}};
    view_ = View<T, R>(data_.get(), shape);
  }

  size_t bytes() const { return static_cast<size_t>(view_.count()) * sizeof(T); }
  const View<T, R>& view() const { return view_; }
  // The first n elements of the first dimension.
  View<T, R> first(int64_t n) const { return view_.slice(0, n); }

 private:
  struct Free {
    size_t n_bytes = 0;
    void operator()(T* data) const { free_memory(data, n_bytes); }
  };

  std::unique_ptr<T, Free> data_;
  View<T, R> view_;
};

}  // namespace dsv4
