// The tokenizer in the metadata of GGUF files against the tokenizer.json that it came from.
#include "model/gguf_tokenizer.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/rng.h"
#include "formats/gguf_testing.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

const fs::path kMini = fs::path(DSV4_SOURCE_DIR) / "models/mini";

// A file with this metadata and nothing else.
std::string file_of(const GgufBuilder& metadata) {
  return "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(metadata.count()) + metadata.bytes();
}

std::string mini_file(int64_t vocab_size = 1280) {
  GgufBuilder metadata;
  add_tokenizer(read_file(kMini / "tokenizer.json"), vocab_size, 0, 1, metadata);
  return file_of(metadata);
}

Tokenizer tokenizer_of(const std::string& file) {
  const GgufHeader header = parse_gguf(bytes_of(file), "a.gguf");
  return Tokenizer::parse(tokenizer_json_from_gguf(header.metadata, "a.gguf"), "a.gguf");
}

// The bytes of all 256 tokens of bytes, by the definition of byte-level BPE.
std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  uint32_t shifted = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
    const uint32_t c = printable ? byte : shifted++;
    if (c < 0x80) {
      tokens.push_back(std::string(1, static_cast<char>(c)));
    } else {
      tokens.push_back({static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))});
    }
  }
  return tokens;
}

std::string texts(const std::vector<std::string>& list) {
  std::string bytes;
  for (const std::string& text : list) bytes += gguf_text(text);
  return bytes;
}

// Bytes, "ab" (256), a marker (257), an ordinary added token (258), one without a meaning (259).
struct SmallFile {
  std::vector<std::string> tokens = byte_tokens();
  std::vector<int32_t> types = std::vector<int32_t>(256, 1);
  std::vector<std::string> merges = {"a b"};
  std::string model = "gpt2";

  SmallFile() {
    for (const char* token : {"ab", "<｜User｜>", "<think>", "[PAD259]"}) tokens.push_back(token);
    for (const int32_t type : {1, 3, 4, 5}) types.push_back(type);
  }
  std::string bytes() const {
    std::string of_types;
    for (const int32_t type : types) of_types += raw(type);
    return gguf_file({gguf_key("tokenizer.ggml.model", 8, gguf_text(model)),
                      gguf_array("tokenizer.ggml.tokens", 8, tokens.size(), texts(tokens)),
                      gguf_array("tokenizer.ggml.token_type", 5, types.size(), of_types),
                      gguf_array("tokenizer.ggml.merges", 8, merges.size(), texts(merges))},
                     {}, "");
  }
};

TEST(GgufTokenizer, reads_the_kinds_of_tokens) {
  const Tokenizer tokenizer = tokenizer_of(SmallFile().bytes());
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(tokenizer.encode("ab<｜User｜><think>c", ParseSpecial::kYes), (Ids{256, 257, 258, 99}));
  EXPECT_TRUE(tokenizer.is_special(257));
  EXPECT_FALSE(tokenizer.is_special(258));
  EXPECT_FALSE(tokenizer.has_token(259));
  EXPECT_EQ(tokenizer.decode(Ids{257, 258, 256}, SkipSpecial::kYes), "<think>ab");
  EXPECT_EQ(tokenizer.encode("[PAD259]", ParseSpecial::kYes),
            (Ids{'[', 'P', 'A', 'D', '2', '5', '9', ']'}));
}

TEST(GgufTokenizer, takes_all_tokens_as_ordinary_without_types) {
  std::string file = SmallFile().bytes();
  const std::string key = "tokenizer.ggml.token_type";
  file.replace(file.find(key), key.size(), "tokenizer.ggml.token_tipe");
  const Tokenizer tokenizer = tokenizer_of(file);
  EXPECT_TRUE(tokenizer.has_token(259));
  EXPECT_FALSE(tokenizer.is_special(257));
}

