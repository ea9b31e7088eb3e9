// The results of `dsv4 bench serve` as JSON lines, as a table and as a picture.
#pragma once

#include "bench/latency_chart.h"
#include "bench/serve_bench.h"

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace dsv4::cli {

// What was run, for the first line of a report.
struct ServeRun {
  std::string url;
  std::string model;
  std::string load;  // in words
  std::string date;
  std::string label;
  std::vector<TurnResult> results;
};

// Of kind "serve", "serve_request" and "serve_summary".
nlohmann::ordered_json run_row(const ServeRun& run);
nlohmann::ordered_json request_row(const TurnResult& result);
nlohmann::ordered_json summary_row(const ServeReport& report);

// What a run printed with --json. Throws Error(kNotFound, or kInvalidInput).
ServeRun read_serve_run(const std::string& path);

void print_report(const ServeRun& run, const ServeReport& report);

// One curve for each run.
LatencyChart latency_chart_of(const std::vector<ServeRun>& runs);

}  // namespace dsv4::cli
