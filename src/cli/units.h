// Sizes as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace dsv4::cli {

// For example "1.50 GiB".
std::string human_bytes(double bytes);
std::string human_bytes(int64_t bytes);

}  // namespace dsv4::cli
