// Replies of the Responses API that later requests continue by their id: in memory, bounded, the
// least recently used go first. A reply keeps only what it added to the one before it.
#pragma once

#include "text/json.h"

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace dsv4 {

// All methods may be called from several threads.
class ResponseStore {
 public:
  explicit ResponseStore(size_t max_bytes) : max_bytes_(max_bytes) {}

  // `messages`: what the request and its reply added to the conversation of `previous` (empty: to
  // nothing). `body`: the response object. A reply larger than the store is not kept.
  void put(const std::string& tenant, const std::string& id, const std::string& previous,
           Json::Array messages, std::string body);

  // The whole conversation up to the reply `id`; nothing if it or one before it is not there or
  // belongs to another tenant.
  std::optional<Json::Array> conversation(const std::string& tenant, const std::string& id);
  // The response object's text.
  std::optional<std::string> body(const std::string& tenant, const std::string& id);
  // Whether it was there.
  bool erase(const std::string& tenant, const std::string& id);

  size_t n_bytes() const;
  size_t size() const;

 private:
  struct Entry {
    std::string key;
    std::string previous;  // key of the reply before
    Json::Array messages;
    std::string body;
    size_t n_bytes;
  };
  using Entries = std::list<Entry>;

  static std::string key_of(const std::string& tenant, const std::string& id);
  Entry* touch(const std::string& key);
  void drop(Entries::iterator entry);

  size_t max_bytes_;
  mutable std::mutex mutex_;
  size_t n_bytes_ = 0;
  Entries entries_;  // the most recently used first
  std::unordered_map<std::string, Entries::iterator> index_;
};

}  // namespace dsv4
