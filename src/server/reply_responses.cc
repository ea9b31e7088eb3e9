// Responses: a list of items, or the events that build it. A call that is aborted leaves its item
// without an end and makes the response incomplete, so that no client takes half a call for a
// whole one.
#include "server/events.h"
#include "server/reply_writers.h"

#include "base/error.h"

#include <algorithm>

namespace dsv4 {
namespace {

using Kind = ParseEvent::Kind;

class ResponsesWriter : public ReplyWriter {
 public:
  ResponsesWriter(const ApiRequest& request, ReplyContext context)
      : ReplyWriter(request, std::move(context), "resp_", "call_") {}

 protected:
  void on_start(std::string& out) override {
    send("response.created", Json().set("response", response("in_progress")), out);
    send("response.in_progress", Json().set("response", response("in_progress")), out);
  }

  void on_event(size_t choice, const ParseEvent& event, std::string& out) override {
    // There is one choice: the API has no n.
    Choice& state = choices_[choice];
    switch (event.kind) {
      case Kind::kReasoning:
        if (!request_.show_reasoning) break;
        open(Item::kReasoning, out);
        text_ += event.text;
        send("response.reasoning_text.delta", place().set("delta", event.text), out);
        break;
      case Kind::kContent:
      case Kind::kRawText:
        open(Item::kMessage, out);
        text_ += event.text;
        send("response.output_text.delta",
             place().set("delta", event.text).set("logprobs", new_logprobs(state)), out);
        break;
      case Kind::kToolCallBegin:
        begin_call(state.calls.back(), out);
        break;
      case Kind::kArguments:
        if (item_ == Item::kCall) {
          send("response.function_call_arguments.delta", call_place().set("delta", event.text),
               out);
        }
        break;
      case Kind::kToolCallEnd:
        end_call(state.calls.back(), out);
        break;
      case Kind::kToolCallAborted:
        has_aborted_call_ = true;
        item_ = Item::kNone;
        ++index_;
        break;
    }
  }

  void on_end(size_t, std::string& out) override { close(out); }

  void on_finish(std::string& out) override {
    const char* type = is_complete() ? "response.completed" : "response.incomplete";
    send(type, Json().set("response", body()), out);
  }

  void on_fail(const ApiError& error, std::string& out) override {
    Json failed = response("failed");
    const char* code = error.openai_code() != nullptr ? error.openai_code() : "server_error";
    failed.set("error", Json().set("code", code).set("message", error.message));
    send("response.failed", Json().set("response", std::move(failed)), out);
  }

  Json body() override {
    Json done = response(is_complete() ? "completed" : "incomplete");
    if (!is_complete()) {
      const bool is_long = reason() == FinishReason::kLength;
      done.set("incomplete_details",
               Json().set("reason", is_long ? "max_output_tokens" : "malformed_tool_call"));
    }
    done.set("usage", usage_json());
    return done;
  }

 private:
  enum class Item { kNone, kReasoning, kMessage, kCall, kCustomCall };

  FinishReason reason() const { return choices_.front().end.value_or(ReplyEnd()).reason; }
  bool is_complete() const { return reason() != FinishReason::kLength && !has_aborted_call_; }

  Json response(const char* status) const {
    Json json = Json()
                    .set("id", id_)
                    .set("object", "response")
                    .set("created_at", context_.created)
                    .set("status", status)
                    .set("background", false)
                    .set("error", Json())
                    .set("incomplete_details", Json())
                    .set("output", output_);
    if (request_.echoed.is_object()) {
      for (const Json::Member& member : request_.echoed.as_object("")) {
        json.set(member.key, member.value);
      }
    }
    return json.set("usage", Json());
  }

  Json usage_json() const {
    return Json()
        .set("input_tokens", usage_.n_prompt)
        .set("input_tokens_details",
             Json().set("cached_tokens", usage_.n_cached).set("cache_write_tokens", 0))
        .set("output_tokens", usage_.n_completion)
        .set("output_tokens_details", Json().set("reasoning_tokens", usage_.n_reasoning))
        .set("total_tokens", usage_.n_prompt + usage_.n_completion);
  }

  Json call_place() const { return Json().set("item_id", item_id_).set("output_index", index_); }
  Json place() const { return call_place().set("content_index", 0); }

  // The logprobs of the text that came since the last time; kept for the end of the part.
  Json new_logprobs(Choice& state) {
    Json::Array list;
    for (const LoggedToken& token : unsent_tokens(state)) {
      if (token.is_reasoning) continue;
      list.push_back(token_json(token));
    }
    logprobs_.insert(logprobs_.end(), list.begin(), list.end());
    return list;
  }

  Json text_part(std::string_view text) const {
    return Json()
        .set("type", "output_text")
        .set("text", text)
        .set("annotations", Json::Array())
        .set("logprobs", text.empty() ? Json::Array() : logprobs_);
  }

