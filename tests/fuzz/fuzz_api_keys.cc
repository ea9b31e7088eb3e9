// A file of API keys. What is accepted survives writing and reading.
#include "base/check.h"
#include "base/error.h"
#include "server/api_keys.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

namespace dsv4 {
namespace {

std::string print(const std::vector<ApiKey>& keys) {
  std::string text;
  for (const ApiKey& key : keys) {
    text += key.name + " ";
    for (const uint8_t byte : key.hash) text += fmt::format("{:02X}", byte);
    if (key.requests_per_min != 0) text += fmt::format(" rate={}", key.requests_per_min);
    if (key.tokens_per_min != 0) text += fmt::format(" tokens={}", key.tokens_per_min);
    text += fmt::format(" priority={}", key.priority);
    if (!key.group.empty()) text += " shared=" + key.group;
    text += "\n";
  }
  return text;
}

void fuzz(std::string_view text) {
  const std::vector<ApiKey> keys = parse_api_keys(text, "input");
  CHECK(parse_api_keys(print(keys), "written") == keys);
  for (const ApiKey& key : keys) {
    Tenant tenant(key, [] { return TokenBucket::Time{}; });
    CHECK(tenant.salt() != 0);
    CHECK(tenant.admit() == std::nullopt, key.name);
    tenant.charge_tokens(INT64_MAX);
    const auto wait = tenant.admit();
    CHECK(!wait || *wait >= 1, key.name);
  }
}

}  // namespace
}  // namespace dsv4

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    dsv4::fuzz({reinterpret_cast<const char*>(data), size});
  } catch (const dsv4::Error&) {
    // What an input may cause.
  }
  return 0;
}
