#include "server/api_keys.h"

#include "base/error.h"
#include "base/mapped_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <span>
#include <utility>

#include <fmt/core.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

namespace dsv4 {
namespace {

constexpr size_t kMaxFile = size_t{16} << 20;
constexpr size_t kMaxName = 64;
constexpr int kMaxPriority = 100;
constexpr double kMaxRate = 1e12;

// Cuts the first word off `rest`; empty at the end.
std::string_view next_word(std::string_view& rest) {
  constexpr std::string_view kSpaces = " \t\r";
  rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(kSpaces)));
  const std::string_view word = rest.substr(0, rest.find_first_of(kSpaces));
  rest.remove_prefix(word.size());
  return word;
}

// Names stand in logs and metrics.
bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '@';
  });
}

std::optional<Sha256> parse_hash(std::string_view text) {
  Sha256 hash{};
  if (text.size() != 2 * hash.size()) return std::nullopt;
  for (size_t i = 0; i < hash.size(); ++i) {
    const int high = hex_value(text[2 * i]);
    const int low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    hash[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return hash;
}

std::string hex(std::span<const uint8_t> bytes) {
  std::string out;
  for (const uint8_t byte : bytes) out += fmt::format("{:02x}", byte);
  return out;
}

template <typename Number>
Number parse_number(std::string_view text, Number least, Number most) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // Written so that NaN is out of range.
  if (error != std::errc{} || end != text.data() + text.size() ||
      !(value >= least && value <= most)) {
    throw Error(ErrorCode::kInvalidInput, "",
                fmt::format("expected a number from {} to {}, found \"{}\"", least, most, text));
  }
  return value;
}

void parse_setting(std::string_view word, ApiKey& key) {
  const size_t equals = std::min(word.size(), word.find('='));
  const std::string_view name = word.substr(0, equals);
  const std::string_view value = word.substr(std::min(word.size(), equals + 1));
  if (name == "rate") {
    key.requests_per_min = parse_number(value, 1e-3, kMaxRate);
  } else if (name == "tokens") {
    key.tokens_per_min = parse_number(value, 1e-3, kMaxRate);
  } else if (name == "priority") {
    key.priority = parse_number(value, -kMaxPriority, kMaxPriority);
  } else if (name == "shared" && is_name(value)) {
    key.group = value;
  } else {
    throw Error(ErrorCode::kInvalidInput, "",
                fmt::format("expected rate=N, tokens=N, priority=N or shared=GROUP, found \"{}\"",
                            word.substr(0, 100)));
  }
}

ApiKey parse_line(std::string_view line) {
  ApiKey key;
  key.name = next_word(line);
  if (!is_name(key.name)) {
    throw Error(ErrorCode::kInvalidInput, "",
                fmt::format("a name has at most {} letters, digits and -_.@", kMaxName));
  }
  const auto hash = parse_hash(next_word(line));
  if (!hash) {
    throw Error(ErrorCode::kInvalidInput, "",
                "expected the SHA-256 of the key (64 hexadecimal digits) after the name");
  }
  key.hash = *hash;
  std::set<std::string_view> seen;
  for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
    if (!seen.insert(word.substr(0, word.find('='))).second) {
      throw Error(ErrorCode::kInvalidInput, "", "a setting is there twice");
    }
    parse_setting(word, key);
  }
  return key;
}

}  // namespace

Sha256 sha256(std::string_view bytes) {
  Sha256 out{};
  unsigned int size = out.size();
  if (EVP_Digest(bytes.data(), bytes.size(), out.data(), &size, EVP_sha256(), nullptr) != 1) {
    throw Error(ErrorCode::kUnsupported, "OpenSSL", "has no SHA-256");
  }
  return out;
}

uint64_t sha256_bits(std::string_view bytes) {
  const Sha256 hash = sha256(bytes);
  uint64_t bits = 0;
  for (size_t i = 0; i < sizeof bits; ++i) bits = bits << 8 | hash[i];
  return bits;
}

std::vector<ApiKey> parse_api_keys(std::string_view text, const std::string& where) {
  std::vector<ApiKey> keys;
  std::set<std::string> names;
  std::set<Sha256> hashes;
  for (int number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    line = line.substr(0, line.find('#'));
    std::string_view rest = line;
    if (next_word(rest).empty()) continue;
    try {
      ApiKey key = parse_line(line);
      if (!names.insert(key.name).second || !hashes.insert(key.hash).second) {
        throw Error(ErrorCode::kInvalidInput, "", "the name or the key is in an earlier line too");
      }
      keys.push_back(std::move(key));
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}:{}", where, number), error.what());
    }
  }
  return keys;
}

NewApiKey make_api_key(const std::string& name) {
  if (!is_name(name)) {
    throw Error(ErrorCode::kInvalidInput, name,
                fmt::format("a name has at most {} letters, digits and -_.@", kMaxName));
  }
  std::array<uint8_t, 24> bytes{};
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) {
    throw Error(ErrorCode::kIo, "OpenSSL", "has no random numbers");
  }
  NewApiKey made;
  made.key = "sk-" + hex(bytes);
  made.line = name + " " + hex(sha256(made.key));
  return made;
}

