#include "base/check.h"
#include "formats/gguf.h"

#include <bit>
#include <utility>

namespace dsv4 {
namespace {

constexpr std::string_view kAlignmentKey = "general.alignment";

uint64_t align(uint64_t offset, uint64_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

template <typename T>
void put_bytes(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

}  // namespace

void GgufBuilder::put_string(std::string_view text) {
  put_bytes(bytes_, static_cast<uint64_t>(text.size()));
  bytes_ += text;
}

void GgufBuilder::start(std::string_view key, GgufType type) {
  put_string(key);
  put_bytes(bytes_, static_cast<uint32_t>(type));
  ++count_;
}

void GgufBuilder::start_array(std::string_view key, GgufType element, uint64_t count) {
  start(key, GgufType::kArray);
  put_bytes(bytes_, static_cast<uint32_t>(element));
  put_bytes(bytes_, count);
}

void GgufBuilder::add_u32(std::string_view key, uint32_t value) {
  if (key == kAlignmentKey) alignment_ = value;
  start(key, GgufType::kU32);
  put_bytes(bytes_, value);
}

void GgufBuilder::add_u16(std::string_view key, uint16_t value) {
  start(key, GgufType::kU16);
  put_bytes(bytes_, value);
}

void GgufBuilder::add_f32(std::string_view key, float value) {
  start(key, GgufType::kF32);
  put_bytes(bytes_, value);
}

void GgufBuilder::add_bool(std::string_view key, bool value) {
  start(key, GgufType::kBool);
  put_bytes(bytes_, static_cast<uint8_t>(value));
}

void GgufBuilder::add_string(std::string_view key, std::string_view value) {
  start(key, GgufType::kString);
  put_string(value);
}

void GgufBuilder::add_i32s(std::string_view key, std::span<const int32_t> values) {
  start_array(key, GgufType::kI32, values.size());
  for (const int32_t value : values) put_bytes(bytes_, value);
}

void GgufBuilder::add_f32s(std::string_view key, std::span<const float> values) {
  start_array(key, GgufType::kF32, values.size());
  for (const float value : values) put_bytes(bytes_, value);
}

void GgufBuilder::add_strings(std::string_view key, std::span<const std::string> values) {
  start_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) put_string(value);
}

void GgufBuilder::add(std::string_view key, const GgufValue& value) {
  if (key == kAlignmentKey) alignment_ = static_cast<uint64_t>(value.as_integer().value_or(0));
  if (value.type == GgufType::kArray) {
    start_array(key, value.element, value.count);
  } else {
    start(key, value.type);
  }
  if (value.type == GgufType::kString) put_bytes(bytes_, static_cast<uint64_t>(value.bytes.size()));
  bytes_.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
}

uint64_t GgufWriter::Declaration::bytes() const {
  uint64_t bytes = dtype_bytes(dtype);
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t block = i + 1 == shape.size() ? dtype_block(dtype) : 1;
    CHECK(shape[i] % block == 0, shape[i], block);
    bytes *= static_cast<uint64_t>(shape[i] / block);
  }
  return bytes;
}

GgufWriter::Layout GgufWriter::lay_out(const GgufBuilder& metadata,
                                       const std::vector<Declaration>& tensors) {
  Layout layout{"GGUF", metadata.alignment(), {}};
  CHECK(std::has_single_bit(layout.alignment), layout.alignment);
  std::string& header = layout.header;
  put_bytes(header, uint32_t{3});
  put_bytes(header, static_cast<uint64_t>(tensors.size()));
  put_bytes(header, metadata.count());
  header += metadata.bytes();
  uint64_t offset = 0;
  for (const Declaration& tensor : tensors) {
    put_bytes(header, static_cast<uint64_t>(tensor.name.size()));
    header += tensor.name;
    put_bytes(header, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i > 0; --i) put_bytes(header, tensor.shape[i - 1]);
    put_bytes(header, gguf_type_number(tensor.dtype));
    put_bytes(header, offset);
    layout.sizes.push_back(tensor.bytes());
    offset = align(offset + layout.sizes.back(), layout.alignment);
  }
  header.resize(align(header.size(), layout.alignment), '\0');
  return layout;
}

GgufWriter::GgufWriter(std::filesystem::path path, const GgufBuilder& metadata,
                       const std::vector<Declaration>& tensors)
    : layout_(lay_out(metadata, tensors)), file_(std::move(path)) {
  file_.write(std::as_bytes(std::span(layout_.header)));
}

GgufWriter::GgufWriter(std::filesystem::path path, Layout layout)
    : layout_(std::move(layout)), file_(std::move(path), std::as_bytes(std::span(layout_.header))) {
  uint64_t end = layout_.header.size();
  for (const uint64_t size : layout_.sizes) {
    const uint64_t next = align(end + size, layout_.alignment);
    if (next > file_.written_bytes()) break;
    end = next;
    ++current_;
  }
  file_.truncate(end);
}

GgufWriter GgufWriter::resume(std::filesystem::path path, const GgufBuilder& metadata,
                              const std::vector<Declaration>& tensors) {
  return {std::move(path), lay_out(metadata, tensors)};
}

uint64_t GgufWriter::file_bytes(const GgufBuilder& metadata,
                                const std::vector<Declaration>& tensors) {
  const Layout layout = lay_out(metadata, tensors);
  uint64_t end = layout.header.size();
  for (const uint64_t size : layout.sizes) end = align(end + size, layout.alignment);
  return end;
}

void GgufWriter::append(std::span<const std::byte> data) {
  CHECK(current_ < layout_.sizes.size() && in_tensor_ + data.size() <= layout_.sizes[current_],
        current_, in_tensor_, data.size());
  file_.write(data);
  in_tensor_ += data.size();
  if (in_tensor_ < layout_.sizes[current_]) return;
  ++current_;
  in_tensor_ = 0;
  pad();
}

void GgufWriter::pad() {
  const uint64_t n = align(file_.written_bytes(), layout_.alignment) - file_.written_bytes();
  const std::string zeros(n, '\0');
  file_.write(std::as_bytes(std::span(zeros)));
}

void GgufWriter::finish() {
  CHECK(current_ == layout_.sizes.size(), current_, layout_.sizes.size());
  file_.finish();
}

}  // namespace dsv4
