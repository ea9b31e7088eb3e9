#include "bench/operation_bench.h"

#include "base/rng.h"
#include "bench/timing.h"
#include "kernels/int8_buffer.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <iterator>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace dsv4 {
namespace {

// Flash, by the letters of the report.
constexpr int64_t kWidth = 4096;     // d
constexpr int64_t kStreams = 4;      // hc
constexpr int64_t kHeads = 64;       // H
constexpr int64_t kHeadDim = 512;    // c
constexpr int64_t kRopeDim = 64;     // of each head
constexpr int64_t kIndexHeads = 64;  // Hi
constexpr int64_t kIndexDim = 128;   // ci
constexpr int64_t kTopK = 512;
constexpr int64_t kExperts = 256;
constexpr int64_t kExpertDim = 2048;
constexpr int64_t kSinkhornIters = 20;
constexpr float kEps = 1e-6f;

struct Call {
  double work = 0;
  std::function<void()> run;
};

struct Operation {
  std::string name;
  Call sizes[3] = {};  // one row, small and large; many rows
  std::vector<double> seconds[3] = {};
};

}  // namespace

OperationRate fit_operation(const CallTime& small, const CallTime& large, const CallTime& many) {
  constexpr double kShortest = 1e-9;
  OperationRate rate;
  double per_work = (large.seconds - small.seconds) / (large.work - small.work);
  rate.call_s = large.seconds - large.work * per_work;
  if (per_work <= 0 || rate.call_s < kShortest) {
    per_work = large.seconds / large.work;
    rate.call_s = kShortest;
  }
  rate.one_row = 1 / per_work;
  // No more than half of the time is the call's, however noisy.
  rate.many_rows = many.work / std::max(many.seconds / 2, many.seconds - rate.call_s);
  return rate;
}

// The operations with inputs and memory for each size.
class OperationBench::Calls {
 public:
  Calls(Ops& ops, const OperationPlan& plan) : ops_(ops), n_(plan.n_rows) {
    add_rows();
    add_streams();
    add_heads();
    add_entries();
    add_attention(plan);
    add_indexer(plan);
  }

  std::vector<Operation>& operations() { return operations_; }

 private:
  void add(const char* name, Call small, Call large, Call many) {
    operations_.push_back({name, {std::move(small), std::move(large), std::move(many)}, {}});
  }

  Matrix<float> matrix(int64_t rows, int64_t cols) {
    const Matrix<float> m = floats_.emplace_back(Tensor<float, 2>({rows, cols})).view();
    for (int64_t i = 0; i < m.count(); ++i) {
      m.data()[i] = static_cast<float>(random_uniform(3, 3, counter_++) * 2 - 1);
    }
    return m;
  }
  View<float, 3> heads(int64_t n, int64_t n_heads, int64_t dim) {
    return matrix(n, n_heads * dim).reshape<3>({n, n_heads, dim});
  }
  std::span<const float> vector(int64_t n) { return {matrix(1, n).data(), static_cast<size_t>(n)}; }
  // Entries of random values in memory.
  Matrix<std::byte> entries(int64_t n, const EntryFormat& format) {
    const Matrix<std::byte> stored =
        bytes_.emplace_back(Tensor<std::byte, 2>({n, format.bytes()})).view();
    const Matrix<float> values = matrix(1, format.width);
    for (int64_t i = 0; i < n; ++i) {
      values(0, i % format.width) = static_cast<float>(random_uniform(3, 4, counter_++));
      encode_entry(format, values.data(), &stored(i, 0));
    }
    return stored;
  }

