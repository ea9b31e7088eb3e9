// The strict parser of completions: exactly what the reference accepts and returns (docs/text.md),
// including its acceptance of some cut-off tool calls, which must not be executed. Serving uses the
// lenient parser (parse_lenient.h).
#pragma once

#include "text/chat_types.h"

#include <string_view>

namespace dsv4 {

// Parses the generated text, with the end-of-sentence token as text at its end. Linear in the text.
// Throws Error(kInvalidInput) with the byte where it departs from the format.
AssistantMessage parse_completion(std::string_view text, ThinkingMode mode);

}  // namespace dsv4
