// For tests: a state against the history that it is made of.
#pragma once

#include "cache/sequence_testing.h"

#include <gtest/gtest.h>

namespace dsv4 {

inline constexpr KvStorage kStorages[] = {KvStorage::kF32, KvStorage::kBf16, KvStorage::kNative};

// Every row that tokens after the state need is the one of the history.
inline void expect_rows(TestSequence& sequence) {
  ASSERT_EQ(sequence.state().n_tokens(), sequence.n_tokens());
  sequence.visit_needed(sequence.n_tokens(), [&](std::span<const std::byte> row, size_t layer,
                                                 uint64_t kind, int64_t position) {
    for (size_t i = 0; i < row.size(); ++i) {
      ASSERT_EQ(row[i], sequence.expected(layer, kind, position, i))
          << "layer " << layer << " kind " << kind << " position " << position << " of "
          << sequence.n_tokens();
    }
  });
}

}  // namespace dsv4
