#include "text/text_stream.h"

#include "text/unicode.h"

#include <utility>

namespace dsv4 {

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  std::string out;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const size_t n_good = well_formed_utf8_prefix(rest);
    out += rest.substr(0, n_good);
    rest.remove_prefix(n_good);
    if (rest.empty()) break;
    const CodePoint bad = decode_utf8(rest, 0);
    if (bad.status == Utf8Status::kIncomplete) break;
    append_utf8(out, kReplacementCharacter);
    rest.remove_prefix(bad.length);
  }
  held_.erase(0, held_.size() - rest.size());
  return out;
}

std::string Utf8Stream::finish() { return replace_ill_formed_utf8(std::exchange(held_, {})); }

std::string TokenStream::push(int32_t id) {
  if (skip_special_ == SkipSpecial::kYes && tokenizer_->is_special(id)) return {};
  return utf8_.push(tokenizer_->token_bytes(id));
}

std::string StopStrings::push(std::string_view text) {
  if (stopped_by_) return {};
  std::string out = std::move(held_);
  for (const char c : text) {
    out += c;
    state_ = automaton_.step(state_, static_cast<unsigned char>(c));
    if (const int32_t match = automaton_.match(state_); match != AhoCorasick::kNone) {
      stopped_by_ = static_cast<size_t>(match);
      held_.clear();
      out.resize(out.size() - stops_[*stopped_by_].size());
      return out;
    }
  }
  held_ = out.substr(out.size() - automaton_.depth(state_));
  out.resize(out.size() - held_.size());
  return out;
}

std::string StopStrings::finish() {
  state_ = AhoCorasick::kStart;
  return std::exchange(held_, {});
}

}  // namespace dsv4
