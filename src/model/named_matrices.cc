#include "model/named_matrices.h"

#include <fmt/core.h>

namespace dsv4 {
namespace {

using Visit = std::function<void(const std::string&, const QuantMatrix&)>;

void visit_compressor(const CompressorWeights& w, const std::string& name, const Visit& visit) {
  if (w.wkv.data == nullptr) return;  // not of this kind of layer
  visit(name + ".wkv.weight", w.wkv);
  visit(name + ".wgate.weight", w.wgate);
}

void visit_attention(const AttentionWeights& w, const std::string& name, const Visit& visit) {
  visit(name + "wq_a.weight", w.wq_a);
  visit(name + "wq_b.weight", w.wq_b);
  visit(name + "wkv.weight", w.wkv);
  visit(name + "wo_a.weight", w.wo_a);
  visit(name + "wo_b.weight", w.wo_b);
  visit_compressor(w.compressor, name + "compressor", visit);
  if (w.indexer.wq_b.data == nullptr) return;
  visit(name + "indexer.wq_b.weight", w.indexer.wq_b);
  visit(name + "indexer.weights_proj.weight", w.indexer.weights_proj);
  visit_compressor(w.indexer.compressor, name + "indexer.compressor", visit);
}

void visit_expert(const ExpertWeights& w, const std::string& name, const Visit& visit) {
  visit(name + ".w1.weight", w.w1);
  visit(name + ".w2.weight", w.w2);
  visit(name + ".w3.weight", w.w3);
}

void visit_block(const BlockWeights& w, const std::string& prefix, const Visit& visit) {
  visit(prefix + "hc_attn_fn", w.hc_attn.fn);
  visit(prefix + "hc_ffn_fn", w.hc_ffn.fn);
  visit_attention(w.attention, prefix + "attn.", visit);
  visit(prefix + "ffn.gate.weight", w.moe.gate);
  for (size_t e = 0; e < w.moe.experts.size(); ++e) {
    visit_expert(w.moe.experts[e], fmt::format("{}ffn.experts.{}", prefix, e), visit);
  }
  visit_expert(w.moe.shared, prefix + "ffn.shared_experts", visit);
}

}  // namespace

void for_each_matrix(const ModelWeights& weights, const Visit& visit) {
  visit("embed.weight", weights.embed);
  visit("head.weight", weights.output);
  visit("hc_head_fn", weights.head.hc_fn);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    visit_block(weights.layers[i], fmt::format("layers.{}.", i), visit);
  }
  if (!weights.mtp) return;
  visit("mtp.0.e_proj.weight", weights.mtp->e_proj);
  visit("mtp.0.h_proj.weight", weights.mtp->h_proj);
  visit("mtp.0.hc_head_fn", weights.mtp->head.hc_fn);
  visit_block(weights.mtp->block, "mtp.0.", visit);
}

}  // namespace dsv4
