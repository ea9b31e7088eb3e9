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
#include "cache/prefix_tree.h"
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
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace dsv4 {

struct DiskStoreOptions {
  std::filesystem::path folder;                      // made if it is not there
  int64_t budget_bytes = int64_t{16} << 30;          // of files
  int64_t queue_bytes = int64_t{512} << 20;          // copied, but not written yet
  int64_t segment_tokens = 2048;                     // rounded up to whole entries of all layers
  std::function<void(const std::string&)> log = {};  // one line; called by any thread
};

struct DiskStoreStats {
  int64_t n_checkpoints = 0;
  int64_t n_segments = 0;
  int64_t used_bytes = 0;
  int64_t queued_bytes = 0;
  int64_t n_written = 0;  // files
  int64_t written_bytes = 0;
  int64_t n_loaded = 0;  // checkpoints
  int64_t loaded_bytes = 0;
  int64_t n_evicted = 0;  // files, for the budget
  int64_t n_dropped = 0;  // not written: the queue was full
  int64_t n_failed = 0;   // writes that the system refused
  int64_t n_refused = 0;  // damaged or incomplete files, which are removed
  int64_t n_foreign = 0;  // files of other models or versions, which are left alone
};

// Used by one thread but for stats(), which any thread may call.
class DiskStore {
 public:
  // A file that may hold a prefix.
  struct Candidate {
    TokenHash hash;
    int64_t n_tokens = 0;
    CheckpointKind kind = CheckpointKind::kStride;
  };

  // Reads the headers of the files that are there and removes what was not finished. Throws
  // Error(kIo) where the folder cannot be made or read, or where another process uses it.
  DiskStore(const StateLayout& layout, std::shared_ptr<PagePool> pool,
            const DiskStoreOptions& options);
  ~DiskStore();  // writes what is queued

  // The longest prefix of `tokens` of more than `n_at_least` and at most tokens.size() - 1 tokens.
  std::optional<Candidate> find(std::span<const int32_t> tokens, uint64_t salt,
                                int64_t n_at_least) const;

  // Reads it. Nothing where a file is damaged, or is not that of these tokens; it is forgotten
  // then. Throws as PagePool::acquire does.
  std::optional<Checkpoint> load(const Candidate& candidate, std::span<const int32_t> tokens,
                                 uint64_t salt);

  // Queues what is not there yet: full segments of the checkpoint's tokens, and with `whole` the
  // checkpoint itself. Never waits for the disk.
  void store(std::span<const int32_t> tokens, uint64_t salt, const Checkpoint& checkpoint,
             CheckpointKind kind, bool whole);

  // Waits until the queue is empty.
  void flush();

  DiskStoreStats stats() const;

 private:
  struct File {
    DiskHeader header;
    int64_t n_bytes = 0;
    int64_t n_users = 0;    // of a segment: files that begin with it
    uint64_t last_use = 0;  // order; of a checkpoint
  };
  using Key = std::pair<DiskFileKind, TokenHash>;
  struct Job {
    DiskHeader header;
    std::vector<std::byte> bytes;
  };

  std::filesystem::path path_of(const Key& key) const;
  void log(const std::string& line) const;

  // Start.
  void lock_folder();
  void scan();
  void scan_file(const std::filesystem::path& path, std::vector<File>& found);
  void link_files(std::vector<File> found);

  // All of these with mutex_ held.
  void add_file(const File& file);
  void forget(const Key& key);
  bool is_known(const Key& key) const;
  bool evict_one(std::vector<std::filesystem::path>& removed);

  bool enqueue(const DiskHeader& header, std::vector<std::byte> bytes);
  void write_loop();
  void write(const Job& job);
  void make_room(int64_t n_bytes);

  StateLayout layout_;
  std::shared_ptr<PagePool> pool_;
  DiskStoreOptions options_;
  int lock_fd_ = -1;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, File> files_;
  // Checkpoints by salt and length.
  std::map<uint64_t, std::map<int64_t, std::set<TokenHash>>> lengths_;
  std::deque<Job> queue_;  // the first is being written
  std::set<Key> queued_;
  uint64_t clock_ = 0;
  bool stopping_ = false;
  bool failing_ = false;  // the last write was refused: logged once
  DiskStoreStats stats_;
  std::jthread writer_;  // last: it uses all of the others
};

}  // namespace dsv4
