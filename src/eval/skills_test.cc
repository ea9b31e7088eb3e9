#include "eval/skills.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

const std::string kFolder = std::string(DSV4_SOURCE_DIR) + "/models/mini";

// models/mini/README.md: what the reference implementation answered.
TEST(Skills, the_bundled_model_answers_as_the_reference_does) {
  const std::string jsonl = read_file(kFolder + "/eval.jsonl");
  const std::vector<SkillCase> cases = read_skill_cases(jsonl, "eval.jsonl");
  ASSERT_EQ(cases.size(), 234u);
  ThreadPool pool(2);
  const auto ops = make_cpu_ops(pool);
  Model model(kFolder, *ops);
  const Tokenizer tokenizer = Tokenizer::load(kFolder);
  Engine engine(model, tokenizer, {});
  std::istringstream lines(jsonl);
  int n_right = 0;
  int n_compared = 0;
  answer_cases(cases, engine, tokenizer, 120, [&](size_t i, const SkillAnswer& answer) {
    const SkillCase& skill_case = cases[i];
    std::string line;
    std::getline(lines, line);
    const nlohmann::json reference = parse_json(line, "eval.jsonl");
    n_right += answer.right ? 1 : 0;
    EXPECT_EQ(answer.right, reference["correct"].get<bool>()) << skill_case.id;
    if (reference["min_gap"].get<double>() < 0.01) return;  // a close call: rounding may decide
    ++n_compared;
    EXPECT_EQ(answer.ids, reference["reference_ids"].get<std::vector<int32_t>>()) << skill_case.id;
  });
  EXPECT_EQ(n_right, 193);
  EXPECT_GT(n_compared, 200);
}

TEST(Skills, refuses_cases_that_it_cannot_read) {
  for (const char* line : {"", "{}", "not json", R"({"id": "a"})",
                           R"({"id":"a","skill":"b","thinking_mode":"loud","expected":{}})"}) {
    EXPECT_THROW(read_skill_cases(line, "cases"), Error) << line;
  }
}

}  // namespace
}  // namespace dsv4
