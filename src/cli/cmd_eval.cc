// `dsv4 eval skills`: how many cases of a skill set a model answers right.
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/progress.h"
#include "eval/skills.h"
#include "model/gguf_tokenizer.h"

#include <CLI/CLI.hpp>

#include <map>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

// Cases answered at the same time: the weights are read once for all of them.
constexpr int64_t kTogether = 32;

struct EvalArgs {
  ModelArgs model;
  std::string cases;
  int64_t max_tokens = 120;
  bool json = false;
};

struct Score {
  int64_t right = 0;
  int64_t total = 0;
};

void print_table(const std::map<std::string, Score>& scores, const Score& all) {
  fmt::print("{:<16} {:>6} {:>6}\n", "skill", "right", "total");
  for (const auto& [skill, score] : scores) {
    fmt::print("{:<16} {:>6} {:>6}\n", skill, score.right, score.total);
  }
  fmt::print("{:<16} {:>6} {:>6}  {:.1f} %\n", "all", all.right, all.total,
             100.0 * static_cast<double>(all.right) / static_cast<double>(all.total));
}

void run_skills(const EvalArgs& args) {
  const std::vector<SkillCase> cases = read_skill_cases(read_file(args.cases), args.cases);
  const Tokenizer tokenizer = load_tokenizer(args.model.path);
  LoadedModel model(args.model);
  Engine engine(*model, tokenizer, engine_options(*model, kTogether));
  Progress progress("eval skills");
  std::map<std::string, Score> scores;
  Score all;
  nlohmann::ordered_json answers = nlohmann::ordered_json::array();
  answer_cases(cases, engine, tokenizer, args.max_tokens, [&](size_t i, const SkillAnswer& answer) {
    const SkillCase& skill_case = cases[i];
    for (Score* score : {&scores[skill_case.skill], &all}) {
      score->right += answer.right ? 1 : 0;
      ++score->total;
    }
    answers.push_back({{"id", skill_case.id},
                       {"skill", skill_case.skill},
                       {"right", answer.right},
                       {"ids", answer.ids},
                       {"text", answer.text}});
    progress.update(all.total, std::ssize(cases), fmt::format("{} right", all.right));
  });
  progress.clear();
  if (!args.json) return print_table(scores, all);
  nlohmann::ordered_json skills;
  for (const auto& [skill, score] : scores) {
    skills[skill] = {{"right", score.right}, {"total", score.total}};
  }
  const nlohmann::ordered_json result = {
      {"right", all.right}, {"total", all.total}, {"skills", skills}, {"cases", answers}};
  fmt::print("{}\n", result.dump());
}

}  // namespace

void add_eval(CLI::App& app) {
  CLI::App* eval = app.add_subcommand("eval", "Measure a model");
  eval->require_subcommand(1);
  auto args = std::make_shared<EvalArgs>();
  CLI::App* skills = eval->add_subcommand("skills", "Answer the cases of a skill set greedily");
  args->model.add_to(*skills);
  skills->add_option("--cases", args->cases, "Cases, one JSON object per line")
      ->required()
      ->type_name("FILE.jsonl");
  skills->add_option("--max-tokens", args->max_tokens, "Longest answer, in tokens")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  skills->add_flag("--json", args->json, "One JSON object: scores, and each case's id and ids");
  skills->footer("Example: dsv4 eval skills -m models/mini --cases models/mini/eval.jsonl");
  skills->callback([args] { run_skills(*args); });
  add_eval_quality(*eval);
}

}  // namespace dsv4::cli