std::optional<std::string_view> presented_key(const HttpHeaders& headers) {
  constexpr std::string_view kScheme = "bearer ";
  if (const std::string* value = find_header(headers, "authorization")) {
    const bool is_bearer =
        value->size() > kScheme.size() &&
        std::ranges::equal(std::string_view(*value).substr(0, kScheme.size()), kScheme,
                           [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
    if (!is_bearer) return std::nullopt;
    std::string_view rest = std::string_view(*value).substr(kScheme.size());
    return next_word(rest);
  }
  if (const std::string* value = find_header(headers, "x-api-key")) return *value;
  return std::nullopt;
}

void TokenBucket::fill(Time now) {
  const std::chrono::duration<double> passed = now - filled_;
  filled_ = now;
  level_ = std::min(per_min_, level_ + passed.count() * per_min_ / 60);
}

void TokenBucket::set_rate(double per_min, Time now) {
  if (per_min == per_min_) return;
  fill(now);
  // A new quota is full, a changed one keeps what was used.
  level_ = per_min_ == 0 ? per_min : per_min - (per_min_ - level_);
  per_min_ = per_min;
}

double TokenBucket::wait_s(double amount, Time now) {
  if (per_min_ == 0) return 0;
  fill(now);
  const double missing = std::min(amount, per_min_) - level_;
  return missing <= 0 ? 0 : missing * 60 / per_min_;
}

void TokenBucket::take(double amount, Time now) {
  if (per_min_ == 0) return;
  fill(now);
  level_ -= amount;
}

Tenant::Tenant(ApiKey key, Clock clock) : clock_(std::move(clock)) { update(key); }

void Tenant::update(const ApiKey& key) {
  const std::lock_guard lock(mutex_);
  key_ = key;
  requests_.set_rate(key.requests_per_min, clock_());
  tokens_.set_rate(key.tokens_per_min, clock_());
}

std::string Tenant::name() const {
  const std::lock_guard lock(mutex_);
  return key_.name;
}

int Tenant::priority() const {
  const std::lock_guard lock(mutex_);
  return key_.priority;
}

uint64_t Tenant::salt() const {
  const std::lock_guard lock(mutex_);
  const std::string secret(key_.hash.begin(), key_.hash.end());
  const uint64_t salt = sha256_bits(key_.group.empty() ? "key\n" + key_.name + "\n" + secret
                                                       : "group\n" + key_.group);
  return salt == 0 ? 1 : salt;
}

std::optional<int> Tenant::admit() {
  const std::lock_guard lock(mutex_);
  const TokenBucket::Time now = clock_();
  // Any token that is left lets a request in: how many it needs is known later.
  const double wait = std::max(requests_.wait_s(1, now), tokens_.wait_s(1, now));
  if (wait > 0) return static_cast<int>(std::min(86400.0, std::ceil(wait)));
  requests_.take(1, now);
  return std::nullopt;
}

void Tenant::charge_tokens(int64_t n) {
  const std::lock_guard lock(mutex_);
  tokens_.take(static_cast<double>(n), clock_());
}

ApiKeys::ApiKeys(std::filesystem::path file, const Log& log, Tenant::Clock clock)
    : file_(std::move(file)), log_(log), clock_(std::move(clock)) {
  read();
}

std::shared_ptr<Tenant> ApiKeys::find(std::string_view key) const {
  const Sha256 hash = sha256(key);
  std::shared_ptr<Tenant> found;
  const std::lock_guard lock(mutex_);
  // All are looked at, and each as a whole.
  for (const auto& [known, tenant] : tenants_) {
    if (CRYPTO_memcmp(known.data(), hash.data(), hash.size()) == 0) found = tenant;
  }
  return found;
}

std::shared_ptr<Tenant> ApiKeys::find(const HttpHeaders& headers) const {
  const auto key = presented_key(headers);
  return key ? find(*key) : nullptr;
}

ApiKeys::Version ApiKeys::version() const {
  std::error_code error;
  Version version;
  version.time = std::filesystem::last_write_time(file_, error);
  version.size = std::filesystem::file_size(file_, error);
  return version;
}

void ApiKeys::read() {
  // The version first: a change while the file is read is seen the next time.
  const Version version_now = version();
  {
    const std::lock_guard lock(mutex_);
    read_version_ = version_now;
  }
  const std::vector<ApiKey> keys = parse_api_keys(read_file(file_, kMaxFile), file_.string());
  const std::lock_guard lock(mutex_);
  std::map<Sha256, std::shared_ptr<Tenant>> tenants;
  for (const ApiKey& key : keys) {
    const auto old = tenants_.find(key.hash);
    if (old == tenants_.end()) {
      tenants[key.hash] = std::make_shared<Tenant>(key, clock_);
    } else {
      old->second->update(key);
      tenants[key.hash] = old->second;
    }
  }
  tenants_ = std::move(tenants);
}

bool ApiKeys::reload() {
  try {
    read();
    log_.info("API keys read", {{"file", file_.string()}, {"keys", size()}});
    return true;
  } catch (const Error& error) {
    log_.error("API keys not read; the old ones stay", {{"error", error.what()}});
    return false;
  }
}

bool ApiKeys::reload_if_changed() {
  {
    const std::lock_guard lock(mutex_);
    if (version() == read_version_) return false;
  }
  return reload();
}

size_t ApiKeys::size() const {
  const std::lock_guard lock(mutex_);
  return tenants_.size();
}

}  // namespace dsv4
