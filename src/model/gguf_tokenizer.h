// The tokenizer in the metadata of a GGUF file (keys tokenizer.ggml.*), as the content of a
// tokenizer.json, and back.
#pragma once

#include "formats/gguf.h"
#include "text/tokenizer.h"

#include <filesystem>
#include <string>
#include <string_view>

namespace dsv4 {

// The tokenizer of a model: of its folder, a tokenizer.json or a GGUF file. Throws as
// Tokenizer::load does.
Tokenizer load_tokenizer(const std::filesystem::path& path);

// Throws Error(kInvalidInput, kUnsupported) naming `where` and the key.
std::string tokenizer_json_from_gguf(const GgufMetadata& metadata, const std::string& where);

// `json` is the content of a tokenizer.json that Tokenizer::parse accepts; `vocab_size` counts the
// rows of the embedding: ids without a token are filled up.
void add_tokenizer(std::string_view json, int64_t vocab_size, int32_t bos_id, int32_t eos_id,
                   GgufBuilder& metadata);

}  // namespace dsv4
