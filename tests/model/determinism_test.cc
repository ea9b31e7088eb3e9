// The promise of the engine: the logits of a token are the same bits however the sequence was cut
// into chunks, on any number of threads, beside other sequences, after a snapshot or a rollback.
#include "golden_measure.h"

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/cpu/cpu_ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

namespace dsv4::golden {
namespace {

constexpr uint64_t kSeed = 20260731;

// Small random numbers by a stream of their own; a failure names the stream.
class Random {
 public:
  explicit Random(uint64_t stream) : stream_(stream) {}
  int64_t below(int64_t n) {
    return static_cast<int64_t>(random_bits(kSeed, stream_, index_++) % static_cast<uint64_t>(n));
  }
  std::vector<int32_t> ids(int64_t n, int64_t vocab) {
    std::vector<int32_t> result;
    while (std::ssize(result) < n) result.push_back(static_cast<int32_t>(below(vocab)));
    return result;
  }

 private:
  uint64_t stream_;
  uint64_t index_ = 0;
};

// Numerics with a storage of the state.
struct Kind {
  Numerics numerics = Numerics::kFast;
  KvStorage kv = KvStorage::kF32;
};
constexpr Kind kNative{Numerics::kFast, KvStorage::kNative};
constexpr Kind kBf16{Numerics::kFast, KvStorage::kBf16};
constexpr Kind kF32{Numerics::kFast, KvStorage::kF32};
constexpr Kind kExact{Numerics::kExact, KvStorage::kF32};
constexpr Kind kOfficial{Numerics::kOfficial, KvStorage::kF32};

void PrintTo(const Kind& kind, std::ostream* out) {
  *out << numerics_name(kind.numerics) << " " << kv_storage_name(kind.kv);
}

// A model with its own threads.
struct Engine {
  Engine(const std::string& name, const Kind& kind, int n_threads)
      : pool(n_threads),
        ops(make_cpu_ops(pool)),
        model(folder(name), *ops,
              {.numerics = kind.numerics, .kv = kind.kv, .rollback_tokens = 16}) {}

  ThreadPool pool;
  std::unique_ptr<Ops> ops;
  Model model;
};

// A sequence with the logits of each of its positions.
struct Sequence {
  Sequence(Model& m, std::vector<int32_t> token_ids)
      : model(&m),
        ids(std::move(token_ids)),
        state(m.state_layout()),
        logits({std::ssize(ids), m.config().vocab_size}) {}

  int64_t n_left() const { return std::ssize(ids) - state.n_tokens(); }
  std::span<const int32_t> next(int64_t n) const {
    return std::span(ids).subspan(static_cast<size_t>(state.n_tokens()), static_cast<size_t>(n));
  }

