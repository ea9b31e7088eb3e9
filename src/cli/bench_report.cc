#include "cli/bench_report.h"

#include "base/error.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

using Json = BenchJson;

// What tells two rows of the same measurement together.
std::string key_of(const Json& row) {
  std::string key;
  for (const char* member : {"kind", "model", "format", "work", "context", "n_tokens"}) {
    if (row.contains(member)) key += row[member].dump() + " ";
  }
  return key;
}

struct Column {
  const char* title;
  int width;  // of text; numbers are set to the right, words (below zero) to the left
  std::function<std::string(const Json& row)> cell;
};
using Columns = std::vector<Column>;

std::string text_of(const Json& row, const char* member) { return row.value(member, "?"); }

Column words(const char* title, int width, const char* member) {
  return {title, -width, [=](const Json& row) { return text_of(row, member); }};
}

// A member times `scale` with so many decimals and a unit.
Column number(const char* title, int width, const char* member, int decimals, double scale = 1,
              const char* unit = "") {
  return {title, width, [=](const Json& row) {
            if (!row.contains(member) || !row[member].is_number()) return std::string("-");
            return fmt::format("{:.{}f}{}", scale * row[member].get<double>(), decimals, unit);
          }};
}

Columns kernel_columns() {
  return {words("weights", 9, "format"),
          words("inputs", 7, "inputs"),
          number("tokens", 7, "n_tokens", 0),
          number("GB/s", 8, "gb_s", 1),
          number("of read", 9, "share_of_read", 0, 100, "%"),
          number("Gop/s", 8, "gop_s", 0),
          number("of peak", 9, "share_of_peak", 0, 100, "%")};
}

Columns model_columns() {
  return {words("work", 9, "work"),
          number("context", 8, "context", 0),
          number("tokens", 7, "n_tokens", 0),
          number("ms", 10, "seconds", 2, 1e3),
          number("tokens/s", 10, "tokens_per_s", 1),
          number("GB/s", 8, "gb_s", 1),
          number("of read", 9, "share_of_read", 0, 100, "%"),
          number("+-", 6, "read_spread", 0, 50, "%"),
          number("Gop/s", 8, "gop_s", 0),
          number("of int8", 9, "share_of_int8", 0, 100, "%"),
          number("+-", 6, "int8_spread", 0, 50, "%")};
}

const char* speed_of(const Json& row) { return row["kind"] == "kernel" ? "gop_s" : "tokens_per_s"; }

class Table {
 public:
  Table(Columns columns, bool markdown) : columns_(std::move(columns)), markdown_(markdown) {}

  void print_head() const {
    fmt::print("\n");
    print_cells([](const Column& c) { return std::string(c.title); });
    if (!markdown_) return;
    for (const Column& c : columns_) fmt::print("{}", c.width < 0 ? "|---" : "|---:");
    fmt::print("|\n");
  }

  void print(const Json& row) const {
    print_cells([&](const Column& c) { return c.cell(row); });
    std::fflush(stdout);
  }

 private:
  template <typename Text>
  void print_cells(const Text& text) const {
    for (const Column& c : columns_) {
      if (markdown_) {
        fmt::print("| {} ", text(c));
      } else if (c.width < 0) {
        fmt::print("{:<{}}", text(c), -c.width);
      } else {
        fmt::print("{:>{}}", text(c), c.width);
      }
    }
    fmt::print("{}\n", markdown_ ? "|" : "");
  }

  Columns columns_;
  bool markdown_;
};

}  // namespace

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

BenchJson to_json(const KernelRow& row) {
  const auto peak = row.int8 ? &Roofs::int8 : &Roofs::f32;
  const Median read = row.timing.share(row.bytes, &Roofs::read);
  const Median share = row.timing.share(row.ops, peak);
  return {{"kind", "kernel"},
          {"format", row.format},
          {"inputs", row.int8 ? "int8" : "f32"},
          {"n_tokens", row.n_tokens},
          {"seconds", row.timing.seconds.value},
          {"bytes", row.bytes},
          {"ops", row.ops},
          {"gb_s", row.bytes_per_second() * 1e-9},
          {"share_of_read", read.value},
          {"read_spread", read.spread},
          {"gop_s", row.ops_per_second() * 1e-9},
          {"share_of_peak", share.value},
          {"peak_spread", share.spread},
          {"roof_read_gb_s", row.timing.roof(&Roofs::read) * 1e-9},
          {"roof_peak_gop_s", row.timing.roof(peak) * 1e-9}};
}

