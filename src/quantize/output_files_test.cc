// Sizes that are told before anything is written.
#include "quantize/output_files.h"

#include "quantize/quantize_testing.h"

#include <filesystem>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

class OutputFiles : public QuantizeFixture, public testing::WithParamInterface<std::string> {
 protected:
  // What a file or all files of a folder take.
  static int64_t bytes_at(const fs::path& path) {
    if (fs::is_regular_file(path)) return static_cast<int64_t>(fs::file_size(path));
    int64_t sum = 0;
    for (const auto& entry : fs::directory_iterator(path)) {
      sum += static_cast<int64_t>(entry.file_size());
    }
    return sum;
  }
};
INSTANTIATE_TEST_SUITE_P(Every, OutputFiles, testing::ValuesIn(mix_names()), [](const auto& test) {
  std::string name = test.param;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

TEST_P(OutputFiles, are_as_large_as_told_to_the_byte) {
  constexpr Style kBf16 = {.name = "BF16", .linear = DType::kBF16, .expert = DType::kBF16};
  const SourceModel source(write_model("source", GetParam() == "F16" ? kBf16 : kNative));
  const fs::path output = folder_ / "output";
  constexpr int64_t kSmallShards = 300'000;
  quantize_to(source, GetParam(), output, {.shard_bytes = kSmallShards});
  TypeChoice types;
  types.mix = mix_of_name(GetParam());
  const QuantizePlan plan = plan_quantize(source, types, container_for(GetParam()));
  EXPECT_EQ(output_bytes(source, plan, GetParam(), kSmallShards), bytes_at(output));
}

}  // namespace
}  // namespace dsv4
