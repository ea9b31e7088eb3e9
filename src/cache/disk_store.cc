#include "cache/disk_store.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_file.h"

#include <algorithm>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSegmentEnding = ".segment";
constexpr std::string_view kCheckpointEnding = ".checkpoint";
constexpr std::string_view kUnfinishedEnding = ".part";  // of OutputFile

bool has_name_of_a_file(const fs::path& path) {
  const std::string stem = path.stem().string();
  const std::string ending = path.extension().string();
  return (ending == kSegmentEnding || ending == kCheckpointEnding) && stem.size() == 32 &&
         stem.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// A renamed file is there after a crash only when its folder has been synced too.
void sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw io_error(folder, "open");
  const bool synced = ::fsync(fd) == 0;
  ::close(fd);
  if (!synced) throw io_error(folder, "sync");
}

void remove_file(const fs::path& path) {
  std::error_code ignored;  // a file that stays is found and judged again at the next start
  fs::remove(path, ignored);
}

}  // namespace

DiskStore::FolderLock::FolderLock(const fs::path& folder) {
  std::error_code error;
  const bool is_new = fs::create_directories(folder, error);
  if (error) {
    throw Error(ErrorCode::kIo, folder.string(), "cannot make the folder: " + error.message());
  }
  if (is_new) fs::permissions(folder, fs::perms::owner_all, error);  // it holds what people wrote
  const fs::path path = folder / "lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) throw io_error(path, "create");
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;  // given back with the process, however it ends
  ::close(fd_);
  throw Error(ErrorCode::kIo, folder.string(),
              "another process keeps its cache here; give each its own folder");
}

DiskStore::FolderLock::~FolderLock() { ::close(fd_); }

DiskStore::DiskStore(const StateLayout& layout, std::shared_ptr<PagePool> pool,
                     const DiskStoreOptions& options)
    : layout_(layout),
      pool_(std::move(pool)),
      options_(options),
      lock_(std::make_unique<FolderLock>(options.folder)) {
  options_.segment_tokens = whole_segment_tokens(layout_, options.segment_tokens);
  scan();
  writer_ = std::jthread([this] { write_loop(); });
}