  void add_rows() {
    const auto norm = [&](int64_t n, int64_t d) -> Call {
      return {static_cast<double>(n * d), [this, x = matrix(n, d), w = vector(d),
                                           y = matrix(n, d)] { ops_.rms_norm(x, w, kEps, y); }};
    };
    add("rms_norm", norm(1, kWidth / 4), norm(1, kWidth), norm(n_, kWidth));

    const auto quantize = [&](int64_t n, int64_t d) -> Call {
      const Int8Rows rows = int8_.emplace_back(n, d).rows(n, d, ColumnOrder::kEvenOdd);
      return {static_cast<double>(n * d),
              [this, x = matrix(n, d), rows] { ops_.quantize_int8(x, rows); }};
    };
    add("quantize_int8", quantize(1, kWidth / 4), quantize(1, kWidth), quantize(n_, kWidth));

    const auto softplus = [&](int64_t n, int64_t d) -> Call {
      return {static_cast<double>(n * d), [this, x = matrix(n, d)] { ops_.sqrt_softplus(x); }};
    };
    add("sqrt_softplus", softplus(1, kExperts / 4), softplus(1, kExperts), softplus(n_, kExperts));

    const auto swiglu = [&](int64_t n, int64_t d) -> Call {
      return {static_cast<double>(n * d),
              [this, gate = matrix(n, d), up = matrix(n, d), out = matrix(n, d)] {
                ops_.swiglu(gate, up, 10, {}, out);
              }};
    };
    add("swiglu", swiglu(1, kExpertDim / 4), swiglu(1, kExpertDim), swiglu(n_, kExpertDim));

    const auto sum = [&](int64_t n, int64_t d) -> Call {
      return {static_cast<double>(n * d),
              [this, y = matrix(n, d), x = matrix(n, d)] { ops_.add(y, x); }};
    };
    add("add", sum(1, kWidth / 4), sum(1, kWidth), sum(n_, kWidth));
  }

  void add_streams() {
    const auto scale = [&](int64_t n, int64_t d) -> Call {
      return {static_cast<double>(n * d),
              [this, x = matrix(n, d), y = matrix(n, (2 + kStreams) * kStreams)] {
                ops_.scale_by_rms(x, kEps, y);
              }};
    };
    add("scale_by_rms", scale(1, kWidth), scale(1, kStreams * kWidth),
        scale(n_, kStreams * kWidth));

    const int64_t n_maps = (2 + kStreams) * kStreams;
    const HyperConnectionParams params{vector(n_maps), vector(3), kEps, kSinkhornIters};
    const auto maps = [&](int64_t n) -> Call {
      return {static_cast<double>(n),
              [this, params, m = matrix(n, n_maps), pre = matrix(n, kStreams),
               post = matrix(n, kStreams), mix = heads(n, kStreams, kStreams)] {
                ops_.hyper_connection_maps(m, params, pre, post, mix);
              }};
    };
    add("hyper_connection_maps", maps(1), maps(2), maps(n_));  // one thread makes two of them

    const auto collapse = [&](int64_t n, int64_t d) -> Call {
      return {static_cast<double>(n * kStreams * d),
              [this, streams = heads(n, kStreams, d), pre = matrix(n, kStreams), x = matrix(n, d)] {
                ops_.collapse(streams, pre, x);
              }};
    };
    add("collapse", collapse(1, kWidth / 4), collapse(1, kWidth), collapse(n_, kWidth));

    const auto expand = [&](int64_t n, int64_t d) -> Call {
      // Shares of streams that sum up to one, so that values stay what they are.
      const View<float, 3> mix = heads(n, kStreams, kStreams);
      std::fill_n(mix.data(), mix.count(), 1.0f / kStreams);
      return {static_cast<double>(n * kStreams * d),
              [this, mix, y = matrix(n, d), post = matrix(n, kStreams),
               streams = heads(n, kStreams, d)] { ops_.expand(y, post, mix, streams); }};
    };
    add("expand", expand(1, kWidth / 4), expand(1, kWidth), expand(n_, kWidth));
  }

