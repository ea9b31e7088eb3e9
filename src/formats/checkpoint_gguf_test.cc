// GGUF files behind Checkpoint::open: single ones, folders, and split ones with all that can be
// wrong between their parts.
#include "formats/checkpoint.h"

#include "base/error.h"
#include "formats/gguf_testing.h"

#include <filesystem>
#include <fstream>
#include <map>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class CheckpointGgufTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-checkpoint-gguf-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }

  // A file of one-byte tensors; the byte is the first letter of the name.
  static std::string file_of(const std::vector<std::string>& names,
                             const std::vector<std::string>& keys = {}) {
    std::vector<std::string> tensors;
    std::string data;
    for (const std::string& name : names) {
      data.resize((data.size() + 31) / 32 * 32);
      tensors.push_back(gguf_tensor(name, {1}, 24, data.size()));
      data += name[0];
    }
    return gguf_file(keys, tensors, data);
  }

  static std::string part_name(int i, int n = 3) {
    return fmt::format("m-{:05}-of-{:05}.gguf", i, n);
  }

  // Keys of a part as gguf-split writes them; `no` counts from 0.
  static std::vector<std::string> split_keys(uint16_t no, uint16_t n = 3, int32_t n_tensors = 4) {
    return {gguf_key("split.no", 2, raw(no)), gguf_key("split.count", 2, raw(n)),
            gguf_key("split.tensors.count", 5, raw(n_tensors))};
  }

  void write_parts() const {
    std::vector<std::string> keys = split_keys(0);
    keys.push_back(gguf_key("general.name", 8, gguf_text("of the first")));
    write(part_name(1), file_of({"a", "b"}, keys));
    write(part_name(2), file_of({"c"}, split_keys(1)));
    keys = split_keys(2);
    keys.push_back(gguf_key("general.name", 8, gguf_text("of the last")));
    write(part_name(3), file_of({"d"}, keys));
  }

  void expect_error(const fs::path& path, ErrorCode code,
                    const std::vector<std::string>& parts) const {
    try {
      Checkpoint::open(path);
      ADD_FAILURE() << "no error; expected " << parts[0];
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      for (const std::string& part : parts) {
        EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos)
            << "no '" << part << "' in: " << error.what();
      }
    }
  }
  void expect_error(ErrorCode code, const std::vector<std::string>& parts) const {
    expect_error(folder_, code, parts);
  }

  fs::path folder_;
};

TEST_F(CheckpointGgufTest, opens_a_file_by_its_content_and_a_folder_with_one) {
  write("model.gguf", file_of({"a", "b"}, {gguf_u32("k", 7)}));
  for (const fs::path& path : {folder_, folder_ / "model.gguf"}) {
    Checkpoint opened = Checkpoint::open(path);
    const Checkpoint checkpoint = std::move(opened);  // views survive a move
    ASSERT_NE(checkpoint.gguf(), nullptr);
    EXPECT_EQ(checkpoint.gguf()->find("k")->as_integer(), 7);
    ASSERT_EQ(checkpoint.tensors().size(), 2u);
    const StoredTensor* b = checkpoint.find("b");
    ASSERT_NE(b, nullptr);
    EXPECT_EQ(static_cast<char>(b->data[0]), 'b');
    EXPECT_EQ(b->dtype, DType::kI8);
    EXPECT_EQ(checkpoint.files()[0].bytes().data() + b->offset, b->data.data());
    EXPECT_EQ(find_gguf(path), folder_ / "model.gguf");
  }
  fs::rename(folder_ / "model.gguf", folder_ / "blob");
  EXPECT_NE(Checkpoint::open(folder_ / "blob").find("a"), nullptr);
  expect_error(ErrorCode::kNotFound, {"has 0 .safetensors or .gguf files"});
}

TEST_F(CheckpointGgufTest, finds_no_gguf_where_there_is_none_or_more_than_one) {
  EXPECT_EQ(find_gguf(folder_), std::nullopt);
  EXPECT_EQ(find_gguf(folder_ / "absent"), std::nullopt);
  write("a.gguf", "");
  EXPECT_EQ(find_gguf(folder_), std::nullopt);
  write("a.gguf", file_of({"a"}));
  EXPECT_EQ(find_gguf(folder_), folder_ / "a.gguf");
  write("b.gguf", file_of({"b"}));
  EXPECT_EQ(find_gguf(folder_), std::nullopt);
  expect_error(ErrorCode::kNotFound, {"has 2 .safetensors or .gguf files"});
}

