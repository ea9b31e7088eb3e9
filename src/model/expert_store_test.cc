#include "model/expert_store.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/rng.h"
#include "formats/safetensors.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>

#include <fmt/core.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kExpert = 3 * 128 * 256 * 2;  // bytes of an expert of the bundled model, in BF16

const fs::path kMini = fs::path(DSV4_SOURCE_DIR) / "models/mini";

std::vector<int32_t> some_ids(int64_t n, int64_t vocab) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) {
    ids.push_back(static_cast<int32_t>(random_bits(8, 0, static_cast<uint64_t>(i)) %
                                       static_cast<uint64_t>(vocab)));
  }
  return ids;
}

// A model with threads of its own and what it says of a text.
struct Runner {
  Runner(const fs::path& folder, int64_t expert_memory)
      : pool(2),
        ops(make_cpu_ops(pool)),
        model(folder, *ops, {.context = 1000, .expert_memory = expert_memory}),
        state(model.state_layout()) {}

  // Logits of all tokens, fed `chunk` at a time.
  Tensor<float, 2> logits(const std::vector<int32_t>& ids, int64_t chunk) {
    Tensor<float, 2> out({std::ssize(ids), model.config().vocab_size});
    state.clear();
    for (int64_t begin = 0; begin < std::ssize(ids); begin += chunk) {
      const int64_t n = std::min(chunk, std::ssize(ids) - begin);
      Batch batch;
      batch.add(state, std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(n)));
      model.logits(model.forward(batch), out.view().slice(begin, n));
    }
    return out;
  }

  ThreadPool pool;
  std::unique_ptr<Ops> ops;
  Model model;
  SequenceState state;
};

bool same_bits(const Tensor<float, 2>& a, const Tensor<float, 2>& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.view().data(), b.view().data(), a.bytes()) == 0;
}

TEST(ExpertStore, changes_no_bit_whatever_the_budget) {
  for (const char* name : {"models/mini", "tests/golden/t2", "tests/golden/t3"}) {
    const fs::path folder = fs::path(DSV4_SOURCE_DIR) / name;
    Runner free(folder, 0);
    EXPECT_EQ(free.model.experts(), nullptr);
    const std::vector<int32_t> ids = some_ids(90, free.model.config().vocab_size);
    const Tensor<float, 2> expected = free.logits(ids, 90);
    for (const int64_t budget : {int64_t{1}, 5 * kExpert, int64_t{1} << 40}) {
      Runner bounded(folder, budget);
      EXPECT_TRUE(same_bits(bounded.logits(ids, 90), expected)) << name << " " << budget;
      EXPECT_TRUE(same_bits(bounded.logits(ids, 1), expected)) << name << " " << budget;
    }
  }
}

TEST(ExpertStore, reads_each_expert_once_where_all_fit) {
  Runner runner(kMini, 40 * kExpert);
  const std::vector<int32_t> ids = some_ids(300, runner.model.config().vocab_size);
  runner.logits(ids, 300);  // all experts have a token
  const ExpertCacheStats first = runner.model.experts()->stats();
  EXPECT_EQ(first.n_misses, 40);
  EXPECT_EQ(first.loaded_bytes, 40 * kExpert);
  EXPECT_EQ(first.loaded_bytes, runner.model.experts()->total_bytes());
  runner.logits(ids, 7);
  EXPECT_EQ(runner.model.experts()->stats().n_misses, 40);
  EXPECT_EQ(runner.model.experts()->stats().n_evicted, 0);
}

TEST(ExpertStore, leaves_the_experts_of_the_mtp_block_alone) {
  Runner runner(fs::path(DSV4_SOURCE_DIR) / "tests/golden/t1", 1);
  SequenceState state(runner.model.mtp_state_layout());
  const std::vector<int32_t> ids = some_ids(4, runner.model.config().vocab_size);
  Batch batch;
  batch.add(runner.state, ids);
  Tensor<float, 3> streams({4, runner.model.config().hc_mult, runner.model.config().hidden_size});
  const View<const float, 3> out = runner.model.forward(batch);
  std::copy_n(out.data(), out.count(), streams.view().data());
  const ExpertCacheStats before = runner.model.experts()->stats();
  EXPECT_GT(before.n_misses, 0);
  Batch next;
  next.add(state, ids);
  runner.model.mtp_forward(next, streams.view());
  EXPECT_EQ(runner.model.experts()->stats(), before);
}

// A copy of the bundled model whose file ends with the experts of its last layer.
class CopiedModel : public testing::Test {
 protected:
  CopiedModel() : folder_(fs::temp_directory_path() / fmt::format("dsv4-store-{}", ::getpid())) {
    fs::create_directories(folder_);
    fs::copy_file(kMini / "config.json", folder_ / "config.json");
    const Checkpoint source = Checkpoint::open(kMini);
    std::vector<StoredTensor> tensors = source.tensors();
    std::ranges::stable_partition(tensors, [](const StoredTensor& tensor) {
      return tensor.name.find("layers.4.ffn.experts.") != 0;
    });
    std::vector<SafetensorsWriter::Declaration> declared;
    for (const StoredTensor& t : tensors) declared.push_back({t.name, t.dtype, t.shape});
    SafetensorsWriter writer(file(), declared);
    for (const StoredTensor& tensor : tensors) writer.append(tensor.data);
    writer.finish();
  }
  ~CopiedModel() override { fs::remove_all(folder_); }

  fs::path file() const { return folder_ / "model.safetensors"; }

