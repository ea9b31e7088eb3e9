// Speed of the products with each weight format, alone.
#pragma once

#include "bench/timing.h"
#include "kernels/ops.h"

#include <cstdint>
#include <string>
#include <vector>

namespace dsv4 {

struct KernelRow {
  std::string format;  // "FP4", "Q4_K", ...
  bool int8 = false;   // activations as int8, else float
  int64_t n_tokens = 0;
  double bytes = 0;  // of weights
  double ops = 0;    // a product and its sum count as two
  Timing timing;

  double bytes_per_second() const { return bytes / timing.seconds.value; }
  double ops_per_second() const { return ops / timing.seconds.value; }
};

// A format with a number of tokens.
struct KernelCase {
  WeightFormat format;
  int64_t n_tokens;
};

// All that have kernels of their own.
std::vector<WeightFormat> kernel_formats();

// Every format with 1, 8 and 512 tokens.
std::vector<KernelCase> kernel_cases();

// On random weights far larger than the caches; more than 8 tokens on one matrix of them at a time.
KernelRow bench_kernel(Ops& ops, RoofMeter& meter, const KernelCase& kernel);

}  // namespace dsv4
