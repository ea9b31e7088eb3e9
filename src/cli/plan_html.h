// `dsv4 plan --html`: from plans, costs and their variations to the page.
#pragma once

#include "cli/plan_cost.h"
#include "plan/plan_page.h"

#include <cstdint>
#include <string>
#include <vector>

namespace dsv4::cli {

// `plan_for` answers for the formats of the table with other loads.
PlanSheet plan_sheet(const PlanTable& table, const Machine& machine, const CostTable& costs,
                     int64_t max_context, const PlanFor& plan_for);

// The file appears when it is whole. Throws Error(kIo).
void write_plan_page(const std::string& path, const std::vector<PlanSheet>& sheets,
                     const std::string& date);

}  // namespace dsv4::cli
