#include "text/parse_lenient.h"

#include "base/error.h"
#include "text/special_tokens.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace dsv4 {

namespace {

constexpr std::string_view kSpaces = " \t\r\n";
// Attributes of a call without a block are looked at before anything is given out; a longer text
// is no call.
constexpr size_t kMaxBareHeader = 256;

Spellings spellings_for(const LenientOptions& options) {
  return options.tools.empty() ? Spellings::kCanonical : Spellings::kAll;
}

// Length of the beginning of a canonical tag, at which the text can be nothing else; 0 for others.
size_t dsml_marker_bytes(std::string_view text) {
  for (const std::string_view marker : {"<｜DSML｜", "</｜DSML｜"}) {
    if (text.starts_with(marker)) return marker.size();
  }
  return 0;
}

// Whether the text ends with the beginning of something that must not be shown.
bool ends_within_tag(std::string_view text) {
  const size_t last = text.rfind('<');
  if (last == std::string_view::npos) return false;
  const std::string_view begun = text.substr(last);
  const std::string_view hidden[] = {"<｜DSML｜", "</｜DSML｜", kThinkEnd, kEos};
  return std::ranges::any_of(hidden, [&](std::string_view tag) { return tag.starts_with(begun); });
}

}  // namespace

LenientParser::LenientParser(LenientOptions options)
    : options_(std::move(options)),
      start_tags_({TagKind::kThinkBegin}, Spellings::kCanonical),
      reasoning_tags_({TagKind::kThinkEnd, TagKind::kEos}, Spellings::kCanonical),
      content_tags_({TagKind::kThinkEnd, TagKind::kEos, TagKind::kBlockBegin, TagKind::kBlockEnd,
                     TagKind::kInvokeBegin, TagKind::kInvokeEnd, TagKind::kParameterEnd},
                    spellings_for(options_)),
      block_tags_({TagKind::kInvokeBegin, TagKind::kBlockEnd, TagKind::kEos},
                  spellings_for(options_)),
      invoke_tags_({TagKind::kParameterBegin, TagKind::kInvokeEnd}, spellings_for(options_)),
      raw_tags_({TagKind::kEos}, Spellings::kCanonical) {}

std::vector<ParseEvent> LenientParser::feed(std::string_view text) {
  input_.erase(0, std::exchange(position_, 0));
  input_ += utf8_.push(text);
  while (step()) {
  }
  return std::exchange(events_, {});
}

std::vector<ParseEvent> LenientParser::finish(FinishReason reason) {
  input_ += utf8_.finish();
  ending_ = Ending::kFinal;
  while (step()) {
  }
  if (state_ == State::kContent) {
    if (!follows_calls_) flush_spaces();
  } else if (is_in_call()) {
    raw_ += rest();
    if (raw_.ends_with(kEos)) raw_.resize(raw_.size() - kEos.size());
    break_call();
  }
  state_ = State::kEnd;
  finish_reason_ = message_.tool_calls.empty() || has_raw_text_ ? reason : FinishReason::kToolCalls;
  return std::exchange(events_, {});
}

bool LenientParser::is_in_call() const {
  return state_ == State::kInvokeHeader || state_ == State::kInvokeBody ||
         state_ == State::kParameterHeader || state_ == State::kParameterValue;
}

bool LenientParser::step() {
  switch (state_) {
    case State::kStart:
      return step_start();
    case State::kReasoning:
      return step_reasoning();
    case State::kContent:
      return step_content();
    case State::kBlock:
      return step_block();
    case State::kInvokeBody:
      return step_invoke_body();
    case State::kInvokeHeader:
    case State::kParameterHeader:
      return step_header();
    case State::kParameterValue:
      return step_value();
    case State::kRaw:
      return step_raw();
    case State::kEnd:
      position_ = input_.size();
      return false;
  }
  return false;
}

// A completion that begins with <think> reasons, whatever the mode of its prompt.
bool LenientParser::step_start() {
  if (rest().empty()) return false;
  const TagSet::Match found = match(start_tags_);
  if (found.found == TagSet::Found::kPartial) return false;
  const bool has_tag = found.found == TagSet::Found::kTag;
  if (has_tag) take(found.tag->text.size());
  state_ =
      has_tag || options_.mode == ThinkingMode::kThinking ? State::kReasoning : State::kContent;
  return true;
}

bool LenientParser::step_reasoning() {
  emit(ParseEvent::Kind::kReasoning, take_text());
  if (rest().empty()) return false;
  const TagSet::Match found = match(reasoning_tags_);
  if (found.found == TagSet::Found::kPartial) return false;
  if (found.found == TagSet::Found::kNone) {
    emit(ParseEvent::Kind::kReasoning, take(1));
    return true;
  }
  take(found.tag->text.size());
  state_ = found.tag->kind == TagKind::kThinkEnd ? State::kContent : State::kEnd;
  return true;
}

