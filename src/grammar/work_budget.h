// A bound on the work that a request may ask for, where work may be exponential in its length.
#pragma once

#include "base/error.h"

#include <cstddef>
#include <string_view>

namespace dsv4 {

// Each kind of work has a subclass, with its own unit, limit and error.
class WorkBudget {
 public:
  // Throws the error at `where` if less than `work` is left, of which nothing is left then.
  void spend(size_t work, std::string_view where);
  bool is_spent() const { return work_ == 0; }

 protected:
  // `message` outlives the budget.
  WorkBudget(size_t work, ErrorCode code, const char* message)
      : work_(work), code_(code), message_(message) {}

 private:
  size_t work_;
  ErrorCode code_;
  const char* message_;
};

}  // namespace dsv4
