#include "model/trace.h"

#include <algorithm>
#include <limits>

namespace dsv4 {
namespace {

// Appends rows to a [rows, width] table, widening the narrower of the two with `padding`.
template <typename T>
void append_padded(std::vector<int64_t>& shape, std::vector<T>& values, Matrix<const T> rows,
                   T padding) {
  if (shape.empty()) shape = {0, rows.size(1)};
  const int64_t width = std::max(shape[1], rows.size(1));
  if (width != shape[1]) {
    std::vector<T> wide(static_cast<size_t>(shape[0] * width), padding);
    for (int64_t t = 0; t < shape[0]; ++t) {
      std::copy_n(values.begin() + t * shape[1], shape[1], wide.begin() + t * width);
    }
    values = std::move(wide);
  }
  for (int64_t t = 0; t < rows.size(0); ++t) {
    for (int64_t i = 0; i < width; ++i) values.push_back(i < rows.size(1) ? rows(t, i) : padding);
  }
  shape = {shape[0] + rows.size(0), width};
}

}  // namespace

void Trace::record(std::string_view name, Matrix<const float> rows) {
  if (!wants(name)) return;
  Stage& stage = stages_[prefix_ + std::string(name)];
  append_padded(stage.shape, stage.floats, rows, -std::numeric_limits<float>::infinity());
}

void Trace::record(std::string_view name, View<const float, 3> rows) {
  if (!wants(name)) return;
  Stage& stage = stages_[prefix_ + std::string(name)];
  if (stage.shape.empty()) stage.shape = {0, rows.size(1), rows.size(2)};
  stage.shape[0] += rows.size(0);
  if (stage.floats.empty()) stage.floats.reserve(static_cast<size_t>(rows.count()));
  for (int64_t t = 0; t < rows.size(0); ++t) {
    for (int64_t i = 0; i < rows.size(1); ++i) {
      const float* row = &rows(t, i, 0);
      stage.floats.insert(stage.floats.end(), row, row + rows.size(2));
    }
  }
}

void Trace::record_ids(std::string_view name, Matrix<const int32_t> rows) {
  if (!wants(name)) return;
  Stage& stage = stages_[prefix_ + std::string(name)];
  append_padded(stage.shape, stage.ints, rows, -1);
}

const Trace::Stage* Trace::find(const std::string& name) const {
  const auto found = stages_.find(name);
  return found == stages_.end() ? nullptr : &found->second;
}

}  // namespace dsv4
