#include "tensor/memory.h"

#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <string>

namespace dsv4 {
namespace {

// A line such as "VmRSS:  1234 kB" of the system's account of this process.
int64_t status_kb(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1));
  }
  return -1;
}

TEST(Memory, is_aligned_and_can_be_written_to_its_end) {
  for (const size_t size : {size_t{1}, size_t{100}, kMappedBytes - 1, kMappedBytes,
                            kMappedBytes + 1, 3 * kMappedBytes + 12345}) {
    auto* memory = static_cast<unsigned char*>(allocate_memory(size));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
    memory[0] = 1;
    memory[size - 1] = 2;
    free_memory(memory, size);
  }
  free_memory(nullptr, 5);
}

TEST(Memory, is_not_resident_before_it_is_written) {
  const int64_t before = status_kb("VmRSS");
  if (before < 0) GTEST_SKIP() << "the system does not tell";
  constexpr int64_t kBytes = int64_t{1} << 30;
  Tensor<std::byte, 1> tensor({kBytes});
  const Tensor<std::byte, 1> moved = std::move(tensor);
  EXPECT_LT(status_kb("VmRSS") - before, 16 << 10);
  moved.view()(kBytes / 2) = std::byte{1};
  EXPECT_EQ(moved.view()(0), std::byte{0});
  EXPECT_LT(status_kb("VmRSS") - before, 32 << 10);
}

}  // namespace
}  // namespace dsv4
