#include "plan/footprint.h"

#include "model/int4_testing.h"

#include <filesystem>
#include <numeric>
#include <tuple>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

std::string golden(const std::string& name) {
  return fmt::format("{}/tests/golden/{}", DSV4_SOURCE_DIR, name);
}

int64_t bytes_of(const std::vector<StoredGroup>& groups, TensorClass cls, DType dtype) {
  for (const StoredGroup& group : groups) {
    if (group.cls == cls && group.dtype == dtype) return group.n_bytes;
  }
  return 0;
}

int64_t sum(const std::vector<StoredGroup>& groups) {
  return std::accumulate(
      groups.begin(), groups.end(), int64_t{0},
      [](int64_t total, const StoredGroup& group) { return total + group.n_bytes; });
}

TEST(Footprint, groups_every_tensor_of_a_checkpoint) {
  for (const char* model : {"t1", "t2", "t3"}) {
    const Checkpoint checkpoint = Checkpoint::open(golden(model));
    const std::vector<StoredGroup> groups = stored_groups(checkpoint, load_config(golden(model)));
    int64_t n_bytes = 0;
    for (const StoredTensor& tensor : checkpoint.tensors()) n_bytes += std::ssize(tensor.data);
    EXPECT_EQ(sum(groups), n_bytes) << model;
    for (const StoredGroup& group : groups) {
      EXPECT_NE(group_name(group), "other") << model << " " << dtype_name(group.dtype);
    }
  }
}

// Experts of t1 as INT4: half a byte for each weight, and scales and zero points of groups.
TEST(Footprint, names_weights_in_int4) {
  const ModelConfig config = load_config(golden("t1"));
  const Checkpoint original = Checkpoint::open(golden("t1"));
  Tensors tensors;
  for (const StoredTensor& t : original.tensors()) {
    tensors[t.name] = {t.dtype, t.shape, {t.data.begin(), t.data.end()}};
  }
  int64_t n_weights = 0;
  int64_t n_experts = 0;
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const TensorSpec& spec : layer_specs(config, layer)) {
      if (spec.cls != TensorClass::kRoutedExpert) continue;
      to_int4(tensors, spec.name, kAwqStyle);
      n_weights += spec.shape[0] * spec.shape[1];
      ++n_experts;
    }
  }
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / fmt::format("dsv4-footprint-{}", ::getpid());
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const auto& [name, t] : tensors) declarations.push_back({name, t.dtype, t.shape});
  SafetensorsWriter writer(file, declarations);
  for (const auto& [name, t] : tensors) writer.append(t.data);
  writer.finish();
  const std::vector<StoredGroup> groups = stored_groups(Checkpoint::open(file), config);
  std::filesystem::remove(file);
  bool found = false;
  for (const StoredGroup& group : groups) {
    EXPECT_NE(group_name(group), "other") << type_name(group);
    if (group.cls != TensorClass::kRoutedExpert || !group.int4) continue;
    found = true;
    EXPECT_EQ(type_name(group), "INT4");
    EXPECT_EQ(group.n_tensors, 2 * n_experts);
    EXPECT_EQ(group.n_bytes, n_weights / 2 + n_weights / 32 / 2);
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(bytes_of(groups, TensorClass::kRoutedExpert, DType::kF16), n_weights / 32 * 2);
  // Only tables of expert ids are copied into the program's memory.
  const MemoryForecast before = forecast_memory(config, stored_groups(original, config), {}, 10);
  const MemoryForecast after = forecast_memory(config, groups, {}, 10);
  const int64_t more = static_cast<int64_t>(tensors.size()) - std::ssize(original.tensors());
  EXPECT_EQ(after.program, before.program + 800 * more);
}

// The checkpoint t3 is stored as a release is: what is computed from its config.json alone is what
// its files have.
TEST(Footprint, predicts_the_bytes_of_a_release) {
  const ModelConfig config = load_config(golden("t3"));
  const auto rows = [](const std::vector<StoredGroup>& groups) {
    std::vector<std::tuple<std::string_view, DType, int64_t, int64_t>> result;
    for (const StoredGroup& group : groups) {
      result.emplace_back(group_name(group), group.dtype, group.n_tensors, group.n_bytes);
    }
    return result;
  };
  EXPECT_EQ(rows(released_groups(config)),
            rows(stored_groups(Checkpoint::open(golden("t3")), config)));
}

TEST(Footprint, a_release_has_half_a_byte_and_a_share_of_a_scale_for_each_routed_weight) {
  const ModelConfig flash = preset_config("flash");
  const std::vector<StoredGroup> groups = released_groups(flash);
  const int64_t routed = count_params(flash)[TensorClass::kRoutedExpert];
  EXPECT_EQ(bytes_of(groups, TensorClass::kRoutedExpert, DType::kI8), routed / 2);
  EXPECT_EQ(bytes_of(groups, TensorClass::kRoutedExpert, DType::kF8E8M0), routed / 32);
  EXPECT_EQ(bytes_of(groups, TensorClass::kEmbedding, DType::kBF16), 2LL * 129280 * 4096);
  // Tables of expert ids of the three hash layers.
  EXPECT_EQ(bytes_of(groups, TensorClass::kRouter, DType::kI64), 3LL * 129280 * 6 * 8);
  EXPECT_GT(bytes_of(groups, TensorClass::kMtp, DType::kI8), 0);
}

