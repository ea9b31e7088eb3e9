// What one forward pass does, operation by operation, as counts of work: the one description that
// time, bytes and operations of a step are computed from.
//
// Units of work by operation (names of kernels/ops.h), for n tokens:
//   rms_norm               elements; head_norm and scale_by_rms too
//   hyper_connection_maps  tokens
//   collapse, expand       elements of the streams, n hc d
//   rope                   elements that are rotated
//   quantize_int8          elements
//   pool_slots             slots x width
//   hadamard               elements
//   encode_entries         elements
//   indexer_scores         n Hi ci x entries of a token
//   top_k                  scores
//   attend                 n H c x entries of a token
//   sqrt_softplus, swiglu, add   elements
// Products are counted in weights, [out, in] of one matrix, with the number of tokens that go
// through it.
#pragma once

#include "cache/layout.h"
#include "plan/weight_table.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace dsv4 {

// A batch of sequences of one length.
struct StepShape {
  int64_t n_sequences = 1;
  int64_t n_tokens = 1;    // of each sequence in this step: 1 decodes
  int64_t context = 0;     // tokens of each before the step
  int64_t n_logits = 1;    // rows of logits
  double expert_skew = 0;  // exponent of Zipf's law that experts are chosen by; 0: all alike

  int64_t rows() const { return n_sequences * n_tokens; }
};

// Matrices of one format that so many tokens go through.
struct ProductWork {
  std::string format;
  double n_tokens = 0;
  double n_products = 0;
  double weights = 0;  // of all of them
  double bytes = 0;
};

struct OperationWork {
  double calls = 0;
  double work = 0;
};

struct StepWork {
  double rows = 1;  // tokens
  std::vector<ProductWork> products;
  std::map<std::string, OperationWork> operations;
  double weight_bytes = 0;  // read once each
  double state_bytes = 0;   // entries that are read
  double product_ops = 0;   // a product and its sum count as two
  double calls = 0;         // of operations, one after the other; all experts of a part are one
};

StepWork step_work(const WeightTable& table, const StateLayout& layout, const StepShape& shape);

// Bytes that are copied when a kept state of so many tokens is restored (cache/checkpoint.h): rows
// of rings and of the pages that are not full. Full pages are shared.
double restored_bytes(const StateLayout& layout, int64_t n_tokens);

// Expected number of different experts that n tokens choose, k of E each (with the skew of
// StepShape, by independent draws).
double expected_experts(const ModelConfig& config, int64_t n_tokens, double skew);

}  // namespace dsv4
