#include "server/replay_file.h"

#include "base/error.h"
#include "base/mapped_file.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kModel = 0x1234;
constexpr uint64_t kSeed = 77;

ReplayRecord record(int n) {
  ReplayRecord result;
  result.keys = {{static_cast<uint64_t>(n), 1}, {static_cast<uint64_t>(n), 2}};
  result.replay = {.reasoning = "so " + std::string(static_cast<size_t>(n), 'x'),
                   .reasoning_ids = {n, n + 1},
                   .reply_ids = std::vector<int32_t>(static_cast<size_t>(n), 5)};
  return result;
}

void expect_same(const ReplayRecord& a, const ReplayRecord& b) {
  EXPECT_EQ(a.keys, b.keys);
  EXPECT_EQ(a.replay.reasoning, b.replay.reasoning);
  EXPECT_EQ(a.replay.reasoning_ids, b.replay.reasoning_ids);
  EXPECT_EQ(a.replay.reply_ids, b.replay.reply_ids);
}

// Three records, and where each ends.
struct Bytes {
  std::string all = encode_replay_start(kModel, kSeed);
  std::vector<size_t> ends = {all.size()};
  Bytes() {
    for (int n = 0; n < 3; ++n) {
      all += encode_replay_record(record(n));
      ends.push_back(all.size());
    }
  }
};

ReplayFileContent parse(const std::string& bytes, uint64_t model = kModel) {
  return parse_replay_file(std::as_bytes(std::span(bytes)), model);
}

TEST(ReplayFile, reads_what_it_writes) {
  const ReplayFileContent content = parse(Bytes().all);
  EXPECT_EQ(content.seed, kSeed);
  EXPECT_EQ(content.problem, "");
  EXPECT_EQ(content.n_read_bytes, Bytes().all.size());
  ASSERT_EQ(content.records.size(), 3u);
  for (int n = 0; n < 3; ++n) expect_same(content.records[static_cast<size_t>(n)], record(n));
}

TEST(ReplayFile, uses_the_whole_records_of_a_file_that_ends_anywhere) {
  const Bytes bytes;
  for (size_t n = 0; n < bytes.all.size(); ++n) {
    const ReplayFileContent content = parse(bytes.all.substr(0, n));
    if (n < bytes.ends[0]) {
      EXPECT_EQ(content.n_read_bytes, 0u) << n;
      EXPECT_NE(content.problem, "") << n;
      continue;
    }
    size_t n_whole = 0;
    while (n_whole < 3 && bytes.ends[n_whole + 1] <= n) ++n_whole;
    EXPECT_EQ(content.seed, kSeed) << n;
    EXPECT_EQ(content.records.size(), n_whole) << n;
    EXPECT_EQ(content.n_read_bytes, bytes.ends[n_whole]) << n;
    EXPECT_EQ(content.problem.empty(), n == bytes.ends[n_whole]) << n;
  }
}

TEST(ReplayFile, uses_what_is_before_any_flipped_bit) {
  const Bytes bytes;
  for (size_t i = 0; i < bytes.all.size() * 8; ++i) {
    std::string flipped = bytes.all;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ (1 << (i % 8)));
    const ReplayFileContent content = parse(flipped);
    if (i / 8 >= 24 && i / 8 < 32) {  // the seed: any is a good one
      EXPECT_EQ(content.records.size(), 3u);
      continue;
    }
    EXPECT_NE(content.problem, "") << "bit " << i;
    size_t n_whole = 0;
    while (n_whole < 3 && bytes.ends[n_whole + 1] <= i / 8) ++n_whole;
    EXPECT_EQ(content.records.size(), i / 8 < bytes.ends[0] ? 0 : n_whole) << "bit " << i;
  }
}

TEST(ReplayFile, leaves_other_models_and_noise_alone) {
  EXPECT_EQ(parse(Bytes().all, kModel + 1).n_read_bytes, 0u);
  EXPECT_EQ(parse("").n_read_bytes, 0u);
  EXPECT_EQ(parse(std::string(1000, 'x')).n_read_bytes, 0u);
}

class ReplayFiles : public testing::Test {
 protected:
  ReplayFiles()
      : folder_(fs::path(testing::TempDir()) / fmt::format("dsv4-replies-{}", ::getpid())),
        path_(folder_ / "replies") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ReplayFiles() override { fs::remove_all(folder_); }

  std::unique_ptr<ReplayFile> open(uint64_t seed) {
    return std::make_unique<ReplayFile>(path_, kModel, seed,
                                        [&](const std::string& line) { log_.push_back(line); });
  }

  fs::path folder_;
  fs::path path_;
  std::vector<std::string> log_;
};

