// The disk tier over restarts, damage, foreign files, budgets and a disk that refuses.
#include "cache/disk_store.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "cache/prefix_cache.h"
#include "cache/sequence_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class DiskStoreTest : public testing::Test {
 protected:
  DiskStoreTest() {
    std::string name = (fs::temp_directory_path() / "dsv4-cache-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    layout_.max_tokens = 5000;
  }
  ~DiskStoreTest() override { fs::remove_all(folder_); }

  DiskStoreOptions options() {
    return {.folder = folder_, .segment_tokens = 24, .log = [this](const std::string& line) {
              const std::lock_guard guard(mutex_);
              log_.push_back(line);
            }};
  }
  std::unique_ptr<DiskStore> open(const DiskStoreOptions& options) {
    return std::make_unique<DiskStore>(layout_, pool_, options);
  }
  std::unique_ptr<DiskStore> open() { return open(options()); }

  TestSequence sequence(uint64_t seed, int64_t n) const {
    TestSequence sequence(layout_, seed);
    sequence.replace_state(SequenceState(layout_, pool_));
    sequence.feed(n);
    return sequence;
  }
  static void store(DiskStore& disk, TestSequence& sequence, uint64_t salt = 0) {
    disk.store(sequence.tokens(), salt, sequence.state().checkpoint(), CheckpointKind::kEnd,
               DiskStore::What::kWhole);
  }
  // Tokens of the longest prefix that comes back, whose bits must be those of the history.
  int64_t restored(DiskStore& disk, const TestSequence& sequence, uint64_t salt = 0) const {
    TestSequence longer = sequence.fork();
    longer.add_tokens(1);
    const std::vector<int32_t> tokens = longer.tokens();
    const auto prefix = disk.find(tokens, salt, 0);
    if (!prefix) return 0;
    const auto loaded = disk.load(*prefix, tokens, salt);
    if (!loaded) return 0;
    EXPECT_EQ(loaded->checkpoint.n_tokens(), prefix->n_tokens);
    TestSequence live(layout_, 0);
    live.replace_state(SequenceState(layout_, pool_));
    TestSequence history = sequence.fork();
    history.cut(prefix->n_tokens);
    live.feed_again(history);
    SequenceState state(layout_, pool_);
    state.restore(loaded->checkpoint);
    // Without rollback a snapshot has exactly what a checkpoint has.
    SequenceState expected(layout_, pool_);
    expected.restore(live.state().checkpoint());
    EXPECT_EQ(state.snapshot(), expected.snapshot());
    return prefix->n_tokens;
  }

  std::vector<fs::path> files() const {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.path().filename() != "lock") paths.push_back(entry.path());
    }
    std::ranges::sort(paths);
    return paths;
  }
  int64_t count(const char* ending) const {
    return std::ranges::count(files(), ending,
                              [](const fs::path& path) { return path.extension().string(); });
  }
  static void write(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  StateLayout layout_ = small_layout(3);
  std::shared_ptr<PagePool> pool_ = std::make_shared<PagePool>();
  fs::path folder_;
  std::mutex mutex_;
  std::vector<std::string> log_;
};

TEST_F(DiskStoreTest, gives_states_back_after_a_restart) {
  for (const KvStorage storage : {KvStorage::kF32, KvStorage::kBf16, KvStorage::kNative}) {
    layout_ = small_layout(3, storage);
    std::vector<TestSequence> sequences;
    for (const int64_t n : {1, 23, 24, 25, 100, 700}) {
      sequences.push_back(sequence(static_cast<uint64_t>(n), n));
    }
    {
      const int64_t n_others = count(".checkpoint");  // of the formats before
      const auto disk = open();
      for (TestSequence& each : sequences) store(*disk, each);
      disk->flush();
      EXPECT_EQ(count(".checkpoint") - n_others, 6);
    }
    const auto disk = open();
    for (const TestSequence& each : sequences) EXPECT_EQ(restored(*disk, each), each.n_tokens());
    EXPECT_EQ(disk->stats().n_loaded, 6);
    EXPECT_EQ(disk->stats().n_refused, 0);
  }
  EXPECT_EQ(pool_->stats().n_live, 0);
}

