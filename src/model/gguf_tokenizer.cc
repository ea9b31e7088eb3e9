#include "model/gguf_tokenizer.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "formats/checkpoint.h"
#include "text/pretokenize.h"

#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

using Json = nlohmann::ordered_json;

enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

Json splitting() {
  Json steps = Json::array();
  for (const std::string_view pattern : {kSplitNumbers, kSplitHanAndKana, kSplitWords}) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

class TokenizerKeys {
 public:
  TokenizerKeys(const GgufMetadata& metadata, const std::string& where)
      : metadata_(metadata), where_(where) {}

  std::string read() const {
    const GgufValue* model = metadata_.find("tokenizer.ggml.model");
    if (model == nullptr || model->as_string() != "gpt2") {
      throw Error(ErrorCode::kUnsupported, where_,
                  "key tokenizer.ggml.model: expected \"gpt2\", a byte-level BPE tokenizer");
    }
    const auto tokens = strings("tokenizer.ggml.tokens");
    const auto types = token_types(tokens.size());
    Json vocabulary = Json::object();
    auto& members = vocabulary.get_ref<Json::object_t&>();
    Json added = Json::array();
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (types[id] == kNormal) members.push_back({std::string(tokens[id]), id});
      if (types[id] != kControl && types[id] != kUserDefined) continue;
      added.push_back({{"id", id}, {"content", tokens[id]}, {"special", types[id] == kControl}});
    }
    Json json = {{"version", "1.0"},
                 {"added_tokens", added},
                 {"pre_tokenizer", splitting()},
                 {"model",
                  {{"type", "BPE"},
                   {"vocab", std::move(vocabulary)},
                   {"merges", strings("tokenizer.ggml.merges")}}}};
    try {
      return json.dump();
    } catch (const Json::exception&) {
      throw Error(ErrorCode::kInvalidInput, where_,
                  "key tokenizer.ggml.tokens or merges: a string is not UTF-8");
    }
  }

 private:
  std::vector<std::string_view> strings(const char* key) const {
    const GgufValue* value = metadata_.find(key);
    const auto list = value == nullptr ? std::nullopt : value->as_strings();
    if (!list) {
      throw Error(ErrorCode::kInvalidInput, where_,
                  fmt::format("key {}: expected a list of strings", key));
    }
    return *list;
  }

  std::vector<int64_t> token_types(size_t n_tokens) const {
    const GgufValue* value = metadata_.find("tokenizer.ggml.token_type");
    if (value == nullptr) return std::vector<int64_t>(n_tokens, kNormal);
    const auto types = value->as_integers();
    if (!types || types->size() != n_tokens) {
      throw Error(ErrorCode::kInvalidInput, where_,
                  fmt::format("key tokenizer.ggml.token_type: expected {} numbers", n_tokens));
    }
    return *types;
  }

  const GgufMetadata& metadata_;
  const std::string& where_;
};

std::string merge_text(const Json& merge) {
  if (merge.is_string()) return merge.get<std::string>();
  return merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>();
}

}  // namespace

Tokenizer load_tokenizer(const std::filesystem::path& path) {
  const auto gguf = find_gguf(path);
  if (!gguf || std::filesystem::exists(path / "tokenizer.json")) return Tokenizer::load(path);
  const MappedFile mapped(*gguf);
  const GgufHeader header = parse_gguf(mapped.bytes(), gguf->string());
  return Tokenizer::parse(tokenizer_json_from_gguf(header.metadata, gguf->string()),
                          gguf->string());
}

std::string tokenizer_json_from_gguf(const GgufMetadata& metadata, const std::string& where) {
  return TokenizerKeys(metadata, where).read();
}

void add_tokenizer(std::string_view text, int64_t vocab_size, int32_t bos_id, int32_t eos_id,
                   GgufBuilder& metadata) {
  const Json json = Json::parse(text);
  std::vector<std::string> tokens(static_cast<size_t>(vocab_size));
  std::vector<int32_t> types(tokens.size(), kUnused);
  for (size_t id = 0; id < tokens.size(); ++id) tokens[id] = fmt::format("[PAD{}]", id);
  const auto put = [&](size_t id, const std::string& token, int32_t type) {
    if (id >= tokens.size()) return;  // a token without a row of the embedding
    tokens[id] = token;
    types[id] = type;
  };
  for (const auto& [token, id] : json.at("model").at("vocab").items()) {
    put(id.get<size_t>(), token, kNormal);
  }
  for (const Json& token : json.at("added_tokens")) {
    put(token.at("id").get<size_t>(), token.at("content").get<std::string>(),
        token.value("special", false) ? kControl : kUserDefined);
  }
  std::vector<std::string> merges;
  for (const Json& merge : json.at("model").at("merges")) merges.push_back(merge_text(merge));
  metadata.add_string("tokenizer.ggml.model", "gpt2");
  metadata.add_string("tokenizer.ggml.pre", "deepseek-v3");
  metadata.add_strings("tokenizer.ggml.tokens", tokens);
  metadata.add_i32s("tokenizer.ggml.token_type", types);
  metadata.add_strings("tokenizer.ggml.merges", merges);
  metadata.add_u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(bos_id));
  metadata.add_u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(eos_id));
}

}  // namespace dsv4
