#include "formats/gguf.h"

#include "base/error.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace dsv4 {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint32_t kSwappedVersion = kVersion << 24;  // in a big-endian file
constexpr uint64_t kMaxAlignment = uint64_t{1} << 30;
constexpr uint32_t kMaxDims = 4;

// ggml's number of each type; formats.md section 4.
struct NumberedType {
  uint32_t number;
  DType dtype;
};
constexpr NumberedType kTypes[] = {{0, DType::kF32},      {1, DType::kF16},   {2, DType::kQ4_0},
                                   {3, DType::kQ4_1},     {6, DType::kQ5_0},  {7, DType::kQ5_1},
                                   {8, DType::kQ8_0},     {10, DType::kQ2_K}, {11, DType::kQ3_K},
                                   {12, DType::kQ4_K},    {13, DType::kQ5_K}, {14, DType::kQ6_K},
                                   {16, DType::kIQ2_XXS}, {24, DType::kI8},   {26, DType::kI32},
                                   {27, DType::kI64},     {30, DType::kBF16}, {39, DType::kMXFP4}};

// Those that are known by name only.
struct OtherType {
  uint32_t number;
  const char* name;
};
constexpr OtherType kOtherTypes[] = {
    {9, "Q8_1"},    {15, "Q8_K"},  {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},  {23, "IQ4_XS"},  {25, "I16"},
    {28, "F64"},    {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {40, "NVFP4"}};

// Bytes of a scalar; 0 for strings and arrays.
uint64_t scalar_bytes(GgufType type) {
  constexpr uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[static_cast<size_t>(type)];
}

template <typename T>
T load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof(value));
  return value;
}

