// Turns of a conversation, as APIs tell them, to the encoder's list of messages. It puts right what
// the format cannot say: neighbouring system messages, system messages in front of a reply, replies
// in several parts.
#pragma once

#include "text/json.h"

#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

class ChatTurns {
 public:
  // Joined to a system message right before by an empty line.
  void system(std::string_view text);
  void user(std::string text);
  // `content`: a string, or a list of parts, of which the format prints all but text as
  // "[Unsupported TYPE]".
  void tool_result(std::string call_id, Json content);

  // A new message of the assistant, which the following parts belong to.
  void begin_assistant();
  // Parts of the last message if that is the assistant's, else of a new one. Reasoning behind
  // content or calls begins a new one too: it comes before them.
  void reasoning(std::string_view text);
  void content(std::string_view text);
  // `arguments` is JSON text, as call_arguments gives it.
  void call(std::string id, std::string name, std::string arguments);

  // The messages as they were told. Ends the use of this.
  Json::Array take();

 private:
  struct Turn {
    std::string role;
    std::string content = {};
    Json parts = {};  // instead of content, unless null
    std::string reasoning = {};
    Json::Array calls = {};
    std::string call_id = {};
  };

  bool is_last(std::string_view role) const;
  Turn& assistant();
  static Json message_of(Turn turn);

  std::vector<Turn> turns_;
};

// Makes `messages` ready for a reply: a system message in front of an assistant's, or last, becomes
// a user's, because the format would not begin the reply behind it; a last message of the assistant
// stays open (wo_eos), so that the reply goes on with it. Throws Error(kInvalidInput, `where`) if
// that one has calls: their results are missing.
void prepare_for_reply(Json::Array& messages, const std::string& where);

// The text of a call's arguments as the format needs it, from a string or an object. Empty and
// "null" mean no arguments; text that is not JSON stays. Throws Error(kInvalidInput, `where`) for
// JSON that is no object.
std::string call_arguments(const Json& value, const std::string& where);

}  // namespace dsv4
