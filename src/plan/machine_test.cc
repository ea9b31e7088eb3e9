#include "plan/machine.h"

#include "base/error.h"
#include "plan/date.h"

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

using Json = nlohmann::json;

constexpr double kGib = 1073741824;

Json small() { return {{"name", "box"}, {"kind", "cpu"}, {"memory_gib", 64}, {"read_gb_s", 80.5}}; }

Json small_probe() {
  return {{"version", "0.1.0"},
          {"isa", "avx2"},
          {"threads", 2},
          {"read_gb_s_by_threads", {10.5, 20}},
          {"product_call_us", 3},
          {"products",
           {{{"format", "FP4"},
             {"tokens", 4},
             {"weights_g_s", 7.5},
             {"read_gb_s", 40},
             {"spread", 0.1}}}},
          {"operations",
           {{"attend", {{"call_us", 2}, {"one_row_g_s", 0.5}, {"many_rows_g_s", 0.75}}}}}};
}

Json small_cluster_link() {
  return {{"peer", "box:7411"},    {"send_gb_s", 1.25},   {"send_spread", 0.02},
          {"receive_gb_s", 1.1},   {"receive_spread", 0}, {"round_trip_us", 45},
          {"round_trip_spread", 1}};
}

// what() of the error that a machine causes, after a change to the small one.
std::string error_of(const std::function<void(Json&)>& change) {
  Json json = small();
  change(json);
  try {
    parse_machine(json, "m.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    return error.what();
  }
  return "accepted";
}

// The error of one key with a value.
std::string error_with(const char* key, const Json& value) {
  return error_of([&](Json& json) { json[key] = value; });
}

bool starts(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }

TEST(ParseMachine, takes_four_keys_and_leaves_the_rest_unknown) {
  const Machine machine = parse_machine(small(), "m.json");
  EXPECT_EQ(machine.name, "box");
  EXPECT_EQ(machine.title, "box");
  EXPECT_EQ(machine.kind, DeviceKind::kCpu);
  EXPECT_EQ(machine.n_devices, 1);
  EXPECT_EQ(machine.memory_bytes, 64 * kGib);
  EXPECT_EQ(machine.rates.read, 80.5e9);
  EXPECT_EQ(machine.rates.bf16, 0);
  EXPECT_EQ(machine.disk.read, 0);
  EXPECT_EQ(machine.price.per_hour, 0);
  EXPECT_EQ(machine.price.lifetime_years, 4);
  EXPECT_FALSE(machine.probe.has_value());
  EXPECT_TRUE(machine.sources.empty());
}

TEST(ParseMachine, reads_every_key_in_its_unit) {
  Json json = small();
  json.update(Json{{"title", "A box"},
                   {"kind", "gpu"},
                   {"devices", 8},
                   {"reserved_gib", 1.5},
                   {"f32_tflops", 1},
                   {"bf16_tflops", 2},
                   {"fp8_tflops", 4},
                   {"int8_tops", 5},
                   {"fp4_tflops", 8},
                   {"host_memory_gib", 256},
                   {"host_link_gb_s", 50},
                   {"link_gb_s", 450},
                   {"link_latency_us", 5},
                   {"disk_read_gb_s", 3},
                   {"disk_latency_us", 100},
                   {"price",
                    {{"per_hour", 20},
                     {"purchase", 250000},
                     {"watts", 10200},
                     {"idle_watts", 2000},
                     {"lifetime_years", 5},
                     {"currency", "EUR"},
                     {"date", "2026-11-01"}}},
                   {"date", "2026-11-28"},
                   {"note", "not for sale"},
                   {"probe", small_probe()}});
  const Machine m = parse_machine(json, "m.json");
  EXPECT_EQ(m.kind, DeviceKind::kGpu);
  EXPECT_EQ(m.n_devices, 8);
  EXPECT_EQ(m.usable_bytes(), 8 * 62.5 * kGib);
  EXPECT_EQ(m.rates.f32, 1e12);
  EXPECT_EQ(m.rates.bf16, 2e12);
  EXPECT_EQ(m.rates.fp8, 4e12);
  EXPECT_EQ(m.rates.int8, 5e12);
  EXPECT_EQ(m.rates.fp4, 8e12);
  EXPECT_EQ(m.host_memory_bytes, 256 * kGib);
  EXPECT_EQ(m.host_link, 50e9);
  EXPECT_EQ(m.link, 450e9);
  EXPECT_DOUBLE_EQ(m.link_latency_s, 5e-6);
  EXPECT_EQ(m.disk.read, 3e9);
  EXPECT_DOUBLE_EQ(m.disk.latency_s, 1e-4);
  EXPECT_EQ(m.price.per_hour, 20);
  EXPECT_EQ(m.price.purchase, 250000);
  EXPECT_EQ(m.price.watts, 10200);
  EXPECT_EQ(m.price.idle_watts, 2000);
  EXPECT_EQ(m.price.lifetime_years, 5);
  EXPECT_EQ(m.price.currency, "EUR");
  EXPECT_EQ(m.price.date, "2026-11-01");
  EXPECT_EQ(m.note, "not for sale");

  ASSERT_TRUE(m.probe.has_value());
  EXPECT_EQ(m.probe->isa, "avx2");
  EXPECT_EQ(m.probe->n_threads, 2);
  EXPECT_EQ(m.probe->read_by_threads, (std::vector<double>{10.5e9, 20e9}));
  EXPECT_DOUBLE_EQ(m.probe->product_call_s, 3e-6);
  ASSERT_EQ(m.probe->products.size(), 1u);
  EXPECT_EQ(m.probe->products[0].format, "FP4");
  EXPECT_EQ(m.probe->products[0].n_tokens, 4);
  EXPECT_EQ(m.probe->products[0].weights_per_s, 7.5e9);
  EXPECT_EQ(m.probe->products[0].read, 40e9);
  EXPECT_EQ(m.probe->products[0].spread, 0.1);
  EXPECT_DOUBLE_EQ(m.probe->operations.at("attend").call_s, 2e-6);
  EXPECT_EQ(m.probe->operations.at("attend").one_row, 0.5e9);
  EXPECT_EQ(m.probe->operations.at("attend").many_rows, 0.75e9);
}

TEST(ParseMachine, names_the_key_that_is_missing_or_unknown) {
  for (const char* key : {"name", "kind", "memory_gib", "read_gb_s"}) {
    EXPECT_EQ(error_of([&](Json& json) { json.erase(key); }),
              fmt::format("m.json: {}: is missing", key));
  }
  EXPECT_EQ(error_with("memory_gb", 64), "m.json: memory_gb: is not a known key");
  EXPECT_EQ(error_with("price", Json{{"monthly", 3}}), "m.json: price.monthly: is not a known key");
  EXPECT_EQ(error_with("memory_gib", Json{{"source", "a data sheet"}}),
            "m.json: memory_gib.value: is missing");
  Json probe = small_probe();
  probe["products"][0].erase("tokens");
  EXPECT_EQ(error_with("probe", probe), "m.json: probe.products[0].tokens: is missing");
  probe = small_probe();
  probe["products"].push_back(probe["products"][0]);
  EXPECT_EQ(error_with("probe", probe),
            "m.json: probe.products[1].tokens: 4 after 4: expected more with each entry of FP4");
  probe["products"][1]["format"] = "FP8";
  EXPECT_EQ(error_with("probe", probe), "accepted");
  probe = small_probe();
  probe["operations"]["attend"]["rows"] = 1;
  EXPECT_EQ(error_with("probe", probe), "m.json: probe.operations.attend.rows: is not a known key");
}

TEST(ParseMachine, refuses_numbers_that_no_machine_has) {
  const Json wrong[] = {-1,
                        "64",
                        nullptr,
                        true,
                        Json::array(),
                        1e300,
                        std::nan(""),
                        std::numeric_limits<double>::infinity()};
  for (const char* key :
       {"memory_gib", "read_gb_s", "reserved_gib", "int8_tops", "link_latency_us"}) {
    for (const Json& value : wrong) {
      EXPECT_TRUE(starts(error_with(key, value), fmt::format("m.json: {}: expected a number", key)))
          << key << " " << value;
    }
  }
  EXPECT_TRUE(starts(error_with("memory_gib", 0), "m.json: memory_gib: expected a number above 0"));
  EXPECT_TRUE(starts(error_with("read_gb_s", 0.0), "m.json: read_gb_s: expected a number above 0"));
  EXPECT_TRUE(starts(error_with("bf16_tflops", 0), "m.json: bf16_tflops: expected a number above"));
  EXPECT_TRUE(starts(error_with("devices", 0), "m.json: devices: expected"));
  EXPECT_TRUE(starts(error_with("devices", 1.5), "m.json: devices: expected a whole number"));
  EXPECT_TRUE(starts(error_with("price", Json{{"lifetime_years", 0}}),
                     "m.json: price.lifetime_years: expected a number above 0"));
  EXPECT_EQ(error_with("reserved_gib", 64), "m.json: reserved_gib: leaves nothing of memory_gib");
  EXPECT_EQ(error_with("reserved_gib", 0), "accepted");
  Json probe = small_probe();
  probe["read_gb_s_by_threads"][1] = 0;
  EXPECT_TRUE(starts(error_with("probe", probe),
                     "m.json: probe.read_gb_s_by_threads[1]: expected a number"));
}

TEST(ParseMachine, refuses_words_that_mean_nothing) {
  EXPECT_TRUE(starts(error_with("kind", "tpu"), "m.json: kind: expected cpu, unified or gpu"));
  EXPECT_TRUE(starts(error_with("kind", 3), "m.json: kind: expected a text"));
  EXPECT_TRUE(starts(error_with("name", "two words"), "m.json: name: expected at most 64 letters"));
  EXPECT_TRUE(starts(error_with("title", ""), "m.json: title: expected 1 to"));
  EXPECT_TRUE(starts(error_with("note", "a\nb"), "m.json: note: expected 1 to"));
  EXPECT_TRUE(starts(error_with("date", "2026-02-30"), "m.json: date: expected a day"));
  EXPECT_TRUE(starts(error_with("price", Json{{"currency", "usd"}}),
                     "m.json: price.currency: expected three capital letters"));
  EXPECT_TRUE(starts(error_with("price", 20), "m.json: price: expected an object"));
  EXPECT_TRUE(starts(error_with("probe", "none"), "m.json: probe: expected an object"));
}

TEST(ParseMachine, reads_links) {
  Json json = small();
  json["links"] = {{{"name", "Some GPU"}, {"kind", "pcie"}, {"gb_s", 4}, {"most_gb_s", 63}},
                   {{"name", "eth0"}, {"kind", "network"}}};
  json["cluster_link"] = small_cluster_link();
  json["cluster_link"]["date"] = "2026-11-28";
  const Machine machine = parse_machine(json, "m.json");
  ASSERT_EQ(machine.links.size(), 2u);
  EXPECT_EQ(machine.links[0].name, "Some GPU");
  EXPECT_EQ(machine.links[0].kind, LinkKind::kPcie);
  EXPECT_EQ(machine.links[0].rate, 4e9);
  EXPECT_EQ(machine.links[0].most, 63e9);
  EXPECT_EQ(machine.links[1].kind, LinkKind::kNetwork);
  EXPECT_EQ(machine.links[1].rate, 0);
  ASSERT_TRUE(machine.cluster_link.has_value());
  EXPECT_EQ(machine.cluster_link->peer, "box:7411");
  EXPECT_EQ(machine.cluster_link->send, 1.25e9);
  EXPECT_EQ(machine.cluster_link->send_spread, 0.02);
  EXPECT_EQ(machine.cluster_link->receive, 1.1e9);
  EXPECT_DOUBLE_EQ(machine.cluster_link->round_trip_s, 45e-6);
  EXPECT_EQ(machine.cluster_link->round_trip_spread, 1);
  EXPECT_EQ(machine.cluster_link->date, "2026-11-28");
  const nlohmann::ordered_json written = machine_to_json(machine);
  EXPECT_EQ(Json::parse(written["links"].dump()), json["links"]);
  EXPECT_EQ(machine_to_json(parse_machine(Json::parse(written.dump()), "again.json")), written);
}

TEST(ParseMachine, names_what_is_wrong_with_a_link) {
  EXPECT_EQ(error_with("links", Json::array()), "accepted");
  EXPECT_TRUE(starts(error_with("links", Json::object()), "m.json: links: expected a list"));
  const auto link = [](const Json& json) { return error_with("links", Json::array({json})); };
  EXPECT_TRUE(starts(link("eth0"), "m.json: links[0]: expected an object"));
  EXPECT_EQ(link({{"name", "eth0"}}), "m.json: links[0].kind: is missing");
  EXPECT_EQ(link({{"name", "eth0"}, {"kind", "wifi"}}),
            "m.json: links[0].kind: expected pcie or network, found \"wifi\"");
  EXPECT_TRUE(starts(link({{"name", "eth0"}, {"kind", "network"}, {"gb_s", 0}}),
                     "m.json: links[0].gb_s: expected a number above 0"));
  EXPECT_EQ(error_with("cluster_link", small_cluster_link()), "accepted");
  const Json whole = small_cluster_link();
  for (const auto& [key, value] : whole.items()) {
    Json json = whole;
    json.erase(key);
    EXPECT_EQ(error_with("cluster_link", json),
              fmt::format("m.json: cluster_link.{}: is missing", key));
    json[key] = -1;
    EXPECT_TRUE(starts(error_with("cluster_link", json),
                       fmt::format("m.json: cluster_link.{}: expected", key)));
  }
}

TEST(ParseMachines, gives_a_value_the_source_that_its_id_names) {
  const std::vector<Machine> machines = parse_machines(R"({
    "sources": {"sheet": {"title": "A data sheet", "url": "https://example.org", "date": "2026-11-28"}},
    "machines": [
      {"name": "a", "kind": "cpu", "memory_gib": {"value": 8, "source": "sheet"}, "read_gb_s": 10,
       "price": {"watts": {"value": 30, "source": "a power meter"}}},
      {"name": "b", "kind": "gpu", "memory_gib": 8, "read_gb_s": 10}
    ]})",
                                                       "list.json");
  ASSERT_EQ(machines.size(), 2u);
  EXPECT_EQ(machines[0].memory_bytes, 8 * kGib);
  EXPECT_EQ(machines[0].sources.at("memory_gib"),
            (Source{"A data sheet", "https://example.org", "2026-11-28"}));
  EXPECT_EQ(machines[0].sources.at("price.watts"), (Source{"a power meter", "", ""}));
  EXPECT_EQ(machines[0].sources.size(), 2u);
  EXPECT_EQ(machines[1].name, "b");
}

