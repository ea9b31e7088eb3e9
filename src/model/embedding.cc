#include "model/embedding.h"

#include "base/check.h"

namespace dsv4 {
namespace {

const StoredTensor& stored(const Checkpoint& checkpoint) {
  const StoredTensor* tensor = checkpoint.find("embed.weight");
  CHECK(tensor != nullptr);  // load_weights() has seen it
  return *tensor;
}

}  // namespace

EmbeddingTable::EmbeddingTable(const Checkpoint& checkpoint, const QuantMatrix& table)
    : table_(table),
      file_(checkpoint.files()[stored(checkpoint).file].path()),
      offset_(stored(checkpoint).offset),
      row_(static_cast<size_t>(table.row_bytes())) {}

void EmbeddingTable::lookup(std::span<const int32_t> ids, Matrix<float> out) {
  CHECK(out.size(0) == std::ssize(ids) && out.size(1) == table_.cols, out.size(0), out.size(1));
  for (int64_t t = 0; t < out.size(0); ++t) {
    const int64_t id = ids[static_cast<size_t>(t)];
    file_.read(offset_ + static_cast<uint64_t>(id * table_.row_bytes()), row_);
    QuantMatrix row = table_.slice_rows(id, 1);
    row.data = row_.data();
    row.decode(0, 0, table_.cols, &out(t, 0));
  }
}

}  // namespace dsv4
