// The plans of one model on one machine, and how their numbers are written for people.
#pragma once

#include "plan/planner.h"

#include <string>
#include <vector>

namespace dsv4 {

// By format.
struct PlanTable {
  std::string model;    // name, parameters, active parameters
  std::string machine;  // title
  Workload workload;
  std::vector<Plan> plans;
};

bool runs(const Plan& plan);

// File sizes and memory in 10^9 bytes, as machines are sold, without the unit.
std::string gb_text(double bytes);
// Tokens per second.
std::string rate_text(double value);
// From the least to the most.
std::string range_text(const Estimate& rate);
// The expected time, with its unit.
std::string seconds_text(const Estimate& seconds);
// "2 users x 8192 tokens of context; ...".
std::string load_text(const Workload& workload);
// What a reader must know who sees the table. One sentence each.
std::vector<std::string> table_notes(const PlanTable& table);

}  // namespace dsv4
