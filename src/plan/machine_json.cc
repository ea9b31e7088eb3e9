#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "plan/fields.h"
#include "plan/machine.h"

#include <algorithm>
#include <array>
#include <utility>

#include <map>
#include <string>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr double kGiga = 1e9;
constexpr double kTera = 1e12;
constexpr double kGib = double{1 << 30};
constexpr double kMicro = 1e-6;

constexpr size_t kMaxFile = size_t{16} << 20;
constexpr size_t kMaxList = 10000;  // of machines, of measurements
constexpr int64_t kMaxDevices = 100000;
constexpr int64_t kMaxTokens = int64_t{1} << 30;

constexpr auto kPositive = NumberRange::kPositive;
constexpr auto kNotNegative = NumberRange::kNotNegative;

constexpr std::array<std::pair<const char*, DeviceKind>, 3> kKinds = {{
    {"cpu", DeviceKind::kCpu},
    {"unified", DeviceKind::kUnified},
    {"gpu", DeviceKind::kGpu},
}};

// A key that may be missing, with its place in a machine: the one table for reading and writing.
struct OptionalNumber {
  const char* key;
  double unit;
  NumberRange range;
  double& (*value)(Machine&);
};

constexpr OptionalNumber kNumbers[] = {
    {"reserved_gib", kGib, kNotNegative, [](Machine& m) -> double& { return m.reserved_bytes; }},
    {"f32_tflops", kTera, kPositive, [](Machine& m) -> double& { return m.rates.f32; }},
    {"bf16_tflops", kTera, kPositive, [](Machine& m) -> double& { return m.rates.bf16; }},
    {"fp8_tflops", kTera, kPositive, [](Machine& m) -> double& { return m.rates.fp8; }},
    {"int8_tops", kTera, kPositive, [](Machine& m) -> double& { return m.rates.int8; }},
    {"fp4_tflops", kTera, kPositive, [](Machine& m) -> double& { return m.rates.fp4; }},
    {"host_memory_gib", kGib, kPositive, [](Machine& m) -> double& { return m.host_memory_bytes; }},
    {"host_link_gb_s", kGiga, kPositive, [](Machine& m) -> double& { return m.host_link; }},
    {"link_gb_s", kGiga, kPositive, [](Machine& m) -> double& { return m.link; }},
    {"link_latency_us", kMicro, kPositive, [](Machine& m) -> double& { return m.link_latency_s; }},
    {"disk_read_gb_s", kGiga, kPositive, [](Machine& m) -> double& { return m.disk.read; }},
    {"disk_latency_us", kMicro, kPositive, [](Machine& m) -> double& { return m.disk.latency_s; }},
};

constexpr std::array<std::pair<const char*, LinkKind>, 2> kLinkKinds = {{
    {"pcie", LinkKind::kPcie},
    {"network", LinkKind::kNetwork},
}};

// Of the link to another machine; all must be there.
struct ClusterNumber {
  const char* key;
  double unit;
  NumberRange range;
  double ClusterLink::*value;
};

constexpr ClusterNumber kClusterNumbers[] = {
    {"send_gb_s", kGiga, kPositive, &ClusterLink::send},
    {"send_spread", 1, kNotNegative, &ClusterLink::send_spread},
    {"receive_gb_s", kGiga, kPositive, &ClusterLink::receive},
    {"receive_spread", 1, kNotNegative, &ClusterLink::receive_spread},
    {"round_trip_us", kMicro, kPositive, &ClusterLink::round_trip_s},
    {"round_trip_spread", 1, kNotNegative, &ClusterLink::round_trip_spread},
};

constexpr OptionalNumber kPriceNumbers[] = {
    {"per_hour", 1, kNotNegative, [](Machine& m) -> double& { return m.price.per_hour; }},
    {"purchase", 1, kNotNegative, [](Machine& m) -> double& { return m.price.purchase; }},
    {"watts", 1, kNotNegative, [](Machine& m) -> double& { return m.price.watts; }},
    {"idle_watts", 1, kNotNegative, [](Machine& m) -> double& { return m.price.idle_watts; }},
};

