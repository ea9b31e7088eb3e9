// Routing traces: which experts each token of each forward pass chose (docs/formats.md).
#pragma once

#include "base/error.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {

// What a trace is of.
struct RoutingShape {
  int64_t n_layers = 0;
  int64_t n_experts = 0;              // of a layer
  int64_t n_active = 0;               // k, that a token chooses in each layer
  uint64_t fingerprint = 0;           // of the model and its numerics; 0: not of a model
  std::vector<int64_t> expert_bytes;  // of one expert, by layer

  bool operator==(const RoutingShape&) const = default;
};

struct RoutingTrace {
  struct Pass {
    int64_t n_tokens = 0;
    size_t first_id = 0;  // in `ids`: by layer, then token, then choice
  };

  RoutingShape shape;
  std::vector<Pass> passes;
  std::vector<uint16_t> ids;
  bool is_cut = false;  // it ends within a block, as when its writer was killed

  // The choices of a pass in a layer, [n_tokens, k].
  std::span<const uint16_t> chosen(const Pass& pass, int64_t layer) const {
    const auto n = static_cast<size_t>(pass.n_tokens * shape.n_active);
    return std::span(ids).subspan(pass.first_id + static_cast<size_t>(layer) * n, n);
  }
};

// Reads a trace; `where` names it in errors. A last block that is not whole is left out. Throws
// Error(kInvalidInput, kUnsupported) naming the byte for anything else that is wrong.
RoutingTrace parse_routing_trace(std::span<const std::byte> bytes, const std::string& where);
// The same from a file. Throws also Error(kNotFound, kIo).
RoutingTrace read_routing_trace(const std::filesystem::path& path);

// Writes a trace while a model runs. What has been written is a good trace at any time: it grows by
// blocks of about 64 KiB. A disk that fails ends the recording, not the run: finish() says so. Used
// by one thread at a time.
class RoutingTraceWriter {
 public:
  // Replaces a file that is there. Throws Error(kInvalidInput) for a shape that has no trace and
  // Error(kIo).
  RoutingTraceWriter(std::filesystem::path path, const RoutingShape& shape);
  // Writes what is left.
  ~RoutingTraceWriter();
  RoutingTraceWriter(const RoutingTraceWriter&) = delete;
  RoutingTraceWriter& operator=(const RoutingTraceWriter&) = delete;

  // A forward pass begins; one that has not got all of its layers is forgotten.
  void begin_pass(int64_t n_tokens);
  // The experts that the tokens chose in the next layer, [n_tokens, k].
  void add_layer(std::span<const int32_t> ids);
  // Writes what is left; nothing may be added then. Throws Error(kIo) if the disk has failed since
  // the start.
  void finish();

 private:
  void write_block();
  void write(std::span<const std::byte> bytes);

  std::filesystem::path path_;
  RoutingShape shape_;
  std::FILE* file_ = nullptr;  // null once it is finished or has failed
  std::optional<Error> problem_;
  std::vector<std::byte> block_;  // room for its header, then passes, the last one unfinished
  size_t whole_bytes_ = 0;        // of block_, without the unfinished pass
  int64_t pass_tokens_ = 0;       // of the unfinished pass
  int64_t pass_layers_ = 0;       // of it that are there
  int64_t block_passes_ = 0;
};

}  // namespace dsv4
