#include "formats/checkpoint.h"

#include "base/error.h"
#include "base/json.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexName = "model.safetensors.index.json";

// A file name that stays inside the folder of the index.
bool is_plain_file_name(std::string_view name) {
  const bool printable =
      std::ranges::none_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
  return printable && !name.empty() && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos;
}

// tensor -> file name, from the index file.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const nlohmann::json index = parse_json(read_file(path), path.string());
  const auto refuse = [&](const std::string& message) {
    throw Error(ErrorCode::kInvalidInput, path.string(), message);
  };
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object() || map->empty()) {
    refuse("weight_map: expected an object of tensor names and file names");
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_file_name(file.get_ref<const std::string&>())) {
      refuse(fmt::format("weight_map entry {}: expected the name of a file in the same folder",
                         nlohmann::json(tensor).dump()));
    }
    files.emplace(tensor, file.get<std::string>());
  }
  return files;
}

// The files of an index, each once, in the order of their names.
std::vector<std::string> listed_files(const std::map<std::string, std::string>& index,
                                      const fs::path& index_path) {
  std::map<std::string, std::string_view> example;  // a tensor of each file
  for (const auto& [tensor, file] : index) example.emplace(file, tensor);
  std::vector<std::string> names;
  for (const auto& [file, tensor] : example) {
    std::error_code ignored;
    if (!fs::exists(index_path.parent_path() / file, ignored)) {
      throw Error(
          ErrorCode::kNotFound, index_path.string(),
          fmt::format("{}, which holds tensor {}, is not in the folder; finish the download", file,
                      tensor));
    }
    names.push_back(file);
  }
  return names;
}

// Name, number and count of a part of a split GGUF file: NAME-00001-of-00003.gguf.
struct SplitName {
  std::string stem;
  int number;
  int count;

  std::string part(int i) const { return fmt::format("{}-{:05}-of-{:05}.gguf", stem, i, count); }
};

std::optional<SplitName> split_name(const std::string& name) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (name.size() <= kPattern.size()) return std::nullopt;
  const size_t begin = name.size() - kPattern.size();
  for (size_t i = 0; i < kPattern.size(); ++i) {
    const char c = name[begin + i];
    if (kPattern[i] == '0' ? c < '0' || c > '9' : c != kPattern[i]) return std::nullopt;
  }
  return SplitName{name.substr(0, begin), std::stoi(name.substr(begin + 1, 5)),
                   std::stoi(name.substr(begin + 10, 5))};
}

// A number that a part of a split file says of itself.
std::optional<int64_t> split_key(const GgufMetadata& metadata, const char* key,
                                 const fs::path& file) {
  const GgufValue* value = metadata.find(key);
  if (value == nullptr) return std::nullopt;
  const auto number = value->as_integer();
  if (!number || *number < 0) {
    throw Error(ErrorCode::kInvalidInput, file.string(),
                fmt::format("key {}: expected a number from 0", key));
  }
  return number;
}

// Checks that a part is the one that its name says.
void check_part(const GgufMetadata& metadata, const fs::path& file, const SplitName& name) {
  for (const auto& [key, expected] :
       {std::pair("split.no", name.number - 1), std::pair("split.count", name.count)}) {
    const auto number = split_key(metadata, key, file);
    if (number == expected) continue;
    throw Error(ErrorCode::kInvalidInput, file.string(),
                fmt::format("{} is {}, expected {} from the name of the file", key,
                            number ? std::to_string(*number) : "missing", expected));
  }
}

// Of a split file only the first part counts.
bool is_model_file(const fs::path& path) {
  if (path.extension() == ".safetensors") return true;
  const auto split = split_name(path.filename().string());
  return path.extension() == ".gguf" && (!split || split->number == 1);
}

// The files of a folder that could be its model.
std::vector<fs::path> model_files(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (is_model_file(entry->path())) found.push_back(entry->path());
  }
  if (error) {
    throw Error(ErrorCode::kIo, folder.string(), fmt::format("cannot list: {}", error.message()));
  }
  return found;
}

// The file of a folder without an index: model.safetensors, else the only *.safetensors or *.gguf.
fs::path single_file(const fs::path& folder) {
  std::error_code ignored;
  if (fs::exists(folder / "model.safetensors", ignored)) return folder / "model.safetensors";
  const std::vector<fs::path> found = model_files(folder);
  if (found.size() == 1) return found[0];
  throw Error(ErrorCode::kNotFound, folder.string(),
              fmt::format("has {} .safetensors or .gguf files and neither {} nor "
                          "model.safetensors; name one of them or the folder of a checkpoint",
                          found.size(), kIndexName));
}

}  // namespace

std::optional<fs::path> find_gguf(const fs::path& path) {
  std::error_code error;
  const bool is_folder = fs::is_directory(path, error);
  if (is_folder && fs::exists(path / kIndexName, error)) return std::nullopt;
  if (!is_folder && !fs::is_regular_file(path, error)) return std::nullopt;
  fs::path file = path;
  if (is_folder) {
    const std::vector<fs::path> files = model_files(path);
    if (files.size() != 1 || files[0].extension() != ".gguf") return std::nullopt;
    file = files[0];
  }
  return is_gguf(MappedFile(file).bytes()) ? std::optional(file) : std::nullopt;
}

