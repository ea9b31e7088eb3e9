// API keys: who may use the server and how much of it. A file has one key a line:
//
//   NAME HASH [rate=N] [tokens=N] [priority=N] [shared=GROUP]
//
// HASH is the SHA-256 of the key in hexadecimal, so the file does not let anyone in. `rate` and
// `tokens` are requests and tokens a minute; without them there is no quota. Keys of one GROUP
// share their cached prefixes. '#' begins a comment.
#pragma once

#include "base/log.h"
#include "server/http_message.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

using Sha256 = std::array<uint8_t, 32>;
Sha256 sha256(std::string_view bytes);
// The first eight bytes of it. One-way: who knows them and their text does not find others', nor a
// text for given ones.
uint64_t sha256_bits(std::string_view bytes);

struct ApiKey {
  std::string name;
  Sha256 hash = {};
  double requests_per_min = 0;  // 0: no quota
  double tokens_per_min = 0;    // 0: no quota
  int priority = 0;             // -100 to 100, higher goes first
  std::string group = {};       // whose prefixes it shares, "" for nobody's

  bool operator==(const ApiKey&) const = default;
};

// Throws Error(kInvalidInput) at "where:line".
std::vector<ApiKey> parse_api_keys(std::string_view text, const std::string& where);

// A new random key and its line for the file.
struct NewApiKey {
  std::string key;
  std::string line;
};
NewApiKey make_api_key(const std::string& name);

// The key of "Authorization: Bearer KEY" or "x-api-key: KEY".
std::optional<std::string_view> presented_key(const HttpHeaders& headers);

// Fills up at a constant rate to what comes in one minute. Used under a lock.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Without a rate (0) nothing is limited. What has been used stays used.
  void set_rate(double per_min, Time now);
  // Seconds until something can be taken again: 0 when it can be now.
  double wait_s(double amount, Time now);
  // May go below zero: then the debt is waited for.
  void take(double amount, Time now);

 private:
  void fill(Time now);

  double per_min_ = 0;
  double level_ = 0;
  Time filled_ = {};
};

// The holder of a key. Lives on while requests use it, also when the key is removed. May be used
// from any thread.
class Tenant {
 public:
  using Clock = std::function<TokenBucket::Time()>;

  Tenant(ApiKey key, Clock clock);

  std::string name() const;
  int priority() const;
  // Prefixes are shared among requests of the same salt only. Never 0, which is that of servers
  // without keys.
  uint64_t salt() const;

  // Counts a request. A number of seconds, at least 1, when a quota is used up: to be answered with
  // 429 and Retry-After.
  std::optional<int> admit();
  // Counts tokens of a request, once they are known. More than what is left lets later ones wait.
  void charge_tokens(int64_t n);

 private:
  friend class ApiKeys;
  void update(const ApiKey& key);

  const Clock clock_;
  mutable std::mutex mutex_;
  ApiKey key_;
  TokenBucket requests_;
  TokenBucket tokens_;
};

// The keys of a file, read again when it changes. May be used from any thread.
class ApiKeys {
 public:
  // Throws Error when the file cannot be read or is malformed. The log must outlive this.
  ApiKeys(std::filesystem::path file, const Log& log,
          Tenant::Clock clock = std::chrono::steady_clock::now);

  // Whose key this is, or nullptr. Takes the same time for all keys.
  std::shared_ptr<Tenant> find(std::string_view key) const;
  std::shared_ptr<Tenant> find(const HttpHeaders& headers) const;

  // Reads the file again (at SIGHUP). If it is broken, the old keys stay and a line is logged.
  // Returns whether the file was taken.
  bool reload();
  // The same, if the file was changed since it was read. Cheap enough for every second.
  bool reload_if_changed();

  size_t size() const;

 private:
  // What tells versions of a file apart.
  struct Version {
    std::filesystem::file_time_type time = {};
    uintmax_t size = 0;
    bool operator==(const Version&) const = default;
  };

  Version version() const;
  void read();

  const std::filesystem::path file_;
  const Log& log_;
  const Tenant::Clock clock_;
  mutable std::mutex mutex_;
  Version read_version_;
  std::map<Sha256, std::shared_ptr<Tenant>> tenants_;
};

}  // namespace dsv4