BenchJson to_json(const ModelRow& row, const std::string& model) {
  Json bytes = {{"state", row.cost.state_bytes}};
  for (size_t i = 0; i < kTensorClasses; ++i) {
    if (row.cost.weight_bytes[i] == 0) continue;
    bytes[std::string(tensor_class_name(static_cast<TensorClass>(i)))] = row.cost.weight_bytes[i];
  }
  const Median read = row.timing.share(static_cast<double>(row.cost.bytes()), &Roofs::read);
  const Median int8 = row.timing.share(row.cost.ops, &Roofs::int8);
  return {{"kind", "model"},
          {"model", model},
          {"work", row.work},
          {"context", row.context},
          {"entries", row.context > 0 ? "random" : "none"},
          {"n_tokens", row.n_tokens},
          {"seconds", row.timing.seconds.value},
          {"spread", row.timing.seconds.spread},
          {"steps", row.timing.n_steps},
          {"bytes", row.cost.bytes()},
          {"ops", row.cost.ops},
          {"tokens_per_s", row.tokens_per_second()},
          {"gb_s", row.bytes_per_second() * 1e-9},
          {"share_of_read", read.value},
          {"read_spread", read.spread},
          {"gop_s", row.ops_per_second() * 1e-9},
          {"share_of_int8", int8.value},
          {"int8_spread", int8.spread},
          {"roof_read_gb_s", row.timing.roof(&Roofs::read) * 1e-9},
          {"roof_int8_gop_s", row.timing.roof(&Roofs::int8) * 1e-9},
          {"bytes_per_step", bytes}};
}

std::vector<BenchJson> read_bench_rows(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kNotFound, path, "cannot be read");
  std::vector<Json> rows;
  for (std::string line; std::getline(file, line);) {
    rows.push_back(Json::parse(line, nullptr, /*allow_exceptions=*/false));
    const Json& row = rows.back();
    if (!row.is_object() || !row.contains("kind") || !row["kind"].is_string()) {
      throw Error(ErrorCode::kInvalidInput, fmt::format("{}: line {}", path, rows.size()),
                  "expected what dsv4 bench --json printed");
    }
  }
  return rows;
}

RooflineChart chart_of(const std::vector<BenchJson>& rows) {
  RooflineChart chart;
  const auto measured = [&](const Json& row, const char* member, double Roofs::*which) {
    const double value = row.value(member, 0.0) * 1e9;
    if (value <= 0) return;
    double& low = chart.low.*which;
    double& high = chart.high.*which;
    low = low > 0 ? std::min(low, value) : value;
    high = std::max(high, value);
  };
  for (const Json& row : rows) {
    const std::string kind = row["kind"];
    measured(row, "read_gb_s", &Roofs::read);
    measured(row, "int8_gop_s", &Roofs::int8);
    measured(row, "f32_gop_s", &Roofs::f32);
    measured(row, "bf16_gop_s", &Roofs::bf16);
    measured(row, "roof_read_gb_s", &Roofs::read);
    measured(row, "roof_int8_gop_s", &Roofs::int8);
    if (kind == "roof") {
      chart.title = fmt::format("{}, {} threads", text_of(row, "machine"), row.value("threads", 0));
      chart.subtitle = fmt::format("{}, {}, dsv4 {} {}", text_of(row, "isa"), text_of(row, "date"),
                                   text_of(row, "version"), row.value("label", ""));
      continue;
    }
    if (kind != "kernel" && kind != "model") continue;
    RooflinePoint point;
    const int64_t n = row.value("n_tokens", int64_t{0});
    if (kind == "kernel") {
      measured(row, "roof_peak_gop_s",
               row.value("inputs", "") == "int8" ? &Roofs::int8 : &Roofs::f32);
      point.label = text_of(row, "format");
      point.series = fmt::format("product, {} token{}", n, n == 1 ? "" : "s");
    } else {
      point.series = text_of(row, "work");
      const std::filesystem::path model = text_of(row, "model");
      const int64_t context = row.value("context", int64_t{0});
      point.label = model.filename().string();
      if (n > 1) point.label += fmt::format(", {} tokens", n);
      if (context > 0) point.label += fmt::format(", at {}", context);
    }
    point.ops_per_second = row.value("gop_s", 0.0) * 1e9;
    const double bytes = row.value("bytes", 0.0);
    point.ops_per_byte = bytes > 0 ? row.value("ops", 0.0) / bytes : 0;
    chart.points.push_back(std::move(point));
  }
  return chart;
}