  // Of all heads of a token, or a quarter of them.
  void add_heads() {
    const auto norm = [&](int64_t n, int64_t n_heads) -> Call {
      return {
          static_cast<double>(n * n_heads * kHeadDim),
          [this, x = matrix(n * n_heads, kHeadDim)] { ops_.head_norm(x, kEps, Rounding::kNone); }};
    };
    add("head_norm", norm(1, kHeads / 4), norm(1, kHeads), norm(n_, kHeads));

    const auto rope = [&](int64_t n, int64_t n_heads) -> Call {
      const Matrix<float> cos = matrix(n, kRopeDim / 2);
      const Matrix<float> sin = matrix(n, kRopeDim / 2);
      for (int64_t i = 0; i < cos.count(); ++i) {  // of an angle, so that values keep their size
        sin.data()[i] = std::sin(cos.data()[i]);
        cos.data()[i] = std::cos(cos.data()[i]);
      }
      return {static_cast<double>(n * n_heads * kRopeDim),
              [this, cos, sin, x = heads(n, n_heads, kHeadDim)] {
                ops_.rope(x, {cos, sin}, Rotation::kForward);
              }};
    };
    add("rope", rope(1, kHeads / 4), rope(1, kHeads), rope(n_, kHeads));

    const auto hadamard = [&](int64_t n, int64_t n_heads) -> Call {
      return {static_cast<double>(n * n_heads * kIndexDim),
              [this, x = matrix(n * n_heads, kIndexDim)] { ops_.hadamard(x); }};
    };
    add("hadamard", hadamard(1, kIndexHeads / 4), hadamard(1, kIndexHeads),
        hadamard(n_, kIndexHeads));
  }

  void add_entries() {
    const auto pool = [&](int64_t n, int64_t n_slots) -> Call {
      const Matrix<float> values = matrix(n * n_slots, kHeadDim);
      const Matrix<float> scores = matrix(n * n_slots, kHeadDim);
      const RowLists value_lists = lists(n, n_slots, [&](int64_t i) { return &values(i, 0); });
      const RowLists score_lists = lists(n, n_slots, [&](int64_t i) { return &scores(i, 0); });
      return {static_cast<double>(n * n_slots * kHeadDim),
              [this, value_lists, score_lists, out = matrix(n, kHeadDim)] {
                ops_.pool_slots(value_lists, score_lists, out);
              }};
    };
    add("pool_slots", pool(1, 8), pool(1, 128), pool(n_, 8));  // the ratios 4, twice, and 128

    const auto encode = [&](int64_t n, int64_t width) -> Call {
      const EntryFormat format{EntryType::kFP8, width, width - width / 8};
      const Matrix<std::byte> out =
          bytes_.emplace_back(Tensor<std::byte, 2>({n, format.bytes()})).view();
      return {static_cast<double>(n * width),
              [this, format, out, x = matrix(n, width)] { ops_.encode_entries(x, format, out); }};
    };
    add("encode_entries", encode(1, kHeadDim / 4), encode(1, kHeadDim), encode(n_, kHeadDim));
  }

  void add_attention(const OperationPlan& plan) {
    constexpr int64_t kStored = 8192;  // entries, more than a core's caches hold
    const EntryFormat format = entry_format(KvStorage::kNative, kHeadDim, kRopeDim);
    const Matrix<std::byte> stored = entries(plan.is_short ? 1024 : kStored, format);
    const std::span<const float> sink = vector(kHeads);
    const auto attend = [&](int64_t n, int64_t n_entries) -> Call {
      const ListsOf<std::byte> keys = lists(n, n_entries, [&](int64_t) {
        const auto at = random_bits(3, 5, counter_++) % static_cast<uint64_t>(stored.size(0));
        return &stored(static_cast<int64_t>(at), 0);
      });
      const float scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
      return {static_cast<double>(n * kHeads * kHeadDim * n_entries),
              [this, format, keys, sink, scale, q = heads(n, kHeads, kHeadDim),
               o = heads(n, kHeads, kHeadDim)] {
                ops_.attend(q, {format, keys}, sink, scale, Rounding::kNone, o);
              }};
    };
    // The window, and with it as many entries as the indexer chooses.
    add("attend", attend(1, 128), attend(1, 128 + kTopK), attend(n_, 128 + kTopK));
  }

