// The matrices of a model with the names that they have in a released checkpoint.
#pragma once

#include "model/weights.h"

#include <functional>
#include <string>

namespace dsv4 {

// Calls visit(name, matrix) for every matrix of the weights.
void for_each_matrix(const ModelWeights& weights,
                     const std::function<void(const std::string&, const QuantMatrix&)>& visit);

}  // namespace dsv4
