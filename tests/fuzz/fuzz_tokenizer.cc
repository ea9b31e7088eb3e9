// Input: a tokenizer.json, then optionally a zero byte and a text. What loads must encode any text
// and give it back; without a JSON part the bundled model's tokenizer is used.
#include "base/check.h"
#include "base/error.h"
#include "text/text_stream.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

using namespace dsv4;

namespace {

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  const std::string expected = replace_ill_formed_utf8(text);
  for (const ParseSpecial special : {ParseSpecial::kNo, ParseSpecial::kYes}) {
    const std::vector<int32_t> ids = tokenizer.encode(text, special);
    CHECK(tokenizer.decode(ids, SkipSpecial::kNo) == expected);
    TokenStream stream(tokenizer, SkipSpecial::kYes);
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.push(id);
    CHECK(streamed + stream.finish() == tokenizer.decode(ids, SkipSpecial::kYes));
  }
  const size_t half = text.size() / 2;
  const TextSpan spans[] = {{std::string(text.substr(0, half)), Trust::kTrusted},
                            {std::string(text.substr(half)), Trust::kUntrusted}};
  CHECK(tokenizer.decode(tokenizer.encode(spans), SkipSpecial::kNo) ==
        replace_ill_formed_utf8(spans[0].text) + replace_ill_formed_utf8(spans[1].text));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tokenizer bundled = Tokenizer::load(DSV4_SOURCE_DIR "/models/mini");
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), input.size());
  const std::string_view json = input.substr(0, end);
  const std::string_view text = end < input.size() ? input.substr(end + 1) : "ab <｜User｜>12 你\n";
  if (json.empty()) {
    check_text(bundled, text);
    return 0;
  }
  std::optional<Tokenizer> tokenizer;
  try {
    tokenizer = Tokenizer::parse(json, "input");
  } catch (const Error&) {
    return 0;
  }
  check_text(*tokenizer, text);
  return 0;
}
