// Attention sublayer: the parts that SWA, CSA and HCA share (architecture.md 5.4, 5.7, 5.8), and
// the three kinds as functions of their own (swa.cc, csa.cc, hca.cc).
//
// Each reads the normed input work.x and writes the sublayer's output to work.y.
#pragma once

#include "model/step.h"
#include "model/weights.h"

namespace dsv4 {

// Sliding window only.
void swa_attention(Step& step, const AttentionWeights& w);
// Window plus the compressed entries that the indexer selects.
void csa_attention(Step& step, const AttentionWeights& w);
// Window plus all compressed entries.
void hca_attention(Step& step, const AttentionWeights& w);

// work.qr, work.q: queries, normed per head and rotated. work.kv: the entry of each token, one
// vector that is key and value at once; work.kv_stored: as the state stores it, which is what
// attention reads, so that a token sees the same bits in its batch as later from the ring.
void project_queries_and_entries(Step& step, const AttentionWeights& w);

// Starts the list of a token's keys with its window: the last W entries up to `row` of the segment,
// from the sequence's ring or from this batch, oldest first.
void start_keys_with_window(Step& step, const Segment& segment, int64_t row);

// Attends with the lists of work.keys, rotates back, projects to work.y, and stores the window
// entries of the batch in the sequences' rings.
void attend_and_project(Step& step, const AttentionWeights& w);

}  // namespace dsv4
