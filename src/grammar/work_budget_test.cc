#include "grammar/char_dfa.h"
#include "grammar/schema_nodes.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

// The error of a budget that has `work` left.
ErrorCode code_when_spent(WorkBudget& budget, size_t work) {
  budget.spend(work - 1, "schema.a");
  EXPECT_FALSE(budget.is_spent());
  try {
    budget.spend(2, "schema.b");
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "schema.b");
    EXPECT_TRUE(budget.is_spent()) << "nothing is left for what comes behind an error";
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(WorkBudget, ends_with_the_error_of_its_kind) {
  AutomatonBudget automata;
  EXPECT_EQ(code_when_spent(automata, 5'000'000), ErrorCode::kUnsupported);
  AlternativesBudget alternatives;
  EXPECT_EQ(code_when_spent(alternatives, 500'000), ErrorCode::kOutOfRange);
}

TEST(WorkBudget, may_be_spent_to_the_last) {
  AlternativesBudget budget;
  budget.spend(500'000, "schema");
  EXPECT_TRUE(budget.is_spent());
}

}  // namespace
}  // namespace dsv4
