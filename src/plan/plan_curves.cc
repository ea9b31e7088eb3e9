#include "plan/plan_curves.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace dsv4 {
namespace {

constexpr double kMillion = 1e6;
constexpr double kHourSeconds = 3600;

std::vector<int64_t> contexts_up_to(int64_t most) {
  constexpr int64_t kLeast = 1024;
  std::vector<int64_t> contexts;
  for (int64_t context = std::min(kLeast, std::max<int64_t>(most / 8, 2)); context < most;
       context *= 2) {
    contexts.push_back(context);
  }
  contexts.push_back(most);
  return contexts;
}

// A prompt and a reply that fit.
Workload with_context(Workload load, int64_t context) {
  load.context = context;
  load.reply_tokens = std::min(load.reply_tokens, std::max<int64_t>(context / 2, 1));
  load.prompt_tokens =
      std::clamp<int64_t>(load.prompt_tokens, 1, std::max<int64_t>(context - load.reply_tokens, 1));
  return load;
}

void add_point(Curve& curve, double x, const Plan& plan, const Estimate& y) {
  if (plan.verdict != Verdict::kNo) curve.points.push_back({x, y});
}

// `speeds`: the least, expected or most of each.
double cost_at(const PricedFormat& priced, double Estimate::*speeds, double hours) {
  // A bit less than the whole day, so that one machine is enough.
  constexpr double kLess = 1 - 1e-9;
  CostInput input = priced.input;
  input.speeds = {priced.prefill.*speeds, priced.decode.*speeds, priced.cached.*speeds};
  input.usage.idle_hours_per_day = 0;
  input.usage.requests_per_day = 0;
  const double request_s = machine_cost(input).request_s;
  input.usage.requests_per_day = kLess * hours * kHourSeconds / request_s;
  return machine_cost(input).per_day * kMillion /
         (input.usage.requests_per_day * input.usage.output_tokens);
}

}  // namespace

SpeedCurves speed_curves(const std::vector<std::string>& formats, const Workload& load,
                         int64_t max_context, const PlanFor& plan_for) {
  constexpr std::array<int64_t, 7> kUsers = {1, 2, 4, 8, 16, 32, 64};
  const std::vector<int64_t> contexts = contexts_up_to(max_context);
  SpeedCurves curves;
  for (size_t i = 0; i < formats.size(); ++i) {
    Curve by_context{.format = formats[i]};
    for (const int64_t context : contexts) {
      const Plan plan = plan_for(i, with_context(load, context));
      add_point(by_context, static_cast<double>(context), plan, plan.decode);
    }
    Curve by_users{.format = formats[i]};
    Curve total{.format = formats[i]};
    for (const int64_t users : kUsers) {
      Workload other = load;
      other.users = users;
      const Plan plan = plan_for(i, other);
      add_point(by_users, static_cast<double>(users), plan, plan.decode);
      add_point(total, static_cast<double>(users), plan, plan.decode_total);
    }
    curves.by_context.push_back(std::move(by_context));
    curves.by_users.push_back(std::move(by_users));
    curves.by_users_total.push_back(std::move(total));
  }
  return curves;
}

OtherLoads::OtherLoads(const std::vector<WeightTable>& tables, const Machine& machine,
                       PlanOptions options, ExpertModelFor model_for)
    : tables_(tables),
      machine_(machine),
      options_(std::move(options)),
      model_for_(std::move(model_for)) {}

Plan OtherLoads::operator()(size_t format, const Workload& load) {
  PlanOptions options = options_;
  options.expert_model = nullptr;
  if (model_for_ && load.users <= kMostUsers) {
    options.expert_model = [&](double room, const DiskRates& source) {
      return traffic(format, load, room, source);
    };
  }
  return make_plan(tables_[format], machine_, load, options);
}

ExpertTraffic OtherLoads::traffic(size_t format, const Workload& load, double room,
                                  const DiskRates& source) {
  constexpr double kRooms = 200;
  Forecast& forecast = forecasts_[{format, load.users}];
  if (!forecast.model) forecast.model = model_for_(tables_[format], load);
  const double step = static_cast<double>(tables_[format].expert_bytes()) / kRooms;
  const auto [known, is_new] = forecast.by_room.try_emplace(std::llround(room / step));
  if (is_new) known->second = forecast.model(room, source);
  ExpertTraffic result = known->second;
  result.resident_bytes = room;
  return result;
}

Curve cost_by_hours(const PricedFormat& priced) {
  constexpr std::array<double, 8> kHours = {0.5, 1, 2, 4, 8, 12, 16, 24};
  Curve curve{.format = priced.format};
  for (const double hours : kHours) {
    const auto at = [&](double Estimate::*speeds) { return cost_at(priced, speeds, hours); };
    // The fastest machine is the cheapest.
    curve.points.push_back(
        {hours, {at(&Estimate::high), at(&Estimate::expected), at(&Estimate::low)}});
  }
  return curve;
}

double tariff_cost_per_million(const UsageProfile& usage, const Tariff& tariff) {
  return tariff_request_cost(usage, tariff) * kMillion / usage.output_tokens;
}

}  // namespace dsv4
