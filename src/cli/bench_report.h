// The rows of `dsv4 bench`: what was measured as JSON, and JSON as tables, now or from a file.
#pragma once

#include "bench/kernel_bench.h"
#include "bench/model_bench.h"
#include "bench/roofline.h"

#include <map>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace dsv4::cli {

using BenchJson = nlohmann::ordered_json;

// The day of a run, "2026-01-31".
std::string today();

BenchJson to_json(const KernelRow& row);
BenchJson to_json(const ModelRow& row, const std::string& model);

// What a run printed with --json. Throws Error(kNotFound, or kInvalidInput naming the line).
std::vector<BenchJson> read_bench_rows(const std::string& path);

// The rows as a picture; several runs may be in it.
RooflineChart chart_of(const std::vector<BenchJson>& rows);

struct ReportStyle {
  bool json = false;
  bool markdown = false;
  bool breakdown = false;  // bytes of a model's steps by class
  std::string compare;     // an earlier run to print beside
};

// Prints rows as they come.
class BenchReport {
 public:
  explicit BenchReport(const ReportStyle& style);
  void add(const BenchJson& row);
  // Prints what stands below a table.
  void finish();

 private:
  void print_roofs(const BenchJson& row) const;
  void print_breakdown() const;

  ReportStyle style_;
  std::string open_table_;                    // kind of its rows
  std::vector<BenchJson> models_;             // rows of that table, for the breakdown
  std::map<std::string, BenchJson> earlier_;  // by what they measure
};

}  // namespace dsv4::cli
