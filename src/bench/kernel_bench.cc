#include "bench/kernel_bench.h"

#include "bench/bench_weights.h"

namespace dsv4 {
namespace {

constexpr int64_t kWeightBytes = int64_t{256} << 20;  // far more than the caches hold

}  // namespace

std::vector<WeightFormat> kernel_formats() {
  return {WeightFormat::kFP4,     WeightFormat::kFP8,  WeightFormat::kMXFP4, WeightFormat::kAwqInt4,
          WeightFormat::kIQ2_XXS, WeightFormat::kQ2_K, WeightFormat::kQ3_K,  WeightFormat::kQ4_0,
          WeightFormat::kQ4_1,    WeightFormat::kQ4_K, WeightFormat::kQ5_0,  WeightFormat::kQ5_1,
          WeightFormat::kQ5_K,    WeightFormat::kQ6_K, WeightFormat::kQ8_0,  WeightFormat::kBF16,
          WeightFormat::kF16,     WeightFormat::kF32};
}

std::vector<KernelCase> kernel_cases() {
  std::vector<KernelCase> cases;
  for (const WeightFormat format : kernel_formats()) {
    for (const int64_t n : {1, 8, 512}) cases.push_back({format, n});
  }
  return cases;
}

KernelRow bench_kernel(Ops& ops, RoofMeter& meter, const KernelCase& kernel) {
  const int64_t n = kernel.n_tokens;
  const Tensor<std::byte, 1> memory({kWeightBytes});  // in huge pages, as the files of models
  const BenchWeights weights(kernel.format, {}, memory.view().span());
  const int64_t n_matrices = n > 8 ? 1 : weights.n_matrices();
  BenchProduct product(ops, weights, n, n_matrices);
  KernelRow row{.format = std::string(weight_format_name(kernel.format)),
                .int8 = product.int8(),
                .n_tokens = n};
  product.run();  // first touch of the results
  row.timing = measure_slices(
      {.n_slices = 5, .min_seconds = 0.06}, [&] { return meter.measure(); },
      [&] { return product.run(); });
  row.bytes = static_cast<double>(n_matrices * weights.n_bytes());
  row.ops = 2.0 * static_cast<double>(n * n_matrices * weights.n_weights());
  return row;
}

}  // namespace dsv4
