#include "cli/serve_report.h"

#include "base/error.h"
#include "cli/bench_report.h"

#include <cmath>
#include <cstdio>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

using Json = BenchJson;

// Microseconds are enough, and shorter.
double rounded(double seconds) { return std::round(seconds * 1e6) / 1e6; }

Json quantiles(const Distribution& sample) {
  return {{"p50", rounded(sample.quantile(0.5))},  {"p95", rounded(sample.quantile(0.95))},
          {"p99", rounded(sample.quantile(0.99))}, {"max", rounded(sample.quantile(1))},
          {"mean", rounded(sample.mean())},        {"n", sample.size()}};
}

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

double per_second(int64_t n, const ServeReport& report) {
  return report.seconds > 0 ? static_cast<double>(n) / report.seconds : 0;
}

std::string time_text(double seconds) {
  if (seconds < 0.09995) return fmt::format("{:.2f} ms", seconds * 1e3);
  if (seconds < 9.995) return fmt::format("{:.0f} ms", seconds * 1e3);
  return fmt::format("{:.1f} s", seconds);
}

void print_times(const char* name, const Distribution& sample) {
  fmt::print("{:<16}", name);
  if (sample.size() == 0) {
    fmt::print("{:>12}\n", "-");
    return;
  }
  for (const double q : {0.5, 0.95, 0.99, 1.0}) {
    fmt::print("{:>12}", time_text(sample.quantile(q)));
  }
  fmt::print("{:>12}\n", time_text(sample.mean()));
}

TurnResult result_of(const Json& row) {
  TurnResult result;
  result.conversation = row.value("conversation", int64_t{0});
  result.turn = row.value("turn", int64_t{0});
  result.start_s = row.value("start_s", 0.0);
  result.first_s = row.value("first_s", 0.0);
  result.total_s = row.value("total_s", 0.0);
  result.gaps_s = row.value("gaps_s", std::vector<float>());
  result.usage = {row.value("prompt_tokens", int64_t{0}), row.value("cached_tokens", int64_t{0}),
                  row.value("completion_tokens", int64_t{0}),
                  row.value("reasoning_tokens", int64_t{0})};
  result.reusable = row.value("reusable_tokens", int64_t{0});
  result.finish = row.value("finish", "");
  result.failure = row.value("failure", "");
  result.message = row.value("message", "");
  return result;
}

}  // namespace

BenchJson run_row(const ServeRun& run) {
  return {{"kind", "serve"},  {"url", run.url},          {"model", run.model}, {"load", run.load},
          {"date", run.date}, {"version", DSV4_VERSION}, {"label", run.label}};
}

BenchJson request_row(const TurnResult& r) {
  Json row = {{"kind", "serve_request"},
              {"conversation", r.conversation},
              {"turn", r.turn},
              {"start_s", rounded(r.start_s)},
              {"total_s", rounded(r.total_s)}};
  if (!r.failure.empty()) {
    row["failure"] = r.failure;
    // What a server sends need not be text.
    row["message"] =
        Json::parse(Json(r.message).dump(-1, ' ', false, Json::error_handler_t::replace));
    return row;
  }
  row["first_s"] = rounded(r.first_s);
  row["prompt_tokens"] = r.usage.prompt;
  row["cached_tokens"] = r.usage.cached;
  row["reusable_tokens"] = r.reusable;
  row["completion_tokens"] = r.usage.completion;
  row["reasoning_tokens"] = r.usage.reasoning;
  row["finish"] = r.finish;
  Json gaps = Json::array();
  for (const float gap : r.gaps_s) gaps.push_back(rounded(gap));
  row["gaps_s"] = std::move(gaps);
  return row;
}

BenchJson summary_row(const ServeReport& report) {
  return {{"kind", "serve_summary"},
          {"seconds", rounded(report.seconds)},
          {"requests", report.n_requests},
          {"failed", report.n_failed},
          {"failures", report.failures},
          {"finishes", report.finishes},
          {"requests_per_s", per_second(report.n_requests - report.n_failed, report)},
          {"prompt_tokens", report.usage.prompt},
          {"cached_tokens", report.usage.cached},
          {"completion_tokens", report.usage.completion},
          {"reasoning_tokens", report.usage.reasoning},
          {"prompt_tokens_per_s", per_second(report.usage.prompt, report)},
          {"completion_tokens_per_s", per_second(report.usage.completion, report)},
          {"cached_share", share(report.usage.cached, report.usage.prompt)},
          {"reusable_tokens", report.reusable},
          {"cached_share_of_reusable", share(report.reusable_cached, report.reusable)},
          {"first_s", quantiles(report.first)},
          {"between_s", quantiles(report.between)},
          {"total_s", quantiles(report.total)}};
}

ServeRun read_serve_run(const std::string& path) {
  ServeRun run;
  try {
    for (const Json& row : read_bench_rows(path)) {
      const std::string kind = row["kind"];
      if (kind == "serve") {
        run.url = row.value("url", "");
        run.model = row.value("model", "");
        run.load = row.value("load", "");
        run.date = row.value("date", "");
        run.label = row.value("label", "");
      } else if (kind == "serve_request") {
        run.results.push_back(result_of(row));
      }
    }
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::kInvalidInput, path, error.what());
  }
  if (run.results.empty()) {
    throw Error(ErrorCode::kInvalidInput, path, "expected what dsv4 bench serve --json printed");
  }
  return run;
}

void print_report(const ServeRun& run, const ServeReport& report) {
  fmt::print("{}, {}, {}{}{}\n", run.url, run.model, run.date, run.label.empty() ? "" : ", ",
             run.label);
  fmt::print("{}\n\n", run.load);
  fmt::print("{} requests in {:.1f} s, {} failed\n", report.n_requests, report.seconds,
             report.n_failed);
  for (const auto& [kind, n] : report.failures) {
    fmt::print("  {} x {}: {}\n", n, kind, report.first_message.at(kind));
  }
  for (const auto& [finish, n] : report.finishes) fmt::print("  {} ended with {}\n", n, finish);
  fmt::print("throughput: {:.2f} requests/s, {:.1f} tokens/s in, {:.1f} tokens/s out\n",
             per_second(report.n_requests - report.n_failed, report),
             per_second(report.usage.prompt, report), per_second(report.usage.completion, report));
  fmt::print("cached: {:.1f}% of {} prompt tokens",
             100 * share(report.usage.cached, report.usage.prompt), report.usage.prompt);
  if (report.reusable > 0) {
    fmt::print(", {:.1f}% of the {} that the turn before had",
               100 * share(report.reusable_cached, report.reusable), report.reusable);
  }
  fmt::print("\n\n{:<16}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "", "p50", "p95", "p99", "max", "mean");
  print_times("first token", report.first);
  print_times("between tokens", report.between);
  print_times("whole reply", report.total);
  std::fflush(stdout);
}

LatencyChart latency_chart_of(const std::vector<ServeRun>& runs) {
  LatencyChart chart;
  for (const ServeRun& run : runs) {
    ServeReport report = summarize(run.results);
    const std::string label = run.label.empty() ? run.load : run.label;
    chart.first.push_back({label, std::move(report.first)});
    chart.between.push_back({label, std::move(report.between)});
  }
  if (runs.empty()) return chart;
  chart.title = "Latencies of " + runs.front().model;
  chart.subtitle = fmt::format("dsv4 {}, {}, {}", DSV4_VERSION, runs.front().date,
                               runs.size() == 1 ? runs.front().load : runs.front().url);
  return chart;
}

}  // namespace dsv4::cli
