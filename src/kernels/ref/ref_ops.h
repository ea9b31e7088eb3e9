// The specification of every operation: one thread, naive loops, double accumulators.
#pragma once

#include "kernels/ops.h"

#include <memory>

namespace dsv4 {

std::unique_ptr<Ops> make_ref_ops();

}  // namespace dsv4
