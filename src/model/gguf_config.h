// The configuration of a model in the metadata of a GGUF file, architecture "deepseek4"
// (docs/formats.md lists the keys).
#pragma once

#include "formats/gguf.h"
#include "model/config.h"

#include <string>

namespace dsv4 {

// Keys that a file of the size of a known release lacks are taken from that release. `has_nextn`:
// some tensor is called "blk.N.nextn.*", so that the last blocks are a drafter's. Throws
// Error(kInvalidInput, kUnsupported) naming `where` and the key.
ModelConfig config_from_gguf(const GgufMetadata& metadata, bool has_nextn,
                             const std::string& where);

// The inverse: general.architecture and all keys of the geometry.
void add_config(const ModelConfig& config, GgufBuilder& metadata);

}  // namespace dsv4
