// `dsv4 plan --html`: what `dsv4 plan` found as one page with plots. It needs no script and no
// other file, and every text that comes from outside is escaped.
#pragma once

#include "plan/cost_table.h"
#include "plan/machine.h"
#include "plan/plan_curves.h"
#include "plan/plan_table.h"

#include <string>
#include <vector>

namespace dsv4 {

// One model on one machine.
struct PlanSheet {
  PlanTable table;
  Machine machine;
  SpeedCurves speeds;
  CostTable costs;  // without formats the page says nothing of them
};

// `date`: of the plans, YYYY-MM-DD.
std::string plan_page(const std::vector<PlanSheet>& sheets, const std::string& date);

}  // namespace dsv4
