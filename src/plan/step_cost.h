// What one forward pass does, operation by operation in the order of the model, as counts of work:
// the one description that time, bytes and operations of a step are computed from.
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
