#include "cli/plan_cost.h"

#include "plan/date.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

using Json = nlohmann::ordered_json;

bool has_price(const CostInput& input) {
  return input.ownership == Ownership::kRented ? input.price.per_hour > 0
                                               : input.price.purchase > 0;
}

CostRow row_of(const CostArgs& args, const MachinePrice& price, const Plan& plan) {
  const Workload& load = plan.workload;
  CostRow row{.format = plan.format};
  row.input = {
      .price = price,
      .ownership = args.buy ? Ownership::kBought : Ownership::kRented,
      .electricity_per_kwh = args.electricity_per_kwh,
      .usage = {.requests_per_day = requests_per_day(args.requests_per_hour, args.idle_hours),
                .prompt_tokens = static_cast<double>(load.prompt_tokens),
                .output_tokens = static_cast<double>(load.reply_tokens),
                .cached_share = load.cached_share,
                .thinking_share = args.thinking_share,
                .idle_hours_per_day = args.idle_hours},
      .speeds = {plan.prefill.expected, plan.decode_total.expected, 0}};
  if (plan.verdict == Verdict::kNo || !has_price(row.input)) return row;
  // Every machine of a split has its price.
  const auto n = static_cast<double>(plan.n_machines);
  for (double* part : {&row.input.price.per_hour, &row.input.price.purchase, &row.input.price.watts,
                       &row.input.price.idle_watts}) {
    *part *= n;
  }
  row.cost = machine_cost(row.input);
  return row;
}

std::string money(double value) {
  return value < 0.995 ? fmt::format("{:.3f}", value) : fmt::format("{:.2f}", value);
}

std::string break_even(const CostRow& row, const Tariff& tariff) {
  if (tariff.currency != row.input.price.currency) return "other money";
  const auto requests = break_even_requests_per_day(row.input, tariff);
  return requests ? fmt::format("{:.0f}/day", *requests) : "never";
}

void print_row(const CostRow& row) {
  if (!row.cost) return;  // no price, or it does not run
  const Cost& cost = *row.cost;
  fmt::print("{:<10}{:>8.0f}%{:>10}{:>10}", row.format, 100 * cost.busy_share, cost.n_machines,
             money(cost.per_day));
  if (cost.per_million) {
    fmt::print("{:>9}{:>9}{:>9}", money(cost.per_million->input), money(cost.per_million->cached),
               money(cost.per_million->output));
  } else {
    fmt::print("{:>9}{:>9}{:>9}", "-", "-", "-");
  }
  fmt::print("{:>9}{:>9}\n", money(cost.full_load_per_million.input),
             money(cost.full_load_per_million.output));
}

}  // namespace

void CostArgs::add_to(CLI::App& command) {
  const auto number = [&](const char* name, auto& value, const char* text) {
    return command.add_option(name, value, text)->check(CLI::NonNegativeNumber)->group("Cost");
  };
  number("--requests-per-hour", requests_per_hour, "Requests in an hour that is not idle")
      ->capture_default_str();
  number("--idle-hours", idle_hours, "Hours of a day without any request")->capture_default_str();
  number("--thinking", thinking_share, "Share of replies that is thinking, 0 to 1")
      ->capture_default_str();
  command.add_flag("--buy", buy, "The machine is bought, not rented")->group("Cost");
  number("--price-per-hour", price_per_hour, "Rent, instead of the catalogue's");
  number("--purchase", purchase, "Price of the machine, instead of the catalogue's");
  number("--watts", watts, "Power under load, instead of the catalogue's");
  number("--years", years, "Years that a purchase is written off over");
  number("--electricity", electricity_per_kwh, "Price of a kWh for a bought machine")
      ->capture_default_str();
  command.add_option("--tariffs", tariffs, "API tariffs to compare with (docs/planning.md)")
      ->type_name("FILE")
      ->group("Cost");
}