TEST_F(CheckpointGgufTest, opens_all_parts_of_a_split_file) {
  write_parts();
  for (const fs::path& path : {folder_, folder_ / part_name(1)}) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    ASSERT_EQ(checkpoint.files().size(), 3u);
    ASSERT_EQ(checkpoint.tensors().size(), 4u);
    const std::map<std::string, size_t> files = {{"a", 0}, {"b", 0}, {"c", 1}, {"d", 2}};
    for (const auto& [name, file] : files) {
      const StoredTensor* tensor = checkpoint.find(name);
      ASSERT_NE(tensor, nullptr) << name;
      EXPECT_EQ(static_cast<char>(tensor->data[0]), name[0]);
      EXPECT_EQ(tensor->file, file);
      EXPECT_EQ(checkpoint.files()[file].path().filename(), part_name(static_cast<int>(file) + 1));
    }
    EXPECT_EQ(checkpoint.gguf()->find("general.name")->as_string(), "of the first");
  }
}

TEST_F(CheckpointGgufTest, asks_for_the_first_part) {
  write_parts();
  expect_error(folder_ / part_name(2), ErrorCode::kInvalidInput,
               {part_name(2), "name the first one", "-00001-of-00003.gguf"});
  fs::rename(folder_ / part_name(1), folder_ / "first.gguf");
  expect_error(folder_ / "first.gguf", ErrorCode::kInvalidInput,
               {"first.gguf", "is a part of 3", "-00001-of-00003.gguf"});
}

TEST_F(CheckpointGgufTest, names_a_part_that_is_missing_or_damaged) {
  write_parts();
  fs::remove(folder_ / part_name(3));
  expect_error(ErrorCode::kNotFound, {part_name(3)});
  write(part_name(3), "<html>");
  expect_error(ErrorCode::kInvalidInput, {part_name(3), "GGUF"});
  write(part_name(3), file_of({"d"}, split_keys(2)).substr(0, 90));
  expect_error(ErrorCode::kInvalidInput, {part_name(3), "ends in"});
}

TEST_F(CheckpointGgufTest, refuses_parts_that_do_not_belong_together) {
  write_parts();
  write(part_name(3), file_of({"d"}, split_keys(1)));
  expect_error(ErrorCode::kInvalidInput, {part_name(3), "split.no is 1", "expected 2"});
  write(part_name(3), file_of({"d"}, split_keys(2, 4)));
  expect_error(ErrorCode::kInvalidInput, {part_name(3), "split.count is 4", "expected 3"});
  write(part_name(3), file_of({"d"}));
  expect_error(ErrorCode::kInvalidInput, {part_name(3), "split.no is missing", "expected 2"});
  write(part_name(3), file_of({"d"}, {gguf_key("split.no", 8, gguf_text("2"))}));
  expect_error(ErrorCode::kInvalidInput, {part_name(3), "key split.no: expected a number"});
}

TEST_F(CheckpointGgufTest, refuses_a_first_part_that_says_something_else) {
  write_parts();
  write(part_name(1), file_of({"a", "b"}, split_keys(0, 2)));
  expect_error(ErrorCode::kInvalidInput, {part_name(1), "is a part of 2"});
  write(part_name(1), file_of({"a", "b"}, split_keys(1)));
  expect_error(ErrorCode::kInvalidInput, {part_name(1), "is a part of 3"});
  write(part_name(1), file_of({"a", "b"}, {gguf_key("split.count", 8, gguf_text("3"))}));
  expect_error(ErrorCode::kInvalidInput, {part_name(1), "split.count"});
  write(part_name(1), file_of({"a", "b"}, {gguf_key("split.count", 5, raw(-3))}));
  expect_error(ErrorCode::kInvalidInput, {part_name(1), "split.count"});
  // A name like a part's without the keys: the other parts would silently be left out.
  write(part_name(1), file_of({"a", "b"}));
  expect_error(ErrorCode::kInvalidInput, {part_name(1), "split.no is missing"});
}

TEST_F(CheckpointGgufTest, refuses_tensors_that_are_doubled_or_too_few) {
  write_parts();
  write(part_name(3), file_of({"b"}, split_keys(2)));
  expect_error(ErrorCode::kInvalidInput, {part_name(3), "tensor b", "is also in", part_name(1)});
  write(part_name(3), file_of({}, split_keys(2)));
  expect_error(ErrorCode::kInvalidInput, {part_name(1), "split.tensors.count is 4", "have 3"});
}

TEST_F(CheckpointGgufTest, opens_a_split_file_of_one_part) {
  write(part_name(1, 1), file_of({"a"}, split_keys(0, 1, 1)));
  EXPECT_EQ(Checkpoint::open(folder_).tensors().size(), 1u);
  write(part_name(1, 1), file_of({"a"}));
  EXPECT_EQ(Checkpoint::open(folder_).tensors().size(), 1u);
}

}  // namespace
}  // namespace dsv4
