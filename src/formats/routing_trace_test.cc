#include "formats/routing_trace.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/rng.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

using Bytes = std::vector<std::byte>;

const RoutingShape kSmall{2, 8, 3, 77, {100, 200}};
const RoutingShape kWide{3, 300, 4, 0, {1, 2, 3}};

// A pass as it is added: the ids of all layers, one after the other.
struct Pass {
  int64_t n_tokens = 0;
  std::vector<uint16_t> ids;
  bool operator==(const Pass&) const = default;
};

Pass random_pass(const RoutingShape& shape, int64_t n_tokens, uint64_t stream) {
  Pass pass{n_tokens, {}};
  for (int64_t i = 0; i < n_tokens * shape.n_layers * shape.n_active; ++i) {
    pass.ids.push_back(static_cast<uint16_t>(random_bits(1, stream, static_cast<uint64_t>(i)) %
                                             static_cast<uint64_t>(shape.n_experts)));
  }
  return pass;
}

class RoutingTraceTest : public testing::Test {
 protected:
  RoutingTraceTest()
      : path_(fs::temp_directory_path() / fmt::format("dsv4-routing-{}", ::getpid())) {}
  ~RoutingTraceTest() override { fs::remove(path_); }

  static void add(RoutingTraceWriter& writer, const RoutingShape& shape, const Pass& pass,
                  int64_t n_layers = -1) {
    writer.begin_pass(pass.n_tokens);
    const auto n = static_cast<size_t>(pass.n_tokens * shape.n_active);
    const int64_t n_added = n_layers < 0 ? shape.n_layers : n_layers;
    for (size_t layer = 0; layer < static_cast<size_t>(n_added); ++layer) {
      const std::vector<int32_t> ids(
          pass.ids.begin() + static_cast<std::ptrdiff_t>(layer * n),
          pass.ids.begin() + static_cast<std::ptrdiff_t>((layer + 1) * n));
      writer.add_layer(ids);
    }
  }

  Bytes written(const RoutingShape& shape, const std::vector<Pass>& passes) {
    RoutingTraceWriter writer(path_, shape);
    for (const Pass& pass : passes) add(writer, shape, pass);
    writer.finish();
    return file();
  }

  Bytes file() const {
    const std::string text = read_file(path_);
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
  }

  static std::vector<Pass> passes_of(const RoutingTrace& trace) {
    std::vector<Pass> passes;
    for (const RoutingTrace::Pass& pass : trace.passes) {
      Pass out{pass.n_tokens, {}};
      for (int64_t layer = 0; layer < trace.shape.n_layers; ++layer) {
        const auto ids = trace.chosen(pass, layer);
        out.ids.insert(out.ids.end(), ids.begin(), ids.end());
      }
      passes.push_back(std::move(out));
    }
    return passes;
  }

