// Reading one object of a request: members with their types and ranges, and errors that name the
// path of what is wrong.
#pragma once

#include "text/json.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dsv4 {

// A view of an object, which must outlive it. A member that is null counts as absent. All methods
// throw Error(kInvalidInput) with the path of the member.
class JsonFields {
 public:
  // `path` is empty for the request itself.
  JsonFields(const Json& object, std::string path);

  const std::string& path() const { return path_; }
  std::string path_of(std::string_view key) const;

  // The member, if it is there and not null.
  const Json* find(std::string_view key) const;
  const Json& required(std::string_view key) const;

  std::optional<bool> boolean(std::string_view key) const;
  std::optional<int64_t> integer(std::string_view key, int64_t low, int64_t high) const;
  std::optional<double> number(std::string_view key, double low, double high) const;
  std::optional<std::string> text(std::string_view key) const;
  // Of at most `most` elements.
  const Json::Array* array(std::string_view key,
                           size_t most = std::numeric_limits<size_t>::max()) const;
  std::optional<JsonFields> object(std::string_view key) const;

  std::string required_text(std::string_view key) const;
  // One of `names`.
  std::optional<std::string> name(std::string_view key,
                                  std::span<const std::string_view> names) const;

  // Throws for the first member that is none of `known`, with `message` behind the member's name.
  void refuse_others(std::span<const std::string_view> known, const char* message) const;

  [[noreturn]] void fail(std::string_view key, const std::string& message) const;

 private:
  const Json* object_;
  std::string path_;
};

// The beginning of a text of a client, for messages.
std::string shortened(std::string_view text);

// "messages[2]".
std::string path_of_element(const std::string& list, size_t i);

}  // namespace dsv4
