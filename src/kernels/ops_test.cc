// Every operation on random inputs: CpuOps of every instruction set against RefOps, and against
// itself for other numbers of rows and threads, where no bit may differ.
#include "kernels/ops_cases.h"

#include <algorithm>

namespace dsv4::testing {
namespace {

// The largest allowed differences to the reference: `mse` is normalised, sum (a - b)^2 / sum b^2;
// `worst` is max |a - b| / sqrt(mean b^2), so it must leave room for elements larger than most.
struct OpEntry {
  const char* name;
  OpCase (*make)(Inputs&);
  double mse;
  double worst;
};

void PrintTo(const OpEntry& op, std::ostream* out) { *out << op.name; }

// Seen over 600 seeds: a third of these or less.
constexpr OpEntry kOps[] = {
    // Float sums of up to 2049 products: the rounding errors of about 70 additions in each of 16
    // lanes add up like a random walk.
    {"linear", linear_case, 5e-13, 5e-6},
    // The same roundings.
    {"quantize_int8", quantize_int8_case, 0, 0},
    // Exact sums of 32, then up to 64 float additions in order.
    {"linear_int8_fp4", linear_int8_case<WeightFormat::kFP4>, 5e-13, 5e-6},
    {"linear_int8_fp8", linear_int8_case<WeightFormat::kFP8>, 5e-13, 5e-6},
    // With minima, sums of codes and of minima cancel in part: what is left is less exact.
    {"linear_int8_q4_0", linear_int8_case<WeightFormat::kQ4_0>, 5e-13, 5e-6},
    {"linear_int8_q4_1", linear_int8_case<WeightFormat::kQ4_1>, 5e-12, 2e-5},
    {"linear_int8_q5_0", linear_int8_case<WeightFormat::kQ5_0>, 5e-13, 5e-6},
    {"linear_int8_q5_1", linear_int8_case<WeightFormat::kQ5_1>, 5e-12, 2e-5},
    {"linear_int8_q8_0", linear_int8_case<WeightFormat::kQ8_0>, 5e-13, 5e-6},
    {"linear_int8_q2_k", linear_int8_case<WeightFormat::kQ2_K>, 5e-12, 2e-5},
    {"linear_int8_q3_k", linear_int8_case<WeightFormat::kQ3_K>, 5e-13, 5e-6},
    {"linear_int8_q4_k", linear_int8_case<WeightFormat::kQ4_K>, 5e-12, 2e-5},
    {"linear_int8_q5_k", linear_int8_case<WeightFormat::kQ5_K>, 5e-12, 2e-5},
    {"linear_int8_q6_k", linear_int8_case<WeightFormat::kQ6_K>, 5e-13, 5e-6},
    {"linear_int8_iq2_xxs", linear_int8_case<WeightFormat::kIQ2_XXS>, 5e-13, 5e-6},
    {"linear_int8_mxfp4", linear_int8_case<WeightFormat::kMXFP4>, 5e-13, 5e-6},
    {"linear_int8_awqint4", linear_int8_case<WeightFormat::kAwqInt4>, 5e-12, 2e-5},
    {"linear_int8_packedint4", linear_int8_case<WeightFormat::kPackedInt4>, 5e-12, 2e-5},
    // Double sums, then three roundings of 6e-8; elements up to 8 times the root mean square.
    {"rms_norm", rms_norm_case, 5e-14, 3e-6},
    {"head_norm", head_norm_case<Rounding::kNone>, 5e-14, 3e-6},
    {"scale_by_rms", scale_by_rms_case, 5e-14, 3e-6},
    // The same roundings in the same order.
    {"head_norm_bf16", head_norm_case<Rounding::kBf16>, 0, 0},
    // The Sinkhorn projection contracts, so that the errors of its iterations do not add up.
    {"hyper_connection_maps", hyper_connection_maps_case, 5e-14, 2e-6},
    // Sums of up to 17 products.
    {"collapse", collapse_case, 5e-14, 3e-6},
    {"expand", expand_case, 5e-14, 5e-6},
    {"rope", rope_case, 5e-14, 3e-6},
    // Sums of up to 140 exponentials and products in order.
    {"pool_slots", pool_slots_case, 2e-12, 5e-6},
    // Nine levels of sums.
    {"hadamard", hadamard_case, 5e-14, 3e-6},
    // The same codec.
    {"encode_entries_f32", encode_entries_case<EntryType::kF32>, 0, 0},
    {"encode_entries_bf16", encode_entries_case<EntryType::kBf16>, 0, 0},
    {"encode_entries_fp8", encode_entries_case<EntryType::kFP8>, 0, 0},
    {"encode_entries_fp4", encode_entries_case<EntryType::kFP4>, 0, 0},
    // As linear; the terms of the heads can cancel.
    {"indexer_scores", indexer_scores_case<Rounding::kNone, EntryType::kF32>, 5e-13, 1e-5},
    {"indexer_scores_of_bf16", indexer_scores_case<Rounding::kNone, EntryType::kBf16>, 5e-13, 1e-5},
    {"indexer_scores_of_fp4", indexer_scores_case<Rounding::kNone, EntryType::kFP4>, 5e-13, 1e-5},
    // A sum at a midpoint of BF16 moves by 2^-8 of itself, rarely.
    {"indexer_scores_bf16", indexer_scores_case<Rounding::kBf16, EntryType::kF32>, 1e-7, 5e-2},
    // As linear; the exponential multiplies the error of a logit of size 20 into its result.
    {"attend", attend_case<Rounding::kNone, EntryType::kF32>, 1e-12, 2e-5},
    {"attend_to_bf16", attend_case<Rounding::kNone, EntryType::kBf16>, 1e-12, 2e-5},
    {"attend_to_fp8", attend_case<Rounding::kNone, EntryType::kFP8>, 1e-12, 2e-5},
    // An exponential at a midpoint of BF16 moves by 2^-8 of itself, rarely.
    {"attend_bf16", attend_case<Rounding::kBf16, EntryType::kF32>, 2e-8, 5e-3},
    // exp, log1p, division and square root, an ulp each; products up to 30 times the mean square.
    {"sqrt_softplus", sqrt_softplus_case, 5e-14, 1e-6},
    {"swiglu", swiglu_case, 1e-13, 1e-5},
    // One rounding or none, or the same code: equal.
    {"top_k", top_k_case, 0, 0},
    {"gather_rows", gather_rows_case, 0, 0},
    {"scatter_add_rows", scatter_add_rows_case, 0, 0},
    {"add", add_case, 0, 0},
    {"round_bf16", in_place_case<round_bf16>, 0, 0},
    {"fp8_round_trip", in_place_case<fp8_round_trip>, 0, 0},
    {"fp4_round_trip", in_place_case<fp4_round_trip>, 0, 0},
};

// The result of a case, computed `rows_at_once` rows at a time into columns of a wider matrix.
class Result {
 public:
  Result(const OpCase& op, Ops& ops, int64_t rows_at_once)
      : padded_({op.n_tokens, op.width + 2 * kMargin}) {
    std::fill_n(padded_.view().data(), padded_.view().count(), kUntouched);
    for (int64_t begin = 0; begin < op.n_tokens; begin += rows_at_once) {
      const int64_t count = std::min(rows_at_once, op.n_tokens - begin);
      op.run(ops, begin, count, values().slice(begin, count));
    }
    for (int64_t t = 0; t < op.n_tokens; ++t) {
      for (int64_t i = 0; i < kMargin; ++i) {
        EXPECT_EQ(padded_.view()(t, i), kUntouched) << "before row " << t;
        EXPECT_EQ(padded_.view()(t, kMargin + op.width + i), kUntouched) << "after row " << t;
      }
    }
  }

