// The member quantization_config of config.json. Only the config*.cc files include this.
#pragma once

#include "model/config.h"
#include "model/config_reader.h"

namespace dsv4 {

// FP8 of the release, INT4 of AWQ or of compressed-tensors; other methods and variants are refused.
// Modules that are left as they were need no list: the tensors say which those are.
void read_quantization(const ConfigReader& config, ModelConfig& c);

}  // namespace dsv4
