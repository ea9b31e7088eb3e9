// Speed of the operations besides products, at the shapes of DeepSeek V4 Flash, in the units of
// work that plan/step_cost.h states.
#pragma once

#include "kernels/ops.h"
#include "plan/machine.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace dsv4 {

struct OperationPlan {
  // Where tokens are shared out among threads: a piece of a prompt, which does not stay in the
  // caches. A row takes a MiB of memory, all operations together.
  int64_t n_rows = 512;
  int n_threads = 1;       // of the operations: the indexer cuts the keys of one token among them
  double seconds = 0.025;  // of each of the three sizes, each time
  bool is_short = false;   // fewer index keys, for tests
};

// A call of an operation: how much work, how long.
struct CallTime {
  double work = 0;
  double seconds = 0;
};

// The line through two sizes of one row, and with its call_s what is left for many rows. Where it
// would leave less than a nanosecond for the call, or the larger size was the faster, the larger
// size alone says how fast the operation is.
OperationRate fit_operation(const CallTime& small, const CallTime& large, const CallTime& many);

class OperationBench {
 public:
  // Operations must outlive it.
  OperationBench(Ops& ops, const OperationPlan& plan);
  ~OperationBench();
  OperationBench(const OperationBench&) = delete;
  OperationBench& operator=(const OperationBench&) = delete;

  // Measures all operations, one or more times.
  void measure();
  // By name, from medians of all that was measured.
  std::map<std::string, OperationRate> rates() const;

 private:
  class Calls;

  OperationPlan plan_;
  std::unique_ptr<Calls> calls_;
};

}  // namespace dsv4
