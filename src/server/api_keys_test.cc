#include "server/api_keys.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

namespace dsv4 {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// SHA-256 of "abc" and of "", from FIPS 180-2 and its examples.
const std::string kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const std::string kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(ApiKeys, reads_a_file) {
  const auto keys = parse_api_keys("# keys\n\n  alice " + kAbc +
                                       " rate=60 tokens=1e6 priority=-5 shared=team # first\r\n"
                                       "bob\t" +
                                       kEmpty,
                                   "f");
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[0], (ApiKey{"alice", sha256("abc"), 60, 1e6, -5, "team"}));
  EXPECT_EQ(keys[1], (ApiKey{"bob", sha256("")}));
  EXPECT_TRUE(parse_api_keys("", "f").empty());
}

TEST(ApiKeys, names_the_line_of_an_error) {
  const std::string kBad[] = {
      "alice",
      "alice 1234",
      "alice " + kAbc + "0",
      "alice " + kAbc.substr(1) + "g",
      "al/ice " + kAbc,
      std::string(65, 'a') + " " + kAbc,
      "alice " + kAbc + " rate=",
      "alice " + kAbc + " rate=0",
      "alice " + kAbc + " rate=-1",
      "alice " + kAbc + " rate=nan",
      "alice " + kAbc + " rate=inf",
      "alice " + kAbc + " rate=1x",
      "alice " + kAbc + " tokens=1e13",
      "alice " + kAbc + " priority=1.5",
      "alice " + kAbc + " priority=101",
      "alice " + kAbc + " shared=",
      "alice " + kAbc + " shared=a/b",
      "alice " + kAbc + " rate=1 rate=2",
      "alice " + kAbc + " colour=red",
      "bob " + kAbc,
      "first " + kEmpty,
  };
  for (const std::string& line : kBad) {
    try {
      parse_api_keys("first " + kAbc.substr(0, 63) + "0\n\n" + line + "\nbob " + kAbc + "\n", "f");
      // A line that is fine alone, but not before the last one.
      FAIL() << line;
    } catch (const Error& error) {
      const bool is_second = line.starts_with("bob");
      EXPECT_EQ(error.where(), is_second ? "f:4" : "f:3") << line << error.what();
    }
  }
}

TEST(ApiKeys, finds_the_key_in_headers) {
  EXPECT_EQ(presented_key({{"Authorization", "Bearer abc"}}), "abc");
  EXPECT_EQ(presented_key({{"authorization", "bearer  abc "}}), "abc");
  EXPECT_EQ(presented_key({{"X-Api-Key", "abc"}}), "abc");
  EXPECT_EQ(presented_key({{"Authorization", "Basic abc"}}), std::nullopt);
  EXPECT_EQ(presented_key({{"Authorization", "Bearer"}}), std::nullopt);
  EXPECT_EQ(presented_key({}), std::nullopt);
}

TEST(TokenBucket, gives_one_minute_at_once_and_then_the_rate) {
  TokenBucket bucket;
  TokenBucket::Time now{};
  EXPECT_EQ(bucket.wait_s(1e9, now), 0);  // no quota
  bucket.set_rate(60, now);
  for (int i = 0; i < 60; ++i) {
    EXPECT_EQ(bucket.wait_s(1, now), 0);
    bucket.take(1, now);
  }
  EXPECT_DOUBLE_EQ(bucket.wait_s(1, now), 1);
  now += 500ms;
  EXPECT_DOUBLE_EQ(bucket.wait_s(1, now), 0.5);
  now += 1h;
  EXPECT_EQ(bucket.wait_s(60, now), 0);
  bucket.take(61, now);
  EXPECT_DOUBLE_EQ(bucket.wait_s(1, now), 2);
  // More than a minute's worth waits for a full bucket, not for ever.
  EXPECT_DOUBLE_EQ(bucket.wait_s(1000, now), 61);
  // What was used stays used.
  bucket.set_rate(120, now);
  EXPECT_DOUBLE_EQ(bucket.wait_s(120, now), 30.5);
}

class ApiKeysFile : public testing::Test {
 protected:
  void write(const std::string& text) {
    std::ofstream(file_) << text;
    fs::last_write_time(file_, fs::file_time_type() + std::chrono::seconds(++n_writes_));
  }
  void TearDown() override { fs::remove(file_); }