TEST(ParseMachines, names_the_machine_of_a_list) {
  const auto error = [](const std::string& text) {
    try {
      parse_machines(text, "list.json");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(error(R"({"machines": [{"name": "a", "kind": "cpu", "memory_gib": 8, "read_gb_s": 1},
                                   {"name": "b", "kind": "cpu", "memory_gib": 8}]})"),
            "list.json: machines[1].read_gb_s: is missing");
  EXPECT_TRUE(starts(error(R"({"machines": [{"name": "a", "kind": "cpu", "read_gb_s": 1,
                               "memory_gib": {"value": 8, "source": "shet"}}]})"),
                     "list.json: machines[0].memory_gib.source: \"shet\" is no id"));
  EXPECT_EQ(error(R"({"machines": []})"), "list.json: machines: expected at least one machine");
  EXPECT_TRUE(starts(error(R"({"machines": 3})"), "list.json: machines: expected a list"));
  EXPECT_TRUE(starts(error(R"({"sources": {"a": "some text"}, "machines": []})"),
                     "list.json: sources.a: expected an object"));
  EXPECT_TRUE(starts(error(R"({"sources": {"a": {"url": "x"}}, "machines": []})"),
                     "list.json: sources.a.title: is missing"));
  EXPECT_TRUE(starts(error("[]"), "list.json: expected an object, found []"));
  EXPECT_TRUE(starts(error("{"), "list.json: not valid JSON"));
}

