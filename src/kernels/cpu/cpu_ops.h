// The fast implementation for CPUs: loops over threads here and in cpu_ops*.cc, arithmetic for the
// instruction set at hand in kernels-inl.h.
#pragma once

#include "base/thread_pool.h"
#include "kernels/ops.h"

#include <memory>
#include <string_view>

namespace dsv4 {

// Which build of kernels-inl.h runs. All give the same bits. The last has AVX-512 with VNNI and
// VBMI: Ice Lake, Zen 4 and later.
enum class Isa { kScalar, kAvx2, kAvx2Vnni, kAvx512, kAvx512Vnni };
inline constexpr Isa kAllIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx2Vnni, Isa::kAvx512,
                                   Isa::kAvx512Vnni};

// "scalar", "avx2", "avx2_vnni", "avx512", "avx512_vnni".
std::string_view isa_name(Isa isa);

// The best one that this machine supports.
Isa best_isa();
bool isa_supported(Isa isa);

// `pool` must outlive the result, which is used by one thread at a time.
std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, Isa isa = best_isa());

}  // namespace dsv4
