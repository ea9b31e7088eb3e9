// `dsv4 plan --html`: what `dsv4 plan` found as one page with plots. It needs no script and no
// other file, and every text that comes from outside is escaped.
#pragma once

#include "plan/machine.h"
#include "plan/plan_curves.h"
#include "plan/plan_table.h"
#include "plan/tariff.h"

#include <string>
#include <vector>

namespace dsv4 {

struct PageCosts {
  std::string currency;
  std::vector<PricedFormat> formats;  // that run and have a price; none: the page says nothing
  std::vector<Tariff> tariffs;
  std::vector<std::string> warnings;
};

// One model on one machine.
struct PlanSheet {
  PlanTable table;
  Machine machine;
  SpeedCurves speeds;
  PageCosts costs;
};

// `date`: of the plans, YYYY-MM-DD.
std::string plan_page(const std::vector<PlanSheet>& sheets, const std::string& date);

}  // namespace dsv4
