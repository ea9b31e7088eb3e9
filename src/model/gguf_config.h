// The configuration of a model in the metadata of a GGUF file, architecture "deepseek4"
// (docs/formats.md lists the keys).
#pragma once

#include "formats/gguf.h"
#include "model/config.h"

#include <string>

namespace dsv4 {

// Keys that a file of the size of a known release lacks are taken from that release. Throws
// Error(kInvalidInput, kUnsupported) naming `where` and the key.
ModelConfig config_from_gguf(const GgufHeader& header, const std::string& where);

// The inverse: general.architecture and all keys of the geometry.
void add_config(const ModelConfig& config, GgufBuilder& metadata);

}  // namespace dsv4
