// Text to token ids and back: the byte-level BPE tokenizer of DeepSeek V4 (docs/text.md), loaded
// from a model's tokenizer.json. It knows nothing about roles or chat layout.
#pragma once

#include "text/aho_corasick.h"
#include "text/bpe.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// Whether added tokens (<｜User｜>, <think>, ...) are recognised in the text that is encoded.
enum class ParseSpecial { kNo, kYes };
// Whether decoding leaves out the tokens whose "special" flag is set.
enum class SkipSpecial { kNo, kYes };

// Who wrote a piece of text: added tokens are recognised only in what the program itself wrote.
enum class Trust : uint8_t { kUntrusted, kTrusted };
struct TextSpan {
  std::string text;
  Trust trust;
  bool operator==(const TextSpan&) const = default;
};

// Immutable after loading; all methods may be called from several threads.
class Tokenizer {
 public:
  // Reads `path`, a tokenizer.json or a folder with one. Throws Error(kNotFound, kIo) for the file,
  // Error(kInvalidInput) with the JSON path for one that is malformed or contradicts itself, and
  // Error(kUnsupported) for a tokenizer of another construction.
  static Tokenizer load(const std::filesystem::path& path);
  // The same from the content of a tokenizer.json; `where` names it in errors.
  static Tokenizer parse(std::string_view json, const std::string& where);

  // No token is added in front or behind. Ill-formed UTF-8 counts as U+FFFD. Time is linear up to
  // a logarithm in the longest word. Throws Error(kOutOfRange) above kMaxTextBytes.
  std::vector<int32_t> encode(std::string_view text, ParseSpecial parse_special) const;

  // The joined spans as one text, in which added tokens are recognised where they lie wholly in
  // trusted spans.
  std::vector<int32_t> encode(std::span<const TextSpan> spans) const;

  // Ids without a token yield nothing; ill-formed UTF-8 becomes U+FFFD.
  std::string decode(std::span<const int32_t> ids, SkipSpecial skip_special) const;

  // The bytes that a token stands for, possibly a part of a character; empty for an id without one.
  std::string_view token_bytes(int32_t id) const;
  bool has_token(int32_t id) const { return is_in_range(id) && tokens_[index(id)].is_there; }
  bool is_special(int32_t id) const { return is_in_range(id) && tokens_[index(id)].is_special; }

  // The added token with this content.
  std::optional<int32_t> id_of(std::string_view content) const;
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;

  // One more than the largest id.
  int32_t vocab_size() const { return static_cast<int32_t>(tokens_.size()); }

  static constexpr size_t kMaxTextBytes = size_t{1} << 30;

 private:
  friend class TokenizerReader;
  struct Token {
    uint32_t begin = 0;  // in token_bytes_
    uint32_t size = 0;
    bool is_there = false;
    bool is_special = false;
  };
  struct AddedToken {
    std::string content;
    int32_t id;
  };
  struct Match {
    size_t begin;
    size_t end;
    int32_t id;
  };

  Tokenizer(std::string token_bytes, std::vector<Token> tokens, std::vector<AddedToken> added,
            BytePairEncoder bpe);

  static size_t index(int32_t id) { return static_cast<size_t>(id); }
  bool is_in_range(int32_t id) const { return id >= 0 && index(id) < tokens_.size(); }
  void find_added(std::string_view text, size_t begin, size_t end, std::vector<Match>& out) const;
  std::vector<int32_t> encode_between(std::string_view text, std::span<const Match> matches) const;

  std::string token_bytes_;
  std::vector<Token> tokens_;      // by id
  std::vector<AddedToken> added_;  // sorted by content
  AhoCorasick added_reversed_;     // patterns: contents of added_, last byte first
  BytePairEncoder bpe_;
};

}  // namespace dsv4
