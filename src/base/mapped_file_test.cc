#include "base/mapped_file.h"

#include "base/error.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

TEST(MappedFile, reads_regular_files_and_refuses_everything_else_at_once) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("dsv4-mapped-{}", ::getpid());
  fs::create_directories(folder);
  std::ofstream(folder / "file") << "abc";
  std::ofstream(folder / "empty");
  EXPECT_EQ(read_file(folder / "file"), "abc");
  EXPECT_EQ(read_file(folder / "empty"), "");
  EXPECT_THROW(read_file(folder / "file", 2), Error);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const fs::path& path :
       {folder / "pipe", folder, folder / "absent", fs::path(std::string(5000, 'x'))}) {
    EXPECT_THROW(read_file(path), Error) << path;
  }
  fs::remove_all(folder);
}

TEST(FileReader, reads_parts_and_refuses_what_lies_beyond_the_end) {
  const fs::path path = fs::temp_directory_path() / fmt::format("dsv4-reader-{}", ::getpid());
  std::ofstream(path) << "abcdef";
  FileReader moved(path);
  const FileReader reader = std::move(moved);
  char part[3] = {};
  reader.read(2, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(std::string(part, 3), "cde");
  EXPECT_THROW(reader.read(4, std::as_writable_bytes(std::span(part))), Error);
  EXPECT_THROW(FileReader(path.parent_path()), Error);
  fs::remove(path);
}

}  // namespace
}  // namespace dsv4
