// The scales of AWQ: an input that matters is divided by a power of two where it is made, and the
// columns of the weights that it meets are multiplied with it. The products stay the same bit by
// bit, but the 4-bit integers lose less of those columns.
//
// Inputs that can be divided: what a norm with weights makes (of attention, queries and experts),
// and what wo_a hands to wo_b. Not that of the head, which the MTP block feeds too.
#pragma once

#include "base/thread_pool.h"
#include "quantize/importance.h"
#include "quantize/plan.h"

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace dsv4 {

class AwqScales {
 public:
  AwqScales() = default;
  // Searches, for each input that 4-bit integers meet, the power of its importance whose scales
  // give these integers the least error, weighted by importance; one is 0, no scales. A sample of
  // the rows is encoded. Inputs that weights of other encoded types meet too are left alone.
  AwqScales(const SourceModel& source, const QuantizePlan& plan, const ImportanceTable& importance,
            ThreadPool& pool);

  // Factors of the columns or rows of a tensor (by its place in SourceModel::tensors()); empty: 1.
  std::span<const float> columns(size_t tensor) const;
  std::span<const float> rows(size_t tensor) const;

 private:
  std::vector<std::vector<float>> factors_;
  std::map<size_t, size_t> columns_;  // place in factors_
  std::map<size_t, size_t> rows_;
};

}  // namespace dsv4