TEST_F(DiskStoreTest, conversations_share_the_segments_of_their_prefix) {
  const auto disk = open();
  TestSequence first = sequence(1, 100);
  store(*disk, first);
  TestSequence second = sequence(1, 80);
  second.diverge(1);
  second.feed(40);
  store(*disk, second);
  disk->flush();
  EXPECT_EQ(count(".checkpoint"), 2);
  // Both have four segments or five, of which the first three end before token 80.
  EXPECT_EQ(count(".segment"), 4 + 5 - 3);
  EXPECT_EQ(restored(*disk, first), 100);
  EXPECT_EQ(restored(*disk, second), 120);
  EXPECT_EQ(disk->stats().n_written, 8);
}

TEST_F(DiskStoreTest, gives_what_it_has_not_written_yet) {
  const auto disk = open();
  for (uint64_t i = 0; i < 30; ++i) {
    TestSequence live = sequence(i, 70 + static_cast<int64_t>(i));
    store(*disk, live);
    EXPECT_EQ(restored(*disk, live), 70 + static_cast<int64_t>(i));
  }
  disk->flush();
  EXPECT_EQ(disk->stats().n_refused, 0);
}

TEST_F(DiskStoreTest, keeps_two_salts_apart) {
  const auto disk = open();
  TestSequence one = sequence(1, 60);
  store(*disk, one, 5);
  disk->flush();
  EXPECT_EQ(restored(*disk, one, 5), 60);
  EXPECT_EQ(restored(*disk, one, 6), 0);
  // What one salt has stored is of no use to find with the other's names.
  const auto prefix = disk->find(sequence(1, 61).tokens(), 5, 0);
  ASSERT_TRUE(prefix);
  EXPECT_FALSE(disk->load(*prefix, sequence(1, 61).tokens(), 6));
}

TEST_F(DiskStoreTest, a_name_that_collides_gives_no_state) {
  const auto disk = open();
  TestSequence one = sequence(1, 60);
  store(*disk, one);
  disk->flush();
  const auto prefix = disk->find(sequence(1, 61).tokens(), 0, 0);
  ASSERT_TRUE(prefix);
  EXPECT_FALSE(disk->load(*prefix, sequence(2, 61).tokens(), 0));  // as if both hashed alike
  EXPECT_EQ(disk->stats().n_refused, 1);
  ASSERT_EQ(log_.size(), 1u);
  EXPECT_NE(log_[0].find("of other tokens than its name says"), std::string::npos) << log_[0];
}

// Each damage is seen either at the start or when the file is read.
TEST_F(DiskStoreTest, every_flipped_byte_and_every_truncation_is_refused) {
  layout_.layers.pop_back();
  TestSequence one = sequence(1, 14);
  DiskStoreOptions small = options();
  small.segment_tokens = 8;
  {
    const auto disk = open(small);
    store(*disk, one);
  }
  std::vector<std::pair<fs::path, std::string>> good;
  for (const fs::path& path : files()) good.emplace_back(path, read_file(path));
  ASSERT_EQ(good.size(), 2u);
  const auto put_back = [&] {
    for (const auto& [path, bytes] : good) write(path, bytes);
  };
  const auto expect_refused = [&](const std::string& what) {
    const auto disk = open(small);
    ASSERT_EQ(restored(*disk, one), 0) << what;
    const DiskStoreStats stats = disk->stats();
    ASSERT_GT(stats.n_refused + stats.n_foreign, 0) << what;
  };
  for (const auto& [path, bytes] : good) {
    const std::string name = path.extension().string();
    for (size_t i = 0; i < bytes.size(); ++i) {
      put_back();
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ (1 << i % 8));
      write(path, changed);
      expect_refused(name + ", byte " + std::to_string(i));
      put_back();
      write(path, bytes.substr(0, i));
      expect_refused(name + " of " + std::to_string(i) + " bytes");
    }
    put_back();
    write(path, bytes + "x");
    expect_refused(name + ", longer");
    put_back();
    fs::remove(path);
    if (name == ".segment") expect_refused("segment gone");
  }
  put_back();
  EXPECT_EQ(restored(*open(small), one), 14);
}

