#include "server/models_list.h"

#include "server/request_testing.h"

#include <gtest/gtest.h>

namespace dsv4 {
namespace {

TEST(ModelsList, both_families_of_clients_read_it) {
  const ModelInfo info{1700000000, 4096};
  const Json list = models_json(test_settings(), info);
  EXPECT_EQ(list.at("data", "").as_array("")[0].print(),
            R"({"id": "m", "object": "model", "created": 1700000000, "owned_by": "dsv4", )"
            R"("type": "model", "display_name": "m", "created_at": "2023-11-14T22:13:20.000Z", )"
            R"("max_model_len": 4096})");
  EXPECT_EQ(list.at("last_id", "").print(), "\"alias\"");
  EXPECT_EQ(model_json("alias", test_settings(), info).at("id", "").print(), "\"alias\"");
  EXPECT_THROW(model_json("other", test_settings(), info), Error);
}

TEST(ModelsList, tokens_with_their_bytes) {
  const Tokenizer mini = Tokenizer::load(DSV4_SOURCE_DIR "/models/mini");
  const std::vector<int32_t> ids = mini.encode("a", ParseSpecial::kYes);
  ASSERT_EQ(ids.size(), 1u);
  const std::string id = std::to_string(ids[0]);
  EXPECT_EQ(tokens_json(ids, mini, false, 9).print(),
            R"({"count": 1, "max_model_len": 9, "tokens": [)" + id + "]}");
  EXPECT_EQ(tokens_json(ids, mini, true, 9).at("pieces", "").print(),
            R"([{"id": )" + id + R"(, "text": "a", "bytes": [97]}])");
  EXPECT_EQ(text_json(ids, mini).print(), R"({"prompt": "a"})");
  EXPECT_EQ(count_json(7).print(), R"({"input_tokens": 7})");
}

}  // namespace
}  // namespace dsv4