bool LenientParser::step_content() {
  emit_content(take_text());
  if (rest().empty()) return false;
  const TagSet::Match found = content_tags_.match(rest());
  if (found.found == TagSet::Found::kTag) return content_tag(*found.tag);
  if (found.found == TagSet::Found::kPartial) {
    if (ending_ == Ending::kOpen) return false;
    if (dsml_marker_bytes(rest()) > 0) {
      drop_cut_off_tag();
      return true;
    }
  }
  emit_no_tag();
  return true;
}

// The beginning of a tag that means nothing here.
void LenientParser::emit_no_tag() {
  const size_t n_marker = dsml_marker_bytes(rest());
  if (n_marker == 0) {
    emit_content(take(1));
    return;
  }
  flush_spaces();
  emit(ParseEvent::Kind::kRawText, take(n_marker));
  follows_calls_ = false;
}

bool LenientParser::content_tag(const Tag& tag) {
  switch (tag.kind) {
    case TagKind::kEos:
      if (!follows_calls_) flush_spaces();
      state_ = State::kEnd;
      return true;
    case TagKind::kBlockBegin:
      take_spaces_before_block();
      raw_ += take(tag.text.size());
      needs_declared_tool_ = block_has_calls_ = false;
      state_ = State::kBlock;
      return true;
    case TagKind::kInvokeBegin:
      return bare_invoke(tag);
    case TagKind::kBlockEnd:
      // The end of a block that was left before; odd spellings may be meant as text.
      if (tag.dialect == Dialect::kCanonical || is_block_open_) {
        drop_tag(tag);
        is_block_open_ = false;
      } else {
        emit_content(take(1));
      }
      return true;
    case TagKind::kInvokeEnd:
    case TagKind::kParameterEnd:
      // Behind calls it is one end too many; else somebody speaks of the format.
      if (is_block_open_ || !message_.tool_calls.empty()) {
        drop_tag(tag);
      } else {
        emit_no_tag();
      }
      return true;
    default:  // a stray </think>
      drop_tag(tag);
      return true;
  }
}

// A call outside a block counts only if it names a declared tool; else it is text. Text between the
// calls of a block does not end the block.
bool LenientParser::bare_invoke(const Tag& tag) {
  const std::string_view header = rest().substr(tag.text.size(), kMaxBareHeader);
  size_t n = 0;
  bool is_complete = false;
  bool has_word = false;
  while (n < header.size() && !is_complete) {
    const bool is_space = kSpaces.find(header[n]) != std::string_view::npos;
    if (header[n] == '<' || (n == 0 && !is_space) || (has_word && header[n] == '\n')) break;
    has_word |= !is_space;
    ++n;
    is_complete = ends_header(header.substr(0, n));
  }
  if (!is_complete && n == header.size() && n < kMaxBareHeader) {
    if (ending_ == Ending::kOpen) return false;
    if (tag.dialect == Dialect::kCanonical) {
      drop_cut_off_tag();
      return true;
    }
  }
  const auto attributes = is_complete ? parse_attributes(header.substr(0, n - 1)) : std::nullopt;
  if (!attributes || !(is_block_open_ || options_.tools.has_tool(attributes->name))) {
    emit_no_tag();
    return true;
  }
  take_spaces_before_block();
  raw_ += take(tag.text.size() + n);
  needs_declared_tool_ = !is_block_open_;
  begin_call(attributes->name);
  return true;
}

bool LenientParser::step_block() {
  raw_ += take_spaces();
  if (rest().empty()) return false;
  const TagSet::Match found = block_tags_.match(rest());
  if (found.found == TagSet::Found::kPartial) {
    if (ending_ == Ending::kFinal) take(rest().size());  // a tag cut off between calls says nothing
    return false;
  }
  if (found.found == TagSet::Found::kNone) {
    leave_block();
    return true;
  }
  raw_ += take(found.tag->text.size());
  switch (found.tag->kind) {
    case TagKind::kInvokeBegin:
      header_.clear();
      state_ = State::kInvokeHeader;
      break;
    case TagKind::kEos:
      state_ = State::kEnd;
      break;
    default:
      follows_calls_ = true;
      is_block_open_ = false;
      state_ = State::kContent;
  }
  return true;
}

// Text where a call should be: behind calls it is content, and without any calls the block was only
// spoken of.
void LenientParser::leave_block() {
  state_ = State::kContent;
  follows_calls_ = block_has_calls_;
  is_block_open_ = block_has_calls_ && !needs_declared_tool_;
  const size_t n_text = raw_.find_last_not_of(kSpaces) + 1;
  emit(ParseEvent::Kind::kRawText, std::string_view(raw_).substr(0, n_text));
  spaces_ = raw_.substr(n_text);
}