TEST_F(DiskStoreTest, damage_while_it_runs_costs_only_what_needs_the_file) {
  const auto disk = open();
  TestSequence one = sequence(1, 100);
  TestSequence other = sequence(2, 50);
  store(*disk, one);
  store(*disk, other);
  disk->flush();
  // The first segment of `one`: the segment file whose tokens are its first.
  const std::vector<int32_t> tokens = one.tokens();
  for (const fs::path& path : files()) {
    std::string bytes = read_file(path);
    if (path.extension() != ".segment") continue;
    if (std::memcmp(bytes.data() + kDiskHeaderBytes, tokens.data(), 16) != 0) continue;
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    write(path, bytes);
  }
  EXPECT_EQ(restored(*disk, one), 0);
  EXPECT_EQ(disk->stats().n_refused, 5);  // all segments of `one` and its checkpoint
  EXPECT_EQ(restored(*disk, other), 50);
  store(*disk, one);  // can be written anew
  disk->flush();
  EXPECT_EQ(restored(*disk, one), 100);
}

// While there is one, who opens the file to write it waits, for the system's 45 s at most.
class Lease {
 public:
  explicit Lease(const fs::path& path)
      : handler_(std::signal(SIGIO, SIG_IGN)),
        fd_(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600)),
        held_(::fcntl(fd_, F_SETLEASE, F_RDLCK) == 0) {}
  ~Lease() {
    ::close(fd_);
    std::signal(SIGIO, handler_);
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  bool held() const { return held_; }
  void wait_for_writer() const {
    while (::fcntl(fd_, F_GETLEASE) == F_RDLCK) std::this_thread::yield();
  }
  void end() const { ::fcntl(fd_, F_SETLEASE, F_UNLCK); }

 private:
  void (*handler_)(int);
  int fd_;
  bool held_;
};

TEST_F(DiskStoreTest, damage_costs_what_is_queued_behind_it_too) {
  const auto disk = open();
  TestSequence one = sequence(1, 40);
  store(*disk, one);
  disk->flush();
  one.feed(6);
  const TokenHash hash = hash_tokens(layout_, 0, one.tokens());
  const Lease lease(folder_ / (hash.hex() + ".checkpoint.part"));
  if (!lease.held()) GTEST_SKIP() << "this file system has no leases";
  const int64_t n_written = disk->stats().n_written;
  store(*disk, one);
  lease.wait_for_writer();
  EXPECT_EQ(restored(*disk, one), 46);
  for (const fs::path& path : files()) {
    if (path.extension() == ".segment") write(path, "damaged");
  }
  EXPECT_EQ(restored(*disk, one), 0);
  EXPECT_FALSE(disk->find(sequence(1, 47).tokens(), 0, 0));  // not found again and again
  store(*disk, one);                                         // behind the first attempt
  EXPECT_EQ(restored(*disk, one), 46);
  lease.end();
  disk->flush();
  EXPECT_EQ(disk->stats().queued_bytes, 0);
  EXPECT_EQ(disk->stats().n_failed, 0);
  // The first attempt was written and removed, and does not count.
  EXPECT_EQ(disk->stats().n_written, n_written + std::ssize(files()));
  EXPECT_EQ(restored(*disk, one), 46);
  EXPECT_EQ(restored(*disk, sequence(1, 40)), 0);
}

TEST_F(DiskStoreTest, files_of_others_are_left_alone) {
  TestSequence one = sequence(1, 100);
  store(*open(), one);
  const size_t n_files = files().size();
  const StateLayout own = layout_;
  layout_.fingerprint ^= 1;
  {
    const auto disk = open();
    EXPECT_EQ(disk->stats().n_foreign, static_cast<int64_t>(n_files));
    EXPECT_EQ(restored(*disk, one), 0);
  }
  layout_ = small_layout(3, KvStorage::kF32);
  EXPECT_EQ(restored(*open(), one), 0);
  layout_ = own;
  layout_.max_tokens = 99;
  EXPECT_EQ(open()->stats().n_foreign, 1);  // a checkpoint that is too long here
  layout_ = own;
  EXPECT_EQ(files().size(), n_files);
  EXPECT_EQ(restored(*open(), one), 100);
  // An old version.
  for (const fs::path& path : files()) {
    std::string bytes = read_file(path);
    bytes[8] = 0;
    write(path, bytes);
  }
  const auto disk = open();
  EXPECT_EQ(disk->stats().n_foreign, static_cast<int64_t>(n_files));
  EXPECT_EQ(restored(*disk, one), 0);
  EXPECT_EQ(files().size(), n_files);
  ASSERT_FALSE(log_.empty());
  EXPECT_NE(log_.back().find("of other models or versions"), std::string::npos);
}

