// What `dsv4 plan` found, as a table, as JSON, and with the formula of each number.
#pragma once

#include "plan/planner.h"

#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace dsv4::cli {

// The plans of one model on one machine, by format.
struct PlanTable {
  std::string model;    // name, parameters, active parameters
  std::string machine;  // title
  Workload workload;
  std::vector<Plan> plans;
};

void print_table(const PlanTable& table);
void print_formulas(const PlanTable& table);
nlohmann::ordered_json to_json(const PlanTable& table);
nlohmann::ordered_json to_json(const Plan& plan);

}  // namespace dsv4::cli
