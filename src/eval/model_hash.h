// A number that says which weights a measurement is about.
#pragma once

#include "formats/checkpoint.h"
#include "model/config.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace dsv4 {

// XXH3-128, in 32 hexadecimal digits, of the configuration as config_to_json() writes it and of
// every tensor, by name: name, type, shape and bytes. How tensors are cut into files does not
// matter, nor do the tokenizer and anything else in the folder. Reads all bytes once; `progress` is
// called with those done.
std::string hash_model(const Checkpoint& checkpoint, const ModelConfig& config,
                       const std::function<void(int64_t n_done, int64_t n_total)>& progress = {});

// XXH3-128 of some bytes, likewise.
std::string hash_bytes(std::span<const std::byte> bytes);

}  // namespace dsv4