DeviceKind read_kind(Fields& fields) {
  const std::string word = fields.text("kind");
  for (const auto& [name, kind] : kKinds) {
    if (word == name) return kind;
  }
  fields.refuse("kind", fmt::format("expected cpu, unified or gpu, found \"{}\"", word));
}

const Json& read_list(Fields& fields, const char* key) {
  const Json& list = fields.required(key);
  if (!list.is_array() || list.size() > kMaxList) {
    fields.refuse(key, fmt::format("expected a list of at most {} values", kMaxList));
  }
  return list;
}

std::string item_path(const Fields& fields, const char* key, size_t i) {
  return fmt::format("{}[{}]", fields.path_of(key), i);
}

SystemLink read_link(const Json& json, const std::string& where, const std::string& path) {
  const SourceTable none;
  Fields fields(json, where, path, none, nullptr);
  SystemLink link{.name = fields.text("name")};
  const std::string word = fields.text("kind");
  const auto* const kind = std::ranges::find(kLinkKinds, word, [](auto& k) { return k.first; });
  if (kind == kLinkKinds.end()) {
    fields.refuse("kind", fmt::format("expected pcie or network, found \"{}\"", word));
  }
  link.kind = kind->second;
  link.rate = fields.number_or_zero("gb_s", kGiga, kPositive);
  link.most = fields.number_or_zero("most_gb_s", kGiga, kPositive);
  fields.finish();
  return link;
}

ClusterLink read_cluster_link(const Json& json, const std::string& where, const std::string& path) {
  const SourceTable none;
  Fields fields(json, where, path, none, nullptr);
  ClusterLink link{.peer = fields.text("peer")};
  for (const ClusterNumber& number : kClusterNumbers) {
    link.*number.value = fields.number(number.key, number.unit, number.range);
  }
  link.date = fields.date_or_empty("date");
  fields.finish();
  return link;
}

void read_links(Fields& fields, Machine& machine) {
  if (fields.child("links") != nullptr) {
    const Json& links = read_list(fields, "links");
    for (size_t i = 0; i < links.size(); ++i) {
      machine.links.push_back(read_link(links[i], fields.where(), item_path(fields, "links", i)));
    }
  }
  if (const Json* link = fields.child("cluster_link")) {
    machine.cluster_link = read_cluster_link(*link, fields.where(), fields.path_of("cluster_link"));
  }
}

void read_price(const Json& json, const std::string& where, const std::string& path,
                const SourceTable& table, Machine& machine) {
  Fields fields(json, where, path, table, &machine.sources, "price.");
  for (const OptionalNumber& number : kPriceNumbers) {
    number.value(machine) = fields.number_or_zero(number.key, number.unit, number.range);
  }
  if (fields.child("lifetime_years") != nullptr) {
    machine.price.lifetime_years = fields.number("lifetime_years", 1, kPositive);
  }
  machine.price.currency = fields.currency_or("currency", machine.price.currency);
  machine.price.date = fields.date_or_empty("date");
  fields.finish();
}

ProductRate read_product(const Json& json, const std::string& where, const std::string& path) {
  const SourceTable none;
  Fields fields(json, where, path, none, nullptr);
  ProductRate rate;
  rate.format = fields.text("format");
  fields.required("tokens");
  rate.n_tokens = fields.count_or("tokens", 1, kMaxTokens);
  rate.weights_per_s = fields.number("weights_g_s", kGiga, kPositive);
  rate.read = fields.number("read_gb_s", kGiga, kPositive);
  rate.spread = fields.number_or_zero("spread", 1, kNotNegative);
  fields.finish();
  return rate;
}

OperationRate read_operation(const Json& json, const std::string& where, const std::string& path) {
  const SourceTable none;
  Fields fields(json, where, path, none, nullptr);
  OperationRate rate;
  rate.call_s = fields.number("call_us", kMicro, kNotNegative);
  rate.one_row = fields.number("one_row_g_s", kGiga, kPositive);
  rate.many_rows = fields.number("many_rows_g_s", kGiga, kPositive);
  fields.finish();
  return rate;
}