bool LenientParser::step_header() {
  while (!rest().empty()) {
    if (rest().front() == '<') {
      break_call();
      return true;
    }
    const std::string_view c = take(1);
    raw_ += c;
    header_ += c;
    if (c != ">" || !ends_header(header_)) continue;
    header_.pop_back();
    end_header();
    return true;
  }
  return false;
}

void LenientParser::end_header() {
  const std::optional<TagAttributes> attributes = parse_attributes(header_);
  if (!attributes) {
    break_call();
  } else if (state_ == State::kParameterHeader) {
    begin_parameter(*attributes);
  } else if (needs_declared_tool_ && !options_.tools.has_tool(attributes->name)) {
    break_call();
  } else {
    begin_call(attributes->name);
  }
}

bool LenientParser::step_invoke_body() {
  raw_ += take_spaces();
  if (rest().empty()) return false;
  const TagSet::Match found = match(invoke_tags_);
  if (found.found == TagSet::Found::kPartial) return false;
  if (found.found == TagSet::Found::kNone) {
    break_call();
    return true;
  }
  raw_ += take(found.tag->text.size());
  if (found.tag->kind == TagKind::kInvokeEnd) {
    end_call();
    return true;
  }
  value_end_ = tag_text(TagKind::kParameterEnd, found.tag->dialect);
  header_.clear();
  state_ = State::kParameterHeader;
  return true;
}

bool LenientParser::step_value() {
  const std::string_view text = rest();
  const size_t end = text.find(value_end_);
  if (end != std::string_view::npos) {
    parameter_text(take(end));
    raw_ += take(value_end_.size());
    end_parameter();
    state_ = State::kInvokeBody;
    return true;
  }
  // '<' begins the tag and is nowhere else in it.
  const size_t last = text.rfind('<');
  const bool may_end =
      last != std::string_view::npos && std::string_view(value_end_).starts_with(text.substr(last));
  parameter_text(take(may_end ? last : text.size()));
  return false;
}

bool LenientParser::step_raw() {
  emit(ParseEvent::Kind::kRawText, take_text());
  if (rest().empty()) return false;
  const TagSet::Match found = match(raw_tags_);
  if (found.found == TagSet::Found::kPartial) return false;
  if (found.found == TagSet::Found::kTag) {
    state_ = State::kEnd;
  } else {
    emit(ParseEvent::Kind::kRawText, take(1));
  }
  return true;
}

void LenientParser::begin_call(const std::string& name) {
  message_.tool_calls.push_back({name, ""});
  is_call_open_ = true;
  is_held_ = false;
  keys_.clear();
  emit(ParseEvent::Kind::kToolCallBegin, name);
  state_ = State::kInvokeBody;
}

void LenientParser::end_call() {
  if (is_held_ && is_object_of_parameters()) {
    emit(ParseEvent::Kind::kArguments, value_);
  } else {
    if (is_held_) emit_value();
    emit(ParseEvent::Kind::kArguments, keys_.empty() ? "{}" : "}");
  }
  emit(ParseEvent::Kind::kToolCallEnd, "");
  is_call_open_ = false;
  block_has_calls_ = true;
  raw_.clear();
  state_ = State::kBlock;
}

// Nothing behind a call that cannot be read is executed either: it may belong to it.
void LenientParser::break_call() {
  if (is_call_open_) {
    emit(ParseEvent::Kind::kToolCallAborted, "");
    message_.tool_calls.pop_back();
    is_call_open_ = false;
  }
  emit(ParseEvent::Kind::kRawText, raw_);
  has_raw_text_ = true;
  state_ = State::kRaw;
}

void LenientParser::begin_parameter(const TagAttributes& attributes) {
  if (is_held_) emit_value();
  if (!keys_.insert(attributes.name).second) {
    break_call();
    return;
  }
  const std::string& tool = message_.tool_calls.back().name;
  key_ = attributes.name;
  value_.clear();
  const bool is_string = attributes.is_string.value_or(!options_.tools.is_not_string(tool, key_));
  form_ = is_string ? ValueForm::kString : ValueForm::kJson;
  is_held_ = keys_.size() == 1 && (key_ == "arguments" || key_ == "input") &&
             options_.tools.has_tool(tool) && !options_.tools.has_parameter(tool, key_);
  if (is_streamed()) {
    emit_key();
    emit(ParseEvent::Kind::kArguments, "\"");
  }
  state_ = State::kParameterValue;
}

void LenientParser::parameter_text(std::string_view text) {
  raw_ += text;
  if (is_streamed()) {
    std::string escaped;
    append_json_escaped(escaped, text);
    emit(ParseEvent::Kind::kArguments, escaped);
  } else {
    value_ += text;
  }
}

