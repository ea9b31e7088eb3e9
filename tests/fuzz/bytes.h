// Fields of a file that is repaired before it is read.
#pragma once

#include <cstddef>
#include <cstring>

namespace dsv4 {

// Writes `value` at byte `at`, as it lies in memory.
void put(auto& bytes, size_t at, const auto& value) {
  std::memcpy(bytes.data() + at, &value, sizeof(value));
}

}  // namespace dsv4