TEST(MachineToJson, is_read_back_as_the_same_machine) {
  Json json = small();
  json["reserved_gib"] = 0.1;
  json["int8_tops"] = {{"value", 0.7}, {"source", "measured here"}};
  json["disk_latency_us"] = 81.3;
  json["price"] = {{"watts", 65.1}, {"currency", "CHF"}, {"date", "2026-11-01"}};
  json["probe"] = small_probe();
  const Machine machine = parse_machine(json, "m.json");
  const nlohmann::ordered_json written = machine_to_json(machine);
  const Machine again = parse_machine(Json::parse(written.dump()), "again.json");
  EXPECT_EQ(again.memory_bytes, machine.memory_bytes);
  EXPECT_EQ(again.reserved_bytes, machine.reserved_bytes);
  EXPECT_DOUBLE_EQ(again.rates.int8, 0.7e12);
  EXPECT_DOUBLE_EQ(again.disk.latency_s, 81.3e-6);
  EXPECT_EQ(again.sources, machine.sources);
  EXPECT_EQ(again.price.currency, "CHF");
  EXPECT_EQ(again.price.watts, 65.1);
  EXPECT_EQ(again.price.date, "2026-11-01");
  EXPECT_EQ(machine_to_json(again), written);
  EXPECT_FALSE(written.contains("bf16_tflops"));
  EXPECT_FALSE(written["price"].contains("per_hour"));
}