std::optional<int64_t> integer_at(GgufType type, const std::byte* data) {
  switch (type) {
    case GgufType::kU8:
      return load<uint8_t>(data);
    case GgufType::kI8:
      return load<int8_t>(data);
    case GgufType::kU16:
      return load<uint16_t>(data);
    case GgufType::kI16:
      return load<int16_t>(data);
    case GgufType::kU32:
      return load<uint32_t>(data);
    case GgufType::kI32:
      return load<int32_t>(data);
    case GgufType::kBool:
      return load<uint8_t>(data) != 0;
    case GgufType::kI64:
      return load<int64_t>(data);
    case GgufType::kU64: {
      const auto value = load<uint64_t>(data);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> number_at(GgufType type, const std::byte* data) {
  if (type == GgufType::kF32) return load<float>(data);
  if (type == GgufType::kF64) return load<double>(data);
  const auto integer = integer_at(type, data);
  if (!integer) return std::nullopt;
  return static_cast<double>(*integer);
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <typename T, typename At>
std::optional<std::vector<T>> elements(const GgufValue& value, At at) {
  const GgufType type = value.type == GgufType::kArray ? value.element : value.type;
  const uint64_t size = scalar_bytes(type);
  if (size == 0) return std::nullopt;
  std::vector<T> result;
  result.reserve(value.count);
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto element = at(type, value.bytes.data() + i * size);
    if (!element) return std::nullopt;
    result.push_back(*element);
  }
  return result;
}

}  // namespace

std::optional<int64_t> GgufValue::as_integer() const {
  return type == GgufType::kArray ? std::nullopt : integer_at(type, bytes.data());
}

std::optional<double> GgufValue::as_number() const {
  return type == GgufType::kArray ? std::nullopt : number_at(type, bytes.data());
}

std::optional<std::string_view> GgufValue::as_string() const {
  if (type != GgufType::kString) return std::nullopt;
  return as_text(bytes);
}

std::optional<std::vector<int64_t>> GgufValue::as_integers() const {
  return elements<int64_t>(*this, integer_at);
}

std::optional<std::vector<double>> GgufValue::as_numbers() const {
  return elements<double>(*this, number_at);
}

std::optional<std::vector<std::string_view>> GgufValue::as_strings() const {
  if (type != GgufType::kArray || element != GgufType::kString) return std::nullopt;
  std::vector<std::string_view> strings;
  strings.reserve(count);
  for (size_t at = 0; at < bytes.size();) {
    const auto size = load<uint64_t>(bytes.data() + at);
    strings.push_back(as_text(bytes.subspan(at + 8, size)));
    at += 8 + size;
  }
  return strings;
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &keys_[found->second].value;
}

bool is_gguf(std::span<const std::byte> file) {
  return file.size() >= 4 && std::memcmp(file.data(), "GGUF", 4) == 0;
}

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> file, const std::string& where)
      : file_(file), where_(where) {}

  GgufHeader parse() {
    if (!is_gguf(file_)) refuse("does not begin with \"GGUF\"");
    at_ = 4;
    const auto version = read<uint32_t>("the version");
    if (version == kSwappedVersion) {
      throw Error(ErrorCode::kUnsupported, where_,
                  "is big-endian GGUF; only little-endian files are read");
    }
    if (version != kVersion) {
      throw Error(ErrorCode::kUnsupported, where_,
                  fmt::format("is GGUF version {}; only version {} is read", version, kVersion));
    }
    const auto n_tensors = read<uint64_t>("the number of tensors");
    const auto n_keys = read<uint64_t>("the number of keys");
    for (uint64_t i = 0; i < n_keys; ++i) read_key();
    read_alignment();
    for (uint64_t i = 0; i < n_tensors; ++i) read_tensor();
    place_tensors();
    return std::move(header_);
  }

 private:
  [[noreturn]] void refuse(const std::string& message) const {
    throw Error(ErrorCode::kInvalidInput, where_, message);
  }

  std::span<const std::byte> take(uint64_t n, std::string_view what) {
    if (n > file_.size() - at_) {
      refuse(fmt::format("ends in {} at byte {}", what, at_));
    }
    const auto bytes = file_.subspan(at_, n);
    at_ += n;
    return bytes;
  }

  template <typename T>
  T read(std::string_view what) {
    return load<T>(take(sizeof(T), what).data());
  }

  std::string_view read_string(std::string_view what) {
    return as_text(take(read<uint64_t>(what), what));
  }

  // A name that can stand in errors and tables: of printable ASCII, as GGUF asks of keys.
  std::string_view read_name(const char* what) {
    const size_t at = at_;
    const std::string_view name = read_string(what);
    const bool printable =
        std::ranges::none_of(name, [](unsigned char c) { return c < 0x20 || c >= 0x7F; });
    if (name.empty() || name.size() > 65535 || !printable) {
      refuse(fmt::format("{} at byte {} is empty, too long or not printable ASCII", what, at));
    }
    return name;
  }

  GgufType read_type(std::string_view key) {
    const auto type = read<uint32_t>(key);
    if (type > static_cast<uint32_t>(GgufType::kF64)) {
      refuse(fmt::format("key {} at byte {} has the unknown type {}", key, at_ - 4, type));
    }
    return static_cast<GgufType>(type);
  }

  void read_key() {
    const std::string_view key = read_name("a key");
    GgufValue value{.type = read_type(key), .bytes = {}};
    if (value.type == GgufType::kArray) {
      value.element = read_type(key);
      value.count = read<uint64_t>(key);
      if (value.element == GgufType::kArray) {
        refuse(fmt::format("key {} at byte {} is an array of arrays", key, at_));
      }
    }
    const GgufType type = value.type == GgufType::kArray ? value.element : value.type;
    const size_t begin = at_;
    if (type != GgufType::kString) {
      const uint64_t size = scalar_bytes(type);
      if (value.count > file_.size() / size) refuse(fmt::format("ends in {} at byte {}", key, at_));
      take(value.count * size, key);
    } else if (value.type == GgufType::kArray) {
      for (uint64_t i = 0; i < value.count; ++i) read_string(key);
    }
    value.bytes = file_.subspan(begin, at_ - begin);
    if (value.type == GgufType::kString) {
      const std::string_view text = read_string(key);
      value.bytes = {reinterpret_cast<const std::byte*>(text.data()), text.size()};
    }
    if (!header_.metadata.by_key_.emplace(key, header_.metadata.keys_.size()).second) {
      refuse(fmt::format("key {} before byte {} occurs twice", key, at_));
    }
    header_.metadata.keys_.push_back({key, value});
  }

  void read_alignment() {
    const GgufValue* value = header_.metadata.find("general.alignment");
    if (value == nullptr) return;
    const auto alignment = value->as_integer();
    if (!alignment || *alignment < 1 || static_cast<uint64_t>(*alignment) > kMaxAlignment ||
        (*alignment & (*alignment - 1)) != 0) {
      refuse("general.alignment is not a power of two");
    }
    header_.alignment = static_cast<uint64_t>(*alignment);
  }

  void read_tensor() {
    GgufTensor tensor{.name = read_name("a tensor name"), .shape = {}};
    const std::string what = fmt::format("tensor {}", tensor.name);
    const auto n_dims = read<uint32_t>(what);
    if (n_dims < 1 || n_dims > kMaxDims) {
      refuse(fmt::format("{} at byte {} has {} dimensions, expected 1 to {}", what, at_ - 4, n_dims,
                         kMaxDims));
    }
    for (uint32_t i = 0; i < n_dims; ++i) tensor.shape.push_back(read<int64_t>(what));
    std::ranges::reverse(tensor.shape);
    tensor.dtype = read_dtype(what);
    tensor.begin =
        read<uint64_t>(what);  // from the data section; place_tensors() makes it absolute
    tensor.end = tensor.begin + tensor_bytes(tensor, what);
    header_.tensors.push_back(std::move(tensor));
  }

  DType read_dtype(const std::string& what) {
    const auto number = read<uint32_t>(what);
    for (const NumberedType& type : kTypes) {
      if (type.number == number) return type.dtype;
    }
    std::string name = fmt::format("number {}", number);
    for (const OtherType& type : kOtherTypes) {
      if (type.number == number) name = type.name;
    }
    throw Error(ErrorCode::kUnsupported, where_,
                fmt::format("{} at byte {} is of type {}, which dsv4 does not read; quantise the "
                            "model to another type",
                            what, at_ - 4, name));
  }

  // At most the size of the file.
  uint64_t tensor_bytes(const GgufTensor& tensor, const std::string& what) const {
    const int64_t block = dtype_block(tensor.dtype);
    if (tensor.shape.back() % block != 0) {
      refuse(fmt::format("{} has rows of {}, which is no multiple of the blocks of {} of {}", what,
                         tensor.shape.back(), block, dtype_name(tensor.dtype)));
    }
    uint64_t bytes = dtype_bytes(tensor.dtype);
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      const int64_t extent = tensor.shape[i] / (i + 1 == tensor.shape.size() ? block : 1);
      if (extent < 1 || static_cast<uint64_t>(extent) > file_.size() / bytes) {
        refuse(fmt::format("{} of shape {} does not fit into the file", what, tensor.shape));
      }
      bytes *= static_cast<uint64_t>(extent);
    }
    return bytes;
  }

  void place_tensors() {
    const uint64_t mask = header_.alignment - 1;
    const uint64_t data = (at_ + mask) & ~mask;
    std::unordered_map<std::string_view, int> seen;
    std::vector<const GgufTensor*> by_begin;
    for (GgufTensor& tensor : header_.tensors) {
      const uint64_t size = tensor.end - tensor.begin;
      if (tensor.begin % header_.alignment != 0 || data > file_.size() ||
          tensor.begin > file_.size() - data || size > file_.size() - data - tensor.begin) {
        refuse(
            fmt::format("tensor {} at byte {} of the data is outside the file or not aligned to "
                        "{}",
                        tensor.name, tensor.begin, header_.alignment));
      }
      tensor.begin += data;
      tensor.end = tensor.begin + size;
      if (!seen.emplace(tensor.name, 0).second) {
        refuse(fmt::format("tensor {} occurs twice", tensor.name));
      }
      by_begin.push_back(&tensor);
    }
    std::ranges::sort(by_begin, {}, &GgufTensor::begin);
    for (size_t i = 1; i < by_begin.size(); ++i) {
      if (by_begin[i]->begin >= by_begin[i - 1]->end) continue;
      refuse(fmt::format("tensors {} and {} overlap at byte {}", by_begin[i - 1]->name,
                         by_begin[i]->name, by_begin[i]->begin));
    }
  }

  std::span<const std::byte> file_;
  const std::string& where_;
  size_t at_ = 0;
  GgufHeader header_;
};

GgufHeader parse_gguf(std::span<const std::byte> file, const std::string& where) {
  return GgufParser(file, where).parse();
}

uint32_t gguf_type_number(DType dtype) {
  for (const NumberedType& type : kTypes) {
    if (type.dtype == dtype) return type.number;
  }
  throw Error(ErrorCode::kUnsupported, "", fmt::format("GGUF has no type {}", dtype_name(dtype)));
}

}  // namespace dsv4
