// `dsv4 bench serve`: a load on a running server, as many clients at once would put on it.
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_file.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/progress.h"
#include "cli/serve_report.h"

#include <CLI/CLI.hpp>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

struct ServeArgs {
  std::string url;
  std::string api_key;
  std::string api_key_file;
  double idle_s = 120;
  ServeLoad load;
  ServeSchedule schedule;
  std::string trace;
  std::string system_words = "0";
  std::string prompt_words = "50..400";
  std::string result_words = "20..200";
  std::string label;
  std::string svg;
  std::vector<std::string> replay;
  bool json = false;
  bool tools = false;
};

std::string in_words(const ServeArgs& args) {
  const ServeLoad& load = args.load;
  const ServeSchedule& schedule = args.schedule;
  std::string text;
  if (!load.trace.empty() && load.trace.front().at_s) {
    text = fmt::format("{} arrivals of {}", load.trace.size(), args.trace);
  } else if (schedule.rate > 0) {
    text = fmt::format("open loop, {:g} arrivals/s", schedule.rate);
  } else {
    text = fmt::format("closed loop, {} at once", schedule.concurrency);
  }
  if (schedule.n_conversations > 0) {
    text += fmt::format(", {} conversations", schedule.n_conversations);
  }
  if (schedule.duration_s > 0) text += fmt::format(", {:g} s", schedule.duration_s);
  if (load.turns > 1) text += fmt::format(", {} turns", load.turns);
  if (!load.tool_choice.empty()) text += ", tools";
  text += fmt::format(", at most {} tokens", load.max_tokens);
  return text;
}

void complete(ServeArgs& args, ServeTarget& target) {
  target.address = parse_http_address(args.url);
  target.idle_s = args.idle_s;
  target.api_key = args.api_key;
  if (!args.api_key_file.empty()) target.api_key = read_file(args.api_key_file, 4096);
  while (!target.api_key.empty() && target.api_key.back() <= ' ') target.api_key.pop_back();
  for (const char c : target.api_key) {
    if (c < '!' || c > '~') {
      throw Error(ErrorCode::kInvalidInput, "API key", "expected visible ASCII characters");
    }
  }
  ServeLoad& load = args.load;
  load.system_words = parse_length_range(args.system_words);
  load.prompt_words = parse_length_range(args.prompt_words);
  load.result_words = parse_length_range(args.result_words);
  if (!args.trace.empty()) load.trace = parse_trace(read_file(args.trace), args.trace);
  if (args.tools && load.tool_choice.empty()) load.tool_choice = "auto";
  const bool ends = args.schedule.n_conversations > 0 || args.schedule.duration_s > 0 ||
                    (!load.trace.empty() && load.trace.front().at_s);
  if (!ends) args.schedule.duration_s = 60;
  if (load.model.empty()) load.model = first_model(target);
}

ServeRun measure(ServeArgs& args) {
  ServeTarget target;
  complete(args, target);
  ServeRun run{.url = args.url,
               .model = args.load.model,
               .load = in_words(args),
               .date = today(),
               .label = args.label};
  if (args.json) fmt::print("{}\n", run_row(run).dump());
  Progress progress("bench serve");
  int64_t n_done = 0, n_failed = 0;
  const int64_t n_all = args.schedule.n_conversations * args.load.turns;
  const auto on_result = [&](const TurnResult& result) {
    ++n_done;
    if (!result.failure.empty()) ++n_failed;
    if (args.json) {
      fmt::print("{}\n", request_row(result).dump());
      std::fflush(stdout);
    }
    const std::string note = fmt::format("{} replies, {} failed", n_done - n_failed, n_failed);
    if (n_all > 0) return progress.update(std::min(n_done, n_all), n_all, note);
    const double s = result.start_s + result.total_s;
    const double end = args.schedule.duration_s;
    progress.update(static_cast<int64_t>(1e3 * std::min(s, end)), static_cast<int64_t>(1e3 * end),
                    note);
  };
  catch_interrupts();
  run.results = run_serve_bench(
      target, args.load, args.schedule, [] { return was_interrupted(); }, on_result);
  progress.clear();
  return run;
}

int run(ServeArgs& args) {
  if (args.url.empty() == args.replay.empty()) {
    throw Error(ErrorCode::kInvalidInput, "bench serve", "needs --url or --replay");
  }
  std::vector<ServeRun> runs;
  if (args.replay.empty()) runs.push_back(measure(args));
  for (const std::string& path : args.replay) runs.push_back(read_serve_run(path));
  int64_t n_failed = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const ServeReport report = summarize(runs[i].results);
    n_failed += report.n_failed;
    if (args.json) {
      fmt::print("{}\n", summary_row(report).dump());
    } else {
      if (i > 0) fmt::print("\n");
      print_report(runs[i], report);
    }
  }
  if (!args.svg.empty()) {
    OutputFile file(args.svg);
    const std::string svg = latency_svg(latency_chart_of(runs));
    file.write(std::as_bytes(std::span(svg)));
    file.finish();
  }
  if (was_interrupted()) return kInterrupted;
  return n_failed > 0 && args.replay.empty() ? kDifferent : kSuccess;
}