void Checkpoint::add_file(const std::filesystem::path& path) {
  MappedFile file(path);
  if (is_gguf(file.bytes())) {
    GgufMetadata metadata = add_gguf(std::move(file));
    if (!gguf_) gguf_ = std::move(metadata);
    return;
  }
  const SafetensorsHeader header =
      parse_safetensors_header(file.bytes(), file.bytes().size(), path.string());
  for (const TensorEntry& entry : header.tensors) {
    const size_t size = entry.end - entry.begin;
    tensors_.push_back({entry.name, entry.dtype, entry.shape,
                        file.bytes().subspan(entry.begin, size), files_.size(), entry.begin});
  }
  files_.push_back(std::move(file));
}

GgufMetadata Checkpoint::add_gguf(MappedFile file) {
  GgufHeader header = parse_gguf(file.bytes(), file.path().string());
  for (const GgufTensor& tensor : header.tensors) {
    tensors_.push_back({std::string(tensor.name), tensor.dtype, tensor.shape,
                        file.bytes().subspan(tensor.begin, tensor.end - tensor.begin),
                        files_.size(), tensor.begin});
  }
  files_.push_back(std::move(file));
  return std::move(header.metadata);
}

// All parts of a split file, of which the first is open; a file that is not split has one.
void Checkpoint::add_gguf_parts(const fs::path& first) {
  const auto split = split_name(first.filename().string());
  const int64_t count = split_key(*gguf_, "split.count", first).value_or(1);
  const int64_t number = split_key(*gguf_, "split.no", first).value_or(0);
  if (count > 1 && (!split || split->count != count || split->number != 1 || number != 0)) {
    throw Error(ErrorCode::kInvalidInput, first.string(),
                fmt::format("is a part of {}; name the first one, which ends in "
                            "-00001-of-{:05}.gguf",
                            count, count));
  }
  if (!split || split->count <= 1) return;
  check_part(*gguf_, first, *split);
  for (int i = 2; i <= split->count; ++i) {
    const fs::path part = first.parent_path() / split->part(i);
    MappedFile file(part);
    if (!is_gguf(file.bytes())) throw Error(ErrorCode::kInvalidInput, part.string(), "is not GGUF");
    check_part(add_gguf(std::move(file)), part, {split->stem, i, split->count});
  }
  const auto n_tensors = split_key(*gguf_, "split.tensors.count", first);
  if (n_tensors && *n_tensors != std::ssize(tensors_)) {
    throw Error(
        ErrorCode::kInvalidInput, first.string(),
        fmt::format("split.tensors.count is {}, the parts have {}", *n_tensors, tensors_.size()));
  }
}

void Checkpoint::index_tensors() {
  by_name_.clear();
  by_name_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const auto [other, is_new] = by_name_.emplace(tensors_[i].name, i);
    if (is_new) continue;
    throw Error(ErrorCode::kInvalidInput, describe(tensors_[i]),
                fmt::format("is also in {}", describe(tensors_[other->second])));
  }
}

void Checkpoint::replace_tensors(std::vector<StoredTensor> tensors) {
  tensors_ = std::move(tensors);
  index_tensors();
}

Checkpoint Checkpoint::open(const fs::path& path) {
  Checkpoint checkpoint;
  const fs::path index_path = path / kIndexName;
  std::map<std::string, std::string> index;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    throw Error(ErrorCode::kNotFound, path.string(), "no such file or folder");
  }
  if (status.type() == fs::file_type::directory && fs::exists(index_path, error)) {
    index = read_index(index_path);
    for (const std::string& name : listed_files(index, index_path))
      checkpoint.add_file(path / name);
  } else {
    const bool is_folder = status.type() == fs::file_type::directory;
    const fs::path file = is_folder ? single_file(path) : path;
    checkpoint.add_file(file);
    if (checkpoint.gguf() != nullptr) checkpoint.add_gguf_parts(file);
  }
  checkpoint.index_tensors();
  if (!index.empty()) checkpoint.check_index(index, index_path);
  return checkpoint;
}

void Checkpoint::check_index(const std::map<std::string, std::string>& index,
                             const fs::path& index_path) const {
  for (const auto& [name, file] : index) {
    const StoredTensor* tensor = find(name);
    if (tensor == nullptr) {
      throw Error(ErrorCode::kNotFound, index_path.string(),
                  fmt::format("tensor {} should be in {} but is in no file", name, file));
    }
    const std::string actual = files_[tensor->file].path().filename().string();
    if (actual != file) {
      throw Error(ErrorCode::kInvalidInput, index_path.string(),
                  fmt::format("tensor {} should be in {} but is in {}", name, file, actual));
    }
  }
  if (index.size() == tensors_.size()) return;
  for (const StoredTensor& tensor : tensors_) {
    if (index.contains(tensor.name)) continue;
    throw Error(ErrorCode::kInvalidInput, describe(tensor),
                fmt::format("is not listed in {}", kIndexName));
  }
}

int64_t Checkpoint::tensor_bytes() const {
  int64_t sum = 0;
  for (const StoredTensor& tensor : tensors_) sum += std::ssize(tensor.data);
  return sum;
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

std::string Checkpoint::describe(const StoredTensor& tensor) const {
  return fmt::format("{}: tensor {} at byte {}", files_[tensor.file].path().string(), tensor.name,
                     tensor.offset);
}

}  // namespace dsv4