CostTable cost_table(const CostArgs& args, Machine machine, const std::vector<Plan>& plans,
                     std::vector<Tariff> tariffs, const std::string& today) {
  MachinePrice& price = machine.price;
  const bool own_price = (args.buy ? args.purchase : args.price_per_hour).has_value();
  price.per_hour = args.price_per_hour.value_or(price.per_hour);
  price.purchase = args.purchase.value_or(price.purchase);
  price.watts = args.watts.value_or(price.watts);
  price.lifetime_years = args.years.value_or(price.lifetime_years);
  CostTable table{.currency = price.currency};
  for (const Plan& plan : plans) table.rows.push_back(row_of(args, price, plan));
  table.tariffs = std::move(tariffs);
  const bool is_priced =
      std::ranges::any_of(table.rows, [](const CostRow& row) { return row.cost.has_value(); });
  if (is_priced && !own_price) {
    if (const auto old = price_age_warning(machine.name, price.date, today)) {
      table.warnings.push_back(*old);
    }
  }
  for (const Tariff& tariff : table.tariffs) {
    if (const auto old = tariff_warning(tariff, today)) table.warnings.push_back(*old);
  }
  return table;
}

void print_costs(const CostTable& table) {
  const bool is_priced =
      std::ranges::any_of(table.rows, [](const CostRow& row) { return row.cost.has_value(); });
  if (!is_priced) {
    const bool runs = std::ranges::any_of(
        table.rows, [](const CostRow& row) { return row.input.speeds.decode > 0; });
    if (runs) {
      fmt::print("No price is known: --price-per-hour, or --buy with --purchase, gives one.\n");
    }
    return;
  }
  const UsageProfile& usage = table.rows.front().input.usage;
  fmt::print("\ncost in {}, {} ({:.0f} requests a day)\n", table.currency,
             table.rows.front().input.ownership == Ownership::kRented ? "rented" : "bought",
             usage.requests_per_day);
  fmt::print("{:<10}{:>9}{:>10}{:>10}{:>9}{:>9}{:>9}{:>18}\n", "", "", "", "", "million", "tokens",
             "", "at full load");
  fmt::print("{:<10}{:>9}{:>10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}\n", "format", "busy", "machines",
             "a day", "input", "cached", "output", "input", "output");
  for (const CostRow& row : table.rows) print_row(row);
  fmt::print("\n{:<34}{:>9}{:>9}{:>9}{:>12}", "tariffs", "input", "cached", "output", "seen");
  const auto best = std::ranges::min_element(table.rows, {}, [](const CostRow& row) {
    return row.cost ? row.cost->full_load_per_million.output : 1e300;
  });
  fmt::print("  pays from, {}\n", best->format);
  for (const Tariff& tariff : table.tariffs) {
    fmt::print("{:<34}{:>9}{:>9}{:>9}{:>12}  {}\n", tariff.title, money(tariff.input),
               money(tariff.cached_input), money(tariff.output), tariff.date,
               break_even(*best, tariff));
  }
  for (const Tariff& tariff : table.tariffs) {
    if (!tariff.note.empty()) fmt::print("{}: {}\n", tariff.title, tariff.note);
  }
  for (const std::string& warning : table.warnings) fmt::print("warning: {}\n", warning);
}

nlohmann::ordered_json to_json(const CostTable& table) {
  const auto tokens = [](const TokenCosts& c) {
    return Json{
        {"input", c.input}, {"cached", c.cached}, {"output", c.output}, {"answer", c.answer}};
  };
  Json rows = Json::array();
  for (const CostRow& row : table.rows) {
    if (!row.cost) continue;
    Json json = {{"format", row.format},
                 {"busy_share", row.cost->busy_share},
                 {"machines", row.cost->n_machines},
                 {"per_day", row.cost->per_day},
                 {"per_million_at_full_load", tokens(row.cost->full_load_per_million)}};
    if (row.cost->per_million) json["per_million"] = tokens(*row.cost->per_million);
    for (const Tariff& tariff : table.tariffs) {
      if (tariff.currency != row.input.price.currency) continue;
      const auto requests = break_even_requests_per_day(row.input, tariff);
      json["break_even_requests_day"][tariff.name] = requests ? Json(*requests) : Json();
    }
    rows.push_back(std::move(json));
  }
  return {{"currency", table.currency}, {"formats", rows}, {"warnings", table.warnings}};
}

}  // namespace dsv4::cli
