// What clients of a server under test say and when: conversations of one or more turns, drawn from
// distributions or read from a file.
#pragma once

#include "bench/chat_reply.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Numbers between `low` and `high`, the logarithm evenly distributed: short ones are as frequent
// as long ones.
struct LengthRange {
  int64_t low = 0;
  int64_t high = 0;

  int64_t draw(uint64_t seed, uint64_t stream, uint64_t index) const;
};

// "100" or "50..400". Throws Error(kInvalidInput).
LengthRange parse_length_range(std::string_view text);

// A line of a trace file: {"at": seconds, "messages": [...]} or {"at": seconds, "prompt": "..."},
// or {"at": seconds, "prompt_words": 300}, each with an optional "max_tokens". Without "at" the
// line is a prompt for arrivals that are drawn.
struct TraceEntry {
  std::optional<double> at_s;
  Json messages;  // null: to be drawn
  int64_t prompt_words = 0;
  int64_t max_tokens = 0;  // 0: the load's
};

// Lines of JSON; empty ones are passed over. Throws Error(kInvalidInput) naming line and member,
// also when only some lines have "at" or their times fall.
std::vector<TraceEntry> parse_trace(std::string_view text, const std::string& where);

struct ServeLoad {
  std::string model;
  std::string effort = {};       // reasoning_effort; "": not sent
  std::string tool_choice = {};  // "auto", "required", ...; "": no tools are declared
  int64_t max_tokens = 128;
  std::optional<double> temperature = {};
  LengthRange system_words = {0, 0};  // the same text for all; none if 0
  LengthRange prompt_words = {50, 400};
  LengthRange result_words = {20, 200};  // of a tool's result or the next question
  int64_t turns = 1;
  double think_s = 0;  // mean wait before a later turn, exponentially distributed
  uint64_t seed = 0;
  std::vector<TraceEntry> trace = {};  // instead of drawn prompts
};

// One conversation; everything in it follows from the load and its number.
class Conversation {
 public:
  Conversation(const ServeLoad& load, int64_t number);

  int64_t number() const { return number_; }
  int64_t turn() const { return turn_; }  // 0 at first
  // The body of the request of this turn.
  std::string request() const;

  // Goes to the next turn with the reply to this one. Returns false after the last.
  bool next(const ChatReply& reply);
  // Seconds to wait before this turn.
  double think_s() const;

 private:
  std::string words(int64_t n, uint64_t purpose) const;

  const ServeLoad& load_;
  int64_t number_;
  int64_t turn_ = 0;
  int64_t max_tokens_;
  Json messages_;
};

}  // namespace dsv4
