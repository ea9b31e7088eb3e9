#include "server/response_store.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

namespace dsv4 {
namespace {

// Memory of a value, about: its printed text and the objects that hold it.
size_t bytes_of(const Json& value) {
  size_t n = sizeof(Json);
  if (value.is_string()) {
    n += value.as_string("").size();
  } else if (value.is_array()) {
    for (const Json& item : value.as_array("")) n += bytes_of(item);
  } else if (value.is_object()) {
    for (const Json::Member& member : value.as_object("")) {
      n += sizeof(std::string) + member.key.size() + bytes_of(member.value);
    }
  }
  return n;
}

}  // namespace

std::string ResponseStore::key_of(const std::string& tenant, const std::string& id) {
  return std::to_string(tenant.size()) + ":" + tenant + id;
}

ResponseStore::Entry* ResponseStore::touch(const std::string& key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return &entries_.front();
}

void ResponseStore::drop(Entries::iterator entry) {
  n_bytes_ -= entry->n_bytes;
  index_.erase(entry->key);
  entries_.erase(entry);
}

void ResponseStore::put(const std::string& tenant, const std::string& id,
                        const std::string& previous, Json::Array messages, std::string body) {
  const std::string key = key_of(tenant, id);
  size_t n = sizeof(Entry) + 2 * key.size() + body.size();
  for (const Json& message : messages) n += bytes_of(message);
  if (n > max_bytes_) return;
  const std::lock_guard lock(mutex_);
  if (const auto old = index_.find(key); old != index_.end()) drop(old->second);
  entries_.push_front({key, previous.empty() ? "" : key_of(tenant, previous), std::move(messages),
                       std::move(body), n});
  index_[key] = entries_.begin();
  n_bytes_ += n;
  while (n_bytes_ > max_bytes_) drop(std::prev(entries_.end()));
}

std::optional<Json::Array> ResponseStore::conversation(const std::string& tenant,
                                                       const std::string& id) {
  const std::lock_guard lock(mutex_);
  // The first replies end up as the most recent: a conversation goes from its end.
  std::vector<const Entry*> chain;
  for (std::string key = key_of(tenant, id); !key.empty();) {
    const Entry* entry = touch(key);
    if (entry == nullptr) return std::nullopt;
    chain.push_back(entry);
    key = entry->previous;
    if (chain.size() > entries_.size()) return std::nullopt;  // ids that were put in a circle
  }
  Json::Array messages;
  for (auto entry = chain.rbegin(); entry != chain.rend(); ++entry) {
    messages.insert(messages.end(), (*entry)->messages.begin(), (*entry)->messages.end());
  }
  return messages;
}

std::optional<std::string> ResponseStore::body(const std::string& tenant, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const Entry* entry = touch(key_of(tenant, id));
  if (entry == nullptr) return std::nullopt;
  return entry->body;
}

bool ResponseStore::erase(const std::string& tenant, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = index_.find(key_of(tenant, id));
  if (found == index_.end()) return false;
  drop(found->second);
  return true;
}

size_t ResponseStore::n_bytes() const {
  const std::lock_guard lock(mutex_);
  return n_bytes_;
}

size_t ResponseStore::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace dsv4