BenchReport::BenchReport(const ReportStyle& style) : style_(style) {
  if (style_.compare.empty()) return;
  for (const Json& row : read_bench_rows(style_.compare)) earlier_[key_of(row)] = row;
}

void BenchReport::print_roofs(const BenchJson& row) const {
  const auto number = [&](const char* member) { return row.value(member, 0.0); };
  const std::string label = row.value("label", "");
  fmt::print("{}{}, {} threads, {}, {}, version {}{}{}\n", style_.markdown ? "\n" : "",
             text_of(row, "machine"), row.value("threads", 0), text_of(row, "isa"),
             text_of(row, "date"), text_of(row, "version"), label.empty() ? "" : ", ", label);
  fmt::print("roofs: read {:.1f} GB/s, int8 {:.0f} Gop/s, bf16 {:.0f} Gop/s, f32 {:.0f} Gop/s\n",
             number("read_gb_s"), number("int8_gop_s"), number("bf16_gop_s"), number("f32_gop_s"));
}

void BenchReport::add(const BenchJson& row) {
  if (style_.json) {
    fmt::print("{}\n", row.dump());
    std::fflush(stdout);
    return;
  }
  const std::string kind = row["kind"];
  if (kind == "roof") {
    finish();
    return print_roofs(row);
  }
  if (kind != "kernel" && kind != "model") return;
  Columns columns = kind == "kernel" ? kernel_columns() : model_columns();
  if (!style_.compare.empty()) {
    const auto before = [this](const Json& r) {
      const auto found = earlier_.find(key_of(r));
      return found == earlier_.end() ? 0.0 : found->second.value(speed_of(r), 0.0);
    };
    columns.push_back({"before", 10, [=](const Json& r) {
                         return before(r) > 0 ? fmt::format("{:.1f}", before(r)) : "-";
                       }});
    columns.push_back({"change", 9, [=](const Json& r) {
                         if (before(r) <= 0) return std::string("-");
                         const double now = r.value(speed_of(r), 0.0);
                         return fmt::format("{:+.1f}%", 100 * (now / before(r) - 1));
                       }});
  }
  const Table table(std::move(columns), style_.markdown);
  if (kind != open_table_) {
    finish();
    open_table_ = kind;
    table.print_head();
  }
  table.print(row);
  if (kind == "model") models_.push_back(row);
}

void BenchReport::finish() {
  if (style_.breakdown && !models_.empty()) print_breakdown();
  models_.clear();
  open_table_.clear();
}

void BenchReport::print_breakdown() const {
  const Table table({words("work", 9, "work"),
                     number("context", 8, "context", 0),
                     number("tokens", 7, "n_tokens", 0),
                     {"class", -20, [](const Json& r) { return "  " + text_of(r, "class"); }},
                     number("MB/step", 10, "bytes", 1, 1e-6),
                     number("share", 8, "share", 0, 100, "%")},
                    style_.markdown);
  table.print_head();
  for (const Json& row : models_) {
    const auto bytes = row.find("bytes_per_step");
    if (bytes == row.end() || !bytes->is_object()) continue;
    double sum = 0;
    for (const auto& [name, n] : bytes->items()) sum += n.get<double>();
    for (const auto& [name, n] : bytes->items()) {
      Json line = row;
      line["class"] = name;
      line["bytes"] = n;
      line["share"] = n.get<double>() / sum;
      table.print(line);
    }
  }
}

}  // namespace dsv4::cli
