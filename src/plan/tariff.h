// What others charge for tokens: the tariffs that a machine of one's own is compared with. Read
// from JSON, {"sources": {...}, "tariffs": [...]} (docs/planning.md describes every key).
#pragma once

#include "plan/source.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Prices of a million tokens. Thinking is output.
struct Tariff {
  std::string name;   // in JSON
  std::string title;  // for people
  double input = 0;
  double cached_input = 0;  // as input, where the file has none
  double output = 0;
  std::string currency = "USD";
  std::string date;  // when the prices were looked at, YYYY-MM-DD
  Source source;
  std::string note;
};

// Throws Error(kInvalidInput) naming `where` and the key: one that is missing, unknown, of another
// type, not finite or negative; a name that is there twice.
std::vector<Tariff> parse_tariffs(std::string_view text, const std::string& where);
// Throws Error(kNotFound, kInvalidInput).
std::vector<Tariff> load_tariffs(const std::string& path);

// The tariffs that are part of the program (data/tariffs.json), in the order of the file.
const std::vector<Tariff>& known_tariffs();
// That the prices are old (plan/date.h).
std::optional<std::string> tariff_warning(const Tariff& tariff, std::string_view today);

}  // namespace dsv4
