#include "model/block.h"

#include "model/attention.h"
#include "model/hyper_connection.h"
#include "model/moe.h"

namespace dsv4 {
namespace {

void attention(Step& step, const AttentionWeights& w, LayerKind kind) {
  switch (kind) {
    case LayerKind::kSwa:
      return swa_attention(step, w);
    case LayerKind::kCsa:
      return csa_attention(step, w);
    case LayerKind::kHca:
      return hca_attention(step, w);
  }
}

}  // namespace

void block_forward(Step& step, const BlockWeights& w, LayerKind kind) {
  hyper_connection_in(step, w.hc_attn, w.attn_norm, "hc_attn");
  attention(step, w.attention, kind);
  hyper_connection_out(step);
  step.record("h_attn", step.work.streams.first(step.n_tokens()));

  hyper_connection_in(step, w.hc_ffn, w.ffn_norm, "hc_ffn");
  mixture_of_experts(step, w.moe);
  hyper_connection_out(step);
  step.record("h_ffn", step.work.streams.first(step.n_tokens()));
}

}  // namespace dsv4
