#include "server/json_fields.h"

#include "base/error.h"
#include "text/unicode.h"

#include <fmt/core.h>

#include <algorithm>

namespace dsv4 {
namespace {

// Enough of a wrong value to recognise it.
std::string shown(const Json& value) {
  if (value.is_array() || value.is_object()) return std::string(kind_name(value.kind()));
  // Of strings the beginning, printed with its escapes; integers may have any number of digits.
  if (value.is_string()) return Json(shortened(value.as_string(""))).print();
  return shortened(value.print());
}

}  // namespace

JsonFields::JsonFields(const Json& object, std::string path)
    : object_(&object), path_(std::move(path)) {
  if (object.is_object()) return;
  throw Error(ErrorCode::kInvalidInput, path_,
              fmt::format("expected an object, found {}", kind_name(object.kind())));
}

std::string JsonFields::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void JsonFields::fail(std::string_view key, const std::string& message) const {
  throw Error(ErrorCode::kInvalidInput, path_of(key), message);
}

const Json* JsonFields::find(std::string_view key) const {
  const Json* value = object_->find(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

const Json& JsonFields::required(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) fail(key, "this member is required");
  return *value;
}

std::optional<bool> JsonFields::boolean(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return value->as_bool(path_of(key));
}

std::optional<int64_t> JsonFields::integer(std::string_view key, int64_t low, int64_t high) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::string expected =
      high == std::numeric_limits<int64_t>::max()
          ? fmt::format("expected an integer of at least {}, found {}", low, shown(*value))
          : fmt::format("expected an integer from {} to {}, found {}", low, high, shown(*value));
  if (value->kind() != Json::Kind::kInteger) fail(key, expected);
  // What does not even fit 64 bits is out of every range.
  try {
    const int64_t number = value->as_int("");
    if (number >= low && number <= high) return number;
  } catch (const Error&) {
    fail(key, expected);
  }
  fail(key, expected);
}

std::optional<double> JsonFields::number(std::string_view key, double low, double high) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const bool is_number =
      value->kind() == Json::Kind::kInteger || value->kind() == Json::Kind::kDouble;
  const double number = is_number ? value->as_double(path_of(key)) : 0;
  if (!is_number || !(number >= low && number <= high)) {
    fail(key, fmt::format("expected a number from {} to {}, found {}", low, high, shown(*value)));
  }
  return number;
}

std::optional<std::string> JsonFields::text(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return value->as_string(path_of(key));
}

const Json::Array* JsonFields::array(std::string_view key, size_t most) const {
  const Json* value = find(key);
  if (value == nullptr) return nullptr;
  const Json::Array& items = value->as_array(path_of(key));
  if (items.size() > most) fail(key, fmt::format("at most {}, found {}", most, items.size()));
  return &items;
}

std::optional<JsonFields> JsonFields::object(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return JsonFields(*value, path_of(key));
}

std::string JsonFields::required_text(std::string_view key) const {
  return required(key).as_string(path_of(key));
}

std::optional<std::string> JsonFields::name(std::string_view key,
                                            std::span<const std::string_view> names) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::string_view found = value->is_string() ? value->as_string("") : std::string_view();
  if (value->is_string() && std::ranges::find(names, found) != names.end()) {
    return std::string(found);
  }
  std::string expected;
  for (const std::string_view known : names) {
    expected += fmt::format("{}\"{}\"", expected.empty() ? "" : ", ", known);
  }
  fail(key, fmt::format("expected one of {}, found {}", expected, shown(*value)));
}

void JsonFields::refuse_others(std::span<const std::string_view> known, const char* message) const {
  for (const Json::Member& member : object_->as_object(path_)) {
    if (std::ranges::find(known, member.key) != known.end()) continue;
    const std::string key = shortened(member.key);
    fail(key, fmt::format("{}: {}", message, key));
  }
}

std::string shortened(std::string_view text) {
  constexpr size_t kMaxShown = 64;
  const std::string_view begin = text.substr(0, kMaxShown);
  // Not cut within a character.
  return std::string(begin.size() < text.size() ? begin.substr(0, well_formed_utf8_prefix(begin))
                                                : begin);
}

std::string path_of_element(const std::string& list, size_t i) {
  return fmt::format("{}[{}]", list, i);
}

}  // namespace dsv4
