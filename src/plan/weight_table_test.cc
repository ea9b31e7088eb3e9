// Tables of weights against the tensors of the files that they are of.
#include "plan/weight_table.h"

#include "quantize/quantize_testing.h"

namespace dsv4 {
namespace {

class WeightTables : public QuantizeFixture, public testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Every, WeightTables, testing::ValuesIn(mix_names()), [](const auto& test) {
  std::string name = test.param;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

// By class, all bytes of a checkpoint.
std::map<TensorClass, int64_t> bytes_of(const std::vector<StoredGroup>& groups) {
  std::map<TensorClass, int64_t> bytes;
  for (const StoredGroup& group : groups) bytes[group.cls.value()] += group.n_bytes;
  return bytes;
}

TEST_P(WeightTables, have_the_bytes_of_the_stored_tensors) {
  constexpr Style kBf16 = {.name = "BF16", .linear = DType::kBF16, .expert = DType::kBF16};
  const SourceModel source(write_model("source", GetParam() == "F16" ? kBf16 : kNative));
  quantize_to(source, GetParam(), folder_ / "output");
  const SourceModel output(folder_ / "output");
  const auto stored = bytes_of(stored_groups(output.checkpoint(), output.config()));
  EXPECT_EQ(bytes_of(weight_table(output).groups()), stored) << "as stored";
  EXPECT_EQ(bytes_of(weight_table(source, GetParam()).groups()), stored) << "as planned";
}

}  // namespace
}  // namespace dsv4