  const fs::path file_ =
      fs::temp_directory_path() / ("dsv4-api-keys-" + std::to_string(::getpid()));
  int n_writes_ = 0;
  TokenBucket::Time now_{};
  const Tenant::Clock clock_ = [this] { return now_; };
  const Log log_{LogLevel::kError, LogFormat::kText, -1};
};

TEST_F(ApiKeysFile, lets_in_who_has_a_key) {
  write("alice " + kAbc + " priority=3\n");
  const ApiKeys keys(file_, log_, clock_);
  ASSERT_NE(keys.find("abc"), nullptr);
  EXPECT_EQ(keys.find("abc")->name(), "alice");
  EXPECT_EQ(keys.find("abc")->priority(), 3);
  EXPECT_EQ(keys.find(""), nullptr);
  EXPECT_EQ(keys.find("abd"), nullptr);
  EXPECT_EQ(keys.find(kAbc), nullptr);  // the hash is not the key
  EXPECT_NE(keys.find(HttpHeaders{{"x-api-key", "abc"}}), nullptr);
  EXPECT_EQ(keys.find(HttpHeaders{}), nullptr);
}

TEST_F(ApiKeysFile, reads_changes_and_survives_broken_ones) {
  write("alice " + kAbc + " rate=2\n");
  ApiKeys keys(file_, log_, clock_);
  EXPECT_FALSE(keys.reload_if_changed());
  const auto alice = keys.find("abc");
  EXPECT_EQ(alice->admit(), std::nullopt);
  EXPECT_EQ(alice->admit(), std::nullopt);
  EXPECT_EQ(alice->admit(), 30);
  write("alice nonsense\n");
  EXPECT_FALSE(keys.reload_if_changed());
  EXPECT_FALSE(keys.reload());
  EXPECT_EQ(keys.find("abc"), alice);
  write("alice " + kAbc + " rate=3\nbob " + kEmpty + "\n");
  EXPECT_TRUE(keys.reload_if_changed());
  EXPECT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys.find("abc"), alice);  // with what it has used
  EXPECT_EQ(alice->admit(), std::nullopt);
  EXPECT_EQ(alice->admit(), 20);
  write("bob " + kEmpty + "\n");
  EXPECT_TRUE(keys.reload_if_changed());
  EXPECT_EQ(keys.find("abc"), nullptr);
  fs::remove(file_);
  EXPECT_FALSE(keys.reload_if_changed());
  EXPECT_NE(keys.find(""), nullptr);
  EXPECT_THROW(ApiKeys(file_, log_, clock_), Error);
}

TEST_F(ApiKeysFile, lets_a_large_request_delay_later_ones) {
  write("alice " + kAbc + " tokens=600\n");
  const ApiKeys keys(file_, log_, clock_);
  const auto alice = keys.find("abc");
  EXPECT_EQ(alice->admit(), std::nullopt);
  alice->charge_tokens(1200);
  EXPECT_EQ(alice->admit(), 61);
  now_ += 60s;
  EXPECT_EQ(alice->admit(), 1);
  now_ += 1s;
  EXPECT_EQ(alice->admit(), std::nullopt);
}

TEST_F(ApiKeysFile, shares_prefixes_within_a_group_alone) {
  write("a " + kAbc + "\nb " + kEmpty + "\nc " + kAbc.substr(1) + "0 shared=g\nd " +
        kAbc.substr(1) + "1 shared=g\n");
  const auto keys = parse_api_keys("a " + kAbc + "\nb " + kEmpty + "\nc " + kAbc.substr(1) +
                                       "0 shared=g\nd " + kAbc.substr(1) + "1 shared=g\n",
                                   "f");
  const auto salt = [&](size_t i) { return Tenant(keys[i], clock_).salt(); };
  EXPECT_NE(salt(0), salt(1));
  EXPECT_NE(salt(0), salt(2));
  EXPECT_EQ(salt(2), salt(3));
  EXPECT_EQ(salt(0), salt(0));
  EXPECT_NE(salt(0), 0u);
}

TEST(ApiKeys, makes_keys_that_work) {
  const NewApiKey made = make_api_key("carol");
  EXPECT_NE(made.key, make_api_key("carol").key);
  const auto keys = parse_api_keys(made.line, "f");
  ASSERT_EQ(keys.size(), 1u);
  EXPECT_EQ(keys[0].hash, sha256(made.key));
  EXPECT_EQ(made.line.find(made.key), std::string::npos);
  EXPECT_THROW(make_api_key("no spaces"), Error);
}

}  // namespace
}  // namespace dsv4
