#include "base/mapped_file.h"

#include "base/error.h"
#include "base/output_file.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

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

// Which pages of a mapping this process has in its page table.
std::vector<bool> mapped_pages(const MappedFile& file) {
  const FileReader table("/proc/self/pagemap");
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(file.bytes().data()) / page;
  std::vector<bool> mapped;
  for (size_t i = 0; i * page < file.bytes().size(); ++i) {
    uint64_t entry = 0;
    table.read((first + i) * sizeof(entry), std::as_writable_bytes(std::span(&entry, 1)));
    mapped.push_back(entry >> 63 != 0);
  }
  return mapped;
}

class MappedRange : public testing::Test {
 protected:
  MappedRange()
      : page_(static_cast<size_t>(::sysconf(_SC_PAGESIZE))),
        path_(fs::temp_directory_path() / fmt::format("dsv4-range-{}", ::getpid())) {
    OutputFile file(path_);
    for (size_t i = 0; i < kPages; ++i) {
      file.write(std::vector<std::byte>(page_, static_cast<std::byte>(i)));
    }
    file.write(std::vector<std::byte>(5, std::byte{99}));  // the last page is not whole
    file.finish();
  }
  ~MappedRange() override { fs::remove(path_); }

  static constexpr size_t kPages = 1000;
  size_t page_;
  fs::path path_;
};

TEST_F(MappedRange, is_loaded_outwards_and_given_back_inwards) {
  const MappedFile file(path_);
  file.load(100 * page_ + 1, 50 * page_);  // touches pages 100 to 150
  std::vector<bool> mapped = mapped_pages(file);
  for (size_t i = 100; i <= 150; ++i) EXPECT_TRUE(mapped[i]) << i;
  file.release(100 * page_ + 1, 50 * page_);  // has pages 101 to 149
  mapped = mapped_pages(file);
  for (size_t i = 101; i < 150; ++i) EXPECT_FALSE(mapped[i]) << i;
  EXPECT_TRUE(mapped[100]);
  EXPECT_TRUE(mapped[150]);
  for (size_t i = 0; i < kPages; ++i) {
    ASSERT_EQ(file.bytes()[i * page_ + 7], static_cast<std::byte>(i)) << "the same after it";
  }
}

TEST_F(MappedRange, may_end_with_the_file_and_be_empty) {
  MappedFile moved(path_);
  const MappedFile file = std::move(moved);
  file.load(900 * page_, 100 * page_ + 5);
  EXPECT_TRUE(mapped_pages(file)[kPages]);
  file.release(900 * page_, 100 * page_ + 5);
  EXPECT_FALSE(mapped_pages(file)[kPages]);
  file.load(file.bytes().size(), 0);
  file.release(10, 0);
  file.release(10, 20);  // no whole page
}

TEST_F(MappedRange, is_no_longer_in_memory_when_given_back) {
  const MappedFile file(path_);
  struct statfs system {};
  ::statfs(path_.c_str(), &system);
  if (system.f_type == TMPFS_MAGIC) GTEST_SKIP() << "memory is all that this file has";
  file.load(0, kPages * page_);
  file.release(0, kPages * page_);
  std::vector<unsigned char> in_memory(kPages + 1);
  ASSERT_EQ(
      ::mincore(const_cast<std::byte*>(file.bytes().data()), file.bytes().size(), in_memory.data()),
      0);
  in_memory.pop_back();  // a page that was not given back
  EXPECT_EQ(std::count_if(in_memory.begin(), in_memory.end(), [](int c) { return c & 1; }), 0);
}

TEST_F(MappedRange, that_cannot_be_read_is_an_error_with_its_byte) {
  const MappedFile file(path_);
  fs::resize_file(path_, 200 * page_);
  for (const auto load : {&MappedFile::load, &MappedFile::load_by_reading}) {
    (file.*load)(0, 200 * page_);
    try {
      (file.*load)(150 * page_ + 1, 100 * page_);
      FAIL() << "the pages are not there";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kIo);
      const std::string expected =
          fmt::format("{}: cannot read the page at byte {}: the disk", path_.string(), 200 * page_);
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
  }
}

TEST_F(MappedRange, is_mapped_by_reading_it_too) {
  const MappedFile file(path_);
  file.load_by_reading(900 * page_ + 1, 100 * page_ + 4);
  const std::vector<bool> mapped = mapped_pages(file);
  for (size_t i = 900; i <= kPages; ++i) EXPECT_TRUE(mapped[i]) << i;
  file.load_by_reading(file.bytes().size(), 0);
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
