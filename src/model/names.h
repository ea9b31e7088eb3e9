// Names of tensors: the released ones are canonical; Hugging Face's and GGUF's are translated, and
// stacks of experts are taken apart (architecture.md section 3). No data is copied.
#pragma once

#include "formats/checkpoint.h"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace dsv4 {

// Opens a model's files (Checkpoint::open), with the released names.
Checkpoint open_checkpoint(const std::filesystem::path& path);

// Gives the tensors of a checkpoint the released names. Those that it does not know keep theirs.
void use_released_names(Checkpoint& checkpoint);

// The GGUF name of a released tensor name, for experts that of the stack they are in; nothing for
// one that GGUF has no name for.
std::optional<std::string> gguf_name(std::string_view released);

}  // namespace dsv4