void LenientParser::end_parameter() {
  if (is_streamed()) {
    emit(ParseEvent::Kind::kArguments, "\"");
  } else if (!is_held_) {
    emit_value();
  }
}

void LenientParser::emit_key() {
  std::string text = keys_.size() == 1 ? "{" : ", ";
  append_json_quoted(text, key_);
  emit(ParseEvent::Kind::kArguments, text += ": ");
}

// The parameter as a whole. A value that should be JSON but is not becomes a string, so that the
// arguments are always valid.
void LenientParser::emit_value() {
  emit_key();
  bool is_json = form_ == ValueForm::kJson;
  try {
    if (is_json) Json::parse(value_, key_, Json::NonFinite::kReject);
  } catch (const Error&) {
    is_json = false;
  }
  std::string text;
  if (!is_json) append_json_quoted(text, value_);
  emit(ParseEvent::Kind::kArguments, is_json ? value_ : text);
  is_held_ = false;
}

// Models trained on other formats wrap the arguments in one parameter.
bool LenientParser::is_object_of_parameters() const {
  try {
    const Json value = Json::parse(value_, key_, Json::NonFinite::kReject);
    for (const Json::Member& member : value.as_object(key_)) {
      if (!options_.tools.has_parameter(message_.tool_calls.back().name, member.key)) return false;
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::string_view LenientParser::take(size_t n) {
  const std::string_view taken = rest().substr(0, n);
  position_ += n;
  return taken;
}

std::string_view LenientParser::take_spaces() {
  return take(std::min(rest().find_first_not_of(kSpaces), rest().size()));
}

// Everything before the next '<', with which all tags begin.
std::string_view LenientParser::take_text() {
  return take(std::min(rest().find('<'), rest().size()));
}

// At the end of the text the beginning of a tag is just text.
TagSet::Match LenientParser::match(const TagSet& tags) const {
  TagSet::Match found = tags.match(rest());
  if (ending_ == Ending::kFinal && found.found == TagSet::Found::kPartial) {
    found.found = TagSet::Found::kNone;
  }
  return found;
}

// The empty line before a block belongs to it, as the format writes it; other white space between
// content and block is dropped whole.
void LenientParser::take_spaces_before_block() {
  constexpr std::string_view kEmptyLine = "\n\n";
  if (!follows_calls_ && spaces_.ends_with(kEmptyLine)) {
    spaces_.resize(spaces_.size() - kEmptyLine.size());
    flush_spaces();
    spaces_ = kEmptyLine;
  }
  raw_ = std::exchange(spaces_, {});
}

// A tag in the content that is not shown, unless what is before and behind it could then be read as
// another one.
void LenientParser::drop_tag(const Tag& tag) {
  const std::string_view text = take(tag.text.size());
  if (!spaces_.empty() || !ends_within_tag(message_.content)) return;
  emit(ParseEvent::Kind::kRawText, text);
  follows_calls_ = false;
}

void LenientParser::drop_cut_off_tag() {
  take_spaces_before_block();
  take(rest().size());
}

void LenientParser::emit_content(std::string_view text) {
  const size_t n_text = text.find_last_not_of(kSpaces) + 1;  // 0 if there are only spaces
  if (n_text > 0) {
    flush_spaces();
    emit(ParseEvent::Kind::kContent, text.substr(0, n_text));
    follows_calls_ = false;
  }
  spaces_ += text.substr(n_text);
}

void LenientParser::flush_spaces() {
  emit(ParseEvent::Kind::kContent, spaces_);
  spaces_.clear();
}

// Where the text of an event belongs; nullptr for events that stand alone.
std::string* LenientParser::target_of(ParseEvent::Kind kind) {
  switch (kind) {
    case ParseEvent::Kind::kReasoning:
      return &message_.reasoning_content;
    case ParseEvent::Kind::kContent:
    case ParseEvent::Kind::kRawText:
      return &message_.content;
    case ParseEvent::Kind::kArguments:
      return &message_.tool_calls.back().arguments;
    default:
      return nullptr;
  }
}

void LenientParser::emit(ParseEvent::Kind kind, std::string_view text) {
  if (std::string* target = target_of(kind)) {
    if (text.empty()) return;
    *target += text;
    if (!events_.empty() && events_.back().kind == kind) {
      events_.back().text += text;
      return;
    }
  }
  const size_t n_calls = message_.tool_calls.size();
  const bool is_of_call = kind != ParseEvent::Kind::kReasoning &&
                          kind != ParseEvent::Kind::kContent && kind != ParseEvent::Kind::kRawText;
  events_.push_back({kind, std::string(text), is_of_call ? n_calls - 1 : 0});
}

AssistantMessage parse_lenient(std::string_view text, LenientOptions options, FinishReason reason) {
  LenientParser parser(std::move(options));
  parser.feed(text);
  parser.finish(reason);
  return parser.message();
}

}  // namespace dsv4