TEST_F(ReplayFiles, a_damaged_end_is_cut_off_and_the_writing_goes_on_behind_it) {
  {
    const auto file = open(kSeed);
    file->append(record(1));
    file->append(record(2));
  }
  fs::resize_file(path_, fs::file_size(path_) - 1);
  {
    const auto file = open(5);
    EXPECT_EQ(file->seed(), kSeed);
    EXPECT_EQ(file->take_records().size(), 1u);
    EXPECT_EQ(log_.size(), 1u);
    file->append(record(3));
  }
  const auto records = open(6)->take_records();
  ASSERT_EQ(records.size(), 2u);
  expect_same(records[0], record(1));
  expect_same(records[1], record(3));
  EXPECT_EQ(log_.size(), 1u);
}

TEST_F(ReplayFiles, a_file_of_something_else_is_replaced) {
  std::ofstream(path_) << "not a file of replies";
  const auto file = open(9);
  EXPECT_EQ(file->seed(), 9u);
  EXPECT_EQ(log_.size(), 1u);
  file->append(record(1));
  EXPECT_EQ(open(1)->take_records().size(), 1u);
}

TEST_F(ReplayFiles, the_store_goes_on_in_memory_where_the_disk_fails) {
  constexpr size_t kMaxBytes = 4000;
  ReplayStore store(kMaxBytes, open(kSeed));
  fs::remove_all(folder_);
  for (int n = 0; n < 200; ++n) {
    ASSERT_NO_THROW(store.remember(record(n).keys, record(n).replay)) << n;
    ASSERT_NO_THROW(store.flush()) << n;
    EXPECT_TRUE(store.find(record(n).keys)) << n;
  }
  EXPECT_EQ(log_.size(), 1u);
  EXPECT_LE(store.n_bytes(), kMaxBytes);
}

TEST_F(ReplayFiles, the_file_is_bounded_and_keeps_the_latest) {
  constexpr size_t kMaxBytes = 4000;
  {
    ReplayStore store(kMaxBytes, open(kSeed));
    for (int n = 0; n < 300; ++n) {
      store.remember(record(n % 100).keys, record(n % 100).replay);
      if (n % 3 == 0) store.flush();
    }
    EXPECT_LE(fs::file_size(path_), 3 * kMaxBytes);
  }
  ReplayStore store(kMaxBytes, open(1));
  EXPECT_TRUE(store.find(record(99).keys));
  EXPECT_FALSE(store.find(record(1).keys));
}

TEST_F(ReplayFiles, the_store_writes_when_it_is_told_to_and_at_its_end) {
  const auto n_written = [&] { return open(1)->take_records().size(); };
  {
    ReplayStore store(1 << 20, open(kSeed));
    store.remember(record(1).keys, record(1).replay);
    EXPECT_TRUE(store.has_unwritten());
    EXPECT_EQ(n_written(), 0u);
    store.flush();
    EXPECT_FALSE(store.has_unwritten());
    EXPECT_EQ(n_written(), 1u);
    store.remember(record(2).keys, record(2).replay);
  }
  EXPECT_EQ(n_written(), 2u);
}

// The file is rewritten as long as nobody reads what it is written to.
TEST_F(ReplayFiles, only_one_waits_for_the_disk) {
  const fs::path pipe = path_.string() + ".part";
  ReplayStore store(4000, open(kSeed));
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (int n = 0; n < 100; ++n) store.remember(record(n).keys, record(n).replay);
  auto first = std::async(std::launch::async, [&] { store.flush(); });
  while (store.has_unwritten()) std::this_thread::yield();
  store.remember(record(100).keys, record(100).replay);
  auto second = std::async(std::launch::async, [&] { store.flush(); });
  EXPECT_EQ(second.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(first.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  first.get();
  second.get();
  ::close(reader);
  EXPECT_FALSE(store.has_unwritten());
}

TEST_F(ReplayFiles, says_that_there_was_no_room) {
  const auto file = open(kSeed);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit limit{fs::file_size(path_) + 10, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  errno = ENOTTY;  // of something else
  file->append(record(1));
  ::setrlimit(RLIMIT_FSIZE, &old);
  ASSERT_EQ(log_.size(), 1u);
  EXPECT_NE(log_[0].find("room for 10 of "), std::string::npos) << log_[0];
  EXPECT_EQ(file->n_bytes(), 0u);
}

TEST_F(ReplayFiles, a_folder_that_is_not_there_is_an_error) {
  fs::remove_all(folder_);
  EXPECT_THROW(open(1), Error);
}

}  // namespace
}  // namespace dsv4
