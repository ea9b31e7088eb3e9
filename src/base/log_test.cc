#include "base/log.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include <unistd.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

TEST(Log, quotes_values_that_could_be_taken_for_something_else) {
  const std::vector<LogField> fields = {{"a", "plain"}, {"b", "two words"}, {"c", "x\ny=\"z\""},
                                        {"d", ""},      {"e", 12},          {"f", true},
                                        {"g", 0.25}};
  EXPECT_EQ(log_line(LogFormat::kText, fields),
            "a=plain b=\"two words\" c=\"x\\ny=\\\"z\\\"\" d=\"\" e=12 f=true g=0.25\n");
}

TEST(Log, writes_json_that_reads_back_for_any_bytes) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  const std::vector<LogField> fields = {
      {"bytes", bytes}, {"nan", std::numeric_limits<double>::quiet_NaN()}, {"n", int64_t{-5}}};
  const std::string line = log_line(LogFormat::kJson, fields);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["bytes"].get<std::string>().substr(0, 128), bytes.substr(0, 128));
  EXPECT_TRUE(json["nan"].is_null());
  EXPECT_EQ(json["n"], -5);
  EXPECT_EQ(log_line(LogFormat::kJson, {}), "{}\n");
}

TEST(Log, writes_time_in_utc) {
  EXPECT_EQ(log_time(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(log_time(1'709'210'096'789), "2024-02-29T12:34:56.789Z");
}

TEST(Log, leaves_out_what_is_below_its_level) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Log log(LogLevel::kWarning, LogFormat::kText, ends[1]);
  log.info("no");
  log.warning("yes", {{"file", "a b"}});
  ::close(ends[1]);
  std::string text(1000, '\0');
  text.resize(static_cast<size_t>(::read(ends[0], text.data(), text.size())));
  ::close(ends[0]);
  EXPECT_EQ(text.substr(text.find(' ')), " level=warning message=yes file=\"a b\"\n");
}

}  // namespace
}  // namespace dsv4