TEST_F(DiskStoreTest, what_a_killed_process_leaves_is_no_danger) {
  TestSequence one = sequence(1, 100);
  store(*open(), one);
  // Killed between writing and renaming; and between a segment and the checkpoint after it.
  const std::vector<fs::path> paths = files();
  for (const fs::path& path : paths) {
    if (path.extension() == ".checkpoint") fs::rename(path, path.string() + ".part");
  }
  write(folder_ / "00000000000000000000000000000000.segment.part", "begun");
  write(folder_ / "notes.txt", "not ours");
  const auto disk = open();
  EXPECT_EQ(restored(*disk, one), 0);
  EXPECT_EQ(count(".segment"), 4);
  EXPECT_EQ(files().size(), 5u);  // four segments, the notes
  store(*disk, one);              // writes what is missing
  disk->flush();
  EXPECT_EQ(disk->stats().n_written, 1);
  EXPECT_EQ(restored(*disk, one), 100);
}

TEST_F(DiskStoreTest, nobody_else_reads_the_folder_that_it_makes) {
  DiskStoreOptions nested = options();
  nested.folder = folder_ / "a" / "cache";
  const auto disk = open(nested);
  EXPECT_EQ(fs::status(nested.folder).permissions(), fs::perms::owner_all);
}

TEST_F(DiskStoreTest, one_process_at_a_time_uses_a_folder) {
  const auto disk = open();
  try {
    open();
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_NE(std::string(error.what()).find("another process"), std::string::npos);
  }
}

TEST_F(DiskStoreTest, keeps_its_budget_and_evicts_what_was_not_used_for_longest) {
  std::vector<TestSequence> sequences;
  for (uint64_t i = 0; i < 6; ++i) sequences.push_back(sequence(1 + i, 100));
  int64_t one = 0;
  {
    const auto disk = open();
    store(*disk, sequences[0]);
    disk->flush();
    one = disk->stats().used_bytes;
  }
  DiskStoreOptions limited = options();
  limited.budget_bytes = 3 * one + one / 2;
  {
    const auto disk = open(limited);
    for (size_t i = 0; i < 3; ++i) store(*disk, sequences[i]);
    disk->flush();
    EXPECT_EQ(restored(*disk, sequences[0]), 100);  // used again
    for (size_t i = 3; i < 5; ++i) store(*disk, sequences[i]);
    disk->flush();
    EXPECT_LE(disk->stats().used_bytes, limited.budget_bytes);
    EXPECT_GT(disk->stats().n_evicted, 0);
    EXPECT_EQ(restored(*disk, sequences[0]), 100);
    EXPECT_EQ(restored(*disk, sequences[1]), 0);
    EXPECT_EQ(restored(*disk, sequences[2]), 0);
    EXPECT_EQ(restored(*disk, sequences[4]), 100);
    int64_t on_disk = 0;
    for (const fs::path& path : files()) on_disk += static_cast<int64_t>(fs::file_size(path));
    EXPECT_EQ(on_disk, disk->stats().used_bytes);
  }
  limited.budget_bytes = one;  // less than is there
  const auto disk = open(limited);
  EXPECT_LE(disk->stats().used_bytes, one);
  EXPECT_EQ(restored(*disk, sequences[4]), 100);
}