  Matrix<float> values() const {
    return padded_.view().columns(kMargin, padded_.view().size(1) - 2 * kMargin);
  }

 private:
  static constexpr int64_t kMargin = 3;
  static constexpr float kUntouched = 123.5f;
  Tensor<float, 2> padded_;
};

::testing::AssertionResult is_close(const Result& expected, const Result& actual,
                                    const OpEntry& op) {
  constexpr double kSmallest = 1e-32;
  const Matrix<const float> e = expected.values();
  const Matrix<const float> a = actual.values();
  double squares = 0;
  double errors = 0;
  double worst = 0;
  for (int64_t t = 0; t < e.size(0); ++t) {
    for (int64_t i = 0; i < e.size(1); ++i) {
      if (std::isfinite(e(t, i)) != std::isfinite(a(t, i))) {
        return ::testing::AssertionFailure()
               << "row " << t << " column " << i << ": " << a(t, i) << " for " << e(t, i);
      }
      const double error = std::isfinite(e(t, i)) ? double{a(t, i)} - e(t, i) : 0;
      squares += std::isfinite(e(t, i)) ? double{e(t, i)} * e(t, i) : 0;
      errors += error * error;
      worst = std::max(worst, std::fabs(error));
    }
  }
  // Results near the denormal numbers have no relative precision.
  squares = std::max(squares, kSmallest * kSmallest * static_cast<double>(e.count()));
  const double rms = std::sqrt(squares / static_cast<double>(e.count()));
  if (errors <= op.mse * squares && worst <= op.worst * rms) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "mse " << errors / squares << " worst " << worst / rms;
}

::testing::AssertionResult is_identical(const Result& expected, const Result& actual) {
  const Matrix<const float> e = expected.values();
  const Matrix<const float> a = actual.values();
  for (int64_t t = 0; t < e.size(0); ++t) {
    for (int64_t i = 0; i < e.size(1); ++i) {
      if (std::bit_cast<uint32_t>(e(t, i)) == std::bit_cast<uint32_t>(a(t, i))) continue;
      if (std::isnan(e(t, i)) && std::isnan(a(t, i))) continue;
      return ::testing::AssertionFailure()
             << fmt::format("row {} column {}: {:.9g} for {:.9g}", t, i, a(t, i), e(t, i));
    }
  }
  return ::testing::AssertionSuccess();
}

// NaN wherever the reference has it. Not the reverse: float overflows where double does not.
::testing::AssertionResult keeps_nan(const Result& expected, const Result& actual) {
  const Matrix<const float> e = expected.values();
  for (int64_t t = 0; t < e.size(0); ++t) {
    for (int64_t i = 0; i < e.size(1); ++i) {
      if (!std::isnan(e(t, i)) || std::isnan(actual.values()(t, i))) continue;
      return ::testing::AssertionFailure()
             << "row " << t << " column " << i << ": " << actual.values()(t, i) << " for NaN";
    }
  }
  return ::testing::AssertionSuccess();
}

class OpsTest : public ::testing::TestWithParam<OpEntry> {
 protected:
  static constexpr uint64_t kSeeds = 40;
  AllOps& all_ = AllOps::instance();
};

TEST_P(OpsTest, agrees_with_the_reference) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Inputs inputs(seed);
    const OpCase op = GetParam().make(inputs);
    const Result expected(op, all_.ref(), op.n_tokens);
    for (const NamedOps& build : all_.each()) {
      const Result actual(op, build.ops, op.n_tokens);
      ASSERT_TRUE(is_close(expected, actual, GetParam()))
          << build.name << ", " << inputs.description();
    }
  }
}

