#include "kernels/cpu/kernels-inl.h"

namespace dsv4 {

const KernelTable& kernel_table_avx2_vnni() { return kTable; }

}  // namespace dsv4
