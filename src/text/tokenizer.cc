// Encoding and decoding; tokenizer_reader.cc reads tokenizer.json.
#include "text/tokenizer.h"

#include "base/error.h"
#include "text/pretokenize.h"
#include "text/special_tokens.h"
#include "text/unicode.h"

#include <fmt/core.h>

#include <algorithm>

namespace dsv4 {

namespace {

// The text itself if it is well-formed, else `storage` with a repaired copy.
std::string_view well_formed(std::string_view text, std::string& storage) {
  if (text.size() > Tokenizer::kMaxTextBytes) {
    throw Error(ErrorCode::kOutOfRange, "text",
                fmt::format("{} bytes are more than the {} that can be tokenized at once",
                            text.size(), Tokenizer::kMaxTextBytes));
  }
  if (well_formed_utf8_prefix(text) == text.size()) return text;
  storage = replace_ill_formed_utf8(text);
  return storage;
}

}  // namespace

Tokenizer::Tokenizer(std::string token_bytes, std::vector<Token> tokens,
                     std::vector<AddedToken> added, BytePairEncoder bpe)
    : token_bytes_(std::move(token_bytes)),
      tokens_(std::move(tokens)),
      added_(std::move(added)),
      bpe_(std::move(bpe)) {
  std::sort(added_.begin(), added_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  std::vector<std::string> reversed;
  reversed.reserve(added_.size());
  for (const AddedToken& token : added_) {
    reversed.emplace_back(token.content.rbegin(), token.content.rend());
  }
  added_reversed_ = AhoCorasick(reversed);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, ParseSpecial parse_special) const {
  std::string storage;
  text = well_formed(text, storage);
  std::vector<Match> matches;
  if (parse_special == ParseSpecial::kYes) find_added(text, 0, text.size(), matches);
  return encode_between(text, matches);
}

std::vector<int32_t> Tokenizer::encode(std::span<const TextSpan> spans) const {
  std::string text;
  std::vector<Match> matches;
  size_t trusted_begin = 0;  // of the trusted spans in a row at the end of `text`
  for (size_t i = 0; i < spans.size(); ++i) {
    std::string storage;
    text += well_formed(spans[i].text, storage);
    if (spans[i].trust == Trust::kUntrusted) {
      trusted_begin = text.size();
    } else if (i + 1 == spans.size() || spans[i + 1].trust == Trust::kUntrusted) {
      find_added(text, trusted_begin, text.size(), matches);
    }
  }
  std::string storage;
  return encode_between(well_formed(text, storage), matches);
}

// Leftmost, then longest, in linear time: one backward pass finds the longest token that begins at
// each position, because reversed it is the longest that ends there.
void Tokenizer::find_added(std::string_view text, size_t begin, size_t end,
                           std::vector<Match>& out) const {
  std::vector<int32_t> longest(end - begin);
  AhoCorasick::State state = AhoCorasick::kStart;
  for (size_t i = end; i-- > begin;) {
    state = added_reversed_.step(state, static_cast<unsigned char>(text[i]));
    longest[i - begin] = added_reversed_.match(state);
  }
  for (size_t i = begin; i < end;) {
    const int32_t found = longest[i - begin];
    if (found == AhoCorasick::kNone) {
      ++i;
      continue;
    }
    const AddedToken& token = added_[static_cast<size_t>(found)];
    out.push_back({i, i + token.content.size(), token.id});
    i = out.back().end;
  }
}

std::vector<int32_t> Tokenizer::encode_between(std::string_view text,
                                               std::span<const Match> matches) const {
  std::vector<int32_t> ids;
  const auto encode_plain = [&](size_t begin, size_t end) {
    for (const std::string_view piece : pretokenize(text.substr(begin, end - begin))) {
      bpe_.encode(piece, ids);
    }
  };
  size_t position = 0;
  for (const Match& match : matches) {
    encode_plain(position, match.begin);
    ids.push_back(match.id);
    position = match.end;
  }
  encode_plain(position, text.size());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, SkipSpecial skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (skip_special == SkipSpecial::kYes && is_special(id)) continue;
    bytes += token_bytes(id);
  }
  return well_formed_utf8_prefix(bytes) == bytes.size() ? bytes : replace_ill_formed_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  if (!is_in_range(id)) return {};
  const Token& token = tokens_[index(id)];
  return std::string_view(token_bytes_).substr(token.begin, token.size);
}

std::optional<int32_t> Tokenizer::id_of(std::string_view content) const {
  const auto token = std::lower_bound(
      added_.begin(), added_.end(), content,
      [](const AddedToken& a, std::string_view wanted) { return a.content < wanted; });
  if (token == added_.end() || token->content != content) return std::nullopt;
  return token->id;
}

std::optional<int32_t> Tokenizer::bos_id() const { return id_of(kBos); }
std::optional<int32_t> Tokenizer::eos_id() const { return id_of(kEos); }
std::optional<int32_t> Tokenizer::pad_id() const { return id_of(kPad); }

}  // namespace dsv4
