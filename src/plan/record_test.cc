#include "plan/record.h"

#include "base/error.h"

#include <fstream>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

PlanRecord record_of(double predicted, double measured, const char* what = "decode") {
  return {"2026-11-28", "0.1", "a \"machine\"\n", "mödel", "run", {{what, predicted, measured}}};
}

class RecordTest : public testing::Test {
 protected:
  RecordTest()
      : folder_(fs::temp_directory_path() / fmt::format("dsv4-record-{}", ::getpid())),
        file_(folder_ / "deep" / "plans.jsonl") {
    fs::remove_all(folder_);
  }
  ~RecordTest() override { fs::remove_all(folder_); }

  fs::path folder_;
  fs::path file_;
};

TEST_F(RecordTest, lines_come_back_as_they_were_written) {
  append_record(file_, record_of(10, 8));
  append_record(file_, record_of(1e9, 1.01e9, "memory"));
  const RecordFile file = load_records(file_);
  ASSERT_EQ(file.records.size(), 2u);
  EXPECT_EQ(file.n_unreadable, 0);
  EXPECT_EQ(file.records[0].machine, "a \"machine\"\n");
  EXPECT_EQ(file.records[0].model, "mödel");
  ASSERT_EQ(file.records[0].comparisons.size(), 1u);
  EXPECT_DOUBLE_EQ(file.records[0].comparisons[0].error(), 0.25);
}

TEST_F(RecordTest, a_line_that_was_cut_costs_itself_only) {
  append_record(file_, record_of(10, 8));
  std::ofstream(file_, std::ios::app) << R"({"date":"2026-11-2)";
  append_record(file_, record_of(10, 9));
  const RecordFile file = load_records(file_);
  EXPECT_EQ(file.records.size(), 2u);
  EXPECT_EQ(file.n_unreadable, 1);
}

TEST_F(RecordTest, no_file_is_no_record) { EXPECT_TRUE(load_records(file_).records.empty()); }

TEST_F(RecordTest, refuses_numbers_that_cannot_be_compared) {
  for (const char* bad :
       {"[]", "{}", R"({"date":"d","version":"v","machine":"m","model":"m","run":"r"})",
        R"({"date":"d","version":"v","machine":"m","model":"m","run":"r","comparisons":[1]})",
        R"({"date":"d","version":"v","machine":"m","model":"m","run":"r",)"
        R"("comparisons":[{"what":"decode","predicted":1,"measured":0}]})",
        R"({"date":"d","version":"v","machine":"m","model":"m","run":"r",)"
        R"("comparisons":[{"what":"decode","predicted":-1,"measured":1}]})"}) {
    EXPECT_THROW(parse_record(bad, "line"), Error) << bad;
  }
}

TEST(Accuracy, counts_what_keeps_its_bound) {
  const std::vector<PlanRecord> records = {record_of(1.1, 1),
                                           record_of(0.8, 1),
                                           record_of(1.05, 1),
                                           record_of(1.02, 1, "memory"),
                                           record_of(1.04, 1, "memory"),
                                           record_of(2, 1, "read roof")};
  const auto accuracy = accuracy_of(records);
  EXPECT_EQ(accuracy.at("decode").n, 3);
  EXPECT_EQ(accuracy.at("decode").n_within, 2);
  EXPECT_NEAR(accuracy.at("decode").median_error, 0.1, 1e-12);
  EXPECT_NEAR(accuracy.at("decode").worst_error, -0.2, 1e-12);
  EXPECT_EQ(accuracy.at("memory").n_within, 1);
  EXPECT_NEAR(accuracy.at("memory").median_error, 0.03, 1e-12);
  EXPECT_EQ(accuracy.size(), 2u) << "a roof is no prediction";
}

}  // namespace
}  // namespace dsv4
