#include "kernels/int8_buffer.h"

namespace dsv4 {
namespace {

constexpr int64_t kLine = 64;
constexpr int64_t kScaleCols = 32;  // that share a scale (Int8Rows)
constexpr int64_t kSumCols = 16;

int64_t stride_of(int64_t width) { return ((width + kLine - 1) / kLine | 1) * kLine; }

}  // namespace

Int8Buffer::Int8Buffer(int64_t max_tokens, int64_t max_width)
    : values_({max_tokens * stride_of(max_width)}),
      scales_({max_tokens * stride_of(max_width) / kScaleCols}),
      sums_({max_tokens * stride_of(max_width) / kSumCols}) {}

int64_t Int8Buffer::bytes(int64_t max_tokens, int64_t max_width) {
  const int64_t n = max_tokens * stride_of(max_width);
  return n + n / kScaleCols * 4 + n / kSumCols * 4;
}

Int8Rows Int8Buffer::rows(int64_t n_tokens, int64_t width, ColumnOrder order) {
  const auto part = [&](auto& tensor, int64_t block) {
    const int64_t stride = stride_of(width) / block;
    return tensor.first(n_tokens * stride)
        .template reshape<2>({n_tokens, stride})
        .columns(0, width / block);
  };
  return {part(values_, 1), part(scales_, kScaleCols), part(sums_, kSumCols), order};
}

}  // namespace dsv4
