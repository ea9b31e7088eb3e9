#include "formats/routing_trace.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_file.h"

#include <array>
#include <cstring>
#include <utility>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

constexpr std::array<char, 8> kMagic = {'D', 'S', 'V', '4', 'R', 'T', 0, 0};
constexpr uint32_t kVersion = 1;
constexpr size_t kFixedBytes = 32;        // of the header, before the bytes by layer
constexpr size_t kBlockHeaderBytes = 16;  // u32 bytes, u32 passes, u64 checksum of these
constexpr size_t kChecksumBytes = 8;
constexpr size_t kBlockBytes = size_t{64} << 10;  // a block is written when it has as many

constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxExperts = 65536;
constexpr int64_t kMaxTokens = int64_t{1} << 20;

template <typename T>
void append(std::vector<std::byte>& out, T value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

// Bytes of an expert's number.
size_t id_bytes(const RoutingShape& shape) { return shape.n_experts <= 256 ? 1 : 2; }

// What is wrong with a shape, or nothing.
std::optional<std::string> shape_problem(const RoutingShape& shape) {
  const auto outside = [](const char* name, int64_t value, int64_t max) {
    return fmt::format("{} is {}, expected 1 to {}", name, value, max);
  };
  if (shape.n_layers < 1 || shape.n_layers > kMaxLayers) {
    return outside("the number of layers", shape.n_layers, kMaxLayers);
  }
  if (shape.n_experts < 1 || shape.n_experts > kMaxExperts) {
    return outside("the number of experts", shape.n_experts, kMaxExperts);
  }
  if (shape.n_active < 1 || shape.n_active > shape.n_experts) {
    return outside("the number of active experts", shape.n_active, shape.n_experts);
  }
  if (std::ssize(shape.expert_bytes) != shape.n_layers) return "needs a size for each layer";
  for (const int64_t bytes : shape.expert_bytes) {
    if (bytes < 1 || bytes > int64_t{1} << 40) {
      return outside("the size of an expert", bytes, int64_t{1} << 40);
    }
  }
  return std::nullopt;
}

std::vector<std::byte> encode_header(const RoutingShape& shape) {
  std::vector<std::byte> bytes;
  append(bytes, kMagic);
  append(bytes, kVersion);
  append(bytes, static_cast<uint32_t>(shape.n_layers));
  append(bytes, static_cast<uint32_t>(shape.n_experts));
  append(bytes, static_cast<uint32_t>(shape.n_active));
  append(bytes, shape.fingerprint);
  for (const int64_t size : shape.expert_bytes) append(bytes, static_cast<uint64_t>(size));
  append(bytes, checksum(bytes));
  return bytes;
}

// Takes a trace apart from its first byte on.
class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(where) {}

  RoutingTrace parse() {
    parse_header();
    while (at_ < bytes_.size() && !trace_.is_cut) parse_block();
    return std::move(trace_);
  }

 private:
  [[noreturn]] void refuse(size_t at, const std::string& message,
                           ErrorCode code = ErrorCode::kInvalidInput) const {
    throw Error(code, where_, fmt::format("byte {}: {}", at, message));
  }

  size_t n_left() const { return bytes_.size() - at_; }

  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  // The checksum at the present byte, of the bytes from `begin` to there.
  void check(size_t begin, const char* of) {
    const size_t end = at_;
    if (take<uint64_t>() != checksum(bytes_.subspan(begin, end - begin))) {
      refuse(begin,
             fmt::format("{} does not have the checksum that is stored at byte {}", of, end));
    }
  }

  void parse_header() {
    if (n_left() < kFixedBytes) refuse(0, "is too short for a routing trace");
    if (take<std::array<char, 8>>() != kMagic) refuse(0, "is not a routing trace");
    const auto version = take<uint32_t>();
    if (version != kVersion) {
      refuse(8, fmt::format("version {}, this program reads {}", version, kVersion),
             ErrorCode::kUnsupported);
    }
    RoutingShape& shape = trace_.shape;
    shape.n_layers = take<uint32_t>();
    shape.n_experts = take<uint32_t>();
    shape.n_active = take<uint32_t>();
    shape.fingerprint = take<uint64_t>();
    if (shape.n_layers > kMaxLayers ||
        n_left() < static_cast<size_t>(shape.n_layers) * sizeof(uint64_t) + kChecksumBytes) {
      refuse(12,
             fmt::format("{} layers, but the file ends at byte {}", shape.n_layers, bytes_.size()));
    }
    for (int64_t i = 0; i < shape.n_layers; ++i) {
      shape.expert_bytes.push_back(take<int64_t>());
    }
    check(0, "the header");
    if (const auto problem = shape_problem(shape)) refuse(12, *problem);
  }

  void parse_block() {
    const size_t begin = at_;
    if (n_left() < kBlockHeaderBytes) {
      trace_.is_cut = true;
      return;
    }
    const size_t n_bytes = take<uint32_t>();
    const auto n_passes = take<uint32_t>();
    check(begin, "the start of a block");
    if (n_left() < n_bytes + kChecksumBytes) {
      trace_.is_cut = true;
      return;
    }
    const size_t first = at_;
    at_ += n_bytes;
    check(first, "a block");
    const size_t behind = at_;
    at_ = first;
    end_ = first + n_bytes;
    for (uint32_t i = 0; i < n_passes; ++i) parse_pass();
    if (at_ != end_)
      refuse(at_, fmt::format("the block has more bytes than its {} passes", n_passes));
    at_ = behind;
  }

  // A whole number in groups of seven bits, the lowest first, in as few bytes as it needs.
  int64_t take_varint() {
    const size_t begin = at_;
    uint64_t value = 0;
    for (int shift = 0; shift < 28; shift += 7) {
      if (at_ == end_) break;
      const auto byte = take<uint8_t>();
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte >= 0x80) continue;
      if (byte == 0 && shift > 0) break;
      return static_cast<int64_t>(value);
    }
    refuse(begin, "expected a number of tokens");
  }

  void parse_pass() {
    const RoutingShape& shape = trace_.shape;
    const size_t begin = at_;
    const int64_t n_tokens = take_varint();
    const size_t width = id_bytes(shape);
    const auto n_ids =
        static_cast<size_t>(n_tokens * shape.n_layers) * static_cast<size_t>(shape.n_active);
    if (n_tokens < 1 || n_tokens > kMaxTokens || n_ids > (end_ - at_) / width) {
      refuse(begin, fmt::format("a pass of {} tokens does not fit into its block", n_tokens));
    }
    trace_.passes.push_back({n_tokens, trace_.ids.size()});
    for (size_t i = 0; i < n_ids; ++i) {
      const size_t at = at_;
      const auto id = width == 1 ? uint16_t{take<uint8_t>()} : take<uint16_t>();
      if (id >= shape.n_experts) {
        refuse(at, fmt::format("expert {}, expected one below {}", id, shape.n_experts));
      }
      trace_.ids.push_back(id);
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  size_t at_ = 0;
  size_t end_ = 0;  // of the passes of the present block
  RoutingTrace trace_;
};

}  // namespace

