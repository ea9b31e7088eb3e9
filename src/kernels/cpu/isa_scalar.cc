#include "kernels/cpu/kernels-inl.h"

namespace dsv4 {

const KernelTable& kernel_table_scalar() { return kTable; }

}  // namespace dsv4