void add_load_options(CLI::App& command, ServeArgs& args) {
  ServeLoad& load = args.load;
  command.add_option("--trace,--prompts", args.trace, "JSON lines with prompts, see below")
      ->type_name("FILE");
  command.add_option("--turns", load.turns, "Requests of a conversation, each with all before it")
      ->check(CLI::Range(int64_t{1}, int64_t{10000}))
      ->capture_default_str();
  command.add_option("--think-time", load.think_s, "Mean seconds between turns")
      ->check(CLI::Range(0.0, 1e5))
      ->capture_default_str();
  command.add_flag("--tools", args.tools, "Declare a tool; results follow the model's calls");
  command.add_option("--tool-choice", load.tool_choice, "none, auto or required; implies --tools");
  command.add_option("--system-words", args.system_words, "Words of a system prompt shared by all")
      ->capture_default_str();
  command
      .add_option("--prompt-words", args.prompt_words, "Words of a first message, N or LOW..HIGH")
      ->capture_default_str();
  command
      .add_option("--result-words", args.result_words,
                  "Words of a tool's result or of a later question")
      ->capture_default_str();
  command.add_option("--max-tokens", load.max_tokens, "Most tokens of a reply")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  command.add_option("--effort", load.effort, "reasoning_effort of the requests");
  command.add_option("--temperature", load.temperature, "Instead of the server's")
      ->check(CLI::Range(0.0, 2.0));
  command.add_option("--seed", load.seed, "Of everything that is drawn")->capture_default_str();
}

}  // namespace

void add_bench_serve(CLI::App& bench) {
  auto args = std::make_shared<ServeArgs>();
  CLI::App* command = bench.add_subcommand("serve", "A load on a running server of the OpenAI API");
  command->add_option("--url", args->url, "The server, for example http://127.0.0.1:8000");
  command->add_option("--model", args->load.model, "Its name there; default: the first listed");
  CLI::Option* key = command->add_option("--api-key", args->api_key, "Sent with each request");
  command->add_option("--api-key-file", args->api_key_file, "The same from a file")
      ->type_name("FILE")
      ->excludes(key);
  ServeSchedule& schedule = args->schedule;
  CLI::Option* rate =
      command->add_option("--rate", schedule.rate, "Open loop: conversations begun a second");
  rate->check(CLI::Range(1e-3, 1e5));
  command->add_option("--concurrency", schedule.concurrency, "Closed loop: conversations at once")
      ->check(CLI::Range(int64_t{1}, int64_t{20000}))
      ->capture_default_str()
      ->excludes(rate);
  command->add_option("--conversations", schedule.n_conversations, "End after so many")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000'000}));
  command->add_option("--duration", schedule.duration_s, "Begin no request after these seconds")
      ->check(CLI::Range(0.001, 1e7));
  command->add_option("--timeout", args->idle_s, "Seconds without a byte that end a request")
      ->check(CLI::Range(0.1, 1e5))
      ->capture_default_str();
  add_load_options(*command, *args);
  command->add_option("--label", args->label, "A note for the report, such as a commit");
  command->add_flag("--json,--jsonl", args->json, "JSON lines: the run, each request, the summary");
  command->add_option("--replay", args->replay, "Report on what runs printed as JSON")
      ->type_name("FILE")
      ->delimiter(',');
  command->add_option("--svg", args->svg, "Draw the distributions into this file")
      ->type_name("FILE");
  command->footer(
      "Latencies count from when a request was due, so that a slow server cannot hide in an open\n"
      "loop. \"Between tokens\" is between the events that carry a part of a reply. Lengths of a\n"
      "range are drawn evenly by their logarithm. Lines of a trace are\n"
      "  {\"at\": 1.5, \"messages\": [...], \"max_tokens\": 64}\n"
      "with \"prompt\": TEXT or \"prompt_words\": N in place of messages; without \"at\" they are "
      "the\n"
      "prompts of arrivals that are drawn. With neither --conversations nor --duration it takes\n"
      "60 s. Ctrl-C ends with a report. Exit codes: 0 all replies were whole, 3 some were not.\n\n"
      "Example: dsv4 bench serve --url http://127.0.0.1:8000 --rate 4 --duration 60 --svg l.svg\n"
      "         dsv4 bench serve --url http://127.0.0.1:8000 --concurrency 50 --conversations 50 "
      "\\\n"
      "           --turns 20 --tools --json > agents.jsonl");
  command->callback([args] {
    if (const int code = run(*args); code != kSuccess) throw CLI::RuntimeError(code);
  });
}

}  // namespace dsv4::cli
