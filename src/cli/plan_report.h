// What `dsv4 plan` found, as a table, as JSON, and with the formula of each number.
#pragma once

#include "plan/plan_table.h"

#include <nlohmann/json_fwd.hpp>

namespace dsv4::cli {

void print_table(const PlanTable& table);
void print_formulas(const PlanTable& table);
nlohmann::ordered_json to_json(const PlanTable& table);

}  // namespace dsv4::cli
