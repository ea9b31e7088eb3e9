#include "kernels/cpu/kernels-inl.h"

namespace dsv4 {

const KernelTable& kernel_table_avx512() { return kTable; }

}  // namespace dsv4
