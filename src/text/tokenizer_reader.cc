// Reading and checking of tokenizer.json: vocabulary, merges and added tokens. What encode() relies
// on is checked here; a file that asks for anything else than V4's construction is refused, because
// its ids would be silently wrong.
#include "base/error.h"
#include "base/mapped_file.h"
#include "text/json.h"
#include "text/pretokenize.h"
#include "text/string_index.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <fmt/core.h>

#include <array>
#include <string>

namespace dsv4 {

namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 28;
constexpr int64_t kMaxId = (int64_t{1} << 20) - 1;  // bounds the table of tokens

// The byte alphabet: printable bytes of Latin-1 stand for themselves, the other 68 in increasing
// order for U+0100 and on. Entry: the byte of a code point, or -1.
constexpr char32_t kFirstShifted = 0x100;
constexpr size_t kAlphabetEnd = 0x144;
constexpr std::array<int16_t, kAlphabetEnd> make_byte_alphabet() {
  std::array<int16_t, kAlphabetEnd> byte_of{};
  byte_of.fill(-1);
  size_t next_shifted = kFirstShifted;
  for (int16_t byte = 0; byte < 256; ++byte) {
    const bool is_printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
    byte_of[is_printable ? static_cast<size_t>(byte) : next_shifted++] = byte;
  }
  return byte_of;
}
constexpr std::array<int16_t, kAlphabetEnd> kByteAlphabet = make_byte_alphabet();

// The bytes of a token in the byte alphabet. One with a foreign character (which merging cannot
// produce) stands for its own text, as in the reference.
std::string bytes_of_symbols(std::string_view symbols) {
  std::string bytes;
  for (size_t i = 0; i < symbols.size();) {
    const CodePoint c = decode_utf8(symbols, i);
    if (c.value >= kAlphabetEnd || kByteAlphabet[c.value] < 0) return std::string(symbols);
    bytes += static_cast<char>(kByteAlphabet[c.value]);
    i += c.length;
  }
  return bytes;
}

bool is_absent(const Json* value) { return value == nullptr || value->is_null(); }

}  // namespace

class TokenizerReader {
 public:
  TokenizerReader(std::string_view json, const std::string& where)
      : where_(where), json_(Json::parse(json, where)) {}

  Tokenizer read() {
    check_construction();
    check_splitting();
    read_vocabulary();
    read_added_tokens();
    std::vector<Merge> merges = read_merges();
    return Tokenizer(std::move(token_bytes_), std::move(tokens_), std::move(added_),
                     BytePairEncoder(byte_ids(), merges, place("model.merges")));
  }

 private:
  std::string place(std::string_view path) const { return fmt::format("{}: {}", where_, path); }

  [[noreturn]] void fail(std::string_view path, const std::string& message) const {
    throw Error(ErrorCode::kInvalidInput, place(path), message);
  }

  [[noreturn]] void refuse(std::string_view path, const std::string& message) const {
    throw Error(ErrorCode::kUnsupported, place(path),
                message + "; this is not a DeepSeek V4 tokenizer");
  }

  const Json& model() const { return json_.at("model", where_); }

