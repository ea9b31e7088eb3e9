// The weights of a model as named structures. Matrices stay in the mapped files in their stored
// format; vectors are decoded to float32, they are small.
#pragma once

#include "formats/checkpoint.h"
#include "model/config.h"
#include "quant/quant_matrix.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace dsv4 {

// Mixing maps of one sublayer (mHC; architecture.md 5.2).
struct HyperConnectionWeights {
  QuantMatrix fn;            // [(2 + n) n, n d]
  std::vector<float> base;   // [(2 + n) n]
  std::vector<float> scale;  // [3]
};

struct CompressorWeights {
  QuantMatrix wkv;          // [cf c, d]
  QuantMatrix wgate;        // [cf c, d]
  std::vector<float> ape;   // [r, cf c], bias of the scores by position in the block
  std::vector<float> norm;  // [c]
};

struct IndexerWeights {
  QuantMatrix wq_b;          // [Hi ci, rq]
  QuantMatrix weights_proj;  // [Hi, d]
  CompressorWeights compressor;
};

struct AttentionWeights {
  QuantMatrix wq_a;              // [rq, d]
  QuantMatrix wq_b;              // [H c, rq]
  QuantMatrix wkv;               // [c, d]
  QuantMatrix wo_a;              // [G ro, H c / G]
  QuantMatrix wo_b;              // [d, G ro]
  std::vector<float> q_norm;     // [rq]
  std::vector<float> kv_norm;    // [c]
  std::vector<float> sink;       // [H]
  CompressorWeights compressor;  // where the layer compresses
  IndexerWeights indexer;        // where it has an indexer
};

struct ExpertWeights {
  QuantMatrix w1;  // [fe, d] gate
  QuantMatrix w2;  // [d, fe] down
  QuantMatrix w3;  // [fe, d] up
};

struct MoeWeights {
  QuantMatrix gate;                    // [E, d]
  std::vector<float> bias;             // [E], score-routed layers
  std::vector<int32_t> token_experts;  // [V, k], hash-routed layers
  std::vector<ExpertWeights> experts;  // E
  ExpertWeights shared;
};

struct BlockWeights {
  HyperConnectionWeights hc_attn;
  HyperConnectionWeights hc_ffn;
  std::vector<float> attn_norm;  // [d]
  std::vector<float> ffn_norm;   // [d]
  AttentionWeights attention;
  MoeWeights moe;
};

// Streams to logits (architecture.md 5.10); the output matrix is shared.
struct HeadWeights {
  QuantMatrix hc_fn;            // [n, n d]
  std::vector<float> hc_base;   // [n]
  std::vector<float> hc_scale;  // [1]
  std::vector<float> norm;      // [d]
};

struct MtpWeights {
  BlockWeights block;
  QuantMatrix e_proj;        // [d, d]
  QuantMatrix h_proj;        // [d, d]
  std::vector<float> enorm;  // [d]
  std::vector<float> hnorm;  // [d]
  HeadWeights head;
};

struct ModelWeights {
  QuantMatrix embed;   // [V, d]
  QuantMatrix output;  // [V, d]
  HeadWeights head;
  std::vector<BlockWeights> layers;
  std::optional<MtpWeights> mtp;
};

// Checks every tensor of the checkpoint against the table of tensor_specs.h and gathers them. The
// result looks into `checkpoint`. Throws Error naming file, tensor and byte for a tensor that is
// missing, unknown, misshaped or of the wrong type. Tensors under "mtp." that belong to another
// drafter than the released MTP block are left alone.
ModelWeights load_weights(const Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace dsv4
