// Writes every tensor of a model's files as float32 (integers as they are) under its stored name to
// a safetensors file, for other readers to compare with. Usage: dump_f32 MODEL OUT.safetensors
#include "base/error.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"
#include "quant/quant_matrix.h"

#include <cstdio>
#include <exception>
#include <optional>
#include <span>
#include <vector>

namespace dsv4 {
namespace {

std::optional<WeightFormat> float_format(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return WeightFormat::kF32;
    case DType::kF16:
      return WeightFormat::kF16;
    case DType::kBF16:
      return WeightFormat::kBF16;
    default:
      return weight_format(dtype);
  }
}

void dump(const Checkpoint& checkpoint, const char* path) {
  std::vector<SafetensorsWriter::Declaration> tensors;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    tensors.push_back(
        {tensor.name, float_format(tensor.dtype) ? DType::kF32 : tensor.dtype, tensor.shape});
  }
  SafetensorsWriter writer(path, tensors);
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const auto format = float_format(tensor.dtype);
    if (!format) {
      writer.append(tensor.data);
      continue;
    }
    int64_t rows = 1;
    for (const int64_t extent : tensor.shape) rows *= extent;
    const int64_t cols = tensor.shape.empty() ? 1 : tensor.shape.back();
    if (cols > 0) rows /= cols;
    const QuantMatrix matrix{
        .data = tensor.data.data(), .rows = rows, .cols = cols, .format = *format};
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t i = 0; i < rows; ++i) {
      matrix.decode(i, 0, cols, row.data());
      writer.append(std::as_bytes(std::span(row)));
    }
  }
  writer.finish();
}

}  // namespace
}  // namespace dsv4

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: dump_f32 MODEL OUT.safetensors\n");
    return 2;
  }
  try {
    dsv4::dump(dsv4::Checkpoint::open(argv[1]), argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dump_f32: %s\n", error.what());
    return 1;
  }
}
