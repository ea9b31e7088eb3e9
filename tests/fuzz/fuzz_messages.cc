// Input: the JSON of a conversation. What parses must print and read back alike, and what encodes
// must tokenize to its own text.
#include "base/check.h"
#include "base/error.h"
#include "text/chat_request.h"
#include "text/json.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

using namespace dsv4;

namespace {

void encode(const Json& json, ChatVariant variant) {
  static const Tokenizer tokenizer = Tokenizer::load(DSV4_SOURCE_DIR "/models/mini");
  ChatOptions defaults;
  defaults.variant = variant;
  try {
    const ChatRequest request = read_chat_request(json, defaults, "input");
    const std::vector<TextSpan> spans = encode_chat(request.messages, request.options);
    CHECK(tokenizer.decode(tokenizer.encode(spans), SkipSpecial::kNo) == join(spans));
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  std::optional<Json> json;
  try {
    json = Json::parse(input, "input");
  } catch (const Error&) {
    return 0;
  }
  const std::string printed = json->print();
  CHECK(Json::parse(printed, "printed").print() == printed);
  encode(*json, ChatVariant::kPreview);
  encode(*json, ChatVariant::k0731);
  return 0;
}
