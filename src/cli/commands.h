// The subcommands. Each function adds one to the program; its callback runs when it was chosen and
// throws Error on failure (main.cc prints it as one line and picks the exit code).
#pragma once

namespace CLI {
class App;
}

namespace dsv4::cli {

// Exit codes, also listed by `dsv4 --help`.
enum ExitCode {
  kSuccess = 0,
  kFailure = 1,    // an Error: bad file, bad input, no memory
  kUsage = 2,      // wrong options
  kDifferent = 3,  // the command ran and its answer is "no": compare, eval
  kInterrupted = 130
};

void add_bench(CLI::App& app);
void add_bench_serve(CLI::App& bench);  // to `dsv4 bench`
void add_compare(CLI::App& app);
void add_detokenize(CLI::App& app);
void add_encode(CLI::App& app);
void add_calibrate(CLI::App& app);
void add_chat(CLI::App& app);
void add_eval(CLI::App& app);
void add_eval_quality(CLI::App& eval);  // to `dsv4 eval`
void add_inspect(CLI::App& app);
void add_logits(CLI::App& app);
void add_parse(CLI::App& app);
void add_plan(CLI::App& app);
void add_quantize(CLI::App& app);
void add_run(CLI::App& app);
void add_serve(CLI::App& app);
void add_synth(CLI::App& app);
void add_tokenize(CLI::App& app);

}  // namespace dsv4::cli
