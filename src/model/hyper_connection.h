// Manifold-constrained hyper-connections (report: mHC; architecture.md 5.2): n residual streams,
// collapsed to the input of a sublayer and expanded with its output by maps computed from them.
#pragma once

#include "model/step.h"
#include "model/weights.h"

#include <string_view>

namespace dsv4 {

// Computes the maps of `w` from the streams into work.pre, work.post and work.mix, and the
// collapsed streams, normed with `norm`, into work.x. `name` is the traced stage: "hc_attn" or
// "hc_ffn".
void hyper_connection_in(Step& step, const HyperConnectionWeights& w, std::span<const float> norm,
                         std::string_view name);

// streams = post * work.y + mix^T streams, with the maps of the last hyper_connection_in.
void hyper_connection_out(Step& step);

// The output's reduction: x = norm(sum_i (sigmoid(m_i scale + base_i) + eps) streams_i).
// streams [n, hc, d], x [n, d]; architecture.md 5.10. `step` lends arithmetic, scratch and trace.
void hyper_connection_head(Step& step, const HeadWeights& w, View<const float, 3> streams,
                           Matrix<float> x);

}  // namespace dsv4
