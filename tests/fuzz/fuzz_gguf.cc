// A GGUF file. What is accepted lies inside the file; a configuration survives writing and reading;
// a tokenizer encodes text and gives it back; weights that load can be read to the last byte.
#include "base/check.h"
#include "base/error.h"
#include "formats/gguf.h"
#include "model/gguf_config.h"
#include "model/gguf_tokenizer.h"
#include "model/names.h"
#include "model/weights.h"
#include "small_model.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
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

// A file of this process, removed at the end.
class TheFile {
 public:
  TheFile() {
    const fs::path memory = "/dev/shm";
    path_ = (fs::is_directory(memory) ? memory : fs::temp_directory_path()) /
            ("dsv4-fuzz-gguf-" + std::to_string(::getpid()));
  }
  ~TheFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  TheFile(const TheFile&) = delete;
  TheFile& operator=(const TheFile&) = delete;

  const fs::path& write(std::span<const uint8_t> bytes) const {
    std::FILE* file = std::fopen(path_.c_str(), "wb");
    CHECK(file != nullptr);
    CHECK(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
    CHECK(std::fclose(file) == 0);
    return path_;
  }

 private:
  fs::path path_;
};

void check_header(const GgufHeader& header, std::span<const std::byte> file) {
  std::set<std::string_view> names;
  for (const GgufTensor& tensor : header.tensors) {
    CHECK(tensor.begin < tensor.end && tensor.end <= file.size(), tensor.begin, tensor.end);
    CHECK(tensor.begin % header.alignment == 0, tensor.begin, header.alignment);
    CHECK(names.insert(tensor.name).second, tensor.name);
    int64_t values = 1;
    for (const int64_t extent : tensor.shape) {
      CHECK(extent > 0, extent);
      values *= extent;
    }
    const auto blocks = static_cast<uint64_t>(values / dtype_block(tensor.dtype));
    CHECK(blocks * dtype_bytes(tensor.dtype) == tensor.end - tensor.begin, blocks);
  }
  for (const auto& [key, value] : header.metadata.keys()) {
    CHECK(header.metadata.find(key) != nullptr, key);
    read_all(value.bytes);
    value.as_integer();
    value.as_number();
    value.as_string();
    value.as_integers();
    value.as_numbers();
    if (const auto strings = value.as_strings()) {
      CHECK(strings->size() == value.count, value.count);
      for (const std::string_view text : *strings) read_all(std::as_bytes(std::span(text)));
    }
  }
}

template <typename F>
void catching(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    CHECK(std::string_view(error.what()).size() > 2);  // what an input may cause
  }
}

void check_config(const GgufMetadata& metadata) {
  const ModelConfig config = config_from_gguf(metadata, false, "input");
  GgufBuilder written;
  add_config(config, written);
  written.add_u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(config.bos_token_id));
  written.add_u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(config.eos_token_id));
  std::string file("GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16);
  const uint64_t count = written.count();
  file.append(reinterpret_cast<const char*>(&count), sizeof(count));
  file += written.bytes();
  const GgufHeader header = parse_gguf(std::as_bytes(std::span(file)), "written");
  CHECK(config_from_gguf(header.metadata, false, "written") == config);
}

void check_tokenizer(const GgufMetadata& metadata) {
  const Tokenizer tokenizer =
      Tokenizer::parse(tokenizer_json_from_gguf(metadata, "input"), "input");
  const std::string_view text = "ab <｜User｜>12 你\n";
  for (const ParseSpecial special : {ParseSpecial::kNo, ParseSpecial::kYes}) {
    CHECK(tokenizer.decode(tokenizer.encode(text, special), SkipSpecial::kNo) == text);
  }
}

void read_matrix(const QuantMatrix& m) {
  std::vector<float> row(static_cast<size_t>(m.cols));
  for (int64_t i = 0; i < m.rows; ++i) m.decode(i, 0, m.cols, row.data());
  read_all(std::as_bytes(std::span(row)));
}

void check_weights(const fs::path& path) {
  const Checkpoint checkpoint = open_checkpoint(path);
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    CHECK(checkpoint.find(tensor.name) == &tensor);
    read_all(tensor.data);
  }
  const ModelWeights weights = load_weights(checkpoint, fuzz_model());
  const BlockWeights& layer = weights.layers[0];
  const AttentionWeights& a = layer.attention;
  for (const QuantMatrix* m : {&weights.embed,
                               &weights.output,
                               &weights.head.hc_fn,
                               &layer.hc_attn.fn,
                               &layer.hc_ffn.fn,
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
                               &layer.moe.gate,
                               &layer.moe.experts[0].w1,
                               &layer.moe.experts[0].w2,
                               &layer.moe.experts[0].w3,
                               &layer.moe.shared.w1,
                               &layer.moe.shared.w2,
                               &layer.moe.shared.w3}) {
    read_matrix(*m);
  }
}

void fuzz(std::span<const uint8_t> input) {
  const auto bytes = std::as_bytes(input);
  const GgufHeader header = parse_gguf(bytes, "input");
  check_header(header, bytes);
  catching([&] { check_config(header.metadata); });
  catching([&] { check_tokenizer(header.metadata); });
  static const TheFile file;
  const fs::path path = file.write(input);
  catching([&] { load_config(path); });
  catching([&] { check_weights(path); });
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    dsv4::fuzz(std::span<const uint8_t>(data, size));
  } catch (const dsv4::Error&) {
    // What an input may cause.
  }
  return 0;
}
