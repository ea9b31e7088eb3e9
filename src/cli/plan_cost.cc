#include "cli/plan_cost.h"

#include "plan/date.h"

#include <CLI/CLI.hpp>

#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4::cli {
namespace {

using Json = nlohmann::ordered_json;

void print_row(const PricedFormat& priced) {
  const CostTexts texts = cost_texts(priced.cost);
  fmt::print("{:<10}{:>9}{:>10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}\n", priced.format, texts.busy,
             texts.machines, texts.per_day, texts.input, texts.cached, texts.output,
             texts.full_load_input, texts.full_load_output);
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
  const CostInput input = {
      .price = price,
      .ownership = args.buy ? Ownership::kBought : Ownership::kRented,
      .electricity_per_kwh = args.electricity_per_kwh,
      .usage = {.requests_per_day = requests_per_day(args.requests_per_hour, args.idle_hours),
                .thinking_share = args.thinking_share,
                .idle_hours_per_day = args.idle_hours}};
  CostTable table = price_plans(plans, input, std::move(tariffs));
  if (!table.formats.empty() && !own_price) {
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
  if (table.lacks_price) {
    fmt::print("No price is known: --price-per-hour, or --buy with --purchase, gives one.\n");
  }
  if (table.formats.empty()) return;
  const CostInput& input = table.formats.front().input;
  fmt::print("\ncost in {}, {} ({:.0f} requests a day)\n", table.currency,
             ownership_name(input.ownership), input.usage.requests_per_day);
  fmt::print("{:<10}{:>9}{:>10}{:>10}{:>9}{:>9}{:>9}{:>18}\n", "", "", "", "", "million", "tokens",
             "", "at full load");
  fmt::print("{:<10}{:>9}{:>10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}\n", "format", "busy", "machines",
             "a day", "input", "cached", "output", "input", "output");
  for (const PricedFormat& priced : table.formats) print_row(priced);
  const PricedFormat& cheapest = table.cheapest();
  fmt::print("\n{:<34}{:>9}{:>9}{:>9}{:>12}  pays from, {}\n", "tariffs", "input", "cached",
             "output", "seen", cheapest.format);
  for (const Tariff& tariff : table.tariffs) {
    fmt::print("{:<34}{:>9}{:>9}{:>9}{:>12}  {}\n", tariff.title, money_text(tariff.input),
               money_text(tariff.cached_input), money_text(tariff.output), tariff.date,
               break_even_text(cheapest, tariff));
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
  for (const PricedFormat& priced : table.formats) {
    const Cost& cost = priced.cost;
    Json json = {{"format", priced.format},
                 {"busy_share", cost.busy_share},
                 {"machines", cost.n_machines},
                 {"per_day", cost.per_day},
                 {"per_million_at_full_load", tokens(cost.full_load_per_million)}};
    if (cost.per_million) json["per_million"] = tokens(*cost.per_million);
    for (const Tariff& tariff : table.tariffs) {
      if (tariff.currency != priced.input.price.currency) continue;
      const auto requests = break_even_requests_per_day(priced.input, tariff);
      json["break_even_requests_day"][tariff.name] = requests ? Json(*requests) : Json();
    }
    rows.push_back(std::move(json));
  }
  return {{"currency", table.currency}, {"formats", rows}, {"warnings", table.warnings}};
}

}  // namespace dsv4::cli
