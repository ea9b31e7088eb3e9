#include "grammar/work_budget.h"

#include <string>

namespace dsv4 {

void WorkBudget::spend(size_t work, std::string_view where) {
  if (work > work_) {
    work_ = 0;
    throw Error(code_, std::string(where), message_);
  }
  work_ -= work;
}

}  // namespace dsv4
