#include "quantize/importance.h"

#include "base/error.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"

#include <charconv>
#include <cmath>
#include <cstring>

#include <fmt/core.h>

namespace dsv4 {
namespace {

constexpr std::string_view kVersion = "1";
constexpr std::string_view kTokensSuffix = ".tokens";

template <typename T>
std::vector<T> values_of(const StoredTensor& tensor) {
  std::vector<T> values(tensor.data.size() / sizeof(T));
  std::memcpy(values.data(), tensor.data.data(), values.size() * sizeof(T));
  return values;
}

// A decimal number in the metadata.
int64_t number_of(const SafetensorsHeader& header, const std::string& key,
                  const std::string& where) {
  const auto found = header.metadata.find(key);
  int64_t value = 0;
  if (found != header.metadata.end()) {
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
  }
  throw Error(ErrorCode::kInvalidInput, where,
              fmt::format("metadata key {} is missing or no number; write the file with "
                          "dsv4 calibrate",
                          key));
}

InputSquares squares_of(const Checkpoint& file, const StoredTensor& tensor) {
  const auto refuse = [&](const StoredTensor& at, const std::string& message) {
    throw Error(ErrorCode::kInvalidInput, file.describe(at), message);
  };
  if (tensor.dtype != DType::kF32 || tensor.shape.size() != 2 || tensor.shape[0] < 1) {
    refuse(tensor, "must be F32 [groups, columns]");
  }
  const StoredTensor* tokens = file.find(tensor.name + std::string(kTokensSuffix));
  if (tokens == nullptr) refuse(tensor, "has no count of tokens beside it");
  if (tokens->dtype != DType::kI64 || tokens->shape != std::vector{tensor.shape[0]}) {
    refuse(*tokens, fmt::format("must be I64 [{}]", tensor.shape[0]));
  }
  InputSquares result{tensor.shape[0], values_of<float>(tensor), values_of<int64_t>(*tokens)};
  for (const float square : result.squares) {
    if (!(square >= 0 && std::isfinite(square))) refuse(tensor, "has a value that is no square");
  }
  for (const int64_t count : result.tokens) {
    if (count < 0) refuse(*tokens, "has a negative count");
  }
  return result;
}

// "layers.3.ffn.experts.17.w2.weight" to "layers.3.ffn.experts.*.w2.weight"; nothing for others.
std::string expert_family(const std::string& name) {
  constexpr std::string_view kExperts = ".experts.";
  const size_t begin = name.find(kExperts);
  if (begin == std::string::npos) return {};
  const size_t number = begin + kExperts.size();
  return name.substr(0, number) + "*" + name.substr(std::min(name.find('.', number), name.size()));
}

struct Family {
  std::vector<double> sums;
  int64_t tokens = 0;
};

}  // namespace

void write_importance(const ImportanceTable& table, const std::filesystem::path& path) {
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const auto& [name, matrix] : table.matrices) {
    const auto columns = static_cast<int64_t>(matrix.squares.size()) / matrix.groups;
    declarations.push_back({name, DType::kF32, {matrix.groups, columns}});
    declarations.push_back({name + std::string(kTokensSuffix), DType::kI64, {matrix.groups}});
  }
  SafetensorsWriter writer(
      path, declarations,
      {{"dsv4.importance", std::string(kVersion)}, {"tokens", fmt::format("{}", table.n_tokens)}});
  for (const auto& [name, matrix] : table.matrices) {
    writer.append(std::as_bytes(std::span(matrix.squares)));
    writer.append(std::as_bytes(std::span(matrix.tokens)));
  }
  writer.finish();
}

ImportanceTable read_importance(const std::filesystem::path& path) {
  const Checkpoint file = Checkpoint::open(path);
  const std::string where = path.string();
  if (file.gguf() != nullptr) {
    throw Error(ErrorCode::kUnsupported, where,
                "is a GGUF file; an importance matrix of dsv4 calibrate is expected");
  }
  const std::span<const std::byte> bytes = file.files()[0].bytes();
  const SafetensorsHeader header = parse_safetensors_header(bytes, bytes.size(), where);
  const auto version = header.metadata.find("dsv4.importance");
  if (version == header.metadata.end() || version->second != kVersion) {
    throw Error(ErrorCode::kUnsupported, where,
                fmt::format("is no importance matrix of version {}; write it with dsv4 calibrate",
                            kVersion));
  }
  ImportanceTable table;
  table.n_tokens = number_of(header, "tokens", where);
  for (const StoredTensor& tensor : file.tensors()) {
    if (tensor.name.ends_with(kTokensSuffix)) continue;
    table.matrices.emplace(tensor.name, squares_of(file, tensor));
  }
  return table;
}

void blend_rare_experts(ImportanceTable& table) {
  std::map<std::string, Family> families;
  for (const auto& [name, matrix] : table.matrices) {
    const std::string family = expert_family(name);
    if (family.empty()) continue;
    Family& sum = families[family];
    sum.sums.resize(std::max(sum.sums.size(), matrix.squares.size()));
    const auto tokens = static_cast<double>(matrix.tokens[0]);
    for (size_t i = 0; i < matrix.squares.size(); ++i) sum.sums[i] += tokens * matrix.squares[i];
    sum.tokens += matrix.tokens[0];
  }
  for (auto& [name, matrix] : table.matrices) {
    const std::string family = expert_family(name);
    if (family.empty() || families[family].tokens == 0) continue;
    const Family& all = families[family];
    const auto own = static_cast<double>(matrix.tokens[0]);
    for (size_t i = 0; i < matrix.squares.size(); ++i) {
      const double mean = all.sums[i] / static_cast<double>(all.tokens);
      matrix.squares[i] = static_cast<float>((own * matrix.squares[i] + kPriorTokens * mean) /
                                             (own + kPriorTokens));
    }
  }
}

}  // namespace dsv4
