// A minimal tokenizer for synthetic checkpoints: every byte is a token, plus the markers of V4's
// chat format.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace dsv4 {

// The text of tokenizer.json. The markers have their released ids where the vocabulary is the
// released one, else they end the vocabulary. Nothing where it is too small to hold them.
std::optional<std::string> byte_tokenizer_json(int64_t vocab_size);

}  // namespace dsv4
