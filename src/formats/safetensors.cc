#include "formats/safetensors.h"

#include "base/check.h"
#include "base/error.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <unordered_set>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

constexpr uint64_t kLengthBytes = 8;
// The format's own library has this limit; a shard with 70,000 tensors has some 10 MB.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxDims = 8;
constexpr uint64_t kMaxExtent = uint64_t{1} << 48;

Error invalid(const std::string& where, const std::string& message) {
  return Error(ErrorCode::kInvalidInput, where, message);
}

// Names end up in messages, which are one line.
bool is_printable(std::string_view text) {
  return std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

// Text as an iterator that counts what the parser has read, which its events do not tell.
class CountedText {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountedText(const char* at, uint64_t* n_read) : at_(at), n_read_(n_read) {}
  reference operator*() const { return *at_; }
  CountedText& operator++() {
    ++at_;
    ++*n_read_;
    return *this;
  }
  bool operator==(const CountedText& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  uint64_t* n_read_;
};

// Bytes of a tensor, or nothing when the product overflows, in whatever order it is formed.
std::optional<uint64_t> tensor_bytes(const TensorEntry& entry) {
  uint64_t bytes = dtype_bytes(entry.dtype);
  bool empty = false;
  for (const int64_t extent : entry.shape) {
    empty = empty || extent == 0;
    const auto factor = static_cast<uint64_t>(std::max<int64_t>(extent, 1));
    if (__builtin_mul_overflow(bytes, factor, &bytes)) return std::nullopt;
  }
  if (bytes > uint64_t{std::numeric_limits<int64_t>::max()}) return std::nullopt;
  return empty ? 0 : bytes;
}

// Gathers the header as it is parsed: {"name": {"dtype": ..., "shape": [...], "data_offsets":
// [...]}, "__metadata__": {"key": "value"}}. No document tree: headers have many thousand tensors.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  // `n_read` counts the bytes of the header that the parser has read.
  HeaderReader(SafetensorsHeader& header, const uint64_t& n_read)
      : header_(header), n_read_(n_read) {}

  // What is wrong, with the byte of the file where that was seen.
  const std::string& problem() const { return problem_; }

  bool start_object(size_t) override {
    if (depth_ == 2) return fail("an object where dtype, shape or data_offsets should be");
    ++depth_;
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ != 1 || in_metadata_) return true;
    if (!seen_dtype_ || !seen_shape_ || offsets_.size() != 2) {
      return fail("dtype, shape or data_offsets is missing or incomplete");
    }
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    if (!check_size()) return false;
    header_.tensors.push_back(std::move(entry_));
    return true;
  }

  bool key(std::string& name) override {
    if (!is_printable(name)) return fail("a key has control characters");
    field_ = name;
    if (depth_ != 1) return in_metadata_ || first_of_field() || fail(name + " appears twice");
    entry_ = TensorEntry{};
    entry_.name = name;
    offsets_.clear();
    seen_dtype_ = seen_shape_ = seen_offsets_ = false;
    in_metadata_ = name == "__metadata__";
    return names_.insert(name).second || fail("appears twice");
  }

  bool string(std::string& value) override {
    if (depth_ == 2 && in_metadata_) {
      header_.metadata[field_] = value;
      return true;
    }
    if (depth_ != 2 || field_ != "dtype" || in_array_) return unexpected();
    const auto dtype = dtype_from_name(value);
    if (!dtype || dtype_block(*dtype) != 1) {
      return fail(is_printable(value) ? fmt::format("type '{}' is not known", value)
                                      : "its type is not known");
    }
    entry_.dtype = *dtype;
    return true;
  }

  bool start_array(size_t) override {
    const bool known = depth_ == 2 && (field_ == "shape" || field_ == "data_offsets");
    if (in_metadata_ || in_array_ || !known) return unexpected();
    in_array_ = true;
    return true;
  }

  bool end_array() override {
    in_array_ = false;
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (!in_array_) return unexpected();
    if (field_ == "shape") {
      if (value > kMaxExtent) return fail(fmt::format("a dimension of {} is impossible", value));
      if (entry_.shape.size() == kMaxDims) {
        return fail(fmt::format("has more than {} dimensions", kMaxDims));
      }
      entry_.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (offsets_.size() == 2) return fail("data_offsets has more than two numbers");
      offsets_.push_back(value);
    }
    return true;
  }

  bool number_integer(int64_t) override { return fail(field_ + " has a negative number"); }
  bool number_float(double, const std::string&) override { return unexpected(); }
  bool boolean(bool) override { return unexpected(); }
  bool null() override { return unexpected(); }
  bool binary(nlohmann::json::binary_t&) override { return unexpected(); }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override {
    problem_ = fmt::format("byte {}: the header is not valid JSON", position());
    return false;
  }

 private:
  // Marks dtype, shape or data_offsets as seen; false when it was. Others fail at their value.
  bool first_of_field() {
    bool* seen = field_ == "dtype"          ? &seen_dtype_
                 : field_ == "shape"        ? &seen_shape_
                 : field_ == "data_offsets" ? &seen_offsets_
                                            : nullptr;
    return seen == nullptr || !std::exchange(*seen, true);
  }

  bool check_size() {
    const std::optional<uint64_t> expected = tensor_bytes(entry_);
    if (!expected) return fail("its shape overflows");
    if (entry_.begin > entry_.end) {
      return fail(
          fmt::format("data_offsets run backwards, from {} to {}", entry_.begin, entry_.end));
    }
    if (entry_.end - entry_.begin != *expected) {
      return fail(fmt::format("type and shape need {} bytes, data_offsets give {}", *expected,
                              entry_.end - entry_.begin));
    }
    return true;
  }

  uint64_t position() const { return kLengthBytes + n_read_; }
  bool fail(const std::string& message) {
    const std::string tensor = entry_.name.empty() ? "" : fmt::format("tensor {}: ", entry_.name);
    problem_ = fmt::format("{}byte {}: {}", tensor, position(), message);
    return false;
  }
  bool unexpected() { return fail(fmt::format("unexpected value of '{}'", field_)); }

  SafetensorsHeader& header_;
  const uint64_t& n_read_;
  TensorEntry entry_;
  std::vector<uint64_t> offsets_;
  std::unordered_set<std::string> names_;
  std::string field_;
  std::string problem_;
  int depth_ = 0;  // 1 inside the header's object, 2 inside a tensor's
  bool in_metadata_ = false;
  bool in_array_ = false;
  bool seen_dtype_ = false;
  bool seen_shape_ = false;
  bool seen_offsets_ = false;
};

