#include "plan/record.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kMaxFileBytes = size_t{64} << 20;

std::string text_of(const Json& json, const char* key, const std::string& where) {
  const auto found = json.find(key);
  if (found != json.end() && found->is_string()) return found->get<std::string>();
  throw Error(ErrorCode::kInvalidInput, where, fmt::format("{} is missing or not a text", key));
}

double number_of(const Json& json, const char* key, const std::string& where) {
  const auto found = json.find(key);
  if (found != json.end() && found->is_number()) {
    const auto value = found->get<double>();
    if (std::isfinite(value) && value > 0) return value;
  }
  throw Error(ErrorCode::kInvalidInput, where,
              fmt::format("{} is missing or not a number above zero", key));
}

bool ends_line(const fs::path& file) {
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in || in.tellg() == std::streampos(0)) return true;
  in.seekg(-1, std::ios::end);
  return in.get() == '\n';
}

}  // namespace

std::string record_line(const PlanRecord& record) {
  nlohmann::ordered_json json = {{"date", record.date},       {"version", record.version},
                                 {"machine", record.machine}, {"model", record.model},
                                 {"run", record.run},         {"comparisons", Json::array()}};
  for (const Comparison& c : record.comparisons) {
    json["comparisons"].push_back(
        {{"what", c.what}, {"predicted", c.predicted}, {"measured", c.measured}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

PlanRecord parse_record(std::string_view line, const std::string& where) {
  const Json json = parse_json(line, where);
  if (!json.is_object()) throw Error(ErrorCode::kInvalidInput, where, "is not an object");
  PlanRecord record{.date = text_of(json, "date", where),
                    .version = text_of(json, "version", where),
                    .machine = text_of(json, "machine", where),
                    .model = text_of(json, "model", where),
                    .run = text_of(json, "run", where)};
  const auto list = json.find("comparisons");
  if (list == json.end() || !list->is_array()) {
    throw Error(ErrorCode::kInvalidInput, where, "comparisons is missing or not a list");
  }
  for (const Json& entry : *list) {
    if (!entry.is_object())
      throw Error(ErrorCode::kInvalidInput, where, "a comparison is no object");
    record.comparisons.push_back({text_of(entry, "what", where),
                                  number_of(entry, "predicted", where),
                                  number_of(entry, "measured", where)});
  }
  return record;
}

void append_record(const fs::path& file, const PlanRecord& record) {
  std::error_code error;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), error);
  std::string text = ends_line(file) ? "" : "\n";
  text += record_line(record) + "\n";
  std::ofstream out(file, std::ios::binary | std::ios::app);
  out << text;
  out.close();
  if (!out) throw Error(ErrorCode::kIo, file.string(), "cannot add a line");
}

RecordFile load_records(const fs::path& file) {
  RecordFile result;
  std::error_code error;
  if (!fs::exists(file, error)) return result;
  const std::string text = read_file(file, kMaxFileBytes);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;
    try {
      result.records.push_back(parse_record(line, file.string()));
    } catch (const Error&) {
      ++result.n_unreadable;  // of another version, or cut
    }
  }
  return result;
}

ComparisonKind kind_of(std::string_view what) {
  constexpr double kGiga = 1e9;
  constexpr std::pair<std::string_view, ComparisonKind> kKinds[] = {
      {"memory", {kGiga, "GB", 0.03}},    {"decode", {1, "tokens/s", 0.15}},
      {"prefill", {1, "tokens/s", 0.15}}, {"steps", {1, "s", 0.15}},
      {"read roof", {kGiga, "GB/s", 0}},  {"int8 roof", {kGiga, "Gop/s", 0}}};
  for (const auto& [name, kind] : kKinds) {
    if (name == what) return kind;
  }
  return {};
}

std::map<std::string, Accuracy> accuracy_of(const std::vector<PlanRecord>& records) {
  std::map<std::string, std::vector<double>> errors;
  for (const PlanRecord& record : records) {
    for (const Comparison& c : record.comparisons) {
      if (kind_of(c.what).bound > 0) errors[c.what].push_back(c.error());
    }
  }
  std::map<std::string, Accuracy> result;
  for (auto& [what, list] : errors) {
    const auto size = [](double e) { return std::abs(e); };
    std::ranges::sort(list, {}, size);
    Accuracy& accuracy = result[what];
    accuracy.n = std::ssize(list);
    const size_t half = list.size() / 2;
    accuracy.median_error =
        list.size() % 2 == 1 ? size(list[half]) : (size(list[half - 1]) + size(list[half])) / 2;
    accuracy.worst_error = list.back();
    accuracy.bound = kind_of(what).bound;
    accuracy.n_within =
        std::ranges::count_if(list, [&](double e) { return size(e) <= accuracy.bound; });
  }
  return result;
}

}  // namespace dsv4