TEST_F(DiskStoreTest, a_full_queue_drops_and_counts) {
  DiskStoreOptions limited = options();
  limited.queue_bytes = 1;  // one file at a time
  const auto disk = open(limited);
  std::vector<TestSequence> sequences;
  for (uint64_t i = 0; i < 40; ++i) {
    sequences.push_back(sequence(1 + i, 100));
    store(*disk, sequences.back());
  }
  disk->flush();
  int64_t n_stored = 0;
  for (const TestSequence& each : sequences) n_stored += restored(*disk, each) == 100 ? 1 : 0;
  EXPECT_EQ(n_stored, count(".checkpoint"));
  EXPECT_GT(disk->stats().n_dropped, 0);
  EXPECT_EQ(disk->stats().queued_bytes, 0);
}

TEST_F(DiskStoreTest, a_folder_that_refuses_costs_speed_only) {
  const auto disk = open();
  fs::remove_all(folder_);  // no file can be made any more, whoever runs this
  TestSequence one = sequence(1, 100);
  store(*disk, one);
  store(*disk, one);
  disk->flush();
  EXPECT_GT(disk->stats().n_failed, 0);
  EXPECT_EQ(restored(*disk, one), 0);
  EXPECT_EQ(log_.size(), 1u);  // said once
  fs::create_directories(folder_);
  store(*disk, one);
  disk->flush();
  EXPECT_EQ(restored(*disk, one), 100);
  EXPECT_ANY_THROW(open({.folder = "/dev/null/cache"}));
}

TEST_F(DiskStoreTest, the_prefix_cache_goes_on_after_a_restart) {
  const auto cache_of = [&](int64_t budget_bytes) {
    return std::make_unique<PrefixCache>(layout_, pool_,
                                         PrefixCacheOptions{.budget_bytes = budget_bytes}, open());
  };
  TestSequence live = sequence(1, 600);
  TestSequence other = live.fork();
  {
    const auto cache = cache_of(1 << 30);
    cache->store(live.tokens(), 0, live.state(), CheckpointKind::kBoundary);
    live.feed(200);
    cache->store(live.tokens(), 0, live.state(), CheckpointKind::kEnd);
    cache->flush();
  }
  const auto cache = cache_of(1 << 30);
  live.add_tokens(1);
  other.add_tokens(30);
  SequenceState state(layout_, pool_);
  PrefixLookup lookup = cache->restore(live.tokens(), 0, state);
  EXPECT_EQ(lookup.n_tokens, 800);
  EXPECT_EQ(lookup.n_from_disk, 800);
  EXPECT_EQ(state.n_tokens(), 800);
  lookup = cache->restore(live.tokens(), 0, state);
  EXPECT_EQ(lookup.n_tokens, 800);
  EXPECT_EQ(lookup.n_from_disk, 0);  // in memory now
  lookup = cache->restore(other.tokens(), 0, state);
  EXPECT_EQ(lookup.n_tokens, 600);
  EXPECT_EQ(lookup.n_from_disk, 600);
  EXPECT_EQ(cache->stats().n_tokens_disk, 1400);
  EXPECT_EQ(cache->stats().n_entries, 2);
  EXPECT_EQ(lookup.miss, PrefixMiss::kDiverged);
}

TEST_F(DiskStoreTest, the_prefix_cache_says_that_a_file_was_refused) {
  TestSequence live = sequence(1, 600);
  {
    PrefixCache cache(layout_, pool_, {}, open());
    cache.store(live.tokens(), 0, live.state(), CheckpointKind::kEnd);
  }
  PrefixCache cache(layout_, pool_, {}, open());
  for (const fs::path& path : files()) {
    std::string bytes = read_file(path);
    bytes[kDiskHeaderBytes] = static_cast<char>(bytes[kDiskHeaderBytes] ^ 1);
    write(path, bytes);
  }
  live.add_tokens(1);
  SequenceState state(layout_, pool_);
  const PrefixLookup lookup = cache.restore(live.tokens(), 0, state);
  EXPECT_EQ(lookup.n_tokens, 0);
  EXPECT_EQ(state.n_tokens(), 0);
  EXPECT_EQ(lookup.miss, PrefixMiss::kDiskRefused);
  EXPECT_EQ(cache.stats().misses[static_cast<size_t>(PrefixMiss::kDiskRefused)], 1);
}

}  // namespace
}  // namespace dsv4
