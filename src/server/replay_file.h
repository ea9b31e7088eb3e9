// The replies of a ReplayStore in a file, so that agents keep their prefixes over a restart.
// Records are appended as they come; a damaged one ends the reading, and what is before it counts.
// docs/formats.md has the layout.
#pragma once

#include "server/replay_store.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {

// A record as the file has it.
struct ReplayRecord {
  std::vector<ReplayKey> keys;
  Replay replay;
};

// What a file held.
struct ReplayFileContent {
  uint64_t seed = 0;  // of the keys
  std::vector<ReplayRecord> records = {};
  size_t n_read_bytes = 0;   // up to the end of the last whole record
  std::string problem = {};  // why the reading ended before the end of the file
};

// The start of a file, and a record as it follows there.
std::string encode_replay_start(uint64_t model, uint64_t seed);
std::string encode_replay_record(const ReplayRecord& record);

// Nothing (seed 0) for bytes that are no such file, or one of another model.
ReplayFileContent parse_replay_file(std::span<const std::byte> bytes, uint64_t model);

// Used by one thread at a time.
class ReplayFile {
 public:
  using Log = std::function<void(const std::string&)>;

  // Reads what is there, and begins a new file with `seed` where that is nothing of `model`.
  // Throws Error(kIo) for a folder that cannot be written.
  ReplayFile(std::filesystem::path path, uint64_t model, uint64_t seed, Log log);
  ~ReplayFile();
  ReplayFile(const ReplayFile&) = delete;
  ReplayFile& operator=(const ReplayFile&) = delete;

  uint64_t seed() const { return seed_; }
  // What was there, once.
  std::vector<ReplayRecord> take_records() { return std::move(records_); }

  // A write that fails is logged, and ends the writing.
  void append(const ReplayRecord& record);
  size_t n_bytes() const { return n_bytes_; }  // 0 once the writing has ended
  // Puts a file with these alone in its place. That it fails is logged, and ends the writing.
  void rewrite(const std::vector<ReplayRecord>& records);
  // Ends the writing, and logs why.
  void give_up(const std::string& reason);

 private:
  void replace(const std::vector<ReplayRecord>& records);
  void open_at_end();
  void write(const std::string& bytes);

  std::filesystem::path path_;
  uint64_t model_;
  uint64_t seed_;
  Log log_;
  std::vector<ReplayRecord> records_;
  int fd_ = -1;
  size_t n_bytes_ = 0;
};

}  // namespace dsv4
