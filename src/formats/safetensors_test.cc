#include "formats/safetensors.h"

#include "base/error.h"
#include "base/mapped_file.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

// Bytes of a file with this header text and `n_data` bytes of data.
std::vector<std::byte> file_of(const std::string& header, size_t n_data) {
  std::vector<std::byte> file(8 + header.size() + n_data);
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  for (size_t i = 0; i < n_data; ++i) file[8 + header.size() + i] = static_cast<std::byte>(i);
  return file;
}

SafetensorsHeader parse(const std::string& header, size_t n_data) {
  const auto file = file_of(header, n_data);
  return parse_safetensors_header(file, file.size(), "a.safetensors");
}

// The message of the Error that parsing ends in, or "" when it is accepted.
std::string error_of(const std::string& header, size_t n_data) {
  try {
    parse(header, n_data);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    return error.what();
  }
}

// {"a": {"dtype": ..., "shape": ..., "data_offsets": ...}}
std::string one(const char* dtype, const char* shape, const char* offsets) {
  return fmt::format(R"({{"a":{{"dtype":"{}","shape":{},"data_offsets":{}}}}})", dtype, shape,
                     offsets);
}

TEST(Safetensors, reads_entries_metadata_and_padding) {
  const std::string text = R"({"__metadata__":{"format":"pt","x":"1"},)"
                           R"("b":{"dtype":"F32","shape":[2,1],"data_offsets":[6,14]},)"
                           R"("a":{"shape":[3],"data_offsets":[0,6],"dtype":"BF16"},)"
                           R"("scalar":{"dtype":"I64","shape":[],"data_offsets":[14,22]},)"
                           R"("none":{"dtype":"F32","shape":[0,5],"data_offsets":[22,22]}}   )";
  const SafetensorsHeader header = parse(text, 22);
  EXPECT_EQ(header.metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"x", "1"}}));
  ASSERT_EQ(header.tensors.size(), 4u);
  const uint64_t data = 8 + text.size();
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].dtype, DType::kBF16);
  EXPECT_EQ(header.tensors[0].begin, data);
  EXPECT_EQ(header.tensors[1].name, "b");
  EXPECT_EQ(header.tensors[1].shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(header.tensors[1].begin, data + 6);
  EXPECT_EQ(header.tensors[1].end, data + 14);
  EXPECT_EQ(header.tensors[2].shape, std::vector<int64_t>{});
  EXPECT_EQ(header.tensors[3].shape, (std::vector<int64_t>{0, 5}));
}

TEST(Safetensors, accepts_a_header_without_tensors_and_bytes_that_belong_to_none) {
  EXPECT_EQ(error_of("{}", 0), "");
  EXPECT_EQ(error_of(one("U8", "[2]", "[3,5]"), 9), "");
}

TEST(Safetensors, names_file_tensor_and_byte_of_what_is_wrong) {
  const std::string truncated = error_of(one("U8", "[9]", "[0,9]"), 8);
  EXPECT_NE(truncated.find("a.safetensors: tensor a"), std::string::npos) << truncated;
  EXPECT_NE(truncated.find("bytes 0 to 9"), std::string::npos) << truncated;
  EXPECT_NE(truncated.find("ends at byte"), std::string::npos) << truncated;
  const std::string overlap = error_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                       R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
                                       7);
  EXPECT_NE(overlap.find("tensor b"), std::string::npos) << overlap;
  EXPECT_NE(overlap.find("belongs to tensor a too"), std::string::npos) << overlap;
}

// The byte is where the wrong value ends; a number ends where the next character is read.
TEST(Safetensors, names_the_byte_of_the_header_where_a_value_is_wrong) {
  const std::string header = one("F64", "[1]", "[0,8]");
  const size_t byte = 8 + header.find("F64") + std::strlen("F64\"");
  EXPECT_EQ(error_of(header, 8),
            fmt::format("a.safetensors: tensor a: byte {}: type 'F64' is not known", byte));
  const std::string short_header = one("U8", "[3]", "[0,2]");
  EXPECT_EQ(error_of(short_header, 8),
            fmt::format("a.safetensors: tensor a: byte {}: type and shape need 3 bytes, "
                        "data_offsets give 2",
                        8 + short_header.size() - 1));
  EXPECT_EQ(error_of("{\"a\":nul}", 0), "a.safetensors: byte 17: the header is not valid JSON");
}

