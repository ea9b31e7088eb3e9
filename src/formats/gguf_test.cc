#include "formats/gguf.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "formats/gguf_testing.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

GgufHeader parse(const std::string& file) { return parse_gguf(bytes_of(file), "a.gguf"); }

struct Parsed {
  std::string message;  // "" for a file that is accepted
  ErrorCode code = ErrorCode::kInvalidInput;
};

Parsed error_of(const std::string& file) {
  try {
    parse(file);
    return {};
  } catch (const Error& error) {
    return {error.what(), error.code()};
  }
}

// Every byte of a small file, as the specification has it.
TEST(Gguf, reads_the_bytes_of_the_format) {
  const std::string file =
      "GGUF\3\0\0\0"s + "\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"s +                   // 2 tensors, 2 keys
      "\1\0\0\0\0\0\0\0a\4\0\0\0\7\1\0\0"s +                                    // u32 a = 263
      "\1\0\0\0\0\0\0\0b\x8\0\0\0\2\0\0\0\0\0\0\0hi"s +                         // string b = hi
      "\1\0\0\0\0\0\0\0w\2\0\0\0\3\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"s +            // w: ne = {3, 2}
      "\0\0\0\0\x20\0\0\0\0\0\0\0"s +                                           // F32 at 32
      "\1\0\0\0\0\0\0\0v\1\0\0\0\2\0\0\0\0\0\0\0\x1E\0\0\0\0\0\0\0\0\0\0\0"s +  // v: BF16 at 0
      std::string(22, '\0') + std::string(32, 'v') + std::string(24, 'w');
  const GgufHeader header = parse(file);
  EXPECT_EQ(header.alignment, 32u);
  ASSERT_EQ(header.metadata.keys().size(), 2u);
  EXPECT_EQ(header.metadata.keys()[0].key, "a");
  EXPECT_EQ(header.metadata.find("a")->type, GgufType::kU32);
  EXPECT_EQ(header.metadata.find("a")->as_integer(), 263);
  EXPECT_EQ(header.metadata.find("b")->as_string(), "hi");
  EXPECT_EQ(header.metadata.find("c"), nullptr);
  ASSERT_EQ(header.tensors.size(), 2u);
  const GgufTensor& w = header.tensors[0];
  EXPECT_EQ(w.name, "w");
  EXPECT_EQ(w.dtype, DType::kF32);
  EXPECT_EQ(w.shape, (std::vector<int64_t>{2, 3}));
  const GgufTensor& v = header.tensors[1];
  EXPECT_EQ(v.dtype, DType::kBF16);
  EXPECT_EQ(v.shape, (std::vector<int64_t>{2}));
  EXPECT_EQ(file.substr(w.begin, w.end - w.begin), std::string(24, 'w'));
  EXPECT_EQ(file.substr(v.begin, v.end - v.begin), std::string(4, 'v'));
}

// All types of values at their limits, and arrays of each.
std::vector<std::string> keys_of_every_type() {
  const float infinity = std::numeric_limits<float>::infinity();
  return {gguf_key("u8", 0, "\xFF"),
          gguf_key("i8", 1, "\x80"),
          gguf_key("u16", 2, raw(uint16_t{65535})),
          gguf_key("i16", 3, raw(int16_t{-32768})),
          gguf_key("u32", 4, raw(~uint32_t{0})),
          gguf_key("i32", 5, raw(std::numeric_limits<int32_t>::min())),
          gguf_key("f32", 6, raw(-0.25f)),
          gguf_key("bool", 7, "\1"),
          gguf_key("string", 8, gguf_text("ü\0ff"s)),
          gguf_key("u64", 10, raw(~uint64_t{0} >> 1)),
          gguf_key("big", 10, raw(~uint64_t{0})),
          gguf_key("i64", 11, raw(std::numeric_limits<int64_t>::min())),
          gguf_key("f64", 12, raw(1e300)),
          gguf_array("u8s", 0, 2, "\1\xFE"),
          gguf_array("i8s", 1, 2, "\1\xFE"),
          gguf_array("u16s", 2, 1, raw(uint16_t{40000})),
          gguf_array("i16s", 3, 1, raw(int16_t{-2})),
          gguf_array("u32s", 4, 2, raws({uint32_t{1}, ~uint32_t{0}})),
          gguf_array("i32s", 5, 3, raws({0, 4, -128})),
          gguf_array("f32s", 6, 2, raws({1.5f, infinity})),
          gguf_array("bools", 7, 3, "\0\1\0"s),
          gguf_array("strings", 8, 3, gguf_text("a") + gguf_text("") + gguf_text("bc")),
          gguf_array("u64s", 10, 1, raw(uint64_t{1} << 40)),
          gguf_array("i64s", 11, 1, raw(int64_t{-1})),
          gguf_array("f64s", 12, 1, raw(0.1)),
          gguf_array("empty", 8, 0, ""),
          gguf_array("none", 5, 0, "")};
}