  void add_indexer(const OperationPlan& plan) {
    // At one row threads take 1,024 keys each, so that with fewer for each of them the time of a
    // call would be more than begins and ends it.
    const int64_t small = (plan.is_short ? 64 : 1024) * plan.n_threads;
    const int64_t large = std::max<int64_t>(4 * small, plan.is_short ? 0 : 16384);
    const int64_t many = plan.is_short ? 256 : 4096;
    const EntryFormat format = index_key_format(KvStorage::kNative, kIndexDim);
    const Matrix<std::byte> stored = entries(std::max(large, many), format);
    const auto score = [&](int64_t n, int64_t n_keys) -> Call {
      // Tokens share the keys of their sequence.
      std::vector<const std::byte*>& rows = rows_.emplace_back();
      for (int64_t i = 0; i < n_keys; ++i) rows.push_back(&stored(i, 0));
      const auto begin = std::span(offsets_.emplace_back(static_cast<size_t>(n), 0));
      const auto end = std::span(offsets_.emplace_back(static_cast<size_t>(n), n_keys));
      const EntryLists keys{format, {rows, begin, end}};
      return {static_cast<double>(n * kIndexHeads * kIndexDim * n_keys),
              [this, keys, q = heads(n, kIndexHeads, kIndexDim), w = matrix(n, kIndexHeads),
               out = matrix(n, n_keys)] { ops_.indexer_scores(q, w, keys, Rounding::kNone, out); }};
    };
    add("indexer_scores", score(1, small), score(1, large), score(n_, many));

    const auto choose = [&](int64_t n, int64_t n_scores) -> Call {
      const auto counts = std::span(offsets_.emplace_back(static_cast<size_t>(n), n_scores));
      const Matrix<int32_t> ids = int32_.emplace_back(Tensor<int32_t, 2>({n, kTopK})).view();
      return {static_cast<double>(n * n_scores), [this, counts, ids, scores = matrix(n, n_scores)] {
                ops_.top_k(scores, counts, TopKOrder::kByIndex, ids);
              }};
    };
    add("top_k", choose(1, 2048), choose(1, 8192), choose(n_, 8192));
  }

  // n lists of n_rows each, by row_of(i) of all their rows.
  template <typename RowOf>
  auto lists(int64_t n, int64_t n_rows, const RowOf& row_of)
      -> ListsOf<std::remove_pointer_t<decltype(row_of(0))>> {
    using T = std::remove_pointer_t<decltype(row_of(0))>;
    std::vector<const T*>* rows = nullptr;
    if constexpr (std::is_same_v<T, float>) {
      rows = &float_rows_.emplace_back();
    } else {
      rows = &rows_.emplace_back();
    }
    for (int64_t i = 0; i < n * n_rows; ++i) rows->push_back(row_of(i));
    std::vector<int64_t>& begin = offsets_.emplace_back();
    std::vector<int64_t>& end = offsets_.emplace_back();
    for (int64_t i = 0; i < n; ++i) {
      begin.push_back(i * n_rows);
      end.push_back((i + 1) * n_rows);
    }
    return {*rows, begin, end};
  }

  Ops& ops_;
  int64_t n_;
  uint64_t counter_ = 0;  // of random numbers
  std::vector<Operation> operations_;
  std::deque<Tensor<float, 2>> floats_;
  std::deque<Int8Buffer> int8_;
  std::deque<Tensor<int32_t, 2>> int32_;
  std::deque<Tensor<std::byte, 2>> bytes_;
  std::deque<std::vector<const float*>> float_rows_;
  std::deque<std::vector<const std::byte*>> rows_;
  std::deque<std::vector<int64_t>> offsets_;
};

OperationBench::OperationBench(Ops& ops, const OperationPlan& plan)
    : plan_(plan), calls_(std::make_unique<Calls>(ops, plan)) {}

OperationBench::~OperationBench() = default;

void OperationBench::measure() {
  for (Operation& operation : calls_->operations()) {
    for (size_t i = 0; i < std::size(operation.sizes); ++i) {
      const Call& call = operation.sizes[i];
      if (operation.seconds[i].empty()) call.run();  // first touch
      add_call_times(plan_.seconds, call.run, operation.seconds[i]);
    }
  }
}

std::map<std::string, OperationRate> OperationBench::rates() const {
  std::map<std::string, OperationRate> rates;
  for (const Operation& operation : calls_->operations()) {
    CallTime times[3];
    for (size_t i = 0; i < std::size(times); ++i) {
      times[i] = {operation.sizes[i].work, median(operation.seconds[i]).value};
    }
    rates[operation.name] = fit_operation(times[0], times[1], times[2]);
  }
  return rates;
}

}  // namespace dsv4
