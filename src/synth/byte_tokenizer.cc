#include "synth/byte_tokenizer.h"

#include "text/pretokenize.h"
#include "text/unicode.h"

#include <iterator>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kReleasedVocab = 129280;
constexpr int64_t kReleasedFirstMarker = 128800;

constexpr const char* kSentenceMarkers[] = {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
                                            "<｜▁pad▁｜>"};

// In the order of their released ids, which follow each other.
constexpr const char* kMarkers[] = {"<｜fim▁hole｜>",
                                    "<｜fim▁begin｜>",
                                    "<｜fim▁end｜>",
                                    "<｜User｜>",
                                    "<｜Assistant｜>",
                                    "<|EOT|>",
                                    "<｜tool▁calls▁begin｜>",
                                    "<｜tool▁calls▁end｜>",
                                    "<｜tool▁call▁begin｜>",
                                    "<｜tool▁call▁end｜>",
                                    "<｜tool▁outputs▁begin｜>",
                                    "<｜tool▁outputs▁end｜>",
                                    "<｜tool▁output▁begin｜>",
                                    "<｜tool▁output▁end｜>",
                                    "<｜tool▁sep｜>",
                                    "<｜begin▁of▁repo▁name｜>",
                                    "<｜end▁of▁repo▁name｜>",
                                    "<｜begin▁of▁file▁name｜>",
                                    "<｜end▁of▁file▁name｜>",
                                    "<｜begin▁of▁file｜>",
                                    "<｜end▁of▁file｜>",
                                    "<think>",
                                    "</think>",
                                    "<｜place▁holder▁for▁copy｜>",
                                    "<｜place▁holder▁for▁pointer▁replace｜>",
                                    "｜DSML｜",
                                    "<｜begin▁sys｜>",
                                    "<｜end▁sys｜>",
                                    "<｜latest_reminder｜>",
                                    "<｜action｜>",
                                    "<｜query｜>",
                                    "<｜authority｜>",
                                    "<｜domain｜>",
                                    "<｜task｜>",
                                    "<｜political｜>",
                                    "<｜entity｜>",
                                    "<｜title｜>",
                                    "<｜safety｜>",
                                    "<｜answer｜>",
                                    "<｜search｜>",
                                    "<dsml:",
                                    "</dsml:",
                                    "<｜search▁begin｜>",
                                    "<｜search▁end｜>",
                                    "<｜extracted_url｜>",
                                    "<｜read_url｜>"};

// The characters that stand for the 256 bytes, in the order of their code points: the printable
// ones for themselves, U+0100 and up for the others.
std::vector<std::string> byte_alphabet() {
  const auto is_printable = [](char32_t c) {
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
  };
  std::vector<std::string> symbols;
  for (char32_t c = 0; symbols.size() < 256; ++c) {
    if (c < 0x100 && !is_printable(c)) continue;
    append_utf8(symbols.emplace_back(), c);
  }
  return symbols;
}

Json split(std::string_view pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json byte_level(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", use_regex}};
}

Json added_token(int64_t id, const std::string& content, bool is_special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", is_special}};
}

}  // namespace

std::optional<std::string> byte_tokenizer_json(int64_t vocab_size) {
  const std::vector<std::string> alphabet = byte_alphabet();
  const auto n_markers = static_cast<int64_t>(std::size(kMarkers));
  const auto n_ordinary = static_cast<int64_t>(std::size(kSentenceMarkers) + alphabet.size());
  if (vocab_size < n_ordinary + n_markers) return std::nullopt;

  Json vocab = Json::object();
  Json added = Json::array();
  int64_t id = 0;
  for (const char* content : kSentenceMarkers) {
    vocab[content] = id;
    added.push_back(added_token(id++, content, true));
  }
  for (const std::string& symbol : alphabet) vocab[symbol] = id++;
  id = vocab_size == kReleasedVocab ? kReleasedFirstMarker : vocab_size - n_markers;
  for (const std::string content : kMarkers) {
    added.push_back(added_token(id++, content, content == "<|EOT|>"));
  }
  const Json pretokenizers = {split(kSplitNumbers), split(kSplitHanAndKana), split(kSplitWords),
                              byte_level(false, true, false)};
  const Json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", {{"type", "Sequence"}, {"normalizers", Json::array()}}},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", pretokenizers}}},
      {"post_processor", byte_level(true, false, true)},
      {"decoder", byte_level(true, true, true)},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"vocab", vocab},
        {"merges", Json::array()}}}};
  return tokenizer.dump(1) + "\n";
}

}  // namespace dsv4