  static void expect_refused(const Bytes& bytes, const std::string& text) {
    try {
      parse_routing_trace(bytes, "trace");
      ADD_FAILURE() << "accepted, expected: " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }

  fs::path path_;
};

TEST_F(RoutingTraceTest, comes_back_as_it_was_written) {
  for (const RoutingShape& shape : {kSmall, kWide}) {
    std::vector<Pass> passes;
    for (const int64_t n : {1, 2, 127, 128, 1, 20000, 5}) {
      passes.push_back(random_pass(shape, n, passes.size()));
    }
    const RoutingTrace trace = parse_routing_trace(written(shape, passes), "trace");
    EXPECT_EQ(trace.shape, shape);
    EXPECT_EQ(passes_of(trace), passes);
    EXPECT_FALSE(trace.is_cut);
  }
}

TEST_F(RoutingTraceTest, has_the_documented_bytes) {
  const Bytes bytes = written(kSmall, {{1, {0, 1, 2, 5, 6, 7}}});
  constexpr size_t kHeader = 32 + 2 * 8 + 8;
  ASSERT_EQ(bytes.size(), kHeader + 16 + 7 + 8);
  EXPECT_EQ(std::memcmp(bytes.data(), "DSV4RT\0\0\1\0\0\0\2\0\0\0\10\0\0\0\3\0\0\0\115", 25), 0);
  const uint8_t payload[] = {1, 0, 1, 2, 5, 6, 7};
  EXPECT_EQ(std::memcmp(bytes.data() + kHeader + 16, payload, sizeof(payload)), 0);
  uint64_t checksum = 0;
  std::memcpy(&checksum, bytes.data() + kHeader + 16 + 7, sizeof(checksum));
  EXPECT_EQ(checksum, XXH3_64bits(payload, sizeof(payload)));
}

TEST_F(RoutingTraceTest, a_pass_that_broke_off_is_forgotten) {
  const Pass first = random_pass(kSmall, 3, 0);
  const Pass broken = random_pass(kSmall, 400, 1);
  const Pass last = random_pass(kSmall, 2, 2);
  RoutingTraceWriter writer(path_, kSmall);
  add(writer, kSmall, first);
  add(writer, kSmall, broken, 1);
  add(writer, kSmall, last);
  add(writer, kSmall, broken, 1);
  writer.finish();
  EXPECT_EQ(passes_of(read_routing_trace(path_)), (std::vector<Pass>{first, last}));
}

TEST_F(RoutingTraceTest, is_good_while_it_is_being_written) {
  RoutingTraceWriter writer(path_, kSmall);
  EXPECT_TRUE(read_routing_trace(path_).passes.empty());
  const Pass pass = random_pass(kSmall, 1000, 0);  // 6000 bytes: eleven make a block
  for (int i = 0; i < 25; ++i) add(writer, kSmall, pass);
  const RoutingTrace trace = read_routing_trace(path_);
  EXPECT_EQ(passes_of(trace), std::vector<Pass>(22, pass));
  EXPECT_FALSE(trace.is_cut);
}

TEST_F(RoutingTraceTest, cut_anywhere_it_loses_the_last_block_at_most) {
  const Pass big = random_pass(kSmall, 11000, 0);  // a block of its own
  const Pass small = random_pass(kSmall, 20, 1);
  const Bytes one = written(kSmall, {big});
  const Bytes bytes = written(kSmall, {big, small, small});
  const size_t header = written(kSmall, {}).size();
  for (size_t n = 0; n <= bytes.size(); n += n < header + 100 || n + 500 > one.size() ? 1 : 997) {
    const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
    if (n < header) {
      EXPECT_THROW(parse_routing_trace(cut, "trace"), Error) << n;
      continue;
    }
    const RoutingTrace trace = parse_routing_trace(cut, "trace");
    const size_t n_passes = n < one.size() ? 0 : n < bytes.size() ? 1 : 3;
    EXPECT_EQ(trace.passes.size(), n_passes) << n;
    EXPECT_EQ(trace.is_cut, n != header && n != one.size() && n != bytes.size()) << n;
  }
}

TEST_F(RoutingTraceTest, every_changed_bit_is_refused_with_its_byte) {
  const Bytes bytes = written(kSmall, {random_pass(kSmall, 5, 0), random_pass(kSmall, 1, 1)});
  for (size_t i = 0; i < bytes.size() * 8; ++i) {
    Bytes changed = bytes;
    changed[i / 8] ^= static_cast<std::byte>(1 << i % 8);
    try {
      parse_routing_trace(changed, "trace");
      ADD_FAILURE() << "bit " << i << " may be changed";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("trace: byte "), std::string::npos) << error.what();
    }
  }
  expect_refused(Bytes(100), "byte 0: is not a routing trace");
  Bytes other = bytes;
  other[8] = std::byte{2};
  expect_refused(other, "byte 8: version 2");
  other = bytes;
  other[60] ^= std::byte{1};  // bytes of the block
  expect_refused(other, "byte 56: the start of a block");
}

