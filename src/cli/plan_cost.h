// The cost part of `dsv4 plan`: options of use and prices, and what tokens cost beside API tariffs.
#pragma once

#include "plan/cost_table.h"

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace CLI {
class App;
}

namespace dsv4::cli {

struct CostArgs {
  double requests_per_hour = 60;  // in hours that are not idle
  double idle_hours = 0;
  double thinking_share = 0;
  bool buy = false;
  std::optional<double> price_per_hour;  // instead of the machine's
  std::optional<double> purchase;
  std::optional<double> watts;
  std::optional<double> years;
  double electricity_per_kwh = 0.15;
  std::string tariffs;  // a file; empty: those of the program

  void add_to(CLI::App& command);
};

// `machine` with the prices of the options. `today`: YYYY-MM-DD.
CostTable cost_table(const CostArgs& args, Machine machine, const std::vector<Plan>& plans,
                     std::vector<Tariff> tariffs, const std::string& today);
void print_costs(const CostTable& table);
nlohmann::ordered_json to_json(const CostTable& table);

}  // namespace dsv4::cli