TEST(LoadMachines, names_the_file) {
  const std::string path = testing::TempDir() + "machine_test.json";
  std::ofstream(path) << small().dump();
  EXPECT_EQ(load_machines(path).at(0).name, "box");
  std::ofstream(path) << R"({"name": "box"})";
  try {
    load_machines(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), path + ": kind");
  }
  std::remove(path.c_str());
  EXPECT_THROW(load_machines(path), Error);
}

TEST(DayNumber, counts_days_of_the_calendar_only) {
  EXPECT_EQ(day_number("1970-01-01"), 0);
  EXPECT_EQ(day_number("1970-03-01"), 59);
  EXPECT_EQ(day_number("2024-02-29"), 19782);
  for (const char* wrong : {"", "2023-02-29", "2026-13-01", "2026-1-01", "2026/01/01",
                            "2026-01-011", "-026-01-01", "today"}) {
    EXPECT_FALSE(day_number(wrong).has_value()) << wrong;
  }
}

TEST(PriceAgeWarning, comes_after_180_days) {
  EXPECT_EQ(price_age_warning("x", "2026-01-01", "2026-06-30"), std::nullopt);  // 180 days
  EXPECT_EQ(price_age_warning("x", "2026-01-01", "2026-07-01"),
            "prices of x are from 2026-01-01, 181 days old: check them");
  EXPECT_EQ(price_age_warning("x", "", "2026-07-01"), "prices of x have no date: check them");
  EXPECT_THROW(price_age_warning("x", "2026-01-01", "soon"), Error);
}

TEST(ParseMachines, tells_ids_of_sources_apart_behind_a_zero_byte_too) {
  const std::string text = R"({"sources": {"a": {"title": "one"}, "a\u0000": {"title": "two"}},
                               "machines": []})";
  try {
    parse_machines(text, "list.json");
  } catch (const Error&) {
    // It may be refused, as any input may.
  }
  EXPECT_THROW(parse_machines(R"({"sources": {"a\u0000": 1}, "machines": []})", "list.json"),
               Error);
}

}  // namespace
}  // namespace dsv4
