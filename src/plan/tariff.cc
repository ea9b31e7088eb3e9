#include "plan/tariff.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "plan/date.h"
#include "plan/embedded_data.h"
#include "plan/fields.h"

#include <algorithm>
#include <set>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

constexpr size_t kMaxFile = size_t{16} << 20;

Tariff read_tariff(const nlohmann::json& json, const std::string& where, const std::string& path,
                   const SourceTable& table) {
  Fields fields(json, where, path, table, nullptr);
  Tariff tariff;
  tariff.name = fields.name("name");
  tariff.title = fields.text_or("title", tariff.name);
  tariff.input = fields.number("input", 1, NumberRange::kNotNegative);
  tariff.cached_input = fields.child("cached_input") == nullptr
                            ? tariff.input
                            : fields.number("cached_input", 1, NumberRange::kNotNegative);
  tariff.output = fields.number("output", 1, NumberRange::kNotNegative);
  tariff.currency = fields.currency_or("currency", tariff.currency);
  fields.required("date");
  tariff.date = fields.date_or_empty("date");
  fields.required("source");
  tariff.source = fields.source("source").value();
  tariff.note = fields.text_or("note", "");
  fields.finish();
  return tariff;
}

}  // namespace

std::vector<Tariff> parse_tariffs(std::string_view text, const std::string& where) {
  const nlohmann::json json = parse_json(text, where);
  const SourceTable none;
  Fields file(json, where, "", none, nullptr);
  const nlohmann::json* sources = file.child("sources");
  const SourceTable table = sources == nullptr ? none : parse_sources(*sources, where);
  const nlohmann::json& list = file.required("tariffs");
  file.finish();
  if (!list.is_array() || list.empty()) file.refuse("tariffs", "expected a list of tariffs");

  std::vector<Tariff> tariffs;
  std::set<std::string> names;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string path = fmt::format("tariffs[{}]", i);
    tariffs.push_back(read_tariff(list[i], where, path, table));
    if (!names.insert(tariffs.back().name).second) {
      file.refuse(path + ".name", fmt::format("\"{}\" is there twice", tariffs.back().name));
    }
  }
  return tariffs;
}

std::vector<Tariff> load_tariffs(const std::string& path) {
  return parse_tariffs(read_file(path, kMaxFile), path);
}

const std::vector<Tariff>& known_tariffs() {
  static const std::vector<Tariff> tariffs =
      parse_tariffs(embedded_data("/tariffs.json"), "data/tariffs.json");
  return tariffs;
}

std::optional<std::string> tariff_warning(const Tariff& tariff, std::string_view today) {
  return price_age_warning(tariff.name, tariff.date, today);
}

}  // namespace dsv4