  void check_construction() const {
    if (const Json* type = model().find("type"); !is_absent(type) && *type != Json("BPE")) {
      refuse("model.type", "expected \"BPE\"");
    }
    for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json* value = model().find(key);
      if (!is_absent(value) && *value != Json("")) {
        refuse(fmt::format("model.{}", key), "expected null");
      }
    }
    if (const Json* value = model().find("ignore_merges"); value && *value == Json(true)) {
      refuse("model.ignore_merges", "expected false");
    }
    const Json* normalizer = json_.find("normalizer");
    if (is_absent(normalizer)) return;
    const Json* steps = normalizer->find("normalizers");
    if (steps == nullptr || !steps->is_array() || !steps->as_array("").empty()) {
      refuse("normalizer", "expected none");
    }
  }

  void check_splitting() const {
    const std::string where = place("pre_tokenizer");
    const Json& steps = json_.at("pre_tokenizer", where_).at("pretokenizers", where);
    const Json::Array& items = steps.as_array(where);
    const std::string_view patterns[] = {kSplitNumbers, kSplitHanAndKana, kSplitWords};
    constexpr size_t n_patterns = std::size(patterns);
    bool as_expected = items.size() == n_patterns + 1;
    for (size_t i = 0; as_expected && i < n_patterns; ++i) {
      const Json* pattern = items[i].find("pattern");
      const Json* regex = pattern != nullptr ? pattern->find("Regex") : nullptr;
      const Json* behavior = items[i].find("behavior");
      const Json* invert = items[i].find("invert");
      as_expected = regex != nullptr && *regex == Json(patterns[i]) && behavior != nullptr &&
                    *behavior == Json("Isolated") && (invert == nullptr || *invert == Json(false));
    }
    if (as_expected) {
      const Json* type = items[n_patterns].find("type");
      const Json* prefix = items[n_patterns].find("add_prefix_space");
      const Json* regex = items[n_patterns].find("use_regex");
      as_expected = type != nullptr && *type == Json("ByteLevel") && prefix != nullptr &&
                    *prefix == Json(false) && regex != nullptr && *regex == Json(false);
    }
    if (!as_expected) {
      refuse("pre_tokenizer", "expected the three splitting expressions and byte level of V4");
    }
  }

  size_t read_id(const Json& value, std::string_view path) const {
    const int64_t id = value.as_int(place(path));
    if (id < 0 || id > kMaxId) fail(path, fmt::format("id {} is not in 0..{}", id, kMaxId));
    return static_cast<size_t>(id);
  }

  void add_token(size_t id, std::string_view bytes, bool is_special) {
    if (tokens_.size() <= id) tokens_.resize(id + 1);
    tokens_[id] = {static_cast<uint32_t>(token_bytes_.size()), static_cast<uint32_t>(bytes.size()),
                   true, is_special};
    token_bytes_ += bytes;
  }

  void read_vocabulary() {
    const std::string where = place("model.vocab");
    std::vector<StringIndex::Entry> entries;
    for (const Json::Member& member : model().at("vocab", place("model")).as_object(where)) {
      const size_t id = read_id(member.value, "model.vocab");
      if (id < tokens_.size() && tokens_[id].is_there) {
        fail("model.vocab", fmt::format("id {} has two tokens", id));
      }
      add_token(id, bytes_of_symbols(member.key), false);
      entries.push_back({member.key, static_cast<int32_t>(id)});
    }
    vocabulary_ = StringIndex(entries);
  }

  void read_added_tokens() {
    const Json::Array& items = json_.at("added_tokens", where_).as_array(place("added_tokens"));
    for (size_t i = 0; i < items.size(); ++i) read_added_token(items[i], i);
    std::vector<StringIndex::Entry> entries;
    for (const Tokenizer::AddedToken& token : added_) entries.push_back({token.content, token.id});
    if (const auto repeated = StringIndex(entries).repeated()) {
      fail("added_tokens", fmt::format("\"{}\" occurs twice", *repeated));
    }
  }

  void read_added_token(const Json& item, size_t i) {
    const std::string path = fmt::format("added_tokens[{}]", i);
    const std::string& content = item.at("content", place(path)).as_string(place(path));
    if (content.empty()) fail(path, "\"content\" is empty");
    const size_t id = read_id(item.at("id", place(path)), path);
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      if (const Json* flag = item.find(key); flag && *flag == Json(true)) {
        refuse(path, fmt::format("expected \"{}\" to be false", key));
      }
    }
    const std::optional<int32_t> ordinary = vocabulary_.find(content);
    const bool is_taken = id < tokens_.size() && tokens_[id].is_there;
    if (ordinary ? static_cast<size_t>(*ordinary) != id : is_taken) {
      fail(path, fmt::format("id {} contradicts another token", id));
    }
    if (ordinary && bytes_of_symbols(content) != content) {
      fail(path, fmt::format("\"{}\" is an ordinary token of other bytes", content));
    }
    const Json* special = item.find("special");
    add_token(id, content, special != nullptr && *special == Json(true));
    added_.push_back({content, static_cast<int32_t>(id)});
  }

  int32_t merge_part(std::string_view symbols, size_t i) const {
    const std::optional<int32_t> id = vocabulary_.find(symbols);
    if (!id) {
      fail(fmt::format("model.merges[{}]", i),
           fmt::format("\"{}\" is not in the vocabulary", symbols));
    }
    return *id;
  }

  std::vector<Merge> read_merges() const {
    const Json::Array& items = model().at("merges", place("model")).as_array(place("model.merges"));
    std::vector<Merge> merges;
    merges.reserve(items.size());
    for (size_t i = 0; i < items.size(); ++i) {
      std::string_view left;
      std::string_view right;
      if (!split_merge(items[i], left, right)) {
        fail(fmt::format("model.merges[{}]", i),
             "expected two tokens, as \"left right\" or [\"left\", \"right\"]");
      }
      const std::string joined = std::string(left).append(right);
      merges.push_back({merge_part(left, i), merge_part(right, i), merge_part(joined, i)});
    }
    return merges;
  }

  static bool split_merge(const Json& item, std::string_view& left, std::string_view& right) {
    if (item.is_string()) {
      const std::string_view text = item.as_string("");
      const size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        return false;
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else {
      if (!item.is_array()) return false;
      const Json::Array& parts = item.as_array("");
      if (parts.size() != 2 || !parts[0].is_string() || !parts[1].is_string()) return false;
      left = parts[0].as_string("");
      right = parts[1].as_string("");
    }
    return !left.empty() && !right.empty();
  }

  std::array<int32_t, 256> byte_ids() const {
    std::array<int32_t, 256> ids{};
    for (size_t symbol = 0; symbol < kAlphabetEnd; ++symbol) {
      if (kByteAlphabet[symbol] < 0) continue;
      std::string text;
      append_utf8(text, static_cast<char32_t>(symbol));
      const std::optional<int32_t> id = vocabulary_.find(text);
      if (!id) {
        fail("model.vocab",
             fmt::format("the token of byte {} (\"{}\") is missing", kByteAlphabet[symbol], text));
      }
      ids[static_cast<size_t>(kByteAlphabet[symbol])] = *id;
    }
    return ids;
  }

  std::string where_;
  Json json_;
  StringIndex vocabulary_;  // views json_
  std::string token_bytes_;
  std::vector<Tokenizer::Token> tokens_;
  std::vector<Tokenizer::AddedToken> added_;
};

Tokenizer Tokenizer::parse(std::string_view json, const std::string& where) {
  return TokenizerReader(json, where).read();
}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  const std::filesystem::path file =
      std::filesystem::is_directory(path) ? path / "tokenizer.json" : path;
  return parse(read_file(file, kMaxFileBytes), file.string());
}

}  // namespace dsv4
