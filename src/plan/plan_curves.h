// Speed and cost of plans over what may vary: the lines of the plots of `dsv4 plan --html`.
#pragma once

#include "plan/cost_table.h"
#include "plan/planner.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dsv4 {

struct CurvePoint {
  double x = 0;
  Estimate y;
};

// Points with rising x, none where the format does not run.
struct Curve {
  std::string format;
  std::vector<CurvePoint> points;
};

struct SpeedCurves {
  std::vector<Curve> by_context;      // tokens of context, tokens per second of one user
  std::vector<Curve> by_users;        // users, tokens per second of one of them
  std::vector<Curve> by_users_total;  // users, tokens per second of all
};

// The plan of format number `format` for another load.
using PlanFor = std::function<Plan(size_t format, const Workload& workload)>;

// Contexts are powers of two from 1024 to `max_context`, and that itself; users 1 to 64. What else
// `load` says stays, but for prompts and replies where a context is too short for them.
SpeedCurves speed_curves(const std::vector<std::string>& formats, const Workload& load,
                         int64_t max_context, const PlanFor& plan_for);

// Plans of formats for other loads. How experts are read is forecast but once for what is nearly
// the same: rooms that differ by less than a 200th of the experts.
class OtherLoads {
 public:
  // A forecast takes time in proportion to its users: formats that do not fit into memory are not
  // planned for more of them.
  static constexpr int64_t kMostUsers = 2;

  // `tables` and `machine` are looked at later too. `model_for` is asked only where a format does
  // not fit into memory.
  OtherLoads(const std::vector<WeightTable>& tables, const Machine& machine, PlanOptions options,
             ExpertModelFor model_for);

  Plan operator()(size_t format, const Workload& load);

 private:
  // Of one format and number of users.
  struct Forecast {
    ExpertModel model;
    std::map<int64_t, ExpertTraffic> by_room;
  };
  ExpertTraffic traffic(size_t format, const Workload& load, double room, const DiskRates& source);

  const std::vector<WeightTable>& tables_;
  const Machine& machine_;
  PlanOptions options_;
  ExpertModelFor model_for_;
  std::map<std::pair<size_t, int64_t>, Forecast> forecasts_;
};

// What requests cost for a million tokens of replies, prompts included, by the hours of a day in
// which the machine works: requests_per_day = hours * 3600 / request_s, the money of a day for a
// million tokens of their replies. The machine stays on (and rented) all day.
Curve cost_by_hours(const PricedFormat& priced);
// The same by a tariff.
double tariff_cost_per_million(const UsageProfile& usage, const Tariff& tariff);

}  // namespace dsv4
