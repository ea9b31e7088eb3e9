#include "server/replay_store.h"

#include "base/error.h"
#include "server/replay_file.h"

#include <xxhash.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <utility>

namespace dsv4 {
namespace {

// A text of which equal values give equal texts: members sorted, numbers as doubles, because
// clients in other languages read and print them as such. Different values give different texts.
void append_canonical(std::string& out, const Json& value) {
  switch (value.kind()) {
    case Json::Kind::kInteger:
    case Json::Kind::kDouble: {
      const double number = value.as_double("");
      out += Json(number == 0 ? 0.0 : number).print();
      break;
    }
    case Json::Kind::kArray:
      out += '[';
      for (const Json& item : value.as_array("")) {
        append_canonical(out, item);
        out += ',';
      }
      out += ']';
      break;
    case Json::Kind::kObject: {
      std::vector<const Json::Member*> members;
      for (const Json::Member& member : value.as_object("")) members.push_back(&member);
      std::ranges::sort(members, {}, [](const Json::Member* member) { return member->key; });
      out += '{';
      for (const Json::Member* member : members) {
        append_json_quoted(out, member->key);
        out += ':';
        append_canonical(out, member->value);
        out += ',';
      }
      out += '}';
      break;
    }
    default:
      out += value.print();
  }
}

// Text that is no JSON stands for itself.
void append_arguments(std::string& out, const Json& arguments) {
  if (!arguments.is_string()) {
    append_canonical(out, arguments);
    return;
  }
  try {
    append_canonical(out, Json::parse(arguments.as_string(""), ""));
  } catch (const Error&) {
    append_json_quoted(out, arguments.as_string(""));
  }
}

enum class CallIds { kWith, kWithout };

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const size_t begin = std::min(text.find_first_not_of(kSpaces), text.size());
  return text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

// Role, content and calls; not the reasoning, which some clients drop, nor white space around the
// content, which some trim.
std::string text_of(const Json& message, CallIds ids) {
  std::string out;
  if (const Json* role = message.find("role")) append_canonical(out, *role);
  const Json* content = message.find("content");
  if (content != nullptr && content->is_string()) {
    append_json_quoted(out, trimmed(content->as_string("")));
  } else if (content != nullptr) {
    append_canonical(out, *content);
  }
  out += ';';
  const Json* calls = message.find("tool_calls");
  if (calls == nullptr || !calls->is_array()) return out;
  for (const Json& call : calls->as_array("")) {
    const Json* id = call.find("id");
    if (ids == CallIds::kWith && id != nullptr) append_canonical(out, *id);
    const Json* function = call.find("function");
    const Json* name = function != nullptr ? function->find("name") : nullptr;
    const Json* arguments = function != nullptr ? function->find("arguments") : nullptr;
    out += '(';
    if (name != nullptr) append_canonical(out, *name);
    if (arguments != nullptr) append_arguments(out, *arguments);
    out += ')';
  }
  return out;
}

ReplayKey hash(const ReplayKey& before, std::string_view text) {
  std::string all(reinterpret_cast<const char*>(&before), sizeof(before));
  all += text;
  const XXH128_hash_t hashed = XXH3_128bits_withSeed(all.data(), all.size(), before.high);
  return {hashed.low64, hashed.high64};
}

}  // namespace

std::vector<ReplayKey> ReplayStore::Conversation::keys_of(const Json& message) const {
  std::vector<ReplayKey> keys;
  if (message.find("tool_calls") != nullptr) {
    keys.push_back(hash(start_, "c" + text_of(message, CallIds::kWith)));
  }
  keys.push_back(hash(chain_, "p" + text_of(message, CallIds::kWithout)));
  return keys;
}

void ReplayStore::Conversation::add(const Json& message) {
  chain_ = hash(chain_, "m" + text_of(message, CallIds::kWithout));
}

void ReplayStore::drop(Entries::iterator entry) {
  n_bytes_ -= entry->n_bytes;
  for (const ReplayKey& key : entry->keys) {
    // A later reply may have taken over a key.
    const auto found = index_.find(key);
    if (found != index_.end() && found->second == entry) index_.erase(found);
  }
  entries_.erase(entry);
}

ReplayStore::ReplayStore(size_t max_bytes, uint64_t seed) : max_bytes_(max_bytes), seed_(seed) {}

ReplayStore::ReplayStore(size_t max_bytes, std::unique_ptr<ReplayFile> file)
    : max_bytes_(max_bytes), seed_(file->seed()), file_(std::move(file)) {
  for (ReplayRecord& record : file_->take_records()) insert(record.keys, std::move(record.replay));
}

ReplayStore::~ReplayStore() { flush(); }

bool ReplayStore::insert(const std::vector<ReplayKey>& keys, Replay replay) {
  if (keys.empty()) return false;
  constexpr size_t kIndexBytes = 96;  // of a key in index_, about
  const size_t n = sizeof(Entry) + keys.size() * kIndexBytes + replay.reasoning.size() +
                   (replay.reasoning_ids.size() + replay.reply_ids.size()) * sizeof(int32_t);
  if (n > max_bytes_) return false;
  const auto old = index_.find(keys.front());
  if (old != index_.end()) drop(old->second);
  entries_.push_front({keys, std::move(replay), n});
  n_bytes_ += n;
  for (const ReplayKey& key : keys) index_[key] = entries_.begin();
  while (n_bytes_ > max_bytes_) drop(std::prev(entries_.end()));
  return true;
}

void ReplayStore::remember(const std::vector<ReplayKey>& keys, Replay replay) {
  const std::lock_guard lock(mutex_);
  if (!insert(keys, std::move(replay)) || file_ == nullptr) return;
  unwritten_.push_back({entries_.front().keys, entries_.front().replay});
}

void ReplayStore::flush() {
  if (file_ == nullptr) return;
  while (has_unwritten()) {
    const std::unique_lock file_lock(file_mutex_, std::try_to_lock);
    if (!file_lock) return;  // who has it looks again when it has let go of it
    try {
      write_unwritten();
    } catch (const std::exception& error) {  // no memory
      file_->give_up(error.what());
    }
  }
}

void ReplayStore::write_unwritten() {
  std::vector<ReplayRecord> records;
  {
    const std::lock_guard lock(mutex_);
    records.swap(unwritten_);
  }
  for (const ReplayRecord& record : records) file_->append(record);
  if (file_->n_bytes() > 2 * max_bytes_) shorten_file();
}

bool ReplayStore::has_unwritten() const {
  const std::lock_guard lock(mutex_);
  return !unwritten_.empty();
}

// Entries that are not in memory any more go from the file too.
void ReplayStore::shorten_file() {
  std::vector<ReplayRecord> records;
  {
    const std::lock_guard lock(mutex_);
    for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
      records.push_back({entry->keys, entry->replay});
    }
    unwritten_.clear();  // part of these
  }
  file_->rewrite(records);
}

std::optional<Replay> ReplayStore::find(const std::vector<ReplayKey>& keys) {
  const std::lock_guard lock(mutex_);
  for (const ReplayKey& key : keys) {
    const auto found = index_.find(key);
    if (found == index_.end()) continue;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->replay;
  }
  return std::nullopt;
}

size_t ReplayStore::n_bytes() const {
  const std::lock_guard lock(mutex_);
  return n_bytes_;
}

size_t ReplayStore::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace dsv4
