// The embedding table. Its rows are read from the file and not through its map: a fault on the map
// may bring the neighbourhood of a row into memory, up to megabytes of it.
#pragma once

#include "base/mapped_file.h"
#include "formats/checkpoint.h"
#include "quant/quant_matrix.h"
#include "tensor/tensor.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dsv4 {

class EmbeddingTable {
 public:
  // `table` is the matrix of the checkpoint's tensor "embed.weight".
  EmbeddingTable(const Checkpoint& checkpoint, const QuantMatrix& table);

  // out[t] = the row of ids[t] as float32.  ids [n] below the vocabulary size, out [n, d].
  // Throws Error(kIo) where the file cannot be read.
  void lookup(std::span<const int32_t> ids, Matrix<float> out);

 private:
  QuantMatrix table_;
  FileReader file_;
  uint64_t offset_;             // of the first row in the file
  std::vector<std::byte> row_;  // as stored
};

}  // namespace dsv4
