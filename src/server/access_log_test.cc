#include "server/access_log.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/json.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>

#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

const AccessRecord kRecord{.unix_ms = 1'709'210'096'789,
                           .id = "req_1",
                           .key_name = "alice",
                           .remote = "::1",
                           .method = "POST",
                           .path = "/v1/x y\n",
                           .status = 200,
                           .response_bytes = 1234,
                           .duration_s = 1.5,
                           .first_token_s = 0.25,
                           .tokens_in = 100,
                           .tokens_cached = 90,
                           .tokens_out = 7,
                           .client_gone = true};

TEST(AccessLog, writes_one_line_of_text) {
  EXPECT_EQ(access_line(LogFormat::kText, kRecord),
            "time=2024-02-29T12:34:56.789Z id=req_1 key=alice remote=::1 method=POST "
            "path=\"/v1/x y\\n\" status=200 bytes=1234 duration_s=1.5 ttft_s=0.25 tokens_in=100 "
            "tokens_cached=90 tokens_out=7 client_gone=true\n");
}

TEST(AccessLog, writes_one_line_of_json_without_what_is_unknown) {
  const Json line = Json::parse(access_line(LogFormat::kJson, kRecord), "line");
  EXPECT_EQ(line.at("path", "").as_string(""), "/v1/x y\n");
  EXPECT_EQ(line.at("tokens_cached", "").as_int(""), 90);
  EXPECT_TRUE(line.at("client_gone", "").as_bool(""));
  const Json bare = Json::parse(access_line(LogFormat::kJson, {}), "line");
  EXPECT_EQ(bare.find("tokens_in"), nullptr);
  EXPECT_EQ(bare.find("duration_s"), nullptr);
}

TEST(AccessLog, appends_and_opens_anew) {
  const fs::path file = fs::temp_directory_path() / ("dsv4-access-" + std::to_string(::getpid()));
  const fs::path moved = file.string() + ".1";
  const std::string line = access_line(LogFormat::kText, kRecord);
  {
    AccessLog log(file, LogFormat::kText);
    log.write(kRecord);
    fs::rename(file, moved);
    log.write(kRecord);
    log.file().reopen();
    log.write(kRecord);
  }
  EXPECT_EQ(read_file(moved), line + line);
  AccessLog(file, LogFormat::kText).write(kRecord);
  EXPECT_EQ(read_file(file), line + line);
  fs::remove(file);
  fs::remove(moved);
  EXPECT_THROW(AccessLog("/nonexistent/log", LogFormat::kText), Error);
}

TEST(AccessLog, goes_on_in_the_old_file_where_a_new_one_cannot_be_opened) {
  const fs::path folder =
      fs::temp_directory_path() / ("dsv4-access-gone-" + std::to_string(::getpid()));
  fs::create_directory(folder);
  AccessLog log(folder / "log", LogFormat::kText);
  EXPECT_EQ(log.file().reopen(), std::nullopt);
  fs::remove_all(folder);
  const std::optional<std::string> problem = log.file().reopen();
  ASSERT_TRUE(problem);
  EXPECT_NE(problem->find("cannot open the log"), std::string::npos) << *problem;
  log.write(kRecord);
}

}  // namespace
}  // namespace dsv4
