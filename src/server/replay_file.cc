#include "server/replay_file.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

constexpr char kMagic[8] = {'D', 'S', 'V', '4', 'R', 'P', 'L', '\0'};
constexpr uint32_t kVersion = 1;
constexpr size_t kMaxFileBytes = size_t{1} << 30;
constexpr uint32_t kMaxRecordBytes = uint32_t{64} << 20;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t reserved;
  uint64_t model;
  uint64_t seed;
};
static_assert(sizeof(Header) == 32);

// In front of the bytes of a record.
struct RecordHeader {
  uint32_t n_bytes;
  uint32_t reserved;
  uint64_t checksum;  // XXH3 of these bytes
};
static_assert(sizeof(RecordHeader) == 16);

template <typename T>
void append(std::string& out, const T* values, size_t n) {
  static_assert(std::is_trivially_copyable_v<T>);
  out.append(reinterpret_cast<const char*>(values), n * sizeof(T));
}

template <typename Values>
void append_list(std::string& out, const Values& values) {
  const auto n = static_cast<uint32_t>(values.size());
  append(out, &n, 1);
  append(out, values.data(), values.size());
}

// Takes values from the front of bytes; ok() is false once they did not suffice.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  T value() {
    T result{};
    take(&result, sizeof(T));
    return result;
  }
  template <typename Values>
  Values list() {
    const size_t n = value<uint32_t>();
    if (n > bytes_.size() / sizeof(typename Values::value_type)) ok_ = false;
    Values values;
    if (!ok_) return values;
    values.resize(n);
    take(values.data(), n * sizeof(typename Values::value_type));
    return values;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return bytes_.empty(); }

 private:
  void take(void* out, size_t n) {
    if (n > bytes_.size()) ok_ = false;
    if (!ok_ || n == 0) return;
    std::memcpy(out, bytes_.data(), n);
    bytes_ = bytes_.subspan(n);
  }

  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

std::optional<ReplayRecord> parse_record(std::span<const std::byte> body) {
  Reader reader(body);
  ReplayRecord record;
  record.keys = reader.list<std::vector<ReplayKey>>();
  record.replay.reasoning_ids = reader.list<std::vector<int32_t>>();
  record.replay.reply_ids = reader.list<std::vector<int32_t>>();
  record.replay.reasoning = reader.list<std::string>();
  if (!reader.ok() || !reader.at_end()) return std::nullopt;
  return record;
}

}  // namespace

std::string encode_replay_start(uint64_t model, uint64_t seed) {
  Header header{{}, kVersion, 0, model, seed};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::string bytes;
  append(bytes, &header, 1);
  return bytes;
}

std::string encode_replay_record(const ReplayRecord& record) {
  std::string body;
  append_list(body, record.keys);
  append_list(body, record.replay.reasoning_ids);
  append_list(body, record.replay.reply_ids);
  append_list(body, record.replay.reasoning);
  const RecordHeader header{static_cast<uint32_t>(body.size()), 0,
                            XXH3_64bits(body.data(), body.size())};
  std::string bytes;
  append(bytes, &header, 1);
  append(bytes, body.data(), body.size());
  return bytes;
}

ReplayFileContent parse_replay_file(std::span<const std::byte> bytes, uint64_t model) {
  ReplayFileContent content;
  Reader start(bytes);
  const auto header = start.value<Header>();
  if (!start.ok() || std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 ||
      header.version != kVersion || header.reserved != 0 || header.model != model) {
    content.problem = "another kind, version or model";
    return content;
  }
  content.seed = header.seed;
  content.n_read_bytes = sizeof(Header);
  while (content.n_read_bytes < bytes.size()) {
    const auto rest = bytes.subspan(content.n_read_bytes);
    Reader reader(rest);
    const auto record = reader.value<RecordHeader>();
    const bool fits = reader.ok() && record.reserved == 0 && record.n_bytes <= kMaxRecordBytes &&
                      record.n_bytes <= rest.size() - sizeof(RecordHeader);
    std::optional<ReplayRecord> parsed;
    if (fits) {
      const auto body = rest.subspan(sizeof(RecordHeader), record.n_bytes);
      if (XXH3_64bits(body.data(), body.size()) == record.checksum) parsed = parse_record(body);
    }
    if (!parsed) {
      content.problem = fmt::format("byte {}: a damaged record", content.n_read_bytes);
      return content;
    }
    content.records.push_back(std::move(*parsed));
    content.n_read_bytes += sizeof(RecordHeader) + record.n_bytes;
  }
  return content;
}

ReplayFile::ReplayFile(std::filesystem::path path, uint64_t model, uint64_t seed, Log log)
    : path_(std::move(path)), model_(model), seed_(seed), log_(std::move(log)) {
  ReplayFileContent content;
  if (std::filesystem::exists(path_)) {
    const std::string text = read_file(path_, kMaxFileBytes);
    content = parse_replay_file(std::as_bytes(std::span(text)), model);
    if (!content.problem.empty()) {
      log_(fmt::format("{}: {}; {} replies before it are used", path_.string(), content.problem,
                       content.records.size()));
    }
  }
  if (content.n_read_bytes > 0) seed_ = content.seed;
  records_ = std::move(content.records);
  if (content.n_read_bytes == 0 || !content.problem.empty()) {
    replace(records_);
  } else {
    open_at_end();
  }
}

ReplayFile::~ReplayFile() {
  if (fd_ >= 0) ::close(fd_);
}

void ReplayFile::open_at_end() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd_ < 0) throw Error(ErrorCode::kIo, path_.string(), std::strerror(errno));
  std::error_code error;
  n_bytes_ = std::filesystem::file_size(path_, error);
  if (error) throw Error(ErrorCode::kIo, path_.string(), error.message());
}

void ReplayFile::replace(const std::vector<ReplayRecord>& records) {
  OutputFile file(path_);
  const auto put = [&](const std::string& bytes) { file.write(std::as_bytes(std::span(bytes))); };
  put(encode_replay_start(model_, seed_));
  for (const ReplayRecord& record : records) put(encode_replay_record(record));
  file.finish();
  open_at_end();
}

void ReplayFile::rewrite(const std::vector<ReplayRecord>& records) {
  if (fd_ < 0) return;
  try {
    replace(records);
  } catch (const Error& error) {
    give_up(error.what());
  }
}

void ReplayFile::give_up(const std::string& reason) {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  n_bytes_ = 0;
  log_(fmt::format("{}; replies are kept in memory only from now on", reason));
}

void ReplayFile::write(const std::string& bytes) {
  // One write: a record is there whole or, after a crash, damaged at the end of the file.
  const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
  if (n == std::ssize(bytes)) {
    n_bytes_ += bytes.size();
    return;
  }
  const std::string reason =
      n < 0 ? std::strerror(errno) : fmt::format("room for {} of {} bytes", n, bytes.size());
  give_up(fmt::format("{}: {}", path_.string(), reason));
}

void ReplayFile::append(const ReplayRecord& record) {
  if (fd_ < 0) return;
  const std::string bytes = encode_replay_record(record);
  // A longer one would end the reading of the file.
  if (bytes.size() <= kMaxRecordBytes) write(bytes);
}

}  // namespace dsv4
