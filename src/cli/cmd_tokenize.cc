// `dsv4 tokenize` and `dsv4 detokenize`: text to token ids and back.
#include "base/error.h"
#include "cli/commands.h"
#include "cli/text_io.h"
#include "text/text_stream.h"
#include "text/tokenizer.h"

#include <CLI/CLI.hpp>

#include <charconv>
#include <limits>
#include <memory>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

struct TokenizeArgs {
  TokenizerArgs tokenizer;
  std::optional<std::string> text;
  bool no_parse_special = false;
  bool json = false;
  bool json_lines = false;
};

void tokenize(const TokenizeArgs& args) {
  const Tokenizer tokenizer = args.tokenizer.load();
  const ParseSpecial special = args.no_parse_special ? ParseSpecial::kNo : ParseSpecial::kYes;
  if (args.json_lines) {
    run_json_lines([&](const Json& input, const std::string& where) {
      const std::string& text = input.at("text", where).as_string(where + ".text");
      return Json().set("ids", to_json(tokenizer.encode(text, special)));
    });
    return;
  }
  const std::vector<int32_t> ids = tokenizer.encode(argument_or_stdin(args.text), special);
  print_line(args.json ? Json().set("ids", to_json(ids)).print() : join_ids(ids));
}

struct DetokenizeArgs {
  TokenizerArgs tokenizer;
  std::vector<std::string> ids;
  bool skip_special = false;
  bool stream = false;
  bool json = false;
  bool json_lines = false;
};

// Numbers separated by white space or commas, also within brackets.
std::vector<int32_t> read_ids(std::string_view text) {
  constexpr std::string_view kSeparators = " \t\r\n,[]";
  std::vector<int32_t> ids;
  for (size_t begin = text.find_first_not_of(kSeparators); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    int32_t id = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || stop != word.data() + word.size()) {
      throw Error(ErrorCode::kInvalidInput, "ids",
                  fmt::format("'{}' is not a token id; expected numbers such as 1 2 3", word));
    }
    ids.push_back(id);
    begin = text.find_first_not_of(kSeparators, end);
  }
  return ids;
}

std::vector<int32_t> ids_of(const Json& list, const std::string& where) {
  std::vector<int32_t> ids;
  for (const Json& item : list.as_array(where)) {
    const int64_t id = item.as_int(where);
    // Like all other ids without a token: nothing.
    constexpr int32_t kNoToken = -1;
    ids.push_back(id < 0 || id > std::numeric_limits<int32_t>::max() ? kNoToken
                                                                     : static_cast<int32_t>(id));
  }
  return ids;
}

Json decode(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, SkipSpecial skip,
            bool stream) {
  Json result;
  if (stream) {
    TokenStream pieces(tokenizer, skip);
    Json chunks = Json::Array{};
    for (const int32_t id : ids) chunks.push_back(pieces.push(id));
    chunks.push_back(pieces.finish());
    result.set("chunks", std::move(chunks));
  }
  return result.set("text", tokenizer.decode(ids, skip));
}

void detokenize(const DetokenizeArgs& args) {
  const Tokenizer tokenizer = args.tokenizer.load();
  const auto skip_if = [](bool skip) { return skip ? SkipSpecial::kYes : SkipSpecial::kNo; };
  if (args.json_lines) {
    run_json_lines([&](const Json& input, const std::string& where) {
      const Json* skip = input.find("skip_special_tokens");
      const bool skips =
          skip != nullptr ? skip->as_bool(where + ".skip_special_tokens") : args.skip_special;
      return decode(tokenizer, ids_of(input.at("ids", where), where + ".ids"), skip_if(skips),
                    args.stream);
    });
    return;
  }
  std::optional<std::string> words;
  for (const std::string& word : args.ids) words = words.value_or("") + word + " ";
  const std::vector<int32_t> ids = read_ids(argument_or_stdin(words));
  if (args.json || args.stream) {
    print_line(decode(tokenizer, ids, skip_if(args.skip_special), args.stream).print());
  } else {
    print_text(tokenizer.decode(ids, skip_if(args.skip_special)));
  }
}

}  // namespace

void add_tokenize(CLI::App& app) {
  auto args = std::make_shared<TokenizeArgs>();
  CLI::App* command = app.add_subcommand("tokenize", "Turn text into token ids");
  command->add_option("TEXT", args->text, "The text; default: standard input, as it is");
  args->tokenizer.add_to(*command);
  command->add_flag("--no-parse-special", args->no_parse_special,
                    "Read added tokens such as <｜User｜> in the text as plain text");
  command->add_flag("--json", args->json, "Print {\"ids\": [...]}");
  command->add_flag("--jsonl", args->json_lines,
                    "For programs: each input line {\"text\"} gives an output line {\"ids\"}");
  command->footer(
      "Examples:\n"
      "  dsv4 tokenize 'The capital of France is'\n"
      "  dsv4 tokenize -m /models/DeepSeek-V4-Flash < book.txt | wc -w\n"
      "  dsv4 tokenize --jsonl < cases.jsonl > ids.jsonl\n"
      "With --jsonl a line that cannot be read gives {\"error\"} and the run goes on.");
  command->callback([args] { tokenize(*args); });
}

void add_detokenize(CLI::App& app) {
  auto args = std::make_shared<DetokenizeArgs>();
  CLI::App* command = app.add_subcommand("detokenize", "Turn token ids into text");
  command->add_option("IDS", args->ids,
                      "Token ids, separated by spaces or commas; default: standard input");
  args->tokenizer.add_to(*command);
  command->add_flag("--skip-special-tokens", args->skip_special,
                    "Leave out tokens such as the end of a sentence");
  command->add_flag("--stream", args->stream,
                    "Print {\"chunks\", \"text\"}: what each token adds, and the end");
  command->add_flag("--json", args->json, "Print {\"text\"}");
  command->add_flag("--jsonl", args->json_lines,
                    "For programs: each input line {\"ids\", \"skip_special_tokens\"} gives an\n"
                    "output line {\"text\"}, with --stream {\"chunks\", \"text\"}");
  command->footer(
      "Examples:\n"
      "  dsv4 detokenize -m /models/DeepSeek-V4-Flash 671 6102 294 8760 344\n"
      "  dsv4 tokenize 'some text' | dsv4 detokenize\n"
      "  dsv4 detokenize --jsonl --stream < cases.jsonl\n"
      "Ids without a token give nothing; bytes that are no UTF-8 become U+FFFD.");
  command->callback([args] { detokenize(*args); });
}

}  // namespace dsv4::cli
