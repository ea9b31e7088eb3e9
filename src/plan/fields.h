// Strict reading of the objects in machine and tariff files: every key must be asked for, every
// value must be of its type and in its range, and a value may say where it is from. Errors name the
// file and the path of the key.
#pragma once

#include "plan/source.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace dsv4 {

// Sources of a file by their id.
using SourceTable = std::map<std::string, Source>;

// What a number may be. None may be above 1e15 in the unit of its key, so that products with the
// unit stay finite.
enum class NumberRange { kPositive, kNotNegative };

class Fields {
 public:
  // `json` must outlive this. `path` is that of the object within the file, empty for the whole.
  // Sources of values go to `found` by their path below this object, where `found` is given.
  // Throws Error(kInvalidInput) when `json` is not an object; the functions below do so too.
  Fields(const nlohmann::json& json, std::string where, std::string path, const SourceTable& table,
         std::map<std::string, Source>* found, std::string found_prefix = {});

  // A number, or {"value": number, "source": id or text}, times `unit`.
  double number(const std::string& key, double unit, NumberRange range);
  // 0 where the key is missing.
  double number_or_zero(const std::string& key, double unit, NumberRange range);
  // A whole number from 1 to `most`; `fallback` where the key is missing.
  int64_t count_or(const std::string& key, int64_t fallback, int64_t most);
  // Text without control characters, at most 1000 bytes, not empty.
  std::string text(const std::string& key);
  std::string text_or(const std::string& key, std::string fallback);
  // A name for the command line: letters, digits and "._-", at most 64.
  std::string name(const std::string& key);
  // YYYY-MM-DD.
  std::string date_or_empty(const std::string& key);
  // Three capital letters.
  std::string currency_or(const std::string& key, std::string fallback);
  // An id of the table, or the text of a source (which has a space in it).
  std::optional<Source> source(const std::string& key);

  // A value of its own form; null where it is missing.
  const nlohmann::json* child(const std::string& key);
  // The same that must be there.
  const nlohmann::json& required(const std::string& key);
  std::string path_of(std::string_view key) const;

  // The object has no other key than those asked for.
  void finish() const;
  [[noreturn]] void refuse(std::string_view key, const std::string& message) const;

  const std::string& where() const { return where_; }
  const SourceTable& table() const { return *table_; }

 private:
  const nlohmann::json* json_;
  std::string where_;
  std::string path_;
  const SourceTable* table_;
  std::map<std::string, Source>* found_;
  std::string found_prefix_;
  std::set<std::string, std::less<>> asked_;
};

// {"id": {"title": ..., "url": ..., "date": ...}}; url and date may be missing.
SourceTable parse_sources(const nlohmann::json& json, const std::string& where);

}  // namespace dsv4
