// Tiny models in a folder of their own, for tests of quantising.
#pragma once

#include "base/mapped_file.h"
#include "formats/safetensors.h"
#include "model/weights_testing.h"
#include "quantize/quantize.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <fmt/core.h>

namespace dsv4 {

// One layer of each kind. Most rows are of 256, so that every block type fits; those of wo_a and
// wo_b are of 128.
inline ModelConfig quantizable_config() {
  ModelConfig c = small_config();
  c.hidden_size = 256;
  c.head_dim = 64;
  c.q_lora_rank = 256;
  c.o_lora_rank = 64;
  c.expert_dim = 256;
  c.index_head_dim = 32;
  c.n_mtp_layers = 1;
  return c;
}

class QuantizeFixture : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::string name =
        fmt::format("dsv4-{}-{}-{}", test->test_suite_name(), test->name(), ::getpid());
    for (char& c : name) c = c == '/' ? '-' : c;
    folder_ = std::filesystem::temp_directory_path() / name;
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Writes a checkpoint; returns its folder.
  std::filesystem::path write_model(const std::string& name, const ModelConfig& config,
                                    const Tensors& tensors) const {
    const std::filesystem::path folder = folder_ / name;
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json") << config_to_json(config);
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const auto& [tensor, stored] : tensors) {
      declarations.push_back({tensor, stored.dtype, stored.shape});
    }
    SafetensorsWriter writer(folder / "model.safetensors", declarations);
    for (const auto& [tensor, stored] : tensors) writer.append(stored.data);
    writer.finish();
    return folder;
  }

  std::filesystem::path write_model(const std::string& name, const Style& style) const {
    const ModelConfig config = quantizable_config();
    return write_model(name, config, random_checkpoint(config, style));
  }

  std::filesystem::path folder_;
};

// The container that a mix needs; GGUF where both can hold it.
inline Container container_for(const std::string& type) {
  return container_of(mix_of_name(type).gate_up) == Container::kSafetensors
             ? Container::kSafetensors
             : Container::kGguf;
}

// What else a run can be told.
struct QuantizeRun {
  int n_threads = 2;
  const ImportanceTable* importance = nullptr;
  bool replace = false;
  int64_t shard_bytes = 400'000;
  QuantizeProgress progress = {};
};

inline QuantizeReport quantize_to(const SourceModel& source, const std::string& type,
                                  const std::filesystem::path& output,
                                  const QuantizeRun& run = {}) {
  TypeChoice types;
  types.mix = mix_of_name(type);
  const QuantizePlan plan = plan_quantize(source, types, container_for(type));
  QuantizeOptions options{output, type, run.shard_bytes, run.replace};
  ThreadPool pool(run.n_threads);
  return quantize(source, plan, run.importance, options, pool, run.progress);
}

// All files under a path (or it alone) by their names.
inline std::map<std::string, std::string> files_of(const std::filesystem::path& path) {
  if (std::filesystem::is_regular_file(path)) return {{"", read_file(path)}};
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    files[entry.path().filename()] = read_file(entry.path());
  }
  return files;
}

inline std::vector<float> row_of(const QuantMatrix& matrix, int64_t row) {
  std::vector<float> values(static_cast<size_t>(matrix.cols));
  matrix.decode(row, 0, matrix.cols, values.data());
  return values;
}

// The matrix of a released name.
inline const QuantMatrix& matrix_of(const SourceModel& model, const std::string& name) {
  for (const SourceTensor& tensor : model.tensors()) {
    if (tensor.spec.name == name) return tensor.matrix;
  }
  throw std::runtime_error(name);
}

}  // namespace dsv4
