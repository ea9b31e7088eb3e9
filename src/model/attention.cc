#include "model/attention.h"

#include <algorithm>
#include <cmath>

namespace dsv4 {
namespace {

// One vector per token as a single head, for the operations on heads.
View<float, 3> as_head(Matrix<float> x) { return x.reshape<3>({x.size(0), 1, x.size(1)}); }

}  // namespace

void project_queries_and_entries(Step& step, const AttentionWeights& w) {
  const ModelConfig& config = step.config;
  const auto eps = static_cast<float>(config.rms_norm_eps);
  const int64_t n = step.n_tokens();
  const Matrix<float> x = step.work.x.first(n);
  const Matrix<float> qr = step.work.qr.first(n);
  const View<float, 3> q = step.work.q.first(n);
  const Matrix<float> kv = step.work.kv.first(n);

  step.math.linear(x, {&w.wq_a, qr}, {&w.wkv, kv});
  step.ops().rms_norm(qr, w.q_norm, eps, qr);
  step.math.round(qr);
  step.math.linear(qr, w.wq_b, q.reshape<2>({n, config.n_heads * config.head_dim}));
  step.ops().head_norm(q.reshape<2>({n * config.n_heads, config.head_dim}), eps,
                       step.math.rounding());
  step.ops().rope(q, step.rope, Rotation::kForward);
  step.math.round(q);

  step.ops().rms_norm(kv, w.kv_norm, eps, kv);
  step.math.round(kv);
  step.ops().rope(as_head(kv), step.rope, Rotation::kForward);
  step.math.round(kv);
  step.math.round_entries(kv, config.head_dim - config.rope_dim);
  step.ops().encode_entries(kv, step.work.entry_format, step.work.kv_stored.first(n));

  step.record("attn.in", x);
  step.record("attn.qr", qr);
  step.record("attn.q", q);
  step.record("attn.kv", kv);
}

void start_keys_with_window(Step& step, const Segment& segment, int64_t row) {
  const int64_t window = step.config.window;
  const int64_t position = segment.position + row;
  const RowRing<std::byte>& ring = step.state(segment).window;
  ListBuilder<std::byte>& keys = step.work.keys;
  const int64_t first = std::max<int64_t>(0, position - window + 1);
  keys.start();
  for (int64_t p = first; p <= position; ++p) {
    const int64_t in_batch = p - segment.position;
    keys.add(in_batch < 0 ? ring.row(p)
                          : &step.work.kv_stored.view()(segment.first_row + in_batch, 0));
  }
  if (!step.math.official()) return;
  // The official implementation gives every token of a prefill the same number of places, and a
  // single token of decoding the whole ring.
  const bool decoding = segment.n_tokens == 1 && segment.position > 0;
  const int64_t n_places = decoding ? window : std::min(window, segment.end_position());
  for (int64_t i = position - first + 1; i < n_places; ++i) keys.add(nullptr);
}

void attend_and_project(Step& step, const AttentionWeights& w) {
  const ModelConfig& config = step.config;
  const int64_t n = step.n_tokens();
  const View<float, 3> o = step.work.o.first(n);
  const Matrix<float> o_lora = step.work.o_lora.first(n);
  const Matrix<std::byte> kv = step.work.kv_stored.first(n);
  const float scale = 1 / std::sqrt(static_cast<float>(config.head_dim));

  step.ops().attend(step.work.q.first(n), {step.work.entry_format, step.work.keys.lists()}, w.sink,
                    scale, step.math.rounding(), o);
  for (const Segment& segment : step.batch.segments) {
    step.state(segment).window.append(segment.position,
                                      kv.slice(segment.first_row, segment.n_tokens));
  }
  step.math.round(o);
  step.ops().rope(o, step.rope, Rotation::kInverse);
  step.math.round(o);
  // Each group of heads goes through its own rows of wo_a (architecture.md 5.8).
  step.math.grouped_product(o.reshape<2>({n, config.n_heads * config.head_dim}), w.wo_a,
                            config.o_groups, o_lora);
  step.math.round(o_lora);
  step.math.linear(o_lora, w.wo_b, step.work.y.first(n));

  step.record("attn.o", o);
  step.record("attn.o_lora", o_lora);
  step.record("attn.out", step.work.y.first(n));
}

}  // namespace dsv4
