// A safetensors file, or (when the input starts like JSON) an index file over two good shards. What
// is accepted lies inside the file, and weights that load can be read to the last byte.
#include "base/check.h"
#include "base/error.h"
#include "formats/checkpoint.h"
#include "model/weights.h"
#include "small_model.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

// Keeps the compiler from dropping reads whose result nobody needs.
volatile unsigned g_sink = 0;

void read_all(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte b : bytes) sum += static_cast<unsigned>(b);
  g_sink = sum;
}

// A folder of this process with two shards, removed at the end.
class Folder {
 public:
  Folder() {
    const fs::path memory = "/dev/shm";
    path_ = (fs::is_directory(memory) ? memory : fs::temp_directory_path()) /
            ("dsv4-fuzz-" + std::to_string(::getpid()));
    fs::create_directories(path_ / "shards");
    fs::create_directories(path_ / "single");
    for (const char* name : {"a", "b"}) {
      SafetensorsWriter writer(
          path_ / "shards" / (std::string(name) + ".safetensors"),
          {{name, DType::kU8, {2}}, {std::string(name) + "2", DType::kU8, {1}}});
      const std::byte data[3] = {};
      writer.append(data);
      writer.finish();
    }
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const fs::path& path() const { return path_; }
  static const Folder& instance() {
    static const Folder folder;
    return folder;
  }

 private:
  fs::path path_;
};

void write(const fs::path& path, std::span<const uint8_t> bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  CHECK(file != nullptr);
  CHECK(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
  CHECK(std::fclose(file) == 0);
}

void check_header(const SafetensorsHeader& header, uint64_t file_bytes) {
  uint64_t end = 8;
  std::set<std::string> names;
  for (const TensorEntry& entry : header.tensors) {
    CHECK(entry.begin >= end && entry.end >= entry.begin && entry.end <= file_bytes);
    end = entry.end;
    uint64_t bytes = dtype_bytes(entry.dtype);
    for (const int64_t extent : entry.shape) {
      CHECK(extent >= 0);
      bytes *= static_cast<uint64_t>(extent);
    }
    CHECK(bytes == entry.end - entry.begin, bytes);
    CHECK(names.insert(entry.name).second, entry.name);
  }
}

void read_matrix(const QuantMatrix& m) {
  std::vector<float> row(static_cast<size_t>(m.cols));
  for (int64_t i = 0; i < m.rows; ++i) m.decode(i, 0, m.cols, row.data());
  read_all(std::as_bytes(std::span(row)));
}

void read_weights(const ModelWeights& weights) {
  for (const QuantMatrix* m : {&weights.embed, &weights.output, &weights.head.hc_fn}) {
    read_matrix(*m);
  }
  for (const BlockWeights& w : weights.layers) {
    const AttentionWeights& a = w.attention;
    const MoeWeights& moe = w.moe;
    for (const QuantMatrix* m : {&w.hc_attn.fn,
                                 &w.hc_ffn.fn,
                                 &a.wq_a,
                                 &a.wq_b,
                                 &a.wkv,
                                 &a.wo_a,
                                 &a.wo_b,
                                 &a.compressor.wkv,
                                 &a.compressor.wgate,
                                 &a.indexer.wq_b,
                                 &a.indexer.weights_proj,
                                 &a.indexer.compressor.wkv,
                                 &a.indexer.compressor.wgate,
                                 &moe.gate,
                                 &moe.experts[0].w1,
                                 &moe.experts[0].w2,
                                 &moe.experts[0].w3,
                                 &moe.shared.w1,
                                 &moe.shared.w2,
                                 &moe.shared.w3}) {
      read_matrix(*m);
    }
  }
}

// The tensors say which method of INT4 the config would name.
ModelConfig config_for(const Checkpoint& checkpoint) {
  ModelConfig config = fuzz_model();
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (tensor.name.ends_with(".qweight")) config.int4 = fuzz_int4(Int4Method::kAwq);
    if (tensor.name.ends_with(".weight_packed")) {
      config.int4 = fuzz_int4(Int4Method::kCompressedTensors);
    }
  }
  return config;
}

void fuzz_file(std::span<const uint8_t> input) {
  const auto bytes = std::as_bytes(input);
  check_header(parse_safetensors_header(bytes, bytes.size(), "input"), bytes.size());
  const fs::path path = Folder::instance().path() / "single" / "model.safetensors";
  write(path, input);
  const Checkpoint checkpoint = Checkpoint::open(path);
  for (const StoredTensor& tensor : checkpoint.tensors()) read_all(tensor.data);
  read_weights(load_weights(checkpoint, config_for(checkpoint)));
}

void fuzz_index(std::span<const uint8_t> input) {
  const fs::path folder = Folder::instance().path() / "shards";
  write(folder / "model.safetensors.index.json", input);
  const Checkpoint checkpoint = Checkpoint::open(folder);
  CHECK(checkpoint.files().size() <= 2);
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    CHECK(checkpoint.find(tensor.name) == &tensor);
    read_all(tensor.data);
  }
}

// JSON text; as a safetensors file it would have a header longer than itself.
bool is_index(std::span<const uint8_t> input) {
  uint64_t header_bytes = ~uint64_t{0};
  if (input.size() >= sizeof(header_bytes)) {
    std::memcpy(&header_bytes, input.data(), sizeof(header_bytes));
  }
  return !input.empty() && input[0] == '{' && header_bytes > input.size();
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::span<const uint8_t> input(data, size);
    dsv4::is_index(input) ? dsv4::fuzz_index(input) : dsv4::fuzz_file(input);
  } catch (const dsv4::Error&) {
    // What an input may cause.
  }
  return 0;
}