RoutingTrace parse_routing_trace(std::span<const std::byte> bytes, const std::string& where) {
  return Parser(bytes, where).parse();
}

RoutingTrace read_routing_trace(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_routing_trace(file.bytes(), path.string());
}

RoutingTraceWriter::RoutingTraceWriter(std::filesystem::path path, const RoutingShape& shape)
    : path_(std::move(path)), shape_(shape) {
  if (const auto problem = shape_problem(shape)) {
    throw Error(ErrorCode::kInvalidInput, path_.string(), *problem);
  }
  file_ = std::fopen(path_.c_str(), "wbe");
  if (file_ == nullptr) throw io_error(path_, "create");
  write(encode_header(shape));
  if (problem_) throw *problem_;
  block_.resize(kBlockHeaderBytes);
  whole_bytes_ = block_.size();
}

RoutingTraceWriter::~RoutingTraceWriter() {
  if (block_passes_ > 0) write_block();
  if (file_ != nullptr) std::fclose(file_);
}

void RoutingTraceWriter::begin_pass(int64_t n_tokens) {
  CHECK(n_tokens >= 1 && n_tokens <= kMaxTokens, n_tokens);
  block_.resize(whole_bytes_);
  pass_tokens_ = n_tokens;
  pass_layers_ = 0;
  for (; n_tokens >= 0x80; n_tokens >>= 7) {
    block_.push_back(static_cast<std::byte>(n_tokens | 0x80));
  }
  block_.push_back(static_cast<std::byte>(n_tokens));
}

void RoutingTraceWriter::add_layer(std::span<const int32_t> ids) {
  CHECK(std::ssize(ids) == pass_tokens_ * shape_.n_active, ids.size(), pass_tokens_);
  CHECK(pass_layers_ < shape_.n_layers, pass_layers_);
  const size_t width = id_bytes(shape_);
  size_t at = block_.size();
  block_.resize(at + ids.size() * width);
  for (const int32_t id : ids) {
    CHECK(id >= 0 && id < shape_.n_experts, id);
    std::memcpy(block_.data() + at, &id, width);  // little-endian: the low bytes come first
    at += width;
  }
  if (++pass_layers_ < shape_.n_layers) return;
  whole_bytes_ = block_.size();
  ++block_passes_;
  if (whole_bytes_ >= kBlockBytes) write_block();
}

void RoutingTraceWriter::finish() {
  if (block_passes_ > 0) write_block();
  if (file_ != nullptr && std::fclose(std::exchange(file_, nullptr)) != 0) {
    problem_ = io_error(path_, "write");
  }
  if (problem_) throw *problem_;
}

void RoutingTraceWriter::write_block() {
  CHECK(whole_bytes_ <= UINT32_MAX, whole_bytes_);
  const auto n_bytes = static_cast<uint32_t>(whole_bytes_ - kBlockHeaderBytes);
  const auto n_passes = static_cast<uint32_t>(block_passes_);
  std::memcpy(block_.data(), &n_bytes, sizeof(n_bytes));
  std::memcpy(block_.data() + 4, &n_passes, sizeof(n_passes));
  const uint64_t start = checksum(std::span(block_).first(8));
  std::memcpy(block_.data() + 8, &start, sizeof(start));
  block_.resize(whole_bytes_);
  append(block_, checksum(std::span(block_).subspan(kBlockHeaderBytes)));
  write(block_);
  block_.resize(kBlockHeaderBytes);
  whole_bytes_ = block_.size();
  block_passes_ = 0;
}

// A block that was written in part reads as one that is not whole; nothing may follow it.
void RoutingTraceWriter::write(std::span<const std::byte> bytes) {
  if (file_ == nullptr) return;
  const bool good =
      std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size() && std::fflush(file_) == 0;
  if (good) return;
  problem_ = io_error(path_, "go on with the recording");
  std::fclose(std::exchange(file_, nullptr));
}

}  // namespace dsv4
