#include "bench/disk_bench.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

DiskPlan small_plan() {
  return {.file_bytes = 2 << 20, .block_bytes = 64 << 10, .seconds = 0.01, .n_threads = 3};
}

fs::path empty_folder(const std::string& name) {
  const fs::path folder = fs::path(::testing::TempDir()) / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

ErrorCode error_of(const DiskPlan& plan) {
  try {
    bench_disk(plan);
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::kIo;
}

TEST(DiskBench, leaves_no_file_behind) {
  DiskPlan plan = small_plan();
  plan.folder = empty_folder("disk_bench");
  const DiskMeasurement result = bench_disk(plan);
  EXPECT_TRUE(fs::is_empty(plan.folder));
  EXPECT_EQ(result.file_bytes, 2 << 20);
  EXPECT_EQ(result.block_bytes, 64 << 10);
  for (const double value :
       {result.rates.read, result.rates.latency_s, result.read_alone, result.block_s}) {
    EXPECT_TRUE(std::isfinite(value) && value > 0) << value;
  }
  EXPECT_GE(result.rates.read, result.read_alone);
  EXPECT_NE(result.text().find("64 KiB at random places of 2 MiB"), std::string::npos);
  fs::remove_all(plan.folder);
}

TEST(DiskBench, reads_a_file_that_is_shorter_than_a_block) {
  DiskPlan plan = small_plan();
  const fs::path folder = empty_folder("disk_bench_file");
  plan.file = folder / "short";
  std::ofstream(plan.file) << std::string(10'000, 'x');
  const DiskMeasurement result = bench_disk(plan);
  EXPECT_EQ(result.block_bytes, 8192);
  EXPECT_EQ(result.file_bytes, 10'000);
  EXPECT_EQ(fs::file_size(plan.file), 10'000u);
  std::ofstream(plan.file) << "x";
  EXPECT_EQ(error_of(plan), ErrorCode::kOutOfRange);
  fs::remove_all(folder);
}

TEST(DiskBench, throws_what_is_wrong_with_a_plan) {
  DiskPlan plan = small_plan();
  EXPECT_EQ(error_of(plan), ErrorCode::kInvalidInput);
  plan.folder = "/nowhere/at/all";
  EXPECT_EQ(error_of(plan), ErrorCode::kNotFound);
  plan.file = "/nowhere/at/all";
  EXPECT_EQ(error_of(plan), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace dsv4