Probe read_probe(const Json& json, const std::string& where, const std::string& path) {
  const SourceTable none;
  Fields fields(json, where, path, none, nullptr);
  Probe probe;
  probe.version = fields.text("version");
  probe.isa = fields.text("isa");
  fields.required("threads");
  probe.n_threads = static_cast<int>(fields.count_or("threads", 1, kMaxDevices));

  const Json& reads = read_list(fields, "read_gb_s_by_threads");
  for (size_t i = 0; i < reads.size(); ++i) {
    // Read as a field, for its errors.
    const std::string key = fmt::format("read_gb_s_by_threads[{}]", i);
    const Json one = {{key, reads[i]}};
    probe.read_by_threads.push_back(
        Fields(one, where, path, none, nullptr).number(key.c_str(), kGiga, kPositive));
  }
  probe.product_call_s = fields.number("product_call_us", kMicro, kNotNegative);
  const Json& products = read_list(fields, "products");
  std::map<std::string, int64_t> last_tokens;  // by format
  for (size_t i = 0; i < products.size(); ++i) {
    const std::string item = item_path(fields, "products", i);
    ProductRate rate = read_product(products[i], where, item);
    int64_t& last = last_tokens[rate.format];
    if (rate.n_tokens <= last) {
      throw Error(ErrorCode::kInvalidInput, fmt::format("{}: {}.tokens", where, item),
                  fmt::format("{} after {}: expected more with each entry of {}", rate.n_tokens,
                              last, rate.format));
    }
    last = rate.n_tokens;
    probe.products.push_back(std::move(rate));
  }
  const Json& operations = fields.required("operations");
  Fields names(operations, where, fields.path_of("operations"), none, nullptr);
  for (const auto& [name, rate] : operations.items()) {
    probe.operations[name] = read_operation(rate, where, names.path_of(name));
  }
  fields.finish();
  return probe;
}

Machine read_machine(const Json& json, const std::string& where, const std::string& path,
                     const SourceTable& table) {
  Machine machine;
  Fields fields(json, where, path, table, &machine.sources);
  machine.name = fields.name("name");
  machine.title = fields.text_or("title", machine.name);
  machine.kind = read_kind(fields);
  machine.n_devices = fields.count_or("devices", 1, kMaxDevices);
  machine.memory_bytes = fields.number("memory_gib", kGib, kPositive);
  machine.rates.read = fields.number("read_gb_s", kGiga, kPositive);
  for (const OptionalNumber& number : kNumbers) {
    number.value(machine) = fields.number_or_zero(number.key, number.unit, number.range);
  }
  if (machine.reserved_bytes >= machine.memory_bytes) {
    fields.refuse("reserved_gib", "leaves nothing of memory_gib");
  }
  read_links(fields, machine);
  if (const Json* price = fields.child("price")) {
    read_price(*price, where, fields.path_of("price"), table, machine);
  }
  machine.date = fields.date_or_empty("date");
  machine.note = fields.text_or("note", "");
  if (const Json* probe = fields.child("probe")) {
    machine.probe = read_probe(*probe, where, fields.path_of("probe"));
  }
  fields.finish();
  return machine;
}

// A number with its source, if it has one.
OrderedJson number_json(const Machine& machine, const std::string& key, const OrderedJson& value) {
  const auto it = machine.sources.find(key);
  if (it == machine.sources.end()) return value;
  OrderedJson source = {{"title", it->second.title}};
  if (!it->second.url.empty()) source["url"] = it->second.url;
  if (!it->second.date.empty()) source["date"] = it->second.date;
  return {{"value", value}, {"source", source}};
}

OrderedJson links_json(const std::vector<SystemLink>& links) {
  OrderedJson list = OrderedJson::array();
  for (const SystemLink& link : links) {
    OrderedJson json = {{"name", link.name}};
    for (const auto& [name, kind] : kLinkKinds) {
      if (kind == link.kind) json["kind"] = name;
    }
    if (link.rate > 0) json["gb_s"] = link.rate / kGiga;
    if (link.most > 0) json["most_gb_s"] = link.most / kGiga;
    list.push_back(std::move(json));
  }
  return list;
}

OrderedJson cluster_link_json(const ClusterLink& link) {
  OrderedJson json = {{"peer", link.peer}};
  for (const ClusterNumber& number : kClusterNumbers) {
    json[number.key] = link.*number.value / number.unit;
  }
  if (!link.date.empty()) json["date"] = link.date;
  return json;
}

