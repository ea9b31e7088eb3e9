#include "model/hyper_connection.h"

#include <cmath>
#include <string>

namespace dsv4 {
namespace {

// m = (fn . v) * rsqrt(mean(v^2) + eps) with v the flattened streams; architecture.md 5.2.
void project_streams(Step& step, const QuantMatrix& fn, View<const float, 3> streams,
                     Matrix<float> m) {
  const auto flat = streams.reshape<2>({streams.size(0), streams.size(1) * streams.size(2)});
  step.ops().linear(flat, fn, m);
  step.ops().scale_by_rms(flat, static_cast<float>(step.config.rms_norm_eps), m);
}

}  // namespace

void hyper_connection_in(Step& step, const HyperConnectionWeights& w, std::span<const float> norm,
                         std::string_view name) {
  Workspace& work = step.work;
  const int64_t n = step.n_tokens();
  const View<float, 3> streams = work.streams.first(n);
  const Matrix<float> x = work.x.first(n);
  const HyperConnectionParams params{w.base, w.scale, static_cast<float>(step.config.hc_eps),
                                     step.config.hc_sinkhorn_iters};

  project_streams(step, w.fn, streams, work.maps.first(n));
  step.ops().hyper_connection_maps(work.maps.first(n), params, work.pre.first(n),
                                   work.post.first(n), work.mix.first(n));
  step.ops().collapse(streams, work.pre.first(n), x);
  step.math.round(x);
  step.ops().rms_norm(x, norm, static_cast<float>(step.config.rms_norm_eps), x);
  step.math.round(x);

  if (step.trace == nullptr) return;
  step.record(std::string(name) + ".pre", work.pre.first(n));
  step.record(std::string(name) + ".post", work.post.first(n));
  step.record(std::string(name) + ".comb", work.mix.first(n));
}

void hyper_connection_out(Step& step) {
  Workspace& work = step.work;
  const int64_t n = step.n_tokens();
  step.ops().expand(work.y.first(n), work.post.first(n), work.mix.first(n), work.streams.first(n));
  step.math.round(work.streams.first(n));
}

void hyper_connection_head(Step& step, const HeadWeights& w, View<const float, 3> streams,
                           Matrix<float> x) {
  const int64_t n = streams.size(0);
  const Matrix<float> pre = step.work.pre.first(n);
  project_streams(step, w.hc_fn, streams, pre);
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t i = 0; i < pre.size(1); ++i) {
      const float logit = pre(t, i) * w.hc_scale[0] + w.hc_base[static_cast<size_t>(i)];
      pre(t, i) = 1 / (1 + std::exp(-logit)) + static_cast<float>(step.config.hc_eps);
    }
  }
  step.ops().collapse(streams, pre, x);
  step.math.round(x);
  step.record("head.hc_out", Matrix<const float>(x));
  step.ops().rms_norm(x, w.norm, static_cast<float>(step.config.rms_norm_eps), x);
  step.math.round(x);
  step.record("head.norm_out", Matrix<const float>(x));
}

}  // namespace dsv4