  // Bytes of these ranges that this process has in its page table.
  static int64_t mapped_bytes(std::span<const ExpertStore::Range> ranges) {
    const FileReader table("/proc/self/pagemap");
    const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    int64_t n_bytes = 0;
    for (const ExpertStore::Range& range : ranges) {
      const auto begin = reinterpret_cast<uintptr_t>(range.file->bytes().data()) + range.offset;
      for (uint64_t i = begin / page; i * page < begin + range.size; ++i) {
        uint64_t entry = 0;
        table.read(i * sizeof(entry), std::as_writable_bytes(std::span(&entry, 1)));
        if (entry >> 63 != 0) n_bytes += static_cast<int64_t>(page);
      }
    }
    return n_bytes;
  }

  fs::path folder_;
};

TEST_F(CopiedModel, is_mapped_whole_without_a_budget) {
  Runner runner(folder_, 0);
  int64_t mapped = 0;
  int64_t size = 0;
  for (const MappedFile& file : runner.model.checkpoint().files()) {
    const ExpertStore::Range all{&file, 0, file.bytes().size()};
    mapped += mapped_bytes({&all, 1});
    size += std::ssize(file.bytes());
  }
  EXPECT_GE(mapped, size) << "the whole is rounded up to pages";
}

TEST_F(CopiedModel, has_only_the_experts_in_memory_that_the_budget_allows) {
  Runner runner(folder_, 9 * kExpert);
  const ExpertStore& store = *runner.model.experts();
  const std::vector<int32_t> ids = some_ids(120, runner.model.config().vocab_size);
  runner.logits(ids, 120);
  runner.logits(ids, 1);  // decoding: two experts at a time
  EXPECT_GT(store.stats().n_evicted, 100);
  EXPECT_LE(store.stats().resident_bytes, 9 * kExpert);
  int64_t mapped = 0;
  for (int64_t layer = 0; layer < 5; ++layer) {
    for (int64_t e = 0; e < 8; ++e) mapped += mapped_bytes(store.ranges(layer, e));
  }
  EXPECT_GE(mapped, store.stats().resident_bytes);
  // Each of the 40 keeps the two pages that it shares; around a page that is read the system maps
  // up to 64 KiB that happen to be in memory.
  EXPECT_LE(mapped, 9 * (kExpert + (64 << 10)) + 40 * 2 * 4096);
}

TEST_F(CopiedModel, has_its_experts_in_one_piece_each) {
  Runner runner(folder_, 1);
  for (int64_t layer = 0; layer < 5; ++layer) {
    for (int64_t e = 0; e < 8; ++e) {
      const auto ranges = runner.model.experts()->ranges(layer, e);
      ASSERT_EQ(ranges.size(), 1u);
      EXPECT_EQ(ranges[0].size, static_cast<uint64_t>(kExpert));
    }
  }
}

TEST_F(CopiedModel, that_cannot_be_read_keeps_nothing_of_what_was_read_with_it) {
  Runner runner(folder_, 40 * kExpert);
  const ExpertStore& store = *runner.model.experts();
  fs::resize_file(file(), fs::file_size(file()) - 4 * static_cast<uint64_t>(kExpert));
  Batch batch;
  batch.add(runner.state, some_ids(200, runner.model.config().vocab_size));  // all experts run
  EXPECT_THROW(runner.model.forward(batch), Error);
  EXPECT_EQ(store.stats().resident_bytes, 32 * kExpert);
  int64_t mapped = 0;
  for (int64_t e = 0; e < 8; ++e) mapped += mapped_bytes(store.ranges(4, e));
  EXPECT_LE(mapped, 8 * 2 * 4096) << "the pages that each shares";
}

TEST_F(CopiedModel, that_cannot_be_read_ends_the_pass_with_an_error_and_empties_the_state) {
  Runner runner(folder_, 40 * kExpert);
  const std::vector<int32_t> ids = some_ids(200, runner.model.config().vocab_size);
  const uint64_t size = fs::file_size(file());
  runner.logits({ids.begin(), ids.begin() + 1}, 1);
  const ExpertCacheStats before = runner.model.experts()->stats();
  const Tensor<float, 2> expected = Runner(kMini, 0).logits(ids, 200);
  fs::resize_file(file(), size - 8 * static_cast<uint64_t>(kExpert));  // the last layer's
  for (int i = 0; i < 2; ++i) {  // again: what failed is not taken for resident
    EXPECT_EQ(runner.state.n_tokens(), i == 0 ? 1 : 0);
    Batch batch;
    batch.add(runner.state, ids);
    try {
      runner.model.forward(batch);
      FAIL() << "experts are not there";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kIo);
      EXPECT_NE(std::string(error.what()).find(file().string() + ": cannot read the page at byte"),
                std::string::npos)
          << error.what();
    }
    EXPECT_EQ(runner.state.n_tokens(), 0);
  }
  EXPECT_GT(runner.model.experts()->stats().n_misses, before.n_misses);
  // The disk is well again.
  const Checkpoint checkpoint = Checkpoint::open(kMini);
  std::FILE* out = std::fopen(file().c_str(), "r+b");
  ASSERT_NE(out, nullptr);
  std::fseek(out, 0, SEEK_END);
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (tensor.name.find("layers.4.ffn.experts.") != 0) continue;
    std::fwrite(tensor.data.data(), 1, tensor.data.size(), out);
  }
  std::fclose(out);
  ASSERT_EQ(fs::file_size(file()), size);
  EXPECT_TRUE(same_bits(runner.logits(ids, 200), expected));
}

}  // namespace
}  // namespace dsv4
