// What tokens cost by the plans of a model on a machine, and how that is written for people: the
// one source of what `dsv4 plan` prints and of its page.
#pragma once

#include "plan/cost.h"
#include "plan/planner.h"
#include "plan/tariff.h"

#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// What a format costs on a machine, and how exactly its speeds are known.
struct PricedFormat {
  std::string format;
  CostInput input;  // with the expected speeds
  Estimate prefill;
  Estimate decode;  // of all users
  Estimate cached;
  Cost cost;  // machine_cost(input)
};

struct CostTable {
  std::string currency;
  std::vector<PricedFormat> formats;  // that run and have a price
  bool lacks_price = false;           // a format runs, but what the machine costs is not known
  std::vector<Tariff> tariffs;
  std::vector<std::string> warnings;  // of prices that are old

  // By output at full load. Of at least one format.
  const PricedFormat& cheapest() const;
};

// `input` has the price of one machine and its use: the tokens of requests and the speeds are those
// of the plans, and every machine of a split has its price.
CostTable price_plans(const std::vector<Plan>& plans, const CostInput& input,
                      std::vector<Tariff> tariffs);

// "rented", "bought"
std::string_view ownership_name(Ownership ownership);
// Without the currency. What is too small for its digits is not nothing: "<0.001".
std::string money_text(double value);

// The row of a format. Of tokens "-" where there are no requests.
struct CostTexts {
  std::string busy;
  std::string machines;
  std::string per_day;
  std::string input;  // for a million tokens, here and below
  std::string cached;
  std::string output;
  std::string full_load_input;
  std::string full_load_output;
};
CostTexts cost_texts(const Cost& cost);

// From how many requests on the machine costs less than the tariff: "12/day", "never", or why that
// cannot be said.
std::string break_even_text(const PricedFormat& priced, const Tariff& tariff);

}  // namespace dsv4