  Model* model;
  std::vector<int32_t> ids;
  SequenceState state;
  Tensor<float, 2> logits;
};

// One forward pass of some tokens of each sequence.
void step(const std::vector<std::pair<Sequence*, int64_t>>& parts) {
  Batch batch;
  for (const auto& [sequence, n] : parts) batch.add(sequence->state, sequence->next(n));
  Model& model = *parts[0].first->model;
  const View<const float, 3> streams = model.forward(batch);
  for (size_t i = 0; i < parts.size(); ++i) {
    const Segment& segment = batch.segments[i];
    model.logits(streams.slice(segment.first_row, segment.n_tokens),
                 parts[i].first->logits.view().slice(segment.position, segment.n_tokens));
  }
}

Sequence run_at_once(Engine& engine, const std::vector<int32_t>& ids) {
  Sequence sequence(engine.model, ids);
  step({{&sequence, sequence.n_left()}});
  return sequence;
}

void expect_same_bits(const Sequence& a, const Sequence& b, const std::string& what) {
  EXPECT_EQ(std::memcmp(a.logits.view().data(), b.logits.view().data(), a.logits.bytes()), 0)
      << what;
}

// The numerics whose results do not depend on how a sequence is fed.
class AnyFeeding : public testing::TestWithParam<std::tuple<const char*, Kind>> {
 protected:
  AnyFeeding() : engine_(std::get<0>(GetParam()), std::get<1>(GetParam()), 2) {}
  std::vector<int32_t> ids(Random& random, int64_t n) {
    return random.ids(n, engine_.model.config().vocab_size);
  }
  Engine engine_;
};
INSTANTIATE_TEST_SUITE_P(Golden, AnyFeeding,
                         testing::Combine(testing::Values("t1", "t2", "t3"),
                                          testing::Values(kNative, kBf16, kF32, kExact)));

TEST_P(AnyFeeding, chunks_of_any_size_give_the_same_bits) {
  Random random(1);
  const std::vector<int32_t> tokens = ids(random, 290);
  const Sequence whole = run_at_once(engine_, tokens);
  for (const int64_t chunk : {1, 3, 4, 5, 17, 64, 127, 128, 129}) {
    Sequence sequence(engine_.model, tokens);
    while (sequence.n_left() > 0) step({{&sequence, std::min(chunk, sequence.n_left())}});
    expect_same_bits(whole, sequence, "chunks of " + std::to_string(chunk));
  }
  for (int round = 0; round < 12; ++round) {
    Sequence sequence(engine_.model, tokens);
    while (sequence.n_left() > 0) {
      const int64_t n = 1 + random.below(random.below(4) == 0 ? 100 : 9);
      step({{&sequence, std::min(n, sequence.n_left())}});
    }
    expect_same_bits(whole, sequence, "random chunks, round " + std::to_string(round));
  }
}

TEST_P(AnyFeeding, rollback_and_replay_give_the_same_bits) {
  Random random(2);
  const std::vector<int32_t> tokens = ids(random, 270);
  const Sequence whole = run_at_once(engine_, tokens);
  for (int round = 0; round < 8; ++round) {
    Sequence sequence(engine_.model, tokens);
    while (sequence.n_left() > 0) {
      step({{&sequence, std::min(1 + random.below(24), sequence.n_left())}});
      // Wrong tokens, taken back again: what speculative decoding does.
      const int64_t n_wrong = 1 + random.below(16);
      Batch wrong;
      wrong.add(sequence.state, ids(random, n_wrong));
      engine_.model.forward(wrong);
      sequence.state.rollback(n_wrong);
      if (sequence.n_left() > 0) {
        sequence.state.rollback(random.below(sequence.state.max_rollback() + 1));
      }
    }
    expect_same_bits(whole, sequence, "rollback, round " + std::to_string(round));
  }
}

class Every : public testing::TestWithParam<std::tuple<const char*, Kind>> {
 protected:
  static std::string name() { return std::get<0>(GetParam()); }
  static Kind kind() { return std::get<1>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Golden, Every,
                         testing::Combine(testing::Values("t1", "t2", "t3"),
                                          testing::Values(kNative, kBf16, kF32, kExact,
                                                          kOfficial)));

TEST_P(Every, any_number_of_threads_gives_the_same_bits) {
  Random random(3);
  std::optional<Sequence> first;
  Engine one(name(), kind(), 1);
  Engine two(name(), kind(), 2);
  Engine three(name(), kind(), 3);
  const std::vector<int32_t> tokens = random.ids(200, one.model.config().vocab_size);
  for (Engine* engine : {&one, &two, &three}) {
    Sequence sequence(engine->model, tokens);
    step({{&sequence, 150}});
    while (sequence.n_left() > 0) step({{&sequence, 1}});
    if (!first) {
      first.emplace(std::move(sequence));
    } else {
      expect_same_bits(*first, sequence, std::to_string(engine->pool.n_threads()) + " threads");
    }
  }
}

// Each sequence alone takes its tokens in the same pieces as beside the others.
TEST_P(Every, other_sequences_in_the_batch_change_no_bit) {
  Random random(4);
  Engine engine(name(), kind(), 2);
  const int64_t vocab = engine.model.config().vocab_size;
  std::vector<Sequence> together;
  std::vector<Sequence> alone;
  for (const int64_t n : {180, 33, 90, 131}) {
    const std::vector<int32_t> tokens = random.ids(n, vocab);
    together.emplace_back(engine.model, tokens);
    alone.emplace_back(engine.model, tokens);
  }
  while (true) {
    std::vector<std::pair<Sequence*, int64_t>> parts;
    for (size_t i = 0; i < together.size(); ++i) {
      const int64_t n = std::min(random.below(40), together[i].n_left());
      if (n == 0) continue;
      parts.emplace_back(&together[i], n);
      step({{&alone[i], n}});
    }
    if (!parts.empty()) step(parts);
    if (std::ranges::all_of(together, [](const Sequence& s) { return s.n_left() == 0; })) break;
  }
  for (size_t i = 0; i < together.size(); ++i) {
    expect_same_bits(together[i], alone[i], "sequence " + std::to_string(i));
  }
}

TEST_P(Every, a_restored_snapshot_continues_with_the_same_bits) {
  Random random(5);
  Engine engine(name(), kind(), 2);
  const std::vector<int32_t> tokens = random.ids(240, engine.model.config().vocab_size);
  Sequence live(engine.model, tokens);
  Sequence restored(engine.model, tokens);
  while (live.n_left() > 0) {
    const int64_t n = std::min(1 + random.below(50), live.n_left());
    const std::vector<std::byte> snapshot = live.state.snapshot();
    restored.state = SequenceState::restore(engine.model.state_layout(), snapshot, "snapshot");
    EXPECT_EQ(restored.state.snapshot(), snapshot);
    step({{&live, n}});
    step({{&restored, n}});
  }
  expect_same_bits(live, restored, "restored");
}

// States that share pages: one goes on, one does the same, one goes elsewhere.
TEST_P(Every, forks_of_a_checkpoint_continue_with_the_same_bits) {
  Random random(6);
  Engine engine(name(), kind(), 2);
  const int64_t vocab = engine.model.config().vocab_size;
  const std::vector<int32_t> tokens = random.ids(280, vocab);
  const auto pool = std::make_shared<PagePool>();
  Sequence live(engine.model, tokens);
  Sequence restored(engine.model, tokens);
  for (Sequence* sequence : {&live, &restored}) {
    sequence->state = SequenceState(engine.model.state_layout(), pool);
  }
  SequenceState elsewhere(engine.model.state_layout(), pool);
  while (live.n_left() > 0) {
    const int64_t n = std::min(1 + random.below(50), live.n_left());
    const StateCheckpoint checkpoint = live.state.checkpoint();
    for (SequenceState* state : {&elsewhere, &restored.state}) {
      state->restore(checkpoint);
      Batch wrong;
      wrong.add(*state, random.ids(1 + random.below(60), vocab));
      engine.model.forward(wrong);
    }
    restored.state.restore(checkpoint);
    step({{&live, n}});
    step({{&restored, n}});
  }
  expect_same_bits(live, restored, "restored");
}

TEST(Snapshot, belongs_to_one_model_and_numerics) {
  Engine exact("t1", kExact, 1);
  Engine official("t1", kOfficial, 1);
  Sequence sequence(exact.model, {1, 2, 3});
  step({{&sequence, 3}});
  EXPECT_ANY_THROW(
      SequenceState::restore(official.model.state_layout(), sequence.state.snapshot(), "snapshot"));
}

TEST(Snapshot, belongs_to_one_storage) {
  Engine native("t1", kNative, 1);
  Engine bf16("t1", kBf16, 1);
  Sequence sequence(native.model, {1, 2, 3});
  step({{&sequence, 3}});
  try {
    SequenceState::restore(bf16.model.state_layout(), sequence.state.snapshot(), "snapshot");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "snapshot: byte 12: entries are stored as native, this model keeps bf16");
  }
}

TEST(Storage, of_exact_and_official_is_f32_only) {
  for (const Numerics numerics : {Numerics::kExact, Numerics::kOfficial}) {
    EXPECT_EQ(kv_storage({.numerics = numerics}), KvStorage::kF32);
    EXPECT_EQ(kv_storage({.numerics = numerics, .kv = KvStorage::kF32}), KvStorage::kF32);
    EXPECT_THROW(kv_storage({.numerics = numerics, .kv = KvStorage::kNative}), Error);
    EXPECT_THROW(kv_storage({.numerics = numerics, .kv = KvStorage::kBf16}), Error);
  }
  EXPECT_EQ(kv_storage({.numerics = Numerics::kFast}), KvStorage::kNative);
  EXPECT_EQ(kv_storage({.numerics = Numerics::kFast, .kv = KvStorage::kBf16}), KvStorage::kBf16);
}

TEST(StateSize, allocation_is_what_the_layout_predicts) {
  constexpr int64_t kRollback = 16;
  for (const auto& [name, kind] : {std::tuple("t1", kExact), std::tuple("t1", kNative),
                                   std::tuple("t2", kBf16), std::tuple("t3", kNative)}) {
    Engine engine(name, kind, 1);
    for (const int64_t n : {0, 1, 127, 128, 300}) {
      SequenceState state(engine.model.state_layout());
      state.reserve(n);
      EXPECT_EQ(state.allocated_bytes(), state_bytes(engine.model.state_layout(), n).total());
    }
    EXPECT_EQ(engine.model.state_layout().rollback_tokens, kRollback);
  }
}

}  // namespace
}  // namespace dsv4::golden
