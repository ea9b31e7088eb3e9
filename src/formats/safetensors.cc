#include "formats/safetensors.h"

#include "base/check.h"
#include "base/error.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_set>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

constexpr uint64_t kLengthBytes = 8;
// The header of a model with 100,000 tensors has some 20 MB.
constexpr uint64_t kMaxHeaderBytes = uint64_t{1} << 30;
constexpr size_t kMaxDims = 8;

Error invalid(const std::string& where, const std::string& message) {
  return Error(ErrorCode::kInvalidInput, where, message);
}

// Gathers the header as it is parsed: {"name": {"dtype": ..., "shape": [...], "data_offsets":
// [...]}, "__metadata__": {"key": "value"}}. No document tree: headers have many thousand tensors.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(SafetensorsHeader& header) : header_(header) {}

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
      return fail("dtype, shape or data_offsets is missing");
    }
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    header_.tensors.push_back(std::move(entry_));
    return true;
  }

  bool key(std::string& name) override {
    field_ = name;
    if (depth_ != 1) return true;
    if (!names_.insert(name).second) return fail(fmt::format("'{}' appears twice", name));
    entry_ = TensorEntry{};
    entry_.name = name;
    offsets_.clear();
    seen_dtype_ = seen_shape_ = false;
    in_metadata_ = name == "__metadata__";
    return true;
  }

  bool string(std::string& value) override {
    if (depth_ == 2 && in_metadata_) {
      header_.metadata[field_] = value;
      return true;
    }
    if (depth_ != 2 || field_ != "dtype" || in_array_) return unexpected();
    const auto dtype = dtype_from_name(value);
    if (!dtype) return fail(fmt::format("type '{}' is not known", value));
    entry_.dtype = *dtype;
    seen_dtype_ = true;
    return true;
  }

  bool start_array(size_t) override {
    const bool known = depth_ == 2 && (field_ == "shape" || field_ == "data_offsets");
    if (in_metadata_ || in_array_ || !known) return unexpected();
    seen_shape_ = seen_shape_ || field_ == "shape";
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
      if (value > uint64_t{1} << 48 || entry_.shape.size() == kMaxDims)
        return fail("impossible shape");
      entry_.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (offsets_.size() == 2) return fail("data_offsets has more than two numbers");
      offsets_.push_back(value);
    }
    return true;
  }

  bool number_integer(int64_t) override { return fail("a negative number"); }
  bool number_float(double, const std::string&) override { return unexpected(); }
  bool boolean(bool) override { return unexpected(); }
  bool null() override { return unexpected(); }
  bool binary(nlohmann::json::binary_t&) override { return unexpected(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    problem_ = fmt::format("byte {}: the header is not valid JSON", kLengthBytes + position);
    return false;
  }

 private:
  bool fail(const std::string& message) {
    problem_ = fmt::format("tensor {}: {}", entry_.name, message);
    return false;
  }
  bool unexpected() { return fail(fmt::format("unexpected value of '{}'", field_)); }

  SafetensorsHeader& header_;
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
};

// Bytes of a tensor, or nothing when they exceed what a file can hold.
bool tensor_bytes(const TensorEntry& entry, uint64_t& bytes) {
  bytes = dtype_bytes(entry.dtype);
  for (const int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) return false;
  }
  return true;
}

// Makes the offsets absolute and checks each range against shape, file and neighbours.
void check_ranges(SafetensorsHeader& header, uint64_t data_begin, uint64_t file_bytes,
                  const std::string& where) {
  for (TensorEntry& entry : header.tensors) {
    const std::string tensor = fmt::format("{}: tensor {}", where, entry.name);
    uint64_t expected = 0;
    if (!tensor_bytes(entry, expected)) throw invalid(tensor, "its shape overflows");
    if (entry.begin > entry.end || entry.end > file_bytes - data_begin) {
      throw invalid(tensor,
                    fmt::format("bytes {} to {} reach beyond the end of the file at byte {}",
                                entry.begin, entry.end, file_bytes));
    }
    if (entry.end - entry.begin != expected) {
      throw invalid(tensor, fmt::format("type and shape need {} bytes, data_offsets give {}",
                                        expected, entry.end - entry.begin));
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
  HeaderReader reader(header);
  const auto* text = reinterpret_cast<const char*>(file.data() + kLengthBytes);
  if (length == 0 || text[0] != '{')
    throw invalid(where, "byte 8: the header is not a JSON object");
  if (!nlohmann::json::sax_parse(text, text + length, &reader)) {
    throw invalid(where, reader.problem());
  }
  check_ranges(header, kLengthBytes + length, file_bytes, where);
  return header;
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, std::vector<Declaration> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(std::move(path)) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  // push_back keeps the declared order without a search per name, which large files would feel.
  auto& members = header.get_ref<nlohmann::ordered_json::object_t&>();
  for (const Declaration& tensor : tensors) {
    uint64_t bytes = dtype_bytes(tensor.dtype);
    for (const int64_t extent : tensor.shape) bytes *= static_cast<uint64_t>(extent);
    members.push_back({tensor.name,
                       {{"dtype", dtype_name(tensor.dtype)},
                        {"shape", tensor.shape},
                        {"data_offsets", {expected_bytes_, expected_bytes_ + bytes}}}});
    expected_bytes_ += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // aligns the data
  const uint64_t length = text.size();

  const std::string part = path_.string() + ".part";
  file_ = std::fopen(part.c_str(), "wb");
  if (file_ == nullptr) {
    throw Error(ErrorCode::kIo, part, fmt::format("cannot create: {}", std::strerror(errno)));
  }
  append(std::as_bytes(std::span(&length, 1)));
  append(std::as_bytes(std::span(text)));
  written_bytes_ = 0;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::error_code ignored;
  std::filesystem::remove(path_.string() + ".part", ignored);
}

void SafetensorsWriter::append(std::span<const std::byte> data) {
  if (std::fwrite(data.data(), 1, data.size(), file_) != data.size()) {
    throw Error(ErrorCode::kIo, path_.string(),
                fmt::format("cannot write: {}", std::strerror(errno)));
  }
  written_bytes_ += data.size();
}

void SafetensorsWriter::finish() {
  CHECK(written_bytes_ == expected_bytes_, written_bytes_, expected_bytes_);
  const bool synced = std::fflush(file_) == 0 && ::fsync(::fileno(file_)) == 0;
  const bool closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (!synced || !closed) {
    throw Error(ErrorCode::kIo, path_.string(),
                fmt::format("cannot write: {}", std::strerror(errno)));
  }
  std::filesystem::rename(path_.string() + ".part", path_);
}

}  // namespace dsv4
