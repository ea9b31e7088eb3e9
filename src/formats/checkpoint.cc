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

// tensor -> file name, from the index file. File names stay inside the folder.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const nlohmann::json index = parse_json(read_file(path), path.string());
  const auto refuse = [&](const std::string& message) {
    throw Error(ErrorCode::kInvalidInput, path.string(), message);
  };
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    refuse("weight_map: expected an object of tensor names and file names");
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : std::string();
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
      refuse(fmt::format("weight_map.{}: expected the name of a file in the same folder", tensor));
    }
    files[tensor] = name;
  }
  return files;
}

// The files of a folder without an index: model.safetensors, else the only *.safetensors.
fs::path single_file(const fs::path& folder) {
  if (fs::exists(folder / "model.safetensors")) return folder / "model.safetensors";
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
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
  if (!fs::exists(path)) throw Error(ErrorCode::kNotFound, path.string(), "no such file or folder");
  if (!fs::is_directory(path)) {
    checkpoint.add_file(path);
  } else if (fs::exists(index_path)) {
    index = read_index(index_path);
    std::vector<std::string> names;
    for (const auto& [tensor, file] : index) names.push_back(file);
    std::ranges::sort(names);
    names.erase(std::ranges::unique(names).begin(), names.end());
    for (const std::string& name : names) checkpoint.add_file(path / name);
  } else {
    checkpoint.add_file(single_file(path));
  }

  for (size_t i = 0; i < checkpoint.tensors_.size(); ++i) {
    const StoredTensor& tensor = checkpoint.tensors_[i];
    const auto [other, is_new] = checkpoint.by_name_.emplace(tensor.name, i);
    if (is_new) continue;
    throw Error(
        ErrorCode::kInvalidInput, checkpoint.describe(tensor),
        fmt::format("is also in {}", checkpoint.describe(checkpoint.tensors_[other->second])));
  }
  checkpoint.check_index(index, index_path);
  return checkpoint;
}

void Checkpoint::check_index(const std::map<std::string, std::string>& index,
                             const fs::path& index_path) const {
  for (const auto& [name, file] : index) {
    const StoredTensor* tensor = find(name);
    if (tensor == nullptr) {
      throw Error(ErrorCode::kNotFound, index_path.string(),
                  fmt::format("tensor {} should be in {} but is not", name, file));
    }
    const std::string actual = files_[tensor->file].path().filename().string();
    if (actual != file) {
      throw Error(ErrorCode::kInvalidInput, index_path.string(),
                  fmt::format("tensor {} should be in {} but is in {}", name, file, actual));
    }
  }
  if (index.empty() || index.size() == tensors_.size()) return;
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
