// `dsv4 compare`: differences of two safetensors files, tensor by tensor.
#include "base/error.h"
#include "cli/commands.h"
#include "eval/compare.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

// A stage counts as off beyond this share of its largest value: float32 in another order of
// summation stays well below.
constexpr double kRelative = 1e-4;

struct CompareArgs {
  std::string a;
  std::string b;
  CompareOptions options;
  std::vector<std::string> renamed;  // "A=B"
  std::optional<double> tolerance;
  bool json = false;
};

std::string details(const TensorDifference& d) {
  if (!d.problem.empty()) return "not comparable: " + d.problem;
  std::string text =
      d.n_different == 0 ? "equal" : fmt::format("{} of {} differ", d.n_different, d.n_elements);
  if (d.logits) {
    text += fmt::format(", KL mean {:.2e} max {:.2e}, top-1 {}/{}", d.logits->mean_kl,
                        d.logits->max_kl, d.logits->n_same_top1, d.logits->n_rows);
  }
  return text;
}

void print_list(const char* label, const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  if (names.empty()) return;
  const size_t n = std::min(kShown, names.size());
  fmt::print("{} ({}): {}{}\n", label, names.size(),
             fmt::join(names.begin(), names.begin() + static_cast<ptrdiff_t>(n), ", "),
             names.size() > n ? ", ..." : "");
}

void print_stage(const std::string& label, const TensorDifference* d) {
  fmt::print("{}: {}\n", label, d == nullptr ? "none" : d->name);
}

void print_table(const Comparison& result, const CompareArgs& args) {
  size_t width = 6;
  for (const TensorDifference& d : result.tensors) width = std::max(width, d.name.size());
  fmt::print("{:<{}}  {:>9}  {:>9}  {:>9}  {}\n", "tensor", width, "max abs", "rms", "relative",
             "elements");
  for (const TensorDifference& d : result.tensors) {
    if (d.is_float && d.problem.empty()) {
      fmt::print("{:<{}}  {:>9.2e}  {:>9.2e}  {:>9.2e}  {}\n", d.name, width, d.max_abs, d.rms,
                 d.relative, details(d));
    } else {
      fmt::print("{:<{}}  {:>9}  {:>9}  {:>9}  {}\n", d.name, width, "-", "-", "-", details(d));
    }
  }
  print_list("only in A", result.only_in_a);
  print_list("only in B", result.only_in_b);
  print_stage("first tensor that differs", result.first_different());
  print_stage(fmt::format("first beyond {:g} of its largest value", kRelative),
              result.first_beyond(kRelative));
  if (args.tolerance) {
    fmt::print("tolerance {:g}: {}\n", *args.tolerance,
               result.agrees(*args.tolerance) ? "agrees" : "differs");
  }
}

// JSON has no infinity and no NaN.
nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

nlohmann::ordered_json to_json(const TensorDifference& d) {
  nlohmann::ordered_json json = {{"name", d.name},
                                 {"shape_a", d.shape_a},
                                 {"shape_b", d.shape_b},
                                 {"elements", d.n_elements},
                                 {"different", d.n_different}};
  if (!d.problem.empty()) json["problem"] = d.problem;
  if (d.is_float && d.problem.empty()) {
    json["max_abs"] = number(d.max_abs);
    json["rms"] = number(d.rms);
    json["relative"] = number(d.relative);
  }
  if (d.logits) {
    json["kl_mean"] = number(d.logits->mean_kl);
    json["kl_max"] = number(d.logits->max_kl);
    json["top1_same"] = d.logits->n_same_top1;
    json["rows"] = d.logits->n_rows;
  }
  return json;
}

void print_json(const Comparison& result, const CompareArgs& args) {
  const auto name = [](const TensorDifference* d) {
    return d == nullptr ? nlohmann::ordered_json() : nlohmann::ordered_json(d->name);
  };
  nlohmann::ordered_json json = {{"tensors", nlohmann::ordered_json::array()},
                                 {"only_in_a", result.only_in_a},
                                 {"only_in_b", result.only_in_b},
                                 {"first_different", name(result.first_different())},
                                 {"first_beyond_1e-4", name(result.first_beyond(kRelative))}};
  for (const TensorDifference& d : result.tensors) json["tensors"].push_back(to_json(d));
  if (args.tolerance) json["agrees"] = result.agrees(*args.tolerance);
  fmt::print("{}\n", json.dump());
}

void run(CompareArgs& args) {
  for (const std::string& entry : args.renamed) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) {
      throw Error(ErrorCode::kInvalidInput, "--map",
                  fmt::format("'{}' is not of the form A=B", entry));
    }
    args.options.renamed[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  const Comparison result =
      compare(Checkpoint::open(args.a), Checkpoint::open(args.b), args.options);
  if (result.tensors.empty()) {
    throw Error(ErrorCode::kNotFound, fmt::format("{} and {}", args.a, args.b),
                "no tensor has the same name in both; see --prefix-a, --prefix-b and --map");
  }
  args.json ? print_json(result, args) : print_table(result, args);
  if (args.tolerance && !result.agrees(*args.tolerance)) throw CLI::RuntimeError(kDifferent);
}

}  // namespace

void add_compare(CLI::App& app) {
  auto args = std::make_shared<CompareArgs>();
  CLI::App* command = app.add_subcommand("compare", "Compare two safetensors files");
  command->add_option("A", args->a, "Reference: a safetensors file or model folder")->required();
  command->add_option("B", args->b, "What is judged")->required();
  command->add_option("--prefix-a", args->options.prefix_a,
                      "Only tensors of A with this prefix, which is cut off");
  command->add_option("--prefix-b", args->options.prefix_b, "The same for B");
  command->add_option("--map", args->renamed, "Compare tensor A with B; repeatable")
      ->type_name("A=B")
      ->allow_extra_args(false);
  command
      ->add_option("--tolerance", args->tolerance,
                   "Exit code 3 when a float is farther off, an integer differs or a tensor of A "
                   "is missing in B")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", args->json, "One JSON object");
  command->footer(
      "relative is max abs over the largest value of A. KL is KL(A || B) in nats per row of "
      "tensors\n"
      "called logits. A tensor with fewer rows is compared with the last rows of the other\n"
      "(stages of the experts: with the first, which the golden vectors keep).\n"
      "Example, a golden trace: dsv4 compare vectors.safetensors out.safetensors\n"
      "  --prefix-a trace.p33. --tolerance 1e-4");
  command->callback([args] { run(*args); });
}

}  // namespace dsv4::cli