TEST(Safetensors, refuses_wrong_values) {
  struct Case {
    const char* dtype;
    const char* shape;
    const char* offsets;
    const char* message;
  };
  for (const Case& c : std::vector<Case>{
           {"F64", "[1]", "[0,8]", "type 'F64' is not known"},
           {"U8", "[-1]", "[0,1]", "negative"},
           {"U8", "[1.0]", "[0,1]", "unexpected value of 'shape'"},
           {"U8", "[[1]]", "[0,1]", "unexpected value of 'shape'"},
           {"U8", "[{}]", "[0,1]", "object"},
           {"U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]", "more than 8 dimensions"},
           {"U8", "[18446744073709551615]", "[0,1]", "impossible"},
           {"U8", "[99999999999999999999999]", "[0,1]", "unexpected value"},
           {"U8", "[281474976710656,281474976710656]", "[0,0]", "overflows"},
           {"U8", "[0,281474976710656,281474976710656]", "[0,0]", "overflows"},
           {"I64", "[281474976710656,4096]", "[0,9223372036854775808]", "overflows"},
           {"U8", "\"1\"", "[0,1]", "unexpected value"},
           {"U8", "1", "[0,1]", "unexpected value"},
           {"U8", "null", "[0,1]", "unexpected value"},
           {"U8", "[1]", "[0]", "missing or incomplete"},
           {"U8", "[1]", "[0,1,2]", "more than two"},
           {"U8", "[1]", "[1,0]", "backwards"},
           {"U8", "[1]", "[-1,0]", "negative"},
           {"U8", "[1]", "[0,2]", "need 1 bytes, data_offsets give 2"},
           {"F32", "[2]", "[0,4]", "need 8 bytes, data_offsets give 4"},
           {"U8", "[1]", "[18446744073709551614,18446744073709551615]", "truncated"},
           {"U8", "[1],\"shape\":[1]", "[0,1]", "shape appears twice"},
           {"U8\",\"dtype\":\"U8", "[1]", "[0,1]", "dtype appears twice"},
           {"U8", "[1]", "[0,1],\"extra\":\"\"", "unexpected value of 'extra'"},
           {"U\\n8", "[1]", "[0,1]", "type is not known"},
       }) {
    const std::string message = error_of(one(c.dtype, c.shape, c.offsets), 16);
    EXPECT_NE(message.find(c.message), std::string::npos)
        << c.dtype << c.shape << c.offsets << " gave: " << message;
    EXPECT_NE(message.find("a.safetensors: tensor a: "), std::string::npos) << message;
    EXPECT_NE(message.find("byte "), std::string::npos) << message;
  }
}

TEST(Safetensors, refuses_headers_that_are_something_else) {
  const std::string entry = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  for (const auto& [text, message] : std::vector<std::pair<std::string, const char*>>{
           {"", "not a JSON object"},
           {" {}", "not a JSON object"},
           {"[]", "not a JSON object"},
           {"{", "not valid JSON"},
           {"{}}", "not valid JSON"},
           {"{\"a\":" + entry + ",\"a\":" + entry + "}", "appears twice"},
           {"{\"a\\n\":" + entry + "}", "control characters"},
           {"{\"\xff\":" + entry + "}", "not valid JSON"},
           {"{\"a\":1}", "unexpected value"},
           {"{\"a\":[1]}", "unexpected value"},
           {"{\"a\":{}}", "missing or incomplete"},
           {"{\"a\":{\"b\":{\"c\":{}}}}", "an object where"},
           {"{\"__metadata__\":{\"x\":1}}", "unexpected value"},
           {"{\"__metadata__\":{\"x\":{}}}", "an object where"},
           {"{\"a\":" + std::string(1 << 20, '[') + "}", "unexpected value"},
       }) {
    const std::string found = error_of(text, 1);
    EXPECT_NE(found.find(message), std::string::npos) << text.substr(0, 99) << " gave: " << found;
  }
}

TEST(Safetensors, refuses_header_lengths_beyond_the_file) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{1000}, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    auto file = file_of("{}", 0);
    std::memcpy(file.data(), &length, 8);
    EXPECT_THROW(parse_safetensors_header(file, file.size(), "x"), Error) << length;
  }
}

// A file with some of everything, as the damage tests below need it.
std::string sample_header() {
  return R"({"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F8_E4M3","shape":[2,3],)"
         R"("data_offsets":[0,6]},"a.scale":{"dtype":"F8_E8M0","shape":[1,1],)"
         R"("data_offsets":[6,7]},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[7,15]}})";
}

TEST(Safetensors, truncation_at_every_byte_is_an_error) {
  const auto file = file_of(sample_header(), 15);
  EXPECT_EQ(parse_safetensors_header(file, file.size(), "x").tensors.size(), 3u);
  for (size_t size = 0; size < file.size(); ++size) {
    // An own allocation, so that the address sanitizer sees reads past the end.
    const std::vector<std::byte> cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THROW(parse_safetensors_header(cut, cut.size(), "x"), Error) << size;
  }
}

TEST(Safetensors, bit_flips_in_the_header_give_an_error_or_ranges_inside_the_file) {
  const auto file = file_of(sample_header(), 15);
  size_t n_errors = 0;
  for (size_t bit = 0; bit < 8 * (file.size() - 15); ++bit) {
    auto flipped = file;
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    try {
      for (const TensorEntry& entry :
           parse_safetensors_header(flipped, flipped.size(), "x").tensors) {
        EXPECT_LE(entry.begin, entry.end);
        EXPECT_LE(entry.end, flipped.size());
      }
    } catch (const Error&) {
      ++n_errors;
    }
  }
  EXPECT_GT(n_errors, file.size());  // most flips break something
}

class SafetensorsWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("dsv4-safetensors-{}", ::getpid());
    fs::create_directories(folder_);
    path_ = folder_ / "out.safetensors";
  }
  void TearDown() override { fs::remove_all(folder_); }

  size_t n_files() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
  fs::path path_;
};

constexpr float kFloats[] = {1.5f, -2, 3};
constexpr uint8_t kBytes[] = {7, 8};

void write_sample(SafetensorsWriter& writer) {
  writer.append(std::as_bytes(std::span(kFloats)).subspan(0, 5));
  writer.append({});
  writer.append(std::as_bytes(std::span(kFloats)).subspan(5));
  writer.append(std::as_bytes(std::span(kBytes)));
}

const std::vector<SafetensorsWriter::Declaration> kSample = {
    {"z", DType::kF32, {3}}, {"empty", DType::kF32, {0, 4}}, {"a \"quoted\"", DType::kU8, {2, 1}}};

TEST_F(SafetensorsWriterTest, writes_what_the_reader_reads) {
  SafetensorsWriter writer(path_, kSample, {{"format", "pt"}});
  write_sample(writer);
  EXPECT_FALSE(fs::exists(path_));  // not before finish
  writer.finish();
  EXPECT_EQ(n_files(), 1u);

  const MappedFile file(path_);
  const SafetensorsHeader header =
      parse_safetensors_header(file.bytes(), file.bytes().size(), "out");
  EXPECT_EQ(header.metadata.at("format"), "pt");
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].name, "z");
  EXPECT_EQ(header.tensors[0].begin % 8, 0u);
  EXPECT_EQ(std::memcmp(file.bytes().data() + header.tensors[0].begin, kFloats, sizeof kFloats), 0);
  EXPECT_EQ(header.tensors[2].name, "a \"quoted\"");
  EXPECT_EQ(header.tensors[2].end, file.bytes().size());
  EXPECT_EQ(std::memcmp(file.bytes().data() + header.tensors[2].begin, kBytes, sizeof kBytes), 0);
}

TEST_F(SafetensorsWriterTest, writes_the_bytes_of_the_format) {
  SafetensorsWriter writer(path_, {{"b", DType::kBF16, {2, 1}}, {"a", DType::kU8, {}}},
                           {{"k", "v"}});
  const uint8_t data[] = {0x80, 0x3F, 0x00, 0xC0, 0x07};
  writer.append(std::as_bytes(std::span(data)));
  writer.finish();
  std::string header =
      R"({"__metadata__":{"k":"v"},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},)"
      R"("a":{"dtype":"U8","shape":[],"data_offsets":[4,5]}})";
  ASSERT_EQ(header.size(), 133u);
  header += "   ";  // to a multiple of 8, which is 0x88
  using namespace std::string_literals;
  EXPECT_EQ(read_file(path_), "\x88\0\0\0\0\0\0\0"s + header + "\x80\x3F\0\xC0\x07"s);
}

TEST_F(SafetensorsWriterTest, leaves_nothing_and_keeps_the_old_file_when_not_finished) {
  std::ofstream(path_) << "old";
  {
    SafetensorsWriter writer(path_, kSample);
    write_sample(writer);
  }
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_EQ(n_files(), 1u);
}

TEST_F(SafetensorsWriterTest, reports_what_the_system_refuses) {
  EXPECT_THROW(SafetensorsWriter(folder_ / "absent" / "x", kSample), Error);
  fs::create_directory(path_);  // a folder stands where the file should go
  SafetensorsWriter writer(path_, kSample);
  write_sample(writer);
  EXPECT_THROW(writer.finish(), Error);
}

// The format as an independent reader sees it: struct and json of Python's standard library.
TEST_F(SafetensorsWriterTest, python_reads_the_file) {
  if (std::system("python3 -c pass >/dev/null 2>&1") != 0) GTEST_SKIP() << "no python3";
  SafetensorsWriter writer(path_, kSample, {{"format", "pt"}});
  write_sample(writer);
  writer.finish();
  const std::string script = folder_ / "read.py";
  std::ofstream(script) << R"(
import json, struct, sys
data = open(sys.argv[1], 'rb').read()
n, = struct.unpack('<Q', data[:8])
header = json.loads(data[8:8 + n])
assert header.pop('__metadata__') == {'format': 'pt'}
assert list(header) == ['z', 'empty', 'a "quoted"']
z = header['z']
assert z == {'dtype': 'F32', 'shape': [3], 'data_offsets': [0, 12]}
body = data[8 + n:]
assert struct.unpack('<3f', body[:12]) == (1.5, -2, 3)
assert header['a "quoted"']['data_offsets'] == [12, 14] and body[12:] == b'\7\10'
)";
  EXPECT_EQ(std::system(fmt::format("python3 {} {}", script, path_.string()).c_str()), 0);
}

}  // namespace
}  // namespace dsv4
