// Input: one byte that picks an API, then the JSON of a request's body. What is accepted must make
// a prompt and a reply; what is not must be an error of the client. A second byte cuts the reply.
#include "base/check.h"
#include "base/error.h"
#include "server/anthropic_messages.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openai_responses.h"
#include "server/prompt.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

using namespace dsv4;

namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer mini = Tokenizer::load(DSV4_SOURCE_DIR "/models/mini");
  return mini;
}

ApiSettings settings() {
  ApiSettings made;
  made.any_model = true;
  made.vocab_size = tokenizer().vocab_size();
  return made;
}

std::optional<Json::Array> stored(const std::string& id) {
  if (id != "resp_1") return std::nullopt;
  Json::Array messages;
  messages.push_back(Json().set("role", "user").set("content", "x"));
  messages.push_back(Json().set("role", "assistant").set("content", "y"));
  return messages;
}

ApiRequest parse(unsigned api, const Json& body) {
  switch (api % 5) {
    case 0:
      return parse_chat_request(body, settings());
    case 1:
      return parse_completions_request(body, settings());
    case 2:
      return parse_responses_request(body, settings(), stored);
    case 3:
      return parse_messages_request(body, settings());
    default:
      return parse_tokenize_request(body, settings()).chat;
  }
}

constexpr std::string_view kReply =
    "thoughts</think>text\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n"
    "<｜DSML｜parameter name=\"a\" string=\"true\">v</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
    "</｜DSML｜tool_calls>";

void reply_to(const ApiRequest& request, const Prompt& prompt, const PromptBuilder& builder,
              size_t n_bytes) {
  ReplyContext context{&tokenizer(), IdMaker(1)};
  context.mode = prompt.mode;
  const auto writer = make_reply_writer(request, std::move(context));
  const std::vector<int32_t> ids =
      tokenizer().encode(kReply.substr(0, n_bytes % (kReply.size() + 1)), ParseSpecial::kYes);
  LenientParser parser(prompt.parsing.value_or(LenientOptions()));
  std::string out;
  writer->start(std::ssize(prompt.ids), 0, out);
  for (const int32_t id : ids) {
    const SampledToken token{id, -1.0F, {{id, -1.0F}}};
    writer->add(0, parser.feed(tokenizer().token_bytes(id)), &token, out);
  }
  writer->add(0, parser.finish(FinishReason::kStop), nullptr, out);
  for (size_t i = 0; i < writer->n_choices(); ++i) writer->end(i, {parser.finish_reason()}, out);
  writer->finish(out);
  if (!request.stream) Json::parse(out, "body", Json::NonFinite::kReject);
  if (request.api == ApiKind::kCompletions) return;
  builder.remember(prompt, writer->message(0), ids, {parser.finish_reason()});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::optional<Json> body;
  try {
    body = Json::parse({reinterpret_cast<const char*>(data + 2), size - 2}, "body");
  } catch (const Error&) {
    return 0;
  }
  std::optional<ApiRequest> request;
  try {
    request = parse(data[0], *body);
  } catch (const Error& error) {
    const ApiError told = api_error_of(error);
    CHECK(told.status() >= 400 && told.status() < 500, told.status());
    Json::parse(error_json(ApiKind::kChat, told, "r").print(), "error");
    return 0;
  }
  ReplayStore replays(1 << 16, 1);
  const PromptBuilder builder(tokenizer(), ChatVariant::k0731, &replays);
  if (data[0] % 5 == 4 && request->messages.empty()) return 0;  // a text to tokenize
  Prompt prompt;
  if (request->api == ApiKind::kCompletions) {
    for (const RawPrompt& raw : request->prompts) prompt = builder.raw(raw);
  } else {
    prompt = builder.chat(*request, 0);
  }
  reply_to(*request, prompt, builder, data[1]);
  return 0;
}
