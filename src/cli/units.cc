#include "cli/units.h"

#include <cstddef>

#include <fmt/core.h>

namespace dsv4::cli {

std::string human_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit < 4; ++unit) bytes /= 1024;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.2f} {}", bytes, kUnits[unit]);
}

std::string human_bytes(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

}  // namespace dsv4::cli