TEST(Footprint, the_trained_state_has_the_published_size) {
  constexpr double kGiB = 1 << 30;
  constexpr int64_t kMillion = 1 << 20;
  EXPECT_NEAR(static_cast<double>(trained_state_bytes(preset_config("flash"), kMillion)) / kGiB,
              3.4, 0.05);
  EXPECT_NEAR(static_cast<double>(trained_state_bytes(preset_config("pro"), kMillion)) / kGiB, 4.9,
              0.05);
  // One window entry of 448 E4M3, 7 scales and 64 BF16 per layer after the first token; three more
  // and the CSA layers close an entry with its index entry of 128 FP4 and 4 scales.
  const ModelConfig flash = preset_config("flash");
  EXPECT_EQ(trained_state_bytes(flash, 1), 43 * 583);
  EXPECT_EQ(trained_state_bytes(flash, 4), 4 * 43 * 583 + 21 * (583 + 68));
}

TEST(Footprint, the_state_grows_by_the_entries_of_its_layers) {
  const ModelConfig flash = preset_config("flash");
  const auto expect = [&](const ModelOptions& options, int64_t entry, int64_t index_entry) {
    const double csa = static_cast<double>(entry + index_entry) / 4;
    const double per_token = 21 * csa + 20 * static_cast<double>(entry) / 128;
    EXPECT_NEAR(state_bytes_per_token(Model::layout_of(flash, options)), per_token,
                per_token * 1e-3);
  };
  expect({.numerics = Numerics::kExact}, 4 * 512, 4 * 128);
  expect({.numerics = Numerics::kFast, .kv = KvStorage::kBf16}, 2 * 512, 2 * 128);
  expect({.numerics = Numerics::kFast}, 583, 68);
}

// In the native storage a state is as large as the published one, but for the tails of compressors
// and what rollback and whole pages add.
TEST(Footprint, the_native_state_is_the_trained_one) {
  constexpr int64_t kMillion = 1 << 20;
  for (const char* preset : {"flash", "pro"}) {
    const ModelConfig config = preset_config(preset);
    const ModelOptions options{.numerics = Numerics::kFast, .rollback_tokens = 0};
    const StateBytes bytes = state_bytes(Model::layout_of(config, options), kMillion);
    EXPECT_EQ(bytes.total() - bytes.tails, trained_state_bytes(config, kMillion)) << preset;
  }
}

TEST(Footprint, weights_that_are_not_read_do_not_count) {
  const ModelConfig flash = preset_config("flash");
  const std::vector<StoredGroup> groups = released_groups(flash);
  const auto forecast = [&](int64_t n) { return forecast_memory(flash, groups, {}, n); };
  EXPECT_LT(forecast(1).weights, forecast(100).weights);
  // One token reads all of the attention, and 6 of 256 experts.
  const int64_t experts = bytes_of(groups, TensorClass::kRoutedExpert, DType::kI8) +
                          bytes_of(groups, TensorClass::kRoutedExpert, DType::kF8E8M0);
  EXPECT_NEAR(static_cast<double>(forecast(2).weights - forecast(1).weights),
              static_cast<double>(experts) * 6 / 256 * (250.0 / 256), 1e6);
  const int64_t mtp = sum(groups) - sum(released_groups([&] {
                        ModelConfig config = flash;
                        config.n_mtp_layers = 0;
                        return config;
                      }()));
  const int64_t embedding = bytes_of(groups, TensorClass::kEmbedding, DType::kBF16);
  EXPECT_NEAR(static_cast<double>(forecast(100000).weights),
              static_cast<double>(sum(groups) - mtp - embedding), 1e6);
  EXPECT_EQ(forecast(100).total(), forecast(100).weights + forecast(100).state +
                                       forecast(100).workspace + forecast(100).program);
}

TEST(Footprint, small_files_are_read_whole) {
  const ModelConfig config = load_config(golden("t2"));
  const std::vector<StoredGroup> groups = stored_groups(Checkpoint::open(golden("t2")), config);
  const MemoryForecast whole = forecast_memory(config, groups, {}, 10);
  EXPECT_EQ(whole.weights, sum(groups));
  EXPECT_LT(forecast_memory(config, groups, {.expert_memory = 1 << 20}, 10).weights, whole.weights);
}

TEST(Footprint, scratch_memory_counts_as_far_as_a_run_uses_it) {
  const ModelConfig config = load_config(golden("t2"));
  const auto workspace = [&](int64_t context) {
    return forecast_memory(config, {}, {.context = context}, 100).workspace;
  };
  EXPECT_EQ(workspace(100), workspace(1 << 20));
  EXPECT_LT(workspace(50), workspace(100));
}

}  // namespace
}  // namespace dsv4
