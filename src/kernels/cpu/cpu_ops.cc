// Products: how the work is cut over threads. Also the choice of kernels.
#include "kernels/cpu/cpu_ops_impl.h"

#include <algorithm>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace dsv4 {
namespace {

constexpr int64_t kLinearGrain = 16;  // rows of a weight; the kernels' tile

#if defined(__x86_64__)
// Clang 14 does not know the feature by name.
bool has_avx_vnni() {
  constexpr unsigned kBit = 1u << 4;  // of eax
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kBit) != 0;
}
#endif

}  // namespace

const KernelTable& kernel_table(Isa isa) {
  CHECK(isa_supported(isa), static_cast<int>(isa));
  switch (isa) {
    case Isa::kAvx512Vnni:
      return kernel_table_avx512_vnni();
    case Isa::kAvx512:
      return kernel_table_avx512();
    case Isa::kAvx2Vnni:
      return kernel_table_avx2_vnni();
    case Isa::kAvx2:
      return kernel_table_avx2();
    case Isa::kScalar:
      break;
  }
  return kernel_table_scalar();
}

std::string_view isa_name(Isa isa) {
  constexpr std::string_view kNames[] = {"scalar", "avx2", "avx2_vnni", "avx512", "avx512_vnni"};
  return kNames[static_cast<size_t>(isa)];
}

bool isa_supported(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512Vnni) {
    return isa_supported(Isa::kAvx512) && __builtin_cpu_supports("avx512vnni") &&
           __builtin_cpu_supports("avx512vbmi");
  }
  if (isa == Isa::kAvx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2");
  }
  if (isa == Isa::kAvx2Vnni) {
    return isa_supported(Isa::kAvx2) && has_avx_vnni();
  }
  if (isa == Isa::kAvx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
  }
#endif
  return isa == Isa::kScalar;
}

Isa best_isa() {
  Isa best = Isa::kScalar;
  for (const Isa isa : kAllIsas) {
    if (isa_supported(isa)) best = isa;
  }
  return best;
}

Int8Block int8_block(const Int8Rows& rows) {
  return {rows.values.data(), rows.scales.data(), rows.sums.data(), rows.values.stride(0)};
}

ReadAhead read_ahead(const QuantMatrix& w, int64_t row) {
  if (row >= w.rows) return {};
  if (w.format == WeightFormat::kAwqInt4) {
    return {.data = w.data + (w.first_row + row) / 2, .stride = w.scale_cols / 2};
  }
  const int64_t row_bytes = w.row_bytes();
  return {.data = w.data + row * row_bytes, .rows = w.rows - row, .row_bytes = row_bytes};
}

std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, Isa isa) {
  return std::make_unique<CpuOps>(pool, kernel_table(isa));
}

void CpuOps::do_linear(Matrix<const float> x, const QuantMatrix& w, Matrix<float> y) {
  pool_.parallel_for(w.rows, kLinearGrain, [&](int64_t begin, int64_t end) {
    kernels_.linear(x.data(), x.stride(0), x.size(0), w, begin, end, y.data(), y.stride(0));
  });
}

void CpuOps::do_quantize_int8(Matrix<const float> x, const Int8Rows& out) {
  for_each_row(x.size(0), x.size(1), [&](int64_t t) {
    kernels_.quantize_int8(&x(t, 0), x.size(1), out.order == ColumnOrder::kEvenOdd,
                           &out.values(t, 0), &out.scales(t, 0), &out.sums(t, 0));
  });
}

// One loop over the panels of all weights, so that nobody waits between them.
void CpuOps::do_linear_int8(std::span<const Int8Product> products) {
  const auto n_panels = [](const Int8Product& p) {
    return (p.w.rows + kPanelGrain - 1) / kPanelGrain;
  };
  int64_t n = 0;
  for (const Int8Product& p : products) n += n_panels(p);
  pool_.parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (size_t i = 0; i < products.size() && end > 0; ++i) {
      const auto& [x, w, y] = products[i];
      const int64_t first = std::max<int64_t>(begin, 0) * kPanelGrain;
      const int64_t last = std::min(w.rows, end * kPanelGrain);
      const bool ends = last == w.rows && i + 1 < products.size();
      const ReadAhead then = ends ? read_ahead(products[i + 1].w, 0) : read_ahead(w, last);
      if (first < last) {
        kernels_.linear_int8(int8_block(x), y.size(0), w, first, last, then, y.data(), y.stride(0));
      }
      begin -= n_panels(products[i]);
      end -= n_panels(products[i]);
    }
  });
}

}  // namespace dsv4
