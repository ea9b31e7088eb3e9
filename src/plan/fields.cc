#include "plan/fields.h"

#include "base/error.h"
#include "plan/date.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

using Json = nlohmann::json;

constexpr double kMaxNumber = 1e15;
constexpr size_t kMaxText = 1000;
constexpr size_t kMaxName = 64;

// The value as it stands in the file, cut where it is long.
std::string shown(const Json& json) {
  std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxName && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

}  // namespace

Fields::Fields(const Json& json, std::string where, std::string path, const SourceTable& table,
               std::map<std::string, Source>* found, std::string found_prefix)
    : json_(&json),
      where_(std::move(where)),
      path_(std::move(path)),
      table_(&table),
      found_(found),
      found_prefix_(std::move(found_prefix)) {
  if (!json.is_object()) {
    throw Error(ErrorCode::kInvalidInput, path_.empty() ? where_ : where_ + ": " + path_,
                fmt::format("expected an object, found {}", shown(json)));
  }
}

std::string Fields::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void Fields::refuse(std::string_view key, const std::string& message) const {
  throw Error(ErrorCode::kInvalidInput, fmt::format("{}: {}", where_, path_of(key)), message);
}

const Json* Fields::child(const std::string& key) {
  asked_.insert(key);
  const auto it = json_->find(key);
  return it == json_->end() ? nullptr : &*it;
}

const Json& Fields::required(const std::string& key) {
  const Json* value = child(key);
  if (value == nullptr) refuse(key, "is missing");
  return *value;
}

double Fields::number(const std::string& key, double unit, NumberRange range) {
  const Json* value = &required(key);
  if (value->is_object()) {
    Fields pair(*value, where_, path_of(key), *table_, nullptr);
    value = &pair.required("value");
    const std::optional<Source> from = pair.source("source");
    pair.finish();
    if (from && found_ != nullptr) (*found_)[found_prefix_ + key] = *from;
  }
  const bool zero = range == NumberRange::kNotNegative;
  const double x = value->is_number() ? value->get<double>() : std::nan("");
  // Written so that NaN is out of range. What scaling makes a zero is one.
  if (!(x >= 0 && x <= kMaxNumber) || (!zero && !(x * unit > 0))) {
    refuse(key, fmt::format("expected a number {} 0 and at most {}, found {}{}",
                            zero ? "of at least" : "above", kMaxNumber, shown(*value),
                            zero || x != 0 ? "" : " (leave the key out if it is not known)"));
  }
  return x * unit;
}

double Fields::number_or_zero(const std::string& key, double unit, NumberRange range) {
  return child(key) == nullptr ? 0 : number(key, unit, range);
}

int64_t Fields::count_or(const std::string& key, int64_t fallback, int64_t most) {
  if (child(key) == nullptr) return fallback;
  const double x = number(key, 1, NumberRange::kPositive);
  if (x != std::floor(x) || x > static_cast<double>(most)) {
    refuse(key, fmt::format("expected a whole number from 1 to {}, found {}", most, x));
  }
  return static_cast<int64_t>(x);
}

std::string Fields::text(const std::string& key) {
  const Json& value = required(key);
  if (!value.is_string()) refuse(key, fmt::format("expected a text, found {}", shown(value)));
  const auto& text = value.get_ref<const std::string&>();
  if (text.empty() || text.size() > kMaxText ||
      std::ranges::any_of(text, [](char c) { return c >= 0 && c < ' '; })) {
    refuse(key, fmt::format("expected 1 to {} bytes without control characters, found {}", kMaxText,
                            shown(value)));
  }
  return text;
}

std::string Fields::text_or(const std::string& key, std::string fallback) {
  return child(key) == nullptr ? std::move(fallback) : text(key);
}

std::string Fields::name(const std::string& key) {
  std::string name = text(key);
  if (!is_name(name)) {
    refuse(key, fmt::format("expected at most {} letters, digits, dots, dashes and underscores, "
                            "found \"{}\"",
                            kMaxName, name));
  }
  return name;
}

std::string Fields::date_or_empty(const std::string& key) {
  if (child(key) == nullptr) return {};
  std::string date = text(key);
  if (!day_number(date)) {
    refuse(key, fmt::format("expected a day as YYYY-MM-DD, found \"{}\"", date));
  }
  return date;
}

std::string Fields::currency_or(const std::string& key, std::string fallback) {
  std::string currency = text_or(key, std::move(fallback));
  if (currency.size() != 3 ||
      !std::ranges::all_of(currency, [](char c) { return c >= 'A' && c <= 'Z'; })) {
    refuse(key, fmt::format("expected three capital letters such as USD, found \"{}\"", currency));
  }
  return currency;
}

std::optional<Source> Fields::source(const std::string& key) {
  const Json* value = child(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_object()) {
    Fields fields(*value, where_, path_of(key), *table_, nullptr);
    Source source{fields.text("title"), fields.text_or("url", ""), fields.date_or_empty("date")};
    fields.finish();
    return source;
  }
  const std::string word = text(key);
  if (const auto it = table_->find(word); it != table_->end()) return it->second;
  if (word.find(' ') == std::string::npos) {
    refuse(key, fmt::format("\"{}\" is no id of \"sources\", and too short for a text", word));
  }
  return Source{word, "", ""};
}

void Fields::finish() const {
  for (const auto& [key, value] : json_->items()) {
    if (!asked_.contains(key)) refuse(key, "is not a known key");
  }
}

SourceTable parse_sources(const Json& json, const std::string& where) {
  const SourceTable none;
  Fields ids(json, where, "sources", none, nullptr);
  SourceTable table;
  for (const auto& [id, value] : json.items()) {
    table[id] = ids.source(id).value();
    if (!value.is_object()) ids.refuse(id, "expected an object with a title");
  }
  return table;
}

}  // namespace dsv4