TEST(GgufTokenizer, says_which_key_is_wrong) {
  const auto error_of = [](const auto& change) -> std::string {
    SmallFile file;
    change(file);
    try {
      tokenizer_of(file.bytes());
      return "";
    } catch (const Error& error) {
      EXPECT_TRUE(std::string_view(error.what()).starts_with("a.gguf: ")) << error.what();
      return error.what();
    }
  };
  const auto expect = [&](const char* part, const auto& change) {
    const std::string message = error_of(change);
    EXPECT_NE(message.find(part), std::string::npos) << "no '" << part << "' in: " << message;
  };
  EXPECT_EQ(error_of([](SmallFile&) {}), "");
  expect("key tokenizer.ggml.model", [](SmallFile& f) { f.model = "llama"; });
  expect("key tokenizer.ggml.token_type: expected 260 numbers",
         [](SmallFile& f) { f.types.pop_back(); });
  expect("tokenizer.ggml.tokens", [](SmallFile& f) { f.tokens[256] = "a\xFF"; });
  expect("merges", [](SmallFile& f) { f.merges = {"\xC3 b"}; });
  expect("merges[0]", [](SmallFile& f) { f.merges = {"ab"}; });
  expect("merges[1]: \"ac\" is not in the vocabulary", [](SmallFile& f) {
    f.merges = {"a b", "a c"};
  });
  expect("the token of byte 120", [](SmallFile& f) { f.tokens['x'] = "xyz"; });
  expect("occurs twice", [](SmallFile& f) {
    f.tokens[259] = "<think>";
    f.types[259] = 3;
  });
  expect("is empty", [](SmallFile& f) { f.tokens[257] = ""; });
  const auto missing = [](const char* key) -> std::string {
    std::string file = SmallFile().bytes();
    file[file.find(key)] = 'T';
    try {
      tokenizer_of(file);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  for (const char* key :
       {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    EXPECT_NE(missing(key).find(key), std::string::npos) << missing(key);
  }
}

// Ids and types that are known from the bundled model's tokenizer.json.
TEST(GgufTokenizer, writes_the_keys_of_the_format) {
  const std::string file = mini_file(1300);
  const GgufHeader header = parse_gguf(bytes_of(file), "mini");
  const auto value = [&](const char* key) {
    const GgufValue* found = header.metadata.find(key);
    return found != nullptr ? *found : GgufValue{};
  };
  EXPECT_EQ(value("tokenizer.ggml.model").as_string(), "gpt2");
  EXPECT_EQ(value("tokenizer.ggml.pre").as_string(), "deepseek-v3");
  EXPECT_EQ(value("tokenizer.ggml.bos_token_id").as_integer(), 0);
  EXPECT_EQ(value("tokenizer.ggml.eos_token_id").as_integer(), 1);
  const auto tokens = value("tokenizer.ggml.tokens").as_strings().value();
  const auto types = value("tokenizer.ggml.token_type").as_integers().value();
  ASSERT_EQ(tokens.size(), 1300u);
  ASSERT_EQ(types.size(), 1300u);
  EXPECT_EQ(tokens[0], "<｜begin▁of▁sentence｜>");
  EXPECT_EQ(types[0], 3);
  EXPECT_EQ(tokens[1299], "[PAD1299]");
  EXPECT_EQ(types[1299], 5);
  const auto a = std::ranges::find(tokens, "a") - tokens.begin();
  EXPECT_EQ(types[static_cast<size_t>(a)], 1);
  EXPECT_EQ(value("tokenizer.ggml.merges").element, GgufType::kString);
}

// Texts of every kind, markers among them.
std::vector<std::string> varied_texts(const Tokenizer& tokenizer) {
  std::vector<std::string> list = {
      "",
      " ",
      "The quick brown fox jumps over the lazy dog.",
      "  leading, trailing and   inner spaces  \n\n\t",
      "1234567890 3.14159 007 12,345",
      "你好，世界。これはテストです。한국어",
      "naïve café — “quotes” … ünïcödé",
      "emoji 🙂👩‍👩‍👧‍👦🏳️‍🌈 and \u200B zero width",
      "int main() { return 0; }\r\n// x != y && z",
      "<｜begin▁of▁sentence｜>You "
      "are<｜User｜>Hi<｜Assistant｜><think>so</think>Hello<｜end▁of▁sentence｜>",
      "<｜User",
      "<|User|>",
      "｜DSML｜ <｜DSML｜tool_calls>",
      "</think",
      "<think><think>",
      "ill-formed \xFF\xC3 bytes \xE4\xBD",
      std::string("zero\0byte", 9)};
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_special(id))
      list.push_back("x" + std::string(tokenizer.token_bytes(id)) + "y");
  }
  for (uint64_t i = 0; i < 200; ++i) {  // random tokens one behind the other
    std::string text;
    for (uint64_t k = 0; k < 40; ++k) {
      const auto n = static_cast<uint64_t>(tokenizer.vocab_size());
      text += tokenizer.token_bytes(static_cast<int32_t>(random_bits(1, i, k) % n));
    }
    list.push_back(text);
  }
  return list;
}

TEST(GgufTokenizer, gives_the_ids_of_the_tokenizer_that_it_came_from) {
  const Tokenizer original = Tokenizer::load(kMini);
  const Tokenizer copy = tokenizer_of(mini_file());
  EXPECT_EQ(copy.vocab_size(), original.vocab_size());
  EXPECT_EQ(copy.bos_id(), original.bos_id());
  EXPECT_EQ(copy.eos_id(), original.eos_id());
  EXPECT_EQ(copy.pad_id(), original.pad_id());
  for (int32_t id = 0; id < original.vocab_size(); ++id) {
    EXPECT_EQ(copy.has_token(id), original.has_token(id)) << id;
    EXPECT_EQ(copy.token_bytes(id), original.token_bytes(id)) << id;
    EXPECT_EQ(copy.is_special(id), original.is_special(id)) << id;
  }
  for (const std::string& text : varied_texts(original)) {
    for (const ParseSpecial special : {ParseSpecial::kYes, ParseSpecial::kNo}) {
      const std::vector<int32_t> ids = original.encode(text, special);
      EXPECT_EQ(copy.encode(text, special), ids) << text;
      for (const SkipSpecial skip : {SkipSpecial::kYes, SkipSpecial::kNo}) {
        EXPECT_EQ(copy.decode(ids, skip), original.decode(ids, skip)) << text;
      }
    }
  }
}

TEST(GgufTokenizer, of_a_model_is_in_its_folder_or_in_its_file) {
  const fs::path folder =
      fs::temp_directory_path() / fmt::format("dsv4-gguf-tokenizer-{}", ::getpid());
  fs::create_directories(folder);
  std::ofstream(folder / "model.gguf", std::ios::binary) << SmallFile().bytes();
  EXPECT_EQ(load_tokenizer(folder).vocab_size(), 259);
  EXPECT_EQ(load_tokenizer(folder / "model.gguf").vocab_size(), 259);
  fs::copy_file(kMini / "tokenizer.json", folder / "tokenizer.json");
  EXPECT_EQ(load_tokenizer(folder).vocab_size(), 1280);
  EXPECT_EQ(load_tokenizer(folder / "model.gguf").vocab_size(), 259);
  EXPECT_EQ(load_tokenizer(kMini).vocab_size(), 1280);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace dsv4