TEST_P(OpsTest, gives_the_same_bits_for_any_rows_threads_and_instruction_set) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Inputs inputs(seed, seed % 4 == 0 ? Values::kHostile : Values::kPlain);
    const OpCase op = GetParam().make(inputs);
    const Result expected(op, all_.cpu().front().ops, op.n_tokens);
    for (const NamedOps& build : all_.cpu()) {
      for (const int64_t rows_at_once : {int64_t{1}, int64_t{3}, op.n_tokens}) {
        const Result actual(op, build.ops, rows_at_once);
        ASSERT_TRUE(is_identical(expected, actual))
            << build.name << ", " << rows_at_once << " rows at once, " << inputs.description();
      }
    }
  }
}

TEST_P(OpsTest, keeps_nan_of_hostile_values) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Inputs inputs(seed, Values::kHostile);
    const OpCase op = GetParam().make(inputs);
    const Result expected(op, all_.ref(), op.n_tokens);
    for (const NamedOps& build : all_.each()) {
      const Result actual(op, build.ops, op.n_tokens);
      ASSERT_TRUE(keeps_nan(expected, actual)) << build.name << ", " << inputs.description();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Every, OpsTest, ::testing::ValuesIn(kOps),
                         [](const auto& op) { return std::string(op.param.name); });

}  // namespace
}  // namespace dsv4::testing