// Blocks with good checksums and bad content.
class HostileTrace : public RoutingTraceTest {
 protected:
  Bytes with_block(const std::vector<int>& payload, uint32_t n_passes) {
    Bytes bytes = written(kSmall, {});
    const auto append = [&](const auto& value) {
      const auto raw = std::as_bytes(std::span(&value, 1));
      bytes.insert(bytes.end(), raw.begin(), raw.end());
    };
    append(static_cast<uint32_t>(payload.size()));
    append(n_passes);
    append(XXH3_64bits(bytes.data() + bytes.size() - 8, 8));
    const size_t begin = bytes.size();
    for (const int byte : payload) bytes.push_back(static_cast<std::byte>(byte));
    append(XXH3_64bits(bytes.data() + begin, payload.size()));
    return bytes;
  }
};

TEST_F(HostileTrace, is_refused_with_its_byte) {
  EXPECT_EQ(parse_routing_trace(with_block({1, 0, 0, 0, 0, 0, 7}, 1), "t").passes.size(), 1u);
  expect_refused(with_block({1, 0, 0, 0, 0, 0, 8}, 1), "byte 78: expert 8, expected one below 8");
  expect_refused(with_block({1, 0, 0, 0, 0, 0}, 1), "byte 72: a pass of 1 tokens does not fit");
  expect_refused(with_block({0}, 1), "byte 72: a pass of 0 tokens does not fit");
  expect_refused(with_block({255, 255, 255, 127, 0}, 1), "tokens does not fit");
  expect_refused(with_block({255, 255, 255, 255, 127}, 1), "byte 72: expected a number of tokens");
  expect_refused(with_block({129, 0, 0, 0, 0, 0, 0, 0}, 1), "byte 72: expected a number of tokens");
  expect_refused(with_block({129}, 1), "byte 72: expected a number of tokens");
  expect_refused(with_block({1, 0, 0, 0, 0, 0, 0, 1}, 1), "byte 79: the block has more bytes");
  expect_refused(with_block({1, 0, 0, 0, 0, 0, 0}, 2), "byte 79: expected a number of tokens");
  expect_refused(with_block({}, ~uint32_t{0}), "byte 72: expected a number of tokens");
}

TEST_F(RoutingTraceTest, refuses_shapes_that_no_model_has) {
  for (const RoutingShape& shape :
       {RoutingShape{0, 8, 2, 0, {}}, RoutingShape{1, 0, 1, 0, {1}}, RoutingShape{1, 8, 9, 0, {1}},
        RoutingShape{1, 8, 0, 0, {1}}, RoutingShape{1, 70000, 2, 0, {1}},
        RoutingShape{2, 8, 2, 0, {1}}, RoutingShape{1, 8, 2, 0, {0}}}) {
    EXPECT_THROW(RoutingTraceWriter(path_, shape), Error);
  }
}

TEST_F(RoutingTraceTest, refuses_files_that_cannot_be_made) {
  EXPECT_THROW(RoutingTraceWriter(path_ / "absent", kSmall), Error);
}

// Lets this process write no file beyond so many bytes.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    old_action_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit limit{bytes, old_limit_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_action_);
  }

 private:
  rlimit old_limit_{};
  void (*old_action_)(int) = SIG_DFL;
};

TEST_F(RoutingTraceTest, a_full_disk_ends_the_recording_and_is_reported_at_the_end) {
  const Pass pass = random_pass(kSmall, 11000, 0);  // 66003 bytes: a block of its own
  RoutingTraceWriter writer(path_, kSmall);
  {
    const FileLimit limit(150'000);
    for (int i = 0; i < 5; ++i) add(writer, kSmall, pass);
  }
  add(writer, kSmall, pass);  // there is room again, but a gap
  EXPECT_THROW(writer.finish(), Error);
  const RoutingTrace trace = read_routing_trace(path_);
  EXPECT_EQ(passes_of(trace), std::vector<Pass>(2, pass));
  EXPECT_TRUE(trace.is_cut);
}

}  // namespace
}  // namespace dsv4