// Makes the offsets absolute and checks each range against file and neighbours.
void check_ranges(SafetensorsHeader& header, uint64_t data_begin, uint64_t file_bytes,
                  const std::string& where) {
  for (TensorEntry& entry : header.tensors) {
    const std::string tensor = fmt::format("{}: tensor {}", where, entry.name);
    if (entry.end > file_bytes - data_begin) {
      throw invalid(tensor,
                    fmt::format("needs bytes {} to {} of the data section at byte {}, the file "
                                "ends at byte {}; it is truncated",
                                entry.begin, entry.end, data_begin, file_bytes));
    }
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  std::ranges::sort(header.tensors, {},
                    [](const TensorEntry& entry) { return std::pair(entry.begin, entry.end); });
  for (size_t i = 1; i < header.tensors.size(); ++i) {
    const TensorEntry& before = header.tensors[i - 1];
    if (header.tensors[i].begin < before.end) {
      throw invalid(
          fmt::format("{}: tensor {}", where, header.tensors[i].name),
          fmt::format("byte {} belongs to tensor {} too", header.tensors[i].begin, before.name));
    }
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, uint64_t file_bytes,
                                           const std::string& where) {
  CHECK(file.size() <= file_bytes, file.size(), file_bytes);
  uint64_t length = 0;
  if (file.size() < kLengthBytes) {
    throw invalid(where,
                  fmt::format("a safetensors file has at least 8 bytes, this has {}", file.size()));
  }
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > file.size() - kLengthBytes) {
    throw invalid(where, fmt::format("byte 0: the header would have {} bytes, the file has {}; it "
                                     "is truncated or not a safetensors file",
                                     length, file_bytes));
  }
  SafetensorsHeader header;
  uint64_t n_read = 0;
  HeaderReader reader(header, n_read);
  const auto* text = reinterpret_cast<const char*>(file.data() + kLengthBytes);
  if (length == 0 || text[0] != '{') {
    throw invalid(where, "byte 8: the header is not a JSON object");
  }
  uint64_t unused = 0;
  if (!nlohmann::json::sax_parse(CountedText(text, &n_read), CountedText(text + length, &unused),
                                 &reader)) {
    throw invalid(where, reader.problem());
  }
  check_ranges(header, kLengthBytes + length, file_bytes, where);
  return header;
}

SafetensorsWriter::Layout SafetensorsWriter::lay_out(
    const std::vector<Declaration>& tensors, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  // push_back keeps the declared order without a search per name, which large files would feel.
  auto& members = header.get_ref<nlohmann::ordered_json::object_t&>();
  uint64_t data_bytes = 0;
  for (const Declaration& tensor : tensors) {
    uint64_t bytes = dtype_bytes(tensor.dtype);
    for (const int64_t extent : tensor.shape) bytes *= static_cast<uint64_t>(extent);
    members.push_back({tensor.name,
                       {{"dtype", dtype_name(tensor.dtype)},
                        {"shape", tensor.shape},
                        {"data_offsets", {data_bytes, data_bytes + bytes}}}});
    data_bytes += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // aligns the data
  const uint64_t length = text.size();
  std::string start(reinterpret_cast<const char*>(&length), sizeof(length));
  start += text;
  return {start, start.size() + data_bytes};
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path,
                                     const std::vector<Declaration>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(std::move(path)) {
  const Layout layout = lay_out(tensors, metadata);
  file_.write(std::as_bytes(std::span(layout.header)));
  expected_bytes_ = layout.file_bytes;
}

uint64_t SafetensorsWriter::file_bytes(const std::vector<Declaration>& tensors,
                                       const std::map<std::string, std::string>& metadata) {
  return lay_out(tensors, metadata).file_bytes;
}

bool SafetensorsWriter::is_written(const std::filesystem::path& path,
                                   const std::vector<Declaration>& tensors,
                                   const std::map<std::string, std::string>& metadata) {
  const Layout layout = lay_out(tensors, metadata);
  std::error_code error;
  if (std::filesystem::file_size(path, error) != layout.file_bytes || error) return false;
  std::ifstream file(path, std::ios::binary);
  std::string start(layout.header.size(), '\0');
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  return file && start == layout.header;
}

void SafetensorsWriter::append(std::span<const std::byte> data) { file_.write(data); }

void SafetensorsWriter::finish() {
  CHECK(file_.written_bytes() == expected_bytes_, file_.written_bytes(), expected_bytes_);
  file_.finish();
}

}  // namespace dsv4