TEST(Gguf, reads_every_type_of_value) {
  const std::string file = gguf_file(keys_of_every_type(), {}, "");
  const GgufHeader header = parse(file);
  const auto value = [&](const char* key) -> const GgufValue& {
    const GgufValue* found = header.metadata.find(key);
    if (found == nullptr) throw std::runtime_error(key);
    return *found;
  };
  EXPECT_EQ(value("u8").as_integer(), 255);
  EXPECT_EQ(value("i8").as_integer(), -128);
  EXPECT_EQ(value("u16").as_integer(), 65535);
  EXPECT_EQ(value("i16").as_integer(), -32768);
  EXPECT_EQ(value("u32").as_integer(), 4294967295);
  EXPECT_EQ(value("i32").as_integer(), -2147483648);
  EXPECT_EQ(value("f32").as_number(), -0.25);
  EXPECT_EQ(value("bool").as_integer(), 1);
  EXPECT_EQ(value("string").as_string(), "ü\0ff"s);
  EXPECT_EQ(value("u64").as_integer(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(value("big").as_integer(), std::nullopt);  // no int64_t
  EXPECT_EQ(value("i64").as_integer(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(value("f64").as_number(), 1e300);
  using Integers = std::vector<int64_t>;
  EXPECT_EQ(value("u8s").as_integers(), (Integers{1, 254}));
  EXPECT_EQ(value("i8s").as_integers(), (Integers{1, -2}));
  EXPECT_EQ(value("u16s").as_integers(), (Integers{40000}));
  EXPECT_EQ(value("i16s").as_integers(), (Integers{-2}));
  EXPECT_EQ(value("u32s").as_integers(), (Integers{1, 4294967295}));
  EXPECT_EQ(value("i32s").as_integers(), (Integers{0, 4, -128}));
  EXPECT_EQ(value("f32s").as_numbers(), (std::vector<double>{1.5, INFINITY}));
  EXPECT_EQ(value("bools").as_integers(), (Integers{0, 1, 0}));
  EXPECT_EQ(value("strings").as_strings(), (std::vector<std::string_view>{"a", "", "bc"}));
  EXPECT_EQ(value("u64s").as_integers(), (Integers{1099511627776}));
  EXPECT_EQ(value("i64s").as_integers(), (Integers{-1}));
  EXPECT_EQ(value("f64s").as_numbers(), (std::vector<double>{0.1}));
  EXPECT_EQ(value("empty").as_strings(), std::vector<std::string_view>{});
  EXPECT_EQ(value("none").as_integers(), Integers{});
}

TEST(Gguf, gives_nothing_for_a_value_of_another_type) {
  const std::string file = gguf_file(keys_of_every_type(), {}, "");
  const GgufHeader header = parse(file);
  const auto value = [&](const char* key) { return *header.metadata.find(key); };
  EXPECT_EQ(value("f32").as_integer(), std::nullopt);
  EXPECT_EQ(value("string").as_integer(), std::nullopt);
  EXPECT_EQ(value("string").as_number(), std::nullopt);
  EXPECT_EQ(value("u8").as_string(), std::nullopt);
  EXPECT_EQ(value("u8s").as_integer(), std::nullopt);
  EXPECT_EQ(value("f32s").as_number(), std::nullopt);
  EXPECT_EQ(value("strings").as_string(), std::nullopt);
  EXPECT_EQ(value("strings").as_integers(), std::nullopt);
  EXPECT_EQ(value("string").as_integers(), std::nullopt);
  EXPECT_EQ(value("string").as_strings(), std::nullopt);
  EXPECT_EQ(value("f32s").as_integers(), std::nullopt);
  EXPECT_EQ(value("u8s").as_strings(), std::nullopt);
  // What can be read as the other.
  EXPECT_EQ(value("i8").as_number(), -128);
  EXPECT_EQ(value("i32s").as_numbers(), (std::vector<double>{0, 4, -128}));
  EXPECT_EQ(value("i8").as_integers(), (std::vector<int64_t>{-128}));
  EXPECT_EQ(value("f32").as_numbers(), (std::vector<double>{-0.25}));
}

// ggml's numbers, block sizes and block bytes; formats.md sections 4 and 6.
struct TypeRow {
  uint32_t number;
  DType dtype;
  int64_t values;
  uint64_t bytes;
};
constexpr TypeRow kTypes[] = {
    {0, DType::kF32, 1, 4},         {1, DType::kF16, 1, 2},       {2, DType::kQ4_0, 32, 18},
    {3, DType::kQ4_1, 32, 20},      {6, DType::kQ5_0, 32, 22},    {7, DType::kQ5_1, 32, 24},
    {8, DType::kQ8_0, 32, 34},      {10, DType::kQ2_K, 256, 84},  {11, DType::kQ3_K, 256, 110},
    {12, DType::kQ4_K, 256, 144},   {13, DType::kQ5_K, 256, 176}, {14, DType::kQ6_K, 256, 210},
    {16, DType::kIQ2_XXS, 256, 66}, {24, DType::kI8, 1, 1},       {26, DType::kI32, 1, 4},
    {27, DType::kI64, 1, 8},        {30, DType::kBF16, 1, 2},     {39, DType::kMXFP4, 32, 17}};

TEST(Gguf, knows_the_types_of_tensors) {
  for (const TypeRow& row : kTypes) {
    SCOPED_TRACE(row.number);
    const uint64_t size = 3 * 2 * row.bytes;
    const std::string tensor = gguf_tensor("w", {2 * row.values, 3}, row.number, 0);
    const GgufHeader header = parse(gguf_file({}, {tensor}, std::string(size, 'x')));
    EXPECT_EQ(header.tensors[0].dtype, row.dtype);
    EXPECT_EQ(header.tensors[0].end - header.tensors[0].begin, size);
    EXPECT_EQ(gguf_type_number(row.dtype), row.number);
    EXPECT_NE(error_of(gguf_file({}, {tensor}, std::string(size - 1, 'x'))).message, "");
    if (row.values == 1) continue;
    const std::string partial = gguf_tensor("w", {2 * row.values - 1, 3}, row.number, 0);
    const std::string message = error_of(gguf_file({}, {partial}, std::string(size, 'x'))).message;
    EXPECT_NE(message.find("no multiple of the blocks"), std::string::npos) << message;
  }
  EXPECT_THROW(gguf_type_number(DType::kF8E4M3), Error);
}

TEST(Gguf, names_the_types_that_it_does_not_read) {
  for (const auto& [number, name] :
       std::vector<std::pair<uint32_t, const char*>>{{9, "Q8_1"},
                                                     {15, "Q8_K"},
                                                     {17, "IQ2_XS"},
                                                     {18, "IQ3_XXS"},
                                                     {19, "IQ1_S"},
                                                     {20, "IQ4_NL"},
                                                     {21, "IQ3_S"},
                                                     {22, "IQ2_S"},
                                                     {23, "IQ4_XS"},
                                                     {25, "I16"},
                                                     {28, "F64"},
                                                     {29, "IQ1_M"},
                                                     {34, "TQ1_0"},
                                                     {35, "TQ2_0"},
                                                     {40, "NVFP4"},
                                                     {4, "number 4"},
                                                     {31, "number 31"},
                                                     {~0u, "number 4294967295"}}) {
    const Parsed error =
        error_of(gguf_file({}, {gguf_tensor("w", {256}, number, 0)}, std::string(4096, 'x')));
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_NE(error.message.find(fmt::format("of type {},", name)), std::string::npos)
        << number << ": " << error.message;
    EXPECT_NE(error.message.find("a.gguf: tensor w at byte "), std::string::npos) << error.message;
  }
}

TEST(Gguf, data_begins_at_the_next_multiple_of_the_alignment) {
  for (const uint32_t alignment : {1u, 2u, 8u, 32u, 64u, 4096u}) {
    SCOPED_TRACE(alignment);
    const std::string file =
        gguf_file({gguf_u32("general.alignment", alignment)},
                  {gguf_tensor("a", {1}, 24, 0), gguf_tensor("b", {1}, 24, alignment)},
                  "a" + std::string(alignment - 1, '\0') + "b", alignment);
    const GgufHeader header = parse(file);
    EXPECT_EQ(header.alignment, alignment);
    EXPECT_EQ(header.tensors[0].begin % alignment, 0u);
    EXPECT_EQ(file[header.tensors[0].begin], 'a');
    EXPECT_EQ(file[header.tensors[1].begin], 'b');
  }
}

TEST(Gguf, refuses_alignments_that_are_no_powers_of_two) {
  for (const std::string& key :
       {gguf_u32("general.alignment", 0), gguf_u32("general.alignment", 3),
        gguf_u32("general.alignment", 1u << 31), gguf_key("general.alignment", 8, gguf_text("32")),
        gguf_key("general.alignment", 5, raw(-32)),
        gguf_key("general.alignment", 10, raw(~uint64_t{0})),
        gguf_array("general.alignment", 4, 1, raw(32u))}) {
    const std::string message = error_of(gguf_file({key}, {}, "")).message;
    EXPECT_NE(message.find("a.gguf: general.alignment"), std::string::npos) << message;
  }
}

TEST(Gguf, refuses_other_versions_and_other_files) {
  for (const uint32_t version : {0u, 1u, 2u, 4u, ~0u}) {
    std::string file = gguf_file({}, {}, "");
    file.replace(4, 4, raw(version));
    const Parsed error = error_of(file);
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_EQ(error.message,
              fmt::format("a.gguf: is GGUF version {}; only version 3 is read", version));
  }
  std::string swapped = gguf_file({}, {}, "");
  swapped.replace(4, 4, "\0\0\0\3"s);
  EXPECT_EQ(error_of(swapped).code, ErrorCode::kUnsupported);
  EXPECT_NE(error_of(swapped).message.find("a.gguf: is big-endian"), std::string::npos);
  for (const char* text : {"", "GGU", "GGML\3\0\0\0", "FUGG", "gguf", "{\"a\":1}"}) {
    EXPECT_EQ(error_of(text).message, "a.gguf: does not begin with \"GGUF\"");
    EXPECT_FALSE(is_gguf(bytes_of(text)));
  }
  EXPECT_TRUE(is_gguf(bytes_of("GGUF")));
}

// A file with one key or tensor that is wrong, and what the message says of it.
struct Hostile {
  std::string name;
  std::string file;
  const char* message;
};

std::string one_key(const std::string& key) { return gguf_file({key}, {}, ""); }
std::string one_tensor(const std::vector<int64_t>& ne, uint64_t offset = 0, uint32_t type = 0) {
  return gguf_file({}, {gguf_tensor("w", ne, type, offset)}, std::string(128, 'x'));
}

std::string with_counts(uint64_t n_tensors, uint64_t n_keys) {
  return "GGUF" + raw(uint32_t{3}) + raw(n_tensors) + raw(n_keys);
}

std::vector<Hostile> hostile_keys() {
  const uint64_t huge = uint64_t{1} << 63;
  return {
      {"2^63 keys", with_counts(0, huge), "ends in a key at byte 24"},
      {"2^63 tensors", with_counts(huge, 0), "ends in a tensor name at byte 24"},
      {"2^64 - 1 of both", with_counts(~uint64_t{0}, ~uint64_t{0}), "ends in a key"},
      {"long key", with_counts(0, 1) + raw(huge) + "x", "ends in a key at byte 32"},
      {"longest key", with_counts(0, 1) + raw(~uint64_t{0}) + "x", "ends in a key"},
      {"unknown type", one_key(gguf_key("k", 13, "")), "key k at byte 33 has the unknown type 13"},
      {"huge type", one_key(gguf_key("k", ~0u, "")), "unknown type 4294967295"},
      {"unknown element", one_key(gguf_array("k", 13, 0, "")), "key k at byte 37"},
      {"array of arrays", one_key(gguf_array("k", 9, 1, raw(0u) + raw(uint64_t{0}))),
       "key k at byte 49 is an array of arrays"},
      {"string over the end", one_key(gguf_key("k", 8, raw(uint64_t{5}) + "four")), "ends in k"},
      {"2^63 bytes of text", one_key(gguf_key("k", 8, raw(huge) + "x")), "ends in k at byte 45"},
      {"2^64 - 1 bytes of text", one_key(gguf_key("k", 8, raw(~uint64_t{0}))), "ends in k"},
      {"array over the end", one_key(gguf_array("k", 4, 2, raw(7u))), "ends in k at byte 49"},
      {"2^63 elements", one_key(gguf_array("k", 0, huge, "x")), "ends in k"},
      {"bytes that wrap", one_key(gguf_array("k", 12, (uint64_t{1} << 61) + 1, raw(0.0))),
       "ends in k"},
      {"2^63 strings", one_key(gguf_array("k", 8, huge, gguf_text(""))), "ends in k"},
      {"twice", gguf_file({gguf_u32("k", 1), gguf_u32("k", 1)}, {}, ""), "key k before byte 58"},
      {"no name", one_key(gguf_u32("", 1)), "a key at byte 24 is empty"},
      {"control character", one_key(gguf_u32("a\nb", 1)), "a key at byte 24 is empty, too long"},
      {"zero byte", one_key(gguf_u32("a\0b"s, 1)), "a key at byte 24"},
      {"ill-formed UTF-8", one_key(gguf_u32("a\xC3", 1)), "a key at byte 24"},
      {"long name", one_key(gguf_u32(std::string(65536, 'k'), 1)), "a key at byte 24"},
  };
}

std::vector<Hostile> hostile_tensors() {
  const int64_t huge = std::numeric_limits<int64_t>::max();
  const int64_t big = int64_t{1} << 32;
  const auto two = [](const char* name, uint64_t offset) {
    return gguf_file({}, {gguf_tensor("w", {16}, 0, 0), gguf_tensor(name, {16}, 0, offset)},
                     std::string(128, 'x'));
  };
  return {
      {"no dimensions", one_tensor({}), "tensor w at byte 33 has 0 dimensions"},
      {"five dimensions", one_tensor({1, 1, 1, 1, 1}), "tensor w at byte 33 has 5 dimensions"},
      {"no elements", one_tensor({0}), "tensor w of shape [0]"},
      {"no rows", one_tensor({8, 0}), "tensor w of shape [0, 8]"},
      {"negative", one_tensor({-4}), "tensor w of shape [-4]"},
      {"two negatives", one_tensor({-4, -2}), "tensor w of shape [-2, -4]"},
      {"least", one_tensor({std::numeric_limits<int64_t>::min()}), "does not fit"},
      {"largest", one_tensor({huge}), "does not fit"},
      {"bytes that wrap to 4", one_tensor({big + 1, big}), "does not fit"},
      {"elements that wrap", one_tensor({big, big, big, big}), "does not fit"},
      {"larger than the file", one_tensor({33}), "outside the file"},
      {"misaligned", one_tensor({1}, 4), "tensor w at byte 4 of the data"},
      {"behind the end", one_tensor({1}, 128), "outside the file"},
      {"offset that wraps", one_tensor({1}, ~uint64_t{31}), "outside the file"},
      {"offset and size that wrap", one_tensor({32}, ~uint64_t{0} - 63), "outside the file"},
      {"no data", gguf_file({}, {gguf_tensor("w", {1}, 24, 0)}, ""), "tensor w"},
      {"twice", two("w", 64), "tensor w occurs twice"},
      {"overlap", two("v", 32), "tensors w and v overlap at byte"},
      {"same place", two("v", 0), "overlap"},
      {"no name", gguf_file({}, {gguf_tensor("", {1}, 0, 0)}, "xxxx"), "a tensor name at byte 24"},
      {"ill-formed UTF-8", gguf_file({}, {gguf_tensor("w\xFF", {1}, 0, 0)}, "xxxx"),
       "a tensor name at byte 24 is empty, too long or not"},
  };
}

TEST(Gguf, refuses_wrong_keys_and_tensors) {
  std::vector<Hostile> cases = hostile_keys();
  const std::vector<Hostile> more = hostile_tensors();
  cases.insert(cases.end(), more.begin(), more.end());
  for (const Hostile& c : cases) {
    const Parsed error = error_of(c.file);
    EXPECT_EQ(error.code, ErrorCode::kInvalidInput) << c.name;
    EXPECT_TRUE(error.message.starts_with("a.gguf: ")) << c.name << ": " << error.message;
    EXPECT_NE(error.message.find(c.message), std::string::npos)
        << c.name << " gave: " << error.message.substr(0, 300);
  }
}

// A file with some of everything, as the damage tests below need it.
std::string sample() {
  return gguf_file(
      {gguf_u32("general.alignment", 16), gguf_key("name", 8, gguf_text("x")),
       gguf_array("list", 5, 2, raws({1, 2})), gguf_array("texts", 8, 1, gguf_text("ab"))},
      {gguf_tensor("w", {32, 2}, 8, 0), gguf_tensor("b", {3}, 0, 80)}, std::string(92, 'x'), 16);
}

TEST(Gguf, truncation_at_every_byte_is_an_error) {
  const std::string file = sample();
  EXPECT_EQ(parse(file).tensors.size(), 2u);
  for (size_t size = 0; size < file.size(); ++size) {
    // An own allocation, so that the address sanitizer sees reads past the end.
    const std::vector<char> cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THROW(parse_gguf(std::as_bytes(std::span(cut)), "x"), Error) << size;
  }
}

TEST(Gguf, bit_flips_in_the_header_give_an_error_or_ranges_inside_the_file) {
  const std::string file = sample();
  const size_t header_bytes = file.size() - 92;
  size_t n_errors = 0;
  for (size_t bit = 0; bit < 8 * header_bytes; ++bit) {
    std::vector<char> flipped(file.begin(), file.end());
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    try {
      const GgufHeader header = parse_gguf(std::as_bytes(std::span(flipped)), "x");
      for (const GgufTensor& tensor : header.tensors) {
        EXPECT_LT(tensor.begin, tensor.end);
        EXPECT_LE(tensor.end, flipped.size());
      }
      for (const GgufKey& key : header.metadata.keys()) {
        EXPECT_LE(key.value.bytes.size(), flipped.size());
        key.value.as_strings();
        key.value.as_numbers();
      }
    } catch (const Error& error) {
      EXPECT_TRUE(std::string_view(error.what()).starts_with("x: ")) << error.what();
      ++n_errors;
    }
  }
  EXPECT_GT(n_errors, 4 * header_bytes);  // most flips break something
}

class GgufWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-gguf-{}", ::getpid());
    fs::create_directories(folder_);
    path_ = folder_ / "out.gguf";
  }
  void TearDown() override { fs::remove_all(folder_); }

  // What a file says, written again with its own data.
  std::string rewritten(const std::string& file) const {
    const GgufHeader header = parse(file);
    GgufBuilder metadata;
    for (const GgufKey& key : header.metadata.keys()) metadata.add(key.key, key.value);
    std::vector<GgufWriter::Declaration> tensors;
    for (const GgufTensor& tensor : header.tensors) {
      tensors.push_back({std::string(tensor.name), tensor.dtype, tensor.shape});
    }
    GgufWriter writer(path_, metadata, tensors);
    for (const GgufTensor& tensor : header.tensors) {
      const auto data = bytes_of(file).subspan(tensor.begin, tensor.end - tensor.begin);
      writer.append(data.first(data.size() / 2));  // in pieces, also empty ones
      writer.append(data.subspan(data.size() / 2));
    }
    writer.finish();
    return read_file(path_);
  }

  fs::path folder_;
  fs::path path_;
};

TEST_F(GgufWriterTest, writes_the_bytes_of_the_format) {
  GgufBuilder metadata;
  metadata.add_u32("u32", 7);
  metadata.add_u16("u16", 40000);
  metadata.add_f32("f32", 1.5f);
  metadata.add_bool("bool", true);
  metadata.add_string("string", "hé");
  metadata.add_i32s("i32s", std::vector<int32_t>{1, -2});
  metadata.add_f32s("f32s", std::vector<float>{0.5f});
  metadata.add_strings("strings", std::vector<std::string>{"a", ""});
  EXPECT_EQ(metadata.count(), 8u);
  GgufWriter writer(path_, metadata, {{"m", DType::kQ8_0, {1, 32}}, {"v", DType::kF16, {2}}});
  const std::string data(34 + 4, 'd');
  writer.append(bytes_of(data).first(34));
  writer.append(bytes_of(data).subspan(34));
  writer.finish();
  const std::string expected = gguf_file(
      {gguf_u32("u32", 7), gguf_key("u16", 2, raw(uint16_t{40000})), gguf_key("f32", 6, raw(1.5f)),
       gguf_key("bool", 7, "\1"), gguf_key("string", 8, gguf_text("hé")),
       gguf_array("i32s", 5, 2, raws({1, -2})), gguf_array("f32s", 6, 1, raw(0.5f)),
       gguf_array("strings", 8, 2, gguf_text("a") + gguf_text(""))},
      {gguf_tensor("m", {32, 1}, 8, 0), gguf_tensor("v", {2}, 1, 64)},
      std::string(34, 'd') + std::string(30, '\0') + std::string(4, 'd') + std::string(28, '\0'));
  EXPECT_EQ(read_file(path_), expected);
}

TEST_F(GgufWriterTest, rewriting_a_file_gives_the_same_bytes) {
  std::vector<std::string> tensors;
  std::string data;
  for (const TypeRow& row : kTypes) {
    tensors.push_back(
        gguf_tensor(fmt::format("t{}", row.number), {row.values, 3}, row.number, data.size()));
    data += std::string(3 * row.bytes, static_cast<char>('a' + row.number));
    data.resize((data.size() + 31) / 32 * 32);
  }
  const std::string file = gguf_file(keys_of_every_type(), tensors, data);
  EXPECT_EQ(rewritten(file), file);
}

// Whoever copies the metadata of a file copies its alignment, which the data then must have.
TEST_F(GgufWriterTest, aligns_data_as_the_metadata_say) {
  for (const uint32_t alignment : {8u, 64u, 4096u}) {
    std::string data(2 * alignment, '\0');
    data[0] = 'a';
    data[alignment] = 'b';
    const std::string file = gguf_file(
        {gguf_u32("general.alignment", alignment)},
        {gguf_tensor("a", {1}, 24, 0), gguf_tensor("b", {1}, 24, alignment)}, data, alignment);
    EXPECT_EQ(rewritten(file), file) << alignment;
  }
}

TEST_F(GgufWriterTest, leaves_nothing_and_keeps_the_old_file_when_not_finished) {
  std::ofstream(path_) << "old";
  {
    GgufWriter writer(path_, {}, {{"v", DType::kF32, {1}}});
    writer.append(bytes_of("1234"));
  }
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  EXPECT_THROW(GgufWriter(folder_ / "absent" / "x", {}, {}), Error);
}

}  // namespace
}  // namespace dsv4
