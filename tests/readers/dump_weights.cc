// Writes every matrix of a model as float32 under its released name to a safetensors file, for
// other readers to compare with. Usage: dump_weights MODEL OUT.safetensors
#include "formats/safetensors.h"
#include "model/named_matrices.h"
#include "model/names.h"
#include "model/weights.h"

#include <cstdio>
#include <exception>
#include <span>
#include <vector>

namespace dsv4 {
namespace {

void dump(const char* model, const char* path) {
  const Checkpoint checkpoint = open_checkpoint(model);
  const ModelWeights weights = load_weights(checkpoint, load_config(model));
  std::vector<SafetensorsWriter::Declaration> tensors;
  for_each_matrix(weights, [&](const std::string& name, const QuantMatrix& matrix) {
    tensors.push_back({name, DType::kF32, {matrix.rows, matrix.cols}});
  });
  SafetensorsWriter writer(path, tensors);
  for_each_matrix(weights, [&](const std::string&, const QuantMatrix& matrix) {
    std::vector<float> row(static_cast<size_t>(matrix.cols));
    for (int64_t i = 0; i < matrix.rows; ++i) {
      matrix.decode(i, 0, matrix.cols, row.data());
      writer.append(std::as_bytes(std::span(row)));
    }
  });
  writer.finish();
}

}  // namespace
}  // namespace dsv4

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: dump_weights MODEL OUT.safetensors\n");
    return 2;
  }
  try {
    dsv4::dump(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dump_weights: %s\n", error.what());
    return 1;
  }
}
