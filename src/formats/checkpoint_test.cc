#include "formats/checkpoint.h"

#include "base/error.h"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-checkpoint-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // A file of one-byte tensors; the byte is the first letter of the name.
  void write_shard(const std::string& file, const std::vector<std::string>& names) const {
    std::vector<SafetensorsWriter::Declaration> tensors;
    for (const std::string& name : names) tensors.push_back({name, DType::kU8, {1}});
    SafetensorsWriter writer(folder_ / file, tensors);
    for (const std::string& name : names) {
      writer.append(std::as_bytes(std::span(name.data(), 1)));
    }
    writer.finish();
  }

  void write_index(const std::string& text) const {
    std::ofstream(folder_ / "model.safetensors.index.json") << text;
  }

  void write_two_shards() const {
    write_shard("s1.safetensors", {"b", "c"});
    write_shard("s2.safetensors", {"a"});
    write_index(R"({"metadata":{"total_size":3},"weight_map":{"a":"s2.safetensors",)"
                R"("b":"s1.safetensors","c":"s1.safetensors"}})");
  }

  std::string error_of() const {
    try {
      Checkpoint::open(folder_);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  }

  void expect_error(const std::vector<std::string>& parts) const {
    const std::string message = error_of();
    for (const std::string& part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << "no '" << part << "' in: " << message;
    }
  }

  fs::path folder_;
};

TEST_F(CheckpointTest, opens_shards_of_an_index_as_one_table) {
  write_two_shards();
  Checkpoint opened = Checkpoint::open(folder_);
  const Checkpoint checkpoint = std::move(opened);  // views survive a move
  EXPECT_EQ(checkpoint.files().size(), 2u);
  ASSERT_EQ(checkpoint.tensors().size(), 3u);
  EXPECT_EQ(checkpoint.find("d"), nullptr);
  for (const char* name : {"a", "b", "c"}) {
    const StoredTensor* tensor = checkpoint.find(name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->name, name);
    EXPECT_EQ(static_cast<char>(tensor->data[0]), name[0]);
    const auto& file = checkpoint.files()[tensor->file];
    EXPECT_EQ(tensor->data.data(), file.bytes().data() + tensor->offset);
  }
  const std::string text = checkpoint.describe(*checkpoint.find("a"));
  EXPECT_NE(text.find("s2.safetensors: tensor a at byte "), std::string::npos) << text;
}

TEST_F(CheckpointTest, opens_a_file_or_a_folder_with_one_file) {
  write_shard("weights.safetensors", {"x"});
  EXPECT_NE(Checkpoint::open(folder_ / "weights.safetensors").find("x"), nullptr);
  EXPECT_NE(Checkpoint::open(folder_).find("x"), nullptr);
  write_shard("other.safetensors", {"y"});
  expect_error({"has 2 .safetensors or .gguf files"});
  write_shard("model.safetensors", {"z"});
  EXPECT_NE(Checkpoint::open(folder_).find("z"), nullptr);
}

TEST_F(CheckpointTest, says_when_there_is_nothing) {
  expect_error({"has 0 .safetensors or .gguf files"});
  EXPECT_THROW(Checkpoint::open(folder_ / "absent"), Error);
}

TEST_F(CheckpointTest, refuses_a_tensor_that_is_missing_in_its_shard) {
  write_two_shards();
  write_shard("s1.safetensors", {"b"});
  expect_error({"index.json", "tensor c", "s1.safetensors", "in no file"});
}

TEST_F(CheckpointTest, refuses_a_tensor_in_another_shard_than_listed) {
  write_two_shards();
  write_shard("s1.safetensors", {"b"});
  write_shard("s2.safetensors", {"a", "c"});
  expect_error({"tensor c", "s1.safetensors", "is in s2.safetensors"});
}

TEST_F(CheckpointTest, refuses_a_tensor_in_two_shards) {
  write_two_shards();
  write_shard("s2.safetensors", {"a", "b"});
  expect_error({"s2.safetensors: tensor b", "also in", "s1.safetensors"});
}

TEST_F(CheckpointTest, refuses_a_tensor_that_is_not_listed) {
  write_two_shards();
  write_shard("s2.safetensors", {"a", "extra"});
  expect_error({"s2.safetensors: tensor extra", "not listed"});
}

TEST_F(CheckpointTest, refuses_a_shard_that_is_not_there) {
  write_two_shards();
  fs::remove(folder_ / "s2.safetensors");
  expect_error({"s2.safetensors, which holds tensor a, is not in the folder"});
}

TEST_F(CheckpointTest, names_the_shard_that_is_truncated) {
  write_two_shards();
  fs::resize_file(folder_ / "s1.safetensors", fs::file_size(folder_ / "s1.safetensors") - 1);
  expect_error({"s1.safetensors: tensor c", "truncated"});
  fs::resize_file(folder_ / "s1.safetensors", 0);
  expect_error({"s1.safetensors", "at least 8 bytes"});
}

// As many tensors and bytes as the smaller release has; the data is a hole in the file.
TEST_F(CheckpointTest, opens_many_tensors_without_reading_them) {
  constexpr size_t kTensors = 70000;
  constexpr uint64_t kBytes = 2048 * 1024;
  std::string header;
  for (size_t i = 0; i < kTensors; ++i) {
    header +=
        fmt::format(R"({}"layers.{}.ffn.experts.{}.w1.weight":{{"dtype":"I8","shape":[2048,1024],)"
                    R"("data_offsets":[{},{}]}})",
                    i == 0 ? "{" : ",", i / 1000, i % 1000, i * kBytes, (i + 1) * kBytes);
  }
  header += "}";
  const uint64_t length = header.size();
  const fs::path path = folder_ / "model.safetensors";
  std::ofstream(path, std::ios::binary)
      << std::string_view(reinterpret_cast<const char*>(&length), 8) << header;
  std::error_code error;
  fs::resize_file(path, 8 + length + kTensors * kBytes, error);
  if (error) GTEST_SKIP() << "the file system takes no file this large: " << error.message();
  const auto start = std::chrono::steady_clock::now();
  const Checkpoint checkpoint = Checkpoint::open(folder_);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("opened %zu tensors of %.0f GB in %.3f s\n", kTensors,
              static_cast<double>(kTensors * kBytes) / 1e9, seconds.count());
  ASSERT_EQ(checkpoint.tensors().size(), kTensors);
  const StoredTensor* last = checkpoint.find("layers.69.ffn.experts.999.w1.weight");
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(last->offset, 8 + length + (kTensors - 1) * kBytes);
  EXPECT_EQ(last->data[kBytes - 1], std::byte{0});
}

TEST_F(CheckpointTest, refuses_file_names_outside_the_folder) {
  write_shard("s1.safetensors", {"a"});
  for (const char* file : {"../s1.safetensors", "/etc/passwd", "x/s1.safetensors", "", ".", "..",
                           "s1.safetensors\\u0000", "a\\nb"}) {
    write_index(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", file));
    expect_error({"weight_map entry \"a\"", "a file in the same folder"});
  }
}

TEST_F(CheckpointTest, refuses_an_index_of_another_shape) {
  for (const char* text : {"[]", "{}", "1", R"({"weight_map":[]})", R"({"weight_map":{}})",
                           R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":null}})"}) {
    write_index(text);
    expect_error({"weight_map"});
  }
  write_index("{");
  expect_error({"not valid JSON"});
  write_index(std::string(100000, '['));
  expect_error({"index.json"});
  write_index(R"({"metadata":{"total_size":1e999},"weight_map":{"a":"a.safetensors"}})");
  expect_error({"index.json", "1e999"});
}

}  // namespace
}  // namespace dsv4
