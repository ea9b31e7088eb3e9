#include "server/page.h"

#include "base/mapped_file.h"
#include "server/api_keys.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include <fmt/core.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

HttpRequest get(const std::string& path) {
  HttpRequest request;
  request.method = "GET";
  request.path = path;
  return request;
}

TEST(Page, serves_every_file_byte_for_byte) {
  const fs::path folder = fs::path(DSV4_SOURCE_DIR) / "src/server/page";
  size_t n = 0;
  if (fs::exists(folder)) {
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      ++n;
      const std::string path = "/" + fs::relative(entry.path(), folder).string();
      const auto reply = page_reply(get(path));
      ASSERT_TRUE(reply.has_value()) << path;
      EXPECT_EQ(reply->status, 200);
      EXPECT_EQ(reply->body, read_file(entry.path())) << path;
      EXPECT_EQ(page_reply(get("/"))->body.empty(), false);
    }
  }
  EXPECT_EQ(embedded_page_files().size(), n);
}

TEST(Page, answers_304_for_what_the_browser_has) {
  for (const EmbeddedFile& file : embedded_page_files()) {
    HttpRequest request = get(std::string(file.path));
    const auto first = page_reply(request);
    std::string hash;
    for (const uint8_t byte : sha256(file.bytes)) hash += fmt::format("{:02x}", byte);
    EXPECT_EQ(file.sha256, hash);
    request.headers = {{"If-None-Match", "W/\"x\", " + *find_header(first->headers, "etag")}};
    EXPECT_EQ(page_reply(request)->status, 304);
    EXPECT_TRUE(page_reply(request)->body.empty());
    request.headers = {{"If-None-Match", "\"other\""}};
    EXPECT_EQ(page_reply(request)->status, 200);
    EXPECT_NE(find_header(first->headers, "content-security-policy"), nullptr);
  }
}

TEST(Page, has_nothing_else) {
  for (const char* path : {"/../http.cc", "/page_test.cc", "", "/index.html/", "/v1/models"}) {
    EXPECT_FALSE(page_reply(get(path)).has_value()) << path;
  }
  HttpRequest request = get("/");
  request.method = "POST";
  EXPECT_FALSE(page_reply(request).has_value());
}

}  // namespace
}  // namespace dsv4
