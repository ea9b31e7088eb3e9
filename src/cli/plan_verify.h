// `dsv4 plan --verify`: a model is run, and what was predicted of it is held against that.
#pragma once

#include "plan/planner.h"
#include "plan/record.h"

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace dsv4::cli {

// Runs the load with random tokens: every user's prompt and reply for the memory, then single steps
// for the speeds, which are predicted for the rate at which memory reads just before. `probed` is
// this machine.
PlanRecord verify_plan(const std::string& model, const Workload& load, const Machine& probed);

void print_record(const PlanRecord& record);

// `dsv4 plan --report`: how predictions have done so far, and each that missed its bound.
void print_accuracy(const RecordFile& file);
nlohmann::ordered_json accuracy_json(const RecordFile& file);

}  // namespace dsv4::cli