OrderedJson price_json(const Machine& machine) {
  const MachinePrice& price = machine.price;
  OrderedJson json = OrderedJson::object();
  Machine copy = machine;  // the table gives places to write to
  for (const OptionalNumber& number : kPriceNumbers) {
    const double value = number.value(copy);
    if (value > 0)
      json[number.key] = number_json(machine, fmt::format("price.{}", number.key), value);
  }
  if (json.empty()) return json;
  json["lifetime_years"] = number_json(machine, "price.lifetime_years", price.lifetime_years);
  json["currency"] = price.currency;
  if (!price.date.empty()) json["date"] = price.date;
  return json;
}

OrderedJson probe_json(const Probe& probe) {
  OrderedJson json = {{"version", probe.version}, {"isa", probe.isa}, {"threads", probe.n_threads}};
  json["read_gb_s_by_threads"] = OrderedJson::array();
  for (const double rate : probe.read_by_threads) {
    json["read_gb_s_by_threads"].push_back(rate / kGiga);
  }
  json["product_call_us"] = probe.product_call_s / kMicro;
  json["products"] = OrderedJson::array();
  for (const ProductRate& rate : probe.products) {
    json["products"].push_back({{"format", rate.format},
                                {"tokens", rate.n_tokens},
                                {"weights_g_s", rate.weights_per_s / kGiga},
                                {"read_gb_s", rate.read / kGiga},
                                {"spread", rate.spread}});
  }
  json["operations"] = OrderedJson::object();
  for (const auto& [name, rate] : probe.operations) {
    json["operations"][name] = {{"call_us", rate.call_s / kMicro},
                                {"one_row_g_s", rate.one_row / kGiga},
                                {"many_rows_g_s", rate.many_rows / kGiga}};
  }
  return json;
}

}  // namespace

Machine parse_machine(const Json& json, const std::string& where) {
  return read_machine(json, where, "", {});
}

std::vector<Machine> parse_machines(std::string_view text, const std::string& where) {
  const Json json = parse_json(text, where);
  if (!json.is_object() || !json.contains("machines")) return {parse_machine(json, where)};

  const SourceTable none;
  Fields file(json, where, "", none, nullptr);
  const Json* sources = file.child("sources");
  const SourceTable table = sources == nullptr ? none : parse_sources(*sources, where);
  const Json& list = read_list(file, "machines");
  file.finish();
  if (list.empty()) file.refuse("machines", "expected at least one machine");
  std::vector<Machine> machines;
  for (size_t i = 0; i < list.size(); ++i) {
    machines.push_back(read_machine(list[i], where, item_path(file, "machines", i), table));
  }
  return machines;
}

std::vector<Machine> load_machines(const std::string& path) {
  return parse_machines(read_file(path, kMaxFile), path);
}

OrderedJson machine_to_json(const Machine& machine) {
  OrderedJson json = {{"name", machine.name}, {"title", machine.title}};
  for (const auto& [name, kind] : kKinds) {
    if (kind == machine.kind) json["kind"] = name;
  }
  const auto add = [&](const char* key, double value) {
    if (value > 0) json[key] = number_json(machine, key, value);
  };
  json["devices"] = number_json(machine, "devices", machine.n_devices);
  add("memory_gib", machine.memory_bytes / kGib);
  add("read_gb_s", machine.rates.read / kGiga);
  Machine copy = machine;  // the table gives places to write to
  for (const OptionalNumber& number : kNumbers) add(number.key, number.value(copy) / number.unit);
  if (!machine.links.empty()) json["links"] = links_json(machine.links);
  if (machine.cluster_link) json["cluster_link"] = cluster_link_json(*machine.cluster_link);
  if (OrderedJson price = price_json(machine); !price.empty()) json["price"] = std::move(price);
  if (!machine.date.empty()) json["date"] = machine.date;
  if (!machine.note.empty()) json["note"] = machine.note;
  if (machine.probe) json["probe"] = probe_json(*machine.probe);
  return json;
}

}  // namespace dsv4
