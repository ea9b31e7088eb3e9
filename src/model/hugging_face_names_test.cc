// Tensors under the names of Hugging Face: stacks of experts, and what is no such stack.
#include "base/error.h"
#include "formats/safetensors.h"
#include "model/names.h"

#include <filesystem>
#include <numeric>
#include <vector>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class HuggingFaceNames : public testing::Test {
 protected:
  HuggingFaceNames()
      : file_(fs::temp_directory_path() / fmt::format("dsv4-names-{}", ::getpid())) {}
  ~HuggingFaceNames() override { fs::remove(file_); }

  // One tensor of bytes 0, 1, 2, ...
  Checkpoint open(const std::string& name, const std::vector<int64_t>& shape) const {
    const int64_t n = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    std::vector<uint8_t> bytes(static_cast<size_t>(n));
    std::iota(bytes.begin(), bytes.end(), uint8_t{0});
    SafetensorsWriter writer(file_, {{name, DType::kU8, shape}});
    writer.append(std::as_bytes(std::span(bytes)));
    writer.finish();
    return open_checkpoint(file_);
  }

  static std::vector<int> bytes_of(const Checkpoint& checkpoint, const char* name) {
    const StoredTensor* tensor = checkpoint.find(name);
    if (tensor == nullptr) return {};
    std::vector<int> bytes;
    for (const std::byte b : tensor->data) bytes.push_back(static_cast<int>(b));
    return bytes;
  }

  fs::path file_;
};

TEST_F(HuggingFaceNames, stacks_of_experts_are_taken_apart) {
  const Checkpoint both = open("model.layers.7.mlp.experts.gate_up_proj", {2, 4, 2});
  EXPECT_EQ(both.tensors().size(), 4u);
  EXPECT_EQ(bytes_of(both, "layers.7.ffn.experts.0.w1.weight"), (std::vector{0, 1, 2, 3}));
  EXPECT_EQ(bytes_of(both, "layers.7.ffn.experts.0.w3.weight"), (std::vector{4, 5, 6, 7}));
  EXPECT_EQ(bytes_of(both, "layers.7.ffn.experts.1.w1.weight"), (std::vector{8, 9, 10, 11}));
  EXPECT_EQ(both.find("layers.7.ffn.experts.1.w3.weight")->shape, (std::vector<int64_t>{2, 2}));
  const Checkpoint down = open("model.layers.0.mlp.experts.down_proj", {3, 1, 2});
  EXPECT_EQ(bytes_of(down, "layers.0.ffn.experts.2.w2.weight"), (std::vector{4, 5}));
}

// They keep their names, which belong to no model.
TEST_F(HuggingFaceNames, what_is_no_stack_stays_whole) {
  const std::string both = "model.layers.0.mlp.experts.gate_up_proj";
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{0, 4, 2}, {2, 3, 2}, {4, 2}, {}}) {
    const Checkpoint checkpoint = open(both, shape);
    ASSERT_EQ(checkpoint.tensors().size(), 1u);
    EXPECT_EQ(checkpoint.tensors()[0].name, both);
  }
  const Checkpoint empty = open("model.layers.0.mlp.experts.down_proj", {2, 4, 0});
  EXPECT_EQ(bytes_of(empty, "layers.0.ffn.experts.1.w2.weight"), std::vector<int>());
}

TEST_F(HuggingFaceNames, scales_of_mixing_maps_are_no_block_scales) {
  for (const auto& [name, released] : std::vector<std::pair<const char*, const char*>>{
           {"model.layers.3.attn_hc.scale", "layers.3.hc_attn_scale"},
           {"model.layers.3.ffn_hc.scale", "layers.3.hc_ffn_scale"},
           {"model.hc_head.hc_scale", "hc_head_scale"},
           {"model.layers.3.self_attn.q_a_proj.weight_scale_inv", "layers.3.attn.wq_a.scale"},
           {"model.layers.3.mlp.experts.12.up_proj.scales", "layers.3.ffn.experts.12.w3.scales"}}) {
    EXPECT_NE(open(name, {3}).find(released), nullptr) << name;
  }
}

}  // namespace
}  // namespace dsv4
