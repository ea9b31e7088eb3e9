// The disk tier of the prefix cache: one folder of files that are complete under their name or not
// there (docs/formats.md). A checkpoint's file has its rings, its tokens and the entries behind the
// last full segment; segments of entries are shared by all checkpoints that begin with them.
//
// Files are written by a thread of its own and read by the caller's. What is damaged is dropped
// with a line in the log, never served; a folder that cannot be written costs speed only.
#pragma once

#include "cache/checkpoint.h"
#include "cache/disk_format.h"
#include "cache/layout.h"
#include "cache/page_pool.h"
#include "cache/prefix_set.h"
#include "cache/token_hash.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace dsv4 {

struct DiskStoreOptions {
  std::filesystem::path folder = {};                 // made if it is not there
  int64_t budget_bytes = int64_t{16} << 30;          // of files
  int64_t queue_bytes = int64_t{512} << 20;          // copied, but not written yet
  int64_t segment_tokens = 2048;                     // rounded up to whole entries of all layers
  std::function<void(const std::string&)> log = {};  // one line; called by any thread
};

struct DiskStoreStats {
  int64_t used_bytes = 0;
  int64_t queued_bytes = 0;
  int64_t n_written = 0;  // files
  int64_t written_bytes = 0;
  int64_t n_loaded = 0;   // checkpoints
  int64_t n_evicted = 0;  // files, for the budget
  int64_t n_dropped = 0;  // not written: the queue was full, or no room could be made
  int64_t n_failed = 0;   // writes that the system refused
  int64_t n_refused = 0;  // damaged or incomplete files, which are removed
  int64_t n_foreign = 0;  // files of other models or versions, which are left alone
};

// Used by one thread but for stats(), which any thread may call.
class DiskStore {
 public:
  // Reads the headers of the files that are there and removes what was not finished. Throws
  // Error(kIo) where the folder cannot be made or read, or where another process uses it.
  DiskStore(const StateLayout& layout, std::shared_ptr<PagePool> pool,
            const DiskStoreOptions& options);
  ~DiskStore();  // writes what is queued

  // The longest prefix with a file, of more than `more_than` and less than all `tokens`.
  std::optional<PrefixSet::Prefix> find(std::span<const int32_t> tokens, uint64_t salt,
                                        int64_t more_than) const;

  struct Loaded {
    StateCheckpoint checkpoint;
    CheckpointKind kind = CheckpointKind::kStride;
  };
  // Reads what find() has found. Nothing where a file is damaged, or is not that of these tokens;
  // it is forgotten then. Throws as PagePool::acquire does.
  std::optional<Loaded> load(const PrefixSet::Prefix& prefix, std::span<const int32_t> tokens,
                             uint64_t salt);

  // Queues what is not there yet: full segments of the checkpoint's tokens and, where it is wanted
  // whole, the checkpoint itself. Never waits for the disk.
  enum class What { kSegments, kWhole };
  void store(std::span<const int32_t> tokens, uint64_t salt, const StateCheckpoint& checkpoint,
             CheckpointKind kind, What what);

  // Waits until the queue is empty.
  void flush();

  DiskStoreStats stats() const;

 private:
  using Key = std::pair<DiskFileKind, TokenHash>;
  struct File {
    DiskHeader header;
    int64_t n_bytes = 0;
    int64_t n_users = 0;    // of a segment: files that go on from it
    uint64_t last_use = 0;  // only its order means something
  };
  struct Job {
    DiskHeader header;
    std::vector<std::byte> bytes;
    bool withdrawn = false;  // found to go on from a damaged file
  };
  // The right of one process to write to a folder.
  class FolderLock {
   public:
    explicit FolderLock(const std::filesystem::path& folder);
    ~FolderLock();
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

   private:
    int fd_;
  };

  static Key key_of(const DiskHeader& header) { return {header.kind, header.hash}; }
  static Key parent_key(const DiskHeader& header) {
    return {DiskFileKind::kSegment, header.parent};
  }
  std::filesystem::path path_of(const Key& key) const;
  void log(const std::string& line) const;

  // At the start, before there is a second thread.
  void scan();
  std::optional<File> scan_file(const std::filesystem::path& path);
  void add_linked(std::vector<File> files);
  static bool goes_on_from(const DiskHeader& header, const DiskHeader& before);
  bool is_linked(const DiskHeader& header) const;

  // The file that is there or queued, with mutex_ held.
  const DiskHeader* known(const Key& key) const;
  void add_file(const File& file);
  void forget(const Key& key);
  void withdraw(const Key& key);
  Job& job_of(const Key& key);  // of a key in queued_
  void remove_queued(DiskHeader header);
  std::optional<Key> oldest_file(const Key& except) const;

  void refuse(const Key& key, const std::string& reason);
  // Reads a file into buffer_ and checks that it is what is expected.
  bool read_queued(const Key& key);
  void read(const File& expected, std::span<const int32_t> tokens);
  File parent_of(const DiskHeader& header) const;
  bool enqueue(DiskHeader& header, std::span<const int32_t> tokens,
               const StateCheckpoint& checkpoint);
  void write_loop();
  void write(const Job& job);
  bool make_room(const DiskHeader& header, int64_t n_bytes);

  StateLayout layout_;
  std::shared_ptr<PagePool> pool_;
  DiskStoreOptions options_;
  std::unique_ptr<FolderLock> lock_;
  std::vector<std::byte> buffer_;  // the file that was read last

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, File> files_;
  PrefixSet checkpoints_;
  std::deque<Job> queue_;             // the first is being written
  std::map<Key, DiskHeader> queued_;  // of queue_, without what is withdrawn
  PrefixSet queued_checkpoints_;      // likewise
  uint64_t clock_ = 0;
  bool stopping_ = false;
  bool failing_ = false;  // the last write was refused: logged once
  DiskStoreStats stats_;
  std::jthread writer_;  // last: it uses all of the others
};

}  // namespace dsv4
