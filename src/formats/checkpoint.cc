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

// The file of a folder without an index: model.safetensors, else the only *.safetensors.
fs::path single_file(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / "model.safetensors", error)) return folder / "model.safetensors";
  std::vector<fs::path> found;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".safetensors") found.push_back(entry->path());
  }
  if (error) {
    throw Error(ErrorCode::kIo, folder.string(), fmt::format("cannot list: {}", error.message()));
  }
  if (found.size() == 1) return found[0];
  throw Error(ErrorCode::kNotFound, folder.string(),
              fmt::format("has {} .safetensors files and neither {} nor model.safetensors; name "
                          "the folder of a released checkpoint",
                          found.size(), kIndexName));
}

}  // namespace

void Checkpoint::add_file(const std::filesystem::path& path) {
  MappedFile file(path);
  const SafetensorsHeader header =
      parse_safetensors_header(file.bytes(), file.bytes().size(), path.string());
  for (const TensorEntry& entry : header.tensors) {
    const size_t size = entry.end - entry.begin;
    tensors_.push_back({entry.name, entry.dtype, entry.shape,
                        file.bytes().subspan(entry.begin, size), files_.size(), entry.begin});
  }
  files_.push_back(std::move(file));
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
  if (status.type() != fs::file_type::directory) {
    checkpoint.add_file(path);
  } else if (fs::exists(index_path, error)) {
    index = read_index(index_path);
    for (const std::string& name : listed_files(index, index_path))
      checkpoint.add_file(path / name);
  } else {
    checkpoint.add_file(single_file(path));
  }

  checkpoint.by_name_.reserve(checkpoint.tensors_.size());
  for (size_t i = 0; i < checkpoint.tensors_.size(); ++i) {
    const StoredTensor& tensor = checkpoint.tensors_[i];
    const auto [other, is_new] = checkpoint.by_name_.emplace(tensor.name, i);
    if (is_new) continue;
    throw Error(
        ErrorCode::kInvalidInput, checkpoint.describe(tensor),
        fmt::format("is also in {}", checkpoint.describe(checkpoint.tensors_[other->second])));
  }
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

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

std::string Checkpoint::describe(const StoredTensor& tensor) const {
  return fmt::format("{}: tensor {} at byte {}", files_[tensor.file].path().string(), tensor.name,
                     tensor.offset);
}

}  // namespace dsv4
