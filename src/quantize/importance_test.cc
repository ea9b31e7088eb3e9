// Importance files and what is made of experts that saw few tokens.
#include "quantize/importance.h"

#include "base/error.h"
#include "quantize/quantize_testing.h"

#include <limits>

namespace dsv4 {
namespace {

class Importance : public QuantizeFixture {
 protected:
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    std::string bytes;
  };

  // What reading a file of these entries says.
  std::string error_of(const std::vector<Entry>& entries,
                       const std::map<std::string, std::string>& metadata) const {
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const Entry& entry : entries) {
      declarations.push_back({entry.name, entry.dtype, entry.shape});
    }
    const auto path = folder_ / "i.safetensors";
    SafetensorsWriter writer(path, declarations, metadata);
    for (const Entry& entry : entries) writer.append(std::as_bytes(std::span(entry.bytes)));
    writer.finish();
    try {
      read_importance(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
};

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

TEST_F(Importance, reads_what_it_writes) {
  ImportanceTable table;
  table.n_tokens = 12345678901;
  table.matrices["head.weight"] = {1, {0.5f, 0, 2e-30f}, {7}};
  table.matrices["layers.0.attn.wo_a.weight"] = {2, {1, 2, 3, 4}, {0, int64_t{1} << 40}};
  write_importance(table, folder_ / "i.safetensors");
  const ImportanceTable read = read_importance(folder_ / "i.safetensors");
  EXPECT_EQ(read.n_tokens, table.n_tokens);
  ASSERT_EQ(read.matrices.size(), 2u);
  for (const auto& [name, matrix] : table.matrices) {
    EXPECT_EQ(read.matrices.at(name).groups, matrix.groups);
    EXPECT_EQ(read.matrices.at(name).squares, matrix.squares);
    EXPECT_EQ(read.matrices.at(name).tokens, matrix.tokens);
  }
}

TEST_F(Importance, names_what_is_wrong_with_a_file) {
  const std::map<std::string, std::string> good = {{"dsv4.importance", "1"}, {"tokens", "5"}};
  const Entry x{"x", DType::kF32, {1, 2}, bytes_of<float>({1, 2})};
  const Entry n{"x.tokens", DType::kI64, {1}, bytes_of<int64_t>({5})};
  EXPECT_EQ(error_of({x, n}, good), "no error");
  const auto expect = [&](const std::string& text, const std::vector<Entry>& entries,
                          const std::map<std::string, std::string>& metadata) {
    const std::string error = error_of(entries, metadata);
    EXPECT_NE(error.find(text), std::string::npos) << error;
  };
  expect("no importance matrix of version 1", {x, n}, {{"tokens", "5"}});
  expect("no importance matrix of version 1", {x, n}, {{"dsv4.importance", "2"}, {"tokens", "5"}});
  expect("metadata key tokens", {x, n}, {{"dsv4.importance", "1"}});
  expect("metadata key tokens", {x, n}, {{"dsv4.importance", "1"}, {"tokens", "5x"}});
  expect("has no count of tokens", {x}, good);
  expect("must be F32 [groups, columns]", {{"x", DType::kF32, {2}, x.bytes}, n}, good);
  expect("must be F32 [groups, columns]",
         {{"x", DType::kI32, {1, 2}, bytes_of<int32_t>({1, 2})}, n}, good);
  expect("must be I64 [1]", {x, {"x.tokens", DType::kI64, {2}, bytes_of<int64_t>({5, 5})}}, good);
  expect("must be I64 [1]", {x, {"x.tokens", DType::kF32, {1}, bytes_of<float>({5})}}, good);
  expect("has a negative count", {x, {"x.tokens", DType::kI64, {1}, bytes_of<int64_t>({-1})}},
         good);
  for (const float bad :
       {-1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    expect("has a value that is no square",
           {{"x", DType::kF32, {1, 2}, bytes_of<float>({1, bad})}, n}, good);
  }
  EXPECT_THROW(read_importance(folder_ / "nothing"), Error);
}

// (tokens * own + 32 * mean of the layer) / (tokens + 32), worked out by hand.
TEST_F(Importance, blends_experts_that_saw_few_tokens_with_their_layer) {
  ImportanceTable table;
  const auto name = [](int layer, int expert, const char* part) {
    return fmt::format("layers.{}.ffn.experts.{}.{}.weight", layer, expert, part);
  };
  table.matrices[name(0, 0, "w1")] = {1, {4, 0}, {96}};
  table.matrices[name(0, 1, "w1")] = {1, {8, 16}, {32}};
  table.matrices[name(0, 2, "w1")] = {1, {0, 0}, {0}};
  table.matrices[name(0, 0, "w2")] = {1, {1}, {96}};
  table.matrices[name(1, 0, "w1")] = {1, {7, 7}, {0}};  // nobody in this layer saw anything
  table.matrices["layers.0.ffn.shared_experts.w1.weight"] = {1, {3, 5}, {1}};
  blend_rare_experts(table);
  // The mean of layer 0: (96 * 4 + 32 * 8) / 128 = 5 and (32 * 16) / 128 = 4.
  const auto squares = [&](const std::string& matrix) { return table.matrices[matrix].squares; };
  EXPECT_EQ(squares(name(0, 0, "w1")), (std::vector<float>{(96 * 4 + 32 * 5) / 128.f, 1}));
  EXPECT_EQ(squares(name(0, 1, "w1")), (std::vector<float>{6.5f, 10}));
  EXPECT_EQ(squares(name(0, 2, "w1")), (std::vector<float>{5, 4}));
  EXPECT_EQ(squares(name(0, 0, "w2")), (std::vector<float>{1}));
  EXPECT_EQ(squares(name(1, 0, "w1")), (std::vector<float>{7, 7}));
  EXPECT_EQ(squares("layers.0.ffn.shared_experts.w1.weight"), (std::vector<float>{3, 5}));
}

}  // namespace
}  // namespace dsv4
