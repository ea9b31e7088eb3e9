#include "plan/tariff.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace dsv4 {
namespace {

using Json = nlohmann::json;

Json file_with(const Json& changes) {
  Json tariff = {{"name", "t"},   {"input", 1.5},         {"cached_input", 0.1},
                 {"output", 4.5}, {"date", "2026-11-01"}, {"source", "list"}};
  tariff.update(changes);
  for (auto it = changes.begin(); it != changes.end(); ++it) {
    if (it->is_null()) tariff.erase(it.key());
  }
  return {{"sources", {{"list", {{"title", "A price list"}}}}}, {"tariffs", {tariff}}};
}

Tariff parse_with(const Json& changes) {
  return parse_tariffs(file_with(changes).dump(), "t.json").at(0);
}

std::string error_with(const Json& changes) {
  try {
    parse_with(changes);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    return error.what();
  }
  return "accepted";
}

TEST(ParseTariffs, reads_prices_of_a_million_tokens) {
  const Tariff tariff = parse_with({{"currency", "CNY"}, {"note", "at night"}});
  EXPECT_EQ(tariff.name, "t");
  EXPECT_EQ(tariff.title, "t");
  EXPECT_EQ(tariff.input, 1.5);
  EXPECT_EQ(tariff.cached_input, 0.1);
  EXPECT_EQ(tariff.output, 4.5);
  EXPECT_EQ(tariff.currency, "CNY");
  EXPECT_EQ(tariff.source, (Source{"A price list", "", ""}));
  EXPECT_EQ(tariff.note, "at night");
}

TEST(ParseTariffs, takes_cached_input_for_input_where_it_has_no_price) {
  EXPECT_EQ(parse_with({{"cached_input", nullptr}}).cached_input, 1.5);
  EXPECT_EQ(parse_with({{"cached_input", 0}}).cached_input, 0);
}

TEST(ParseTariffs, names_the_key_that_is_wrong) {
  EXPECT_EQ(error_with({{"output", nullptr}}), "t.json: tariffs[0].output: is missing");
  EXPECT_EQ(error_with({{"date", nullptr}}), "t.json: tariffs[0].date: is missing");
  EXPECT_EQ(error_with({{"source", nullptr}}), "t.json: tariffs[0].source: is missing");
  EXPECT_EQ(error_with({{"price", 3}}), "t.json: tariffs[0].price: is not a known key");
  EXPECT_EQ(error_with({{"input", -1}}).rfind("t.json: tariffs[0].input: expected a number", 0),
            0u);
  EXPECT_EQ(error_with({{"input", "1"}}).rfind("t.json: tariffs[0].input: expected a number", 0),
            0u);
  EXPECT_EQ(error_with({{"source", "lst"}}).rfind("t.json: tariffs[0].source: \"lst\" is no id", 0),
            0u);
  Json twice = file_with(Json::object());
  twice["tariffs"].push_back(twice["tariffs"][0]);
  try {
    parse_tariffs(twice.dump(), "t.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "t.json: tariffs[1].name: \"t\" is there twice");
  }
  EXPECT_THROW(parse_tariffs(R"({"tariffs": []})", "t.json"), Error);
  EXPECT_THROW(parse_tariffs(R"({"tariffs": {}})", "t.json"), Error);
  EXPECT_THROW(parse_tariffs(R"({})", "t.json"), Error);
  EXPECT_THROW(load_tariffs("/nowhere/t.json"), Error);
}

const Tariff& known(std::string_view name) {
  const auto found = std::ranges::find(known_tariffs(), name, &Tariff::name);
  if (found == known_tariffs().end()) throw std::runtime_error(std::string(name));
  return *found;
}

TEST(KnownTariffs, have_those_of_the_model_itself) {
  const Tariff& night = known("deepseek-v4-pro");
  EXPECT_EQ(night.input, 0.66);
  EXPECT_EQ(night.cached_input, 0.022);
  EXPECT_EQ(night.output, 1.98);
  EXPECT_EQ(known("deepseek-v4-pro-peak").output, 2 * night.output);
  EXPECT_NE(night.source.url.find("api-docs.deepseek.com"), std::string::npos);
  for (const Tariff& tariff : known_tariffs()) {
    EXPECT_LE(tariff.cached_input, tariff.input) << tariff.name;
    EXPECT_LE(tariff.input, tariff.output) << tariff.name;
  }
}

TEST(TariffWarning, says_how_old_the_prices_are) {
  const Tariff tariff = parse_with(Json::object());
  EXPECT_EQ(tariff_warning(tariff, "2026-11-28"), std::nullopt);
  EXPECT_EQ(tariff_warning(tariff, "2027-11-01"),
            "prices of t are from 2026-11-01, 365 days old: check them");
}

}  // namespace
}  // namespace dsv4