DiskStore::~DiskStore() {
  const std::lock_guard guard(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

fs::path DiskStore::path_of(const Key& key) const {
  const bool is_segment = key.first == DiskFileKind::kSegment;
  return options_.folder /
         (key.second.hex() + std::string(is_segment ? kSegmentEnding : kCheckpointEnding));
}

void DiskStore::log(const std::string& line) const {
  if (options_.log) options_.log(line);
}

void DiskStore::scan() {
  struct Found {
    fs::file_time_type time;
    File file;
  };
  std::vector<Found> found;
  std::error_code error;
  fs::directory_iterator it(options_.folder, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    fs::path path = it->path();
    if (path.extension() == kUnfinishedEnding && has_name_of_a_file(path.replace_extension())) {
      remove_file(it->path());
      continue;
    }
    if (!has_name_of_a_file(it->path())) continue;
    std::error_code no_time;
    const auto time = fs::last_write_time(it->path(), no_time);
    if (const auto file = scan_file(it->path())) found.push_back({time, *file});
  }
  if (error) {
    throw Error(ErrorCode::kIo, options_.folder.string(),
                "cannot read the folder: " + error.message());
  }
  if (stats_.n_foreign > 0) {
    log(fmt::format("{}: {} files of other models or versions are left alone",
                    options_.folder.string(), stats_.n_foreign));
  }
  std::ranges::stable_sort(found, {}, &Found::time);
  std::vector<File> files;
  for (Found& one : found) {
    one.file.last_use = ++clock_;
    files.push_back(one.file);
  }
  add_linked(std::move(files));
}

// The file if its header is right. Others are counted, and removed where they are damaged.
std::optional<DiskStore::File> DiskStore::scan_file(const fs::path& path) {
  try {
    std::error_code error;
    const auto n_bytes = static_cast<int64_t>(fs::file_size(path, error));
    if (error) throw Error(ErrorCode::kIo, path.string(), error.message());
    std::vector<std::byte> bytes(static_cast<size_t>(std::min(n_bytes, kDiskHeaderBytes)));
    FileReader(path).read(0, bytes);
    const DiskHeader header = decode_disk_header(layout_, bytes, path.string());
    check_disk_length(layout_, header, n_bytes, path.string());
    if (path.filename() != path_of(key_of(header)).filename()) {
      throw Error(ErrorCode::kInvalidInput, path.string(), "the name is not that of the tokens");
    }
    return File{header, n_bytes, 0, 0};
  } catch (const Error& refusal) {
    if (refusal.code() == ErrorCode::kUnsupported) {
      ++stats_.n_foreign;
      return std::nullopt;
    }
    ++stats_.n_refused;
    const bool is_damaged = refusal.code() == ErrorCode::kInvalidInput;
    log(fmt::format("{} the cache: {}", is_damaged ? "removed from" : "ignored by",
                    refusal.what()));
    if (is_damaged) remove_file(path);
  }
  return std::nullopt;
}

// Adds the files whose segments are all there.
void DiskStore::add_linked(std::vector<File> files) {
  std::ranges::stable_sort(files, {}, [](const File& file) {
    return std::pair(file.header.kind,
                     file.header.end);  // what others go on from comes before them
  });
  int64_t n_incomplete = 0;
  for (const File& file : files) {
    if (is_linked(file.header)) {
      add_file(file);
    } else {
      ++n_incomplete;
      remove_file(path_of(key_of(file.header)));
    }
  }
  if (n_incomplete > 0) {
    log(fmt::format("{}: removed {} files whose segments are gone", options_.folder.string(),
                    n_incomplete));
  }
  stats_.n_refused += n_incomplete;
  while (stats_.used_bytes > options_.budget_bytes) {
    const auto oldest = oldest_file({});
    if (!oldest) break;
    forget(*oldest);
    ++stats_.n_evicted;
    remove_file(path_of(*oldest));
  }
}

bool DiskStore::goes_on_from(const DiskHeader& header, const DiskHeader& before) {
  return before.end == header.begin && before.salt == header.salt &&
         before.digest == header.parent_digest;
}

bool DiskStore::is_linked(const DiskHeader& header) const {
  if (header.begin == 0) return true;
  const auto parent = files_.find(parent_key(header));
  if (parent == files_.end()) return false;
  return goes_on_from(header, parent->second.header);
}

const DiskHeader* DiskStore::known(const Key& key) const {
  if (const auto file = files_.find(key); file != files_.end()) return &file->second.header;
  const auto queued = queued_.find(key);
  return queued == queued_.end() ? nullptr : &queued->second;
}

void DiskStore::add_file(const File& file) {
  const DiskHeader& header = file.header;
  if (!files_.emplace(key_of(header), file).second) return;
  stats_.used_bytes += file.n_bytes;
  if (header.begin > 0) ++files_.at(parent_key(header)).n_users;
  if (header.kind == DiskFileKind::kCheckpoint) {
    checkpoints_.add(header.salt, {header.end, header.hash});
  }
}

void DiskStore::forget(const Key& key) {
  const auto place = files_.find(key);
  if (place == files_.end()) return;
  const DiskHeader header = place->second.header;
  stats_.used_bytes -= place->second.n_bytes;
  files_.erase(place);
  if (header.begin > 0) {
    if (const auto parent = files_.find(parent_key(header)); parent != files_.end()) {
      --parent->second.n_users;
    }
  }
  if (header.kind == DiskFileKind::kCheckpoint) {
    checkpoints_.remove(header.salt, {header.end, header.hash});
  }
}

// The least recently used file that no other needs.
std::optional<DiskStore::Key> DiskStore::oldest_file(const Key& except) const {
  const std::pair<const Key, File>* oldest = nullptr;
  for (const auto& item : files_) {
    if (item.second.n_users > 0 || item.first == except) continue;
    if (oldest == nullptr || item.second.last_use < oldest->second.last_use) oldest = &item;
  }
  return oldest == nullptr ? std::nullopt : std::optional(oldest->first);
}

std::optional<PrefixSet::Prefix> DiskStore::find(std::span<const int32_t> tokens, uint64_t salt,
                                                 int64_t more_than) const {
  const auto limit = static_cast<int64_t>(tokens.size()) - 1;
  const std::lock_guard guard(mutex_);
  const auto written = checkpoints_.longest(layout_, salt, tokens, more_than, limit);
  const int64_t n = written ? written->n_tokens : more_than;
  const auto queued = queued_checkpoints_.longest(layout_, salt, tokens, n, limit);
  return queued ? queued : written;
}

// What is queued is not found any more, and not written.
void DiskStore::withdraw(const Key& key) {
  const auto queued = queued_.find(key);
  if (queued == queued_.end()) return;
  job_of(key).withdrawn = true;
  remove_queued(queued->second);
}

DiskStore::Job& DiskStore::job_of(const Key& key) {
  return *std::ranges::find_if(
      queue_, [&](const Job& job) { return !job.withdrawn && key_of(job.header) == key; });
}

void DiskStore::remove_queued(DiskHeader header) {
  queued_.erase(key_of(header));
  if (header.kind == DiskFileKind::kCheckpoint) {
    queued_checkpoints_.remove(header.salt, {header.end, header.hash});
  }
}

// Forgets and removes a file that is not what it should be, and those that go on from it, in the
// queue too.
void DiskStore::refuse(const Key& key, const std::string& reason) {
  std::vector<Key> keys = {key};
  {
    const std::lock_guard guard(mutex_);
    for (size_t i = 0; i < keys.size(); ++i) {
      for (const auto& [other, file] : files_) {
        if (file.header.begin > 0 && parent_key(file.header) == keys[i]) keys.push_back(other);
      }
      for (const auto& [other, header] : queued_) {
        if (files_.contains(other)) continue;  // written just now
        if (header.begin > 0 && parent_key(header) == keys[i]) keys.push_back(other);
      }
    }
    for (const Key& each : keys) {
      forget(each);
      withdraw(each);
    }
    stats_.n_refused += static_cast<int64_t>(keys.size());
  }
  for (const Key& each : keys) remove_file(path_of(each));
  log(fmt::format("removed from the cache, with {} files that need it: {}", keys.size() - 1,
                  reason));
}

// What is queued is read from there.
bool DiskStore::read_queued(const Key& key) {
  const std::lock_guard guard(mutex_);
  if (!queued_.contains(key)) return false;
  buffer_ = job_of(key).bytes;
  return true;
}

void DiskStore::read(const File& expected, std::span<const int32_t> tokens) {
  const Key key = key_of(expected.header);
  const fs::path path = path_of(key);
  if (!read_queued(key)) {
    const FileReader reader(path);
    buffer_.resize(static_cast<size_t>(expected.n_bytes));
    reader.read(0, buffer_);
  }
  if (check_disk_file(layout_, buffer_, tokens, path.string()) != expected.header) {
    throw Error(ErrorCode::kInvalidInput, path.string(), "the file has been exchanged");
  }
}

DiskStore::File DiskStore::parent_of(const DiskHeader& header) const {
  const std::lock_guard guard(mutex_);
  const DiskHeader* before = known(parent_key(header));
  if (before == nullptr || !goes_on_from(header, *before)) {
    throw Error(ErrorCode::kInvalidInput, path_of(key_of(header)).string(),
                "the segment before it is gone or another one");
  }
  return {*before, disk_file_bytes(layout_, *before), 0, 0};
}

std::optional<DiskStore::Loaded> DiskStore::load(const PrefixSet::Prefix& prefix,
                                                 std::span<const int32_t> tokens, uint64_t salt) {
  Key key = {DiskFileKind::kCheckpoint, prefix.hash};
  File file;
  {
    const std::lock_guard guard(mutex_);
    const DiskHeader* there = known(key);
    if (there == nullptr) return std::nullopt;
    file = {*there, disk_file_bytes(layout_, *there), 0, 0};
    if (const auto place = files_.find(key); place != files_.end()) {
      place->second.last_use = ++clock_;
    }
  }
  std::error_code ignored;  // then it is only evicted earlier after the next start
  fs::last_write_time(path_of(key), fs::file_time_type::clock::now(), ignored);
  const DiskHeader whole = file.header;
  Loaded loaded{{layout_, pool_, whole.end, whole.oldest}, whole.checkpoint_kind};
  try {
    if (whole.salt != salt) throw Error(ErrorCode::kInvalidInput, "", "a file of another salt");
    while (true) {
      read(file, tokens);
      read_disk_rows(file.header, buffer_, loaded.checkpoint);
      if (file.header.begin == 0) break;
      file = parent_of(file.header);
      key = key_of(file.header);
    }
  } catch (const Error& error) {
    refuse(key, error.what());
    return std::nullopt;
  }
  const std::lock_guard guard(mutex_);
  ++stats_.n_loaded;
  return loaded;
}

void DiskStore::store(std::span<const int32_t> tokens, uint64_t salt,
                      const StateCheckpoint& checkpoint, CheckpointKind kind, What what) {
  const int64_t n = checkpoint.n_tokens();
  const int64_t step = options_.segment_tokens;
  std::vector<int64_t> lengths;
  for (int64_t end = step; end <= n; end += step) lengths.push_back(end);
  lengths.push_back(n);
  const std::vector<TokenHash> hashes = hash_prefixes(layout_, salt, tokens, lengths);
  DiskHeader header;
  header.fingerprint = layout_.fingerprint;
  header.storage = static_cast<uint32_t>(layout_.storage);
  header.salt = salt;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const bool is_whole = i + 1 == lengths.size();
    if (is_whole && what == What::kSegments) return;
    header.kind = is_whole ? DiskFileKind::kCheckpoint : DiskFileKind::kSegment;
    header.checkpoint_kind = is_whole ? kind : CheckpointKind::kStride;
    header.end = lengths[i];
    header.oldest = is_whole ? checkpoint.oldest() : header.end;
    header.hash = hashes[i];
    if (!enqueue(header, tokens, checkpoint)) return;
    header.begin = header.end;
    header.parent = header.hash;
    header.parent_digest = header.digest;
  }
}

// Sees to it that a file is there or queued; its digest is then in the header. False where it
// cannot be.
bool DiskStore::enqueue(DiskHeader& header, std::span<const int32_t> tokens,
                        const StateCheckpoint& checkpoint) {
  const int64_t n_bytes = disk_file_bytes(layout_, header);
  {
    const std::lock_guard guard(mutex_);
    if (const DiskHeader* there = known(key_of(header))) {
      header.digest = there->digest;
      return true;
    }
    if (!queue_.empty() && stats_.queued_bytes + n_bytes > options_.queue_bytes) {
      ++stats_.n_dropped;
      return false;
    }
  }
  std::vector<std::byte> bytes = encode_disk_file(layout_, header, tokens, checkpoint);
  const std::lock_guard guard(mutex_);
  queue_.push_back({header, std::move(bytes)});
  queued_.emplace(key_of(header), header);
  if (header.kind == DiskFileKind::kCheckpoint) {
    queued_checkpoints_.add(header.salt, {header.end, header.hash});
  }
  stats_.queued_bytes += n_bytes;
  changed_.notify_all();
  return true;
}

void DiskStore::write_loop() {
  std::unique_lock guard(mutex_);
  while (true) {
    changed_.wait(guard, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const Job& job = queue_.front();  // others only push to the back
    if (!job.withdrawn) {
      guard.unlock();
      write(job);
      guard.lock();
    }
    stats_.queued_bytes -= static_cast<int64_t>(job.bytes.size());
    if (!job.withdrawn) remove_queued(job.header);
    queue_.pop_front();
    changed_.notify_all();
  }
}

void DiskStore::write(const Job& job) {
  const auto n_bytes = static_cast<int64_t>(job.bytes.size());
  if (!make_room(job.header, n_bytes)) return;
  try {
    OutputFile file(path_of(key_of(job.header)));
    file.write(job.bytes);
    file.finish();
    sync_folder(options_.folder);
  } catch (const Error& error) {
    const bool is_news = !std::exchange(failing_, true);
    if (is_news) log(fmt::format("the cache cannot be written: {}", error.what()));
    const std::lock_guard guard(mutex_);
    ++stats_.n_failed;
    return;
  }
  failing_ = false;
  const std::lock_guard guard(mutex_);
  if (job.withdrawn) {
    remove_file(path_of(key_of(job.header)));
    return;
  }
  add_file({job.header, n_bytes, 0, ++clock_});
  ++stats_.n_written;
  stats_.written_bytes += n_bytes;
}

// Evicts until the file fits. False where it cannot, or where what it goes on from is not there.
bool DiskStore::make_room(const DiskHeader& header, int64_t n_bytes) {
  std::vector<Key> evicted;
  std::unique_lock guard(mutex_);
  bool fits = n_bytes <= options_.budget_bytes && is_linked(header);
  while (fits && stats_.used_bytes + n_bytes > options_.budget_bytes) {
    const auto oldest = oldest_file(parent_key(header));
    fits = oldest.has_value();
    if (!fits) break;
    forget(*oldest);
    ++stats_.n_evicted;
    evicted.push_back(*oldest);
  }
  if (!fits) ++stats_.n_dropped;
  guard.unlock();
  for (const Key& key : evicted) remove_file(path_of(key));
  return fits;
}

void DiskStore::flush() {
  std::unique_lock guard(mutex_);
  changed_.wait(guard, [&] { return queue_.empty(); });
}

DiskStoreStats DiskStore::stats() const {
  const std::lock_guard guard(mutex_);
  return stats_;
}

}  // namespace dsv4