  Json item_json(const char* status) const {
    Json json = Json().set("id", item_id_);
    if (item_ == Item::kReasoning) {
      Json::Array content;
      if (!text_.empty()) {
        content.push_back(Json().set("type", "reasoning_text").set("text", text_));
      }
      return json.set("type", "reasoning")
          .set("summary", Json::Array())
          .set("content", std::move(content))
          .set("encrypted_content", Json())
          .set("status", status);
    }
    Json::Array content;
    if (!text_.empty()) content.push_back(text_part(text_));
    return json.set("type", "message")
        .set("status", status)
        .set("role", "assistant")
        .set("content", std::move(content));
  }

  void begin(Item item, const char* id_prefix) {
    item_ = item;
    item_id_ = context_.ids.next(id_prefix);
    text_.clear();
    logprobs_.clear();
  }

  void open(Item item, std::string& out) {
    if (item_ == item) return;
    close(out);
    begin(item, item == Item::kReasoning ? "rs_" : "msg_");
    send("response.output_item.added",
         Json().set("output_index", index_).set("item", item_json("in_progress")), out);
    if (item == Item::kMessage) {
      send("response.content_part.added", place().set("part", text_part("")), out);
    }
  }

  // Ends an item of text; a call ends by its own event.
  void close(std::string& out) {
    if (item_ == Item::kReasoning) {
      send("response.reasoning_text.done", place().set("text", text_), out);
      add_item(item_json("completed"), out);
    } else if (item_ == Item::kMessage) {
      send("response.output_text.done", place().set("text", text_).set("logprobs", logprobs_), out);
      send("response.content_part.done", place().set("part", text_part(text_)), out);
      add_item(item_json("completed"), out);
    }
  }

  void add_item(Json item, std::string& out) {
    send("response.output_item.done", Json().set("output_index", index_).set("item", item), out);
    output_.push_back(std::move(item));
    item_ = Item::kNone;
    ++index_;
  }

  Json call_json(const Call& call, const char* status, std::string text) const {
    const bool is_custom = item_ == Item::kCustomCall;
    const ToolSpec* tool = tool_of(call);
    Json json = Json()
                    .set("id", item_id_)
                    .set("type", is_custom ? "custom_tool_call" : "function_call")
                    .set("status", status)
                    .set("call_id", call.id)
                    .set("name", name_of(call));
    if (tool != nullptr && !tool->space.empty()) json.set("namespace", tool->space);
    return json.set(is_custom ? "input" : "arguments", std::move(text));
  }

  const ToolSpec* tool_of(const Call& call) const {
    const auto tool = std::ranges::find(request_.tools, call.name, &ToolSpec::name);
    return tool != request_.tools.end() ? &*tool : nullptr;
  }

  // As the client declared it.
  const std::string& name_of(const Call& call) const {
    const ToolSpec* tool = tool_of(call);
    return tool != nullptr && !tool->space.empty() ? tool->short_name : call.name;
  }

  void begin_call(const Call& call, std::string& out) {
    close(out);
    const ToolSpec* tool = tool_of(call);
    const bool is_custom = tool != nullptr && tool->is_custom;
    begin(is_custom ? Item::kCustomCall : Item::kCall, is_custom ? "ctc_" : "fc_");
    send("response.output_item.added",
         Json().set("output_index", index_).set("item", call_json(call, "in_progress", "")), out);
  }

  void end_call(const Call& call, std::string& out) {
    if (item_ == Item::kCustomCall) {
      const std::string input = custom_input(call);
      send("response.custom_tool_call_input.delta", call_place().set("delta", input), out);
      send("response.custom_tool_call_input.done", call_place().set("input", input), out);
      add_item(call_json(call, "completed", input), out);
      return;
    }
    send("response.function_call_arguments.done",
         call_place().set("name", name_of(call)).set("arguments", call.arguments), out);
    add_item(call_json(call, "completed", call.arguments), out);
  }

  // The one text of a custom tool; whatever else the model wrote as it is.
  static std::string custom_input(const Call& call) {
    try {
      const Json arguments = Json::parse(call.arguments, "arguments", Json::NonFinite::kReject);
      const Json* input = arguments.find("input");
      if (input != nullptr && input->is_string()) return input->as_string("input");
    } catch (const Error&) {
      // Nested too deep to be read again.
    }
    return call.arguments;
  }

  void send(const char* type, const Json& members, std::string& out) {
    if (!request_.stream) return;
    Json event = Json().set("type", type).set("sequence_number", n_sent_++);
    for (const Json::Member& member : members.as_object("")) event.set(member.key, member.value);
    append_event(out, event.print(), type);
  }

  Json::Array output_;
  Item item_ = Item::kNone;
  size_t index_ = 0;  // of the open item, or the next
  std::string item_id_;
  std::string text_;  // of the open item
  Json::Array logprobs_;
  bool has_aborted_call_ = false;
  int64_t n_sent_ = 0;
};

}  // namespace

std::unique_ptr<ReplyWriter> make_responses_writer(const ApiRequest& request,
                                                   ReplyContext context) {
  return std::make_unique<ResponsesWriter>(request, std::move(context));
}

}  // namespace dsv4
