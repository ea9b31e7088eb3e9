// The page is read as strictly as XML, by a checker that knows tags, attributes and entities only.
#include "plan/plan_page.h"

#include "plan/plan_charts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {
namespace {

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-'; }

// What is wrong with a page first: empty if every tag is closed in its order, attributes are quoted
// and there once, and "<" and "&" stand for markup alone.
class Checker {
 public:
  explicit Checker(std::string_view page) : page_(page) {}

  std::string problem() {
    constexpr std::string_view kDoctype = "<!DOCTYPE html>";
    if (!page_.starts_with(kDoctype)) return "no doctype";
    at_ = kDoctype.size();
    while (problem_.empty() && at_ < page_.size()) {
      page_[at_] == '<' ? tag() : character('<');
    }
    if (problem_.empty() && !open_.empty()) problem_ = "not closed: " + open_.back();
    return problem_;
  }

 private:
  void fail(const std::string& message) {
    const size_t from = at_ < 40 ? 0 : at_ - 40;
    if (problem_.empty()) problem_ = message + " near: " + std::string(page_.substr(from, 80));
  }

  char here() const { return at_ < page_.size() ? page_[at_] : '\0'; }

  std::string name() {
    const size_t from = at_;
    while (is_name(here())) ++at_;
    if (from == at_) fail("no name");
    return std::string(page_.substr(from, at_ - from));
  }

  // Of text or of an attribute's value.
  void character(char forbidden) {
    const char c = page_[at_];
    if (c == forbidden || c == '<') fail("a character that must be escaped");
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n') fail("a control character");
    if (c == '&') {
      constexpr std::string_view kEntities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
      const auto fits = [&](std::string_view e) { return page_.substr(at_).starts_with(e); };
      if (std::ranges::none_of(kEntities, fits)) fail("an unknown entity");
    }
    ++at_;
  }

  void attributes() {
    std::set<std::string> seen;
    while (problem_.empty() && here() == ' ') {
      ++at_;
      const std::string key = name();
      if (!seen.insert(key).second) fail("twice: " + key);
      if (key.starts_with("on")) fail("a handler of events");
      if (page_.substr(at_, 2) != "=\"") return fail("no value of " + key);
      at_ += 2;
      while (problem_.empty() && at_ < page_.size() && page_[at_] != '"') character('"');
      ++at_;
    }
  }

  void tag() {
    ++at_;
    if (here() == '/') {
      ++at_;
      const std::string closed = name();
      if (open_.empty() || open_.back() != closed) return fail("not open: " + closed);
      open_.pop_back();
    } else {
      const std::string opened = name();
      if (opened == "script") fail("a script");
      attributes();
      if (here() == '/') {
        ++at_;
      } else {
        open_.push_back(opened);
      }
    }
    if (here() != '>') return fail("no end of a tag");
    ++at_;
  }

  std::string_view page_;
  size_t at_ = 0;
  std::vector<std::string> open_;
  std::string problem_;
};

constexpr const char* kHostile = "</title><script>alert('x')</script>\"&\x01 onload=\"";

Machine machine_of(double memory_bytes) {
  Machine m;
  m.name = "test";
  m.title = "a machine";
  m.memory_bytes = memory_bytes;
  m.rates = {.read = 1e11, .f32 = 1e12, .bf16 = 1e12, .int8 = 1e12};
  return m;
}

PlanSheet sheet_of(const Machine& machine, const std::vector<std::string>& formats,
                   const Workload& load = {}) {
  PlanSheet sheet;
  sheet.table = {.model = "flash", .machine = machine.title, .workload = load};
  sheet.machine = machine;
  std::vector<WeightTable> tables;
  for (const std::string& format : formats) {
    tables.push_back(weight_table(preset_config("flash"), format));
    sheet.table.plans.push_back(make_plan(tables.back(), machine, load, {}));
  }
  sheet.speeds = speed_curves(formats, load, 16384, [&](size_t i, const Workload& w) {
    return make_plan(tables[i], machine, w, {});
  });
  return sheet;
}

void add_costs(PlanSheet& sheet) {
  CostInput input;
  input.price.per_hour = 3;
  input.usage.requests_per_day = 100;
  Tariff tariff{.name = "some-api", .title = "Some API", .input = 1, .cached_input = 0.1};
  tariff.output = 4;
  tariff.date = "2026-10-01";
  tariff.source = {.title = "prices", .url = "https://example.org/prices", .date = "2026-10-01"};
  sheet.costs = price_plans(sheet.table.plans, input, {tariff});
}

bool has(const std::string& page, std::string_view text) {
  return page.find(text) != std::string::npos;
}

size_t count(const std::string& page, std::string_view text) {
  size_t n = 0;
  for (size_t at = page.find(text); at != std::string::npos; at = page.find(text, at + 1)) ++n;
  return n;
}

TEST(Checker, refuses_what_is_not_well_formed) {
  EXPECT_EQ(Checker("<!DOCTYPE html><p class=\"a\">x &amp; y<br/></p>").problem(), "");
  for (const char* bad :
       {"<p>", "<p></b>", "<p><b></p></b>", "<p a=\"1\" a=\"2\"></p>", "a & b", "<p a=1></p>",
        "<p a=\"<\"></p>", "</p>", "<script></script>", "<p onload=\"x\"></p>", "<"}) {
    EXPECT_NE(Checker(std::string("<!DOCTYPE html>") + bad).problem(), "") << bad;
  }
}

TEST(PlanPage, is_well_formed_and_has_every_format_with_its_verdict) {
  PlanSheet sheet = sheet_of(machine_of(400e9), {"F16", "Q8_0", "Q4_K_M", "Q2_K"});
  ASSERT_EQ(sheet.table.plans[0].verdict, Verdict::kNo);
  ASSERT_EQ(sheet.table.plans[3].verdict, Verdict::kResident);
  add_costs(sheet);
  const std::string page = plan_page({sheet}, "2026-11-28");
  EXPECT_EQ(Checker(page).problem(), "");
  for (const Plan& plan : sheet.table.plans) {
    const std::string row = "<th scope=\"row\">" + plan.format + "</th>";
    const size_t at = page.find(row);
    ASSERT_NE(at, std::string::npos) << plan.format;
    const std::string line = page.substr(at, page.find('\n', at) - at);
    EXPECT_TRUE(has(line, ">" + std::string(verdict_name(plan.verdict)) + "<")) << line;
    EXPECT_TRUE(has(line, plan.reason)) << line;
    EXPECT_TRUE(has(line, gb_text(static_cast<double>(plan.file_bytes)))) << line;
  }
  for (const char* words : {"nan", "inf\"", "inf ", "inf<", "inf,", "-nan"}) {
    EXPECT_FALSE(has(page, words)) << words;
  }
}

TEST(PlanPage, says_with_titles_and_tables_what_plots_show) {
  PlanSheet sheet = sheet_of(machine_of(400e9), {"Q8_0", "Q4_K_M"});
  add_costs(sheet);
  const std::string page = plan_page({sheet}, "2026-11-28");
  const size_t plots = count(page, "role=\"img\"");
  EXPECT_EQ(plots, 5u);
  EXPECT_EQ(count(page, "role=\"img\">\n<title>"), plots);
  EXPECT_EQ(count(page, "<desc>"), plots);
  EXPECT_EQ(count(page, "<details><summary>Table: "), plots);
  for (const Formula& f : sheet.table.plans[0].formulas) {
    EXPECT_TRUE(has(page, "<dd>" + f.formula + "</dd>")) << f.formula;
  }
}

TEST(PlanPage, shows_names_as_text) {
  Machine machine = machine_of(400e9);
  machine.title = machine.note = kHostile;
  machine.sources["read_gb_s"] = {.title = kHostile, .url = "https://example.org/?\"<b>&"};
  machine.sources["memory_gib"] = {.title = "a trap", .url = "javascript:alert(1)"};
  PlanSheet sheet = sheet_of(machine, {"Q4_K_M"});
  add_costs(sheet);
  sheet.table.model = kHostile;
  sheet.table.plans[0].format = kHostile;
  sheet.table.plans[0].reason = kHostile;
  sheet.table.plans[0].formulas[0] = {kHostile, kHostile, kHostile, kHostile};
  for (auto* curves :
       {&sheet.speeds.by_context, &sheet.speeds.by_users, &sheet.speeds.by_users_total}) {
    (*curves)[0].format = kHostile;
  }
  sheet.costs.currency = sheet.costs.formats[0].input.price.currency = kHostile;
  sheet.costs.formats[0].format = kHostile;
  sheet.costs.warnings = {kHostile};
  sheet.costs.tariffs[0].name = sheet.costs.tariffs[0].title = kHostile;
  sheet.costs.tariffs[0].currency = kHostile;
  const std::string page = plan_page({sheet, sheet}, kHostile);
  EXPECT_EQ(Checker(page).problem(), "");
  EXPECT_FALSE(has(page, "<script"));
  EXPECT_FALSE(has(page, "javascript:"));
  EXPECT_TRUE(has(page, "a trap"));
  EXPECT_TRUE(has(page, "&lt;script&gt;alert("));
}

TEST(PlanPage, links_to_nothing_but_sources) {
  Machine machine = machine_of(400e9);
  machine.sources["read_gb_s"] = {.title = "data sheet", .url = "https://example.org/sheet"};
  PlanSheet sheet = sheet_of(machine, {"Q4_K_M"});
  add_costs(sheet);
  std::string page = plan_page({sheet}, "2026-11-28");
  EXPECT_EQ(count(page, "http"), 3u);  // "http-equiv", too
  EXPECT_TRUE(has(page, "<a href=\"https://example.org/sheet\""));
  EXPECT_TRUE(has(page, "<a href=\"https://example.org/prices\""));
  EXPECT_FALSE(has(page, "@import"));
  EXPECT_FALSE(has(page, "url("));
}

TEST(PlanPage, begins_with_the_largest_format_that_fits_in_whatever_order) {
  for (const std::vector<const char*>& formats :
       {std::vector<const char*>{"Q2_K", "Q4_K_M", "F16"}, {"F16", "Q4_K_M", "Q2_K"}}) {
    const PlanSheet sheet = sheet_of(machine_of(400e9), {formats.begin(), formats.end()});
    EXPECT_TRUE(
        has(plan_page({sheet}, "2026-11-28"), "The largest format that memory holds: Q4_K_M,"));
  }
}

TEST(PlanPage, of_a_model_that_does_not_run_says_so) {
  const PlanSheet sheet = sheet_of(machine_of(1e9), {"Q4_K_M", "Q2_K"});
  const std::string page = plan_page({sheet}, "2026-11-28");
  EXPECT_EQ(Checker(page).problem(), "");
  EXPECT_TRUE(has(page, "It runs in none of these formats."));
  EXPECT_FALSE(has(page, "<h3>Cost"));
}

TEST(PlanPage, has_plots_of_what_runs_nowhere_or_at_one_place) {
  PlanSheet sheet = sheet_of(machine_of(400e9), {"Q4_K_M"});
  sheet.speeds.by_users[0].points.clear();
  sheet.speeds.by_users_total[0].points.resize(1);
  const std::string page = plan_page({sheet}, "2026-11-28");
  EXPECT_EQ(Checker(page).problem(), "");
  EXPECT_EQ(count(page, ">no format runs<"), 1u);
  EXPECT_FALSE(has(page, "nan"));
}

TEST(PlanPage, draws_at_most_as_many_lines_as_can_be_told_apart) {
  std::vector<std::string> formats = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"};
  const PlanSheet sheet = sheet_of(machine_of(400e9), formats);
  const std::string page = plan_page({sheet}, "2026-11-28");
  EXPECT_EQ(count(page, "<polyline"), 3 * kMostCurves);
  EXPECT_TRUE(has(page, "Drawn are 4 formats, the table has all."));
  EXPECT_TRUE(has(page, ">Q8_0</text>"));
  EXPECT_TRUE(has(page, ">Q2_K</text>"));
}

// Styles of the plot's points of a format, by their titles.
std::set<std::string> styles_of(const std::string& page, const std::string& plot,
                                const std::string& format) {
  const size_t begin = page.find("<h4>" + plot + "</h4>");
  const std::string figure = page.substr(begin, page.find("</svg>", begin) - begin);
  std::set<std::string> styles;
  const std::string title = "\"><title>" + format + ", ";
  for (size_t at = figure.find(title); at != std::string::npos; at = figure.find(title, at + 1)) {
    const size_t from = figure.rfind("class=\"", at) + 7;
    styles.insert(figure.substr(from, at - from));
  }
  return styles;
}

TEST(PlanPage, gives_a_format_one_style_in_all_plots) {
  // As if the first ran with other loads only.
  PlanSheet sheet = sheet_of(machine_of(400e9), {"Q8_0", "Q6_K", "Q4_K_M", "Q2_K"});
  add_costs(sheet);
  sheet.costs.formats.erase(sheet.costs.formats.begin());
  const std::string page = plan_page({sheet}, "2026-11-28");
  std::set<std::string> all;
  for (const char* format : {"Q6_K", "Q4_K_M", "Q2_K"}) {
    const std::set<std::string> styles = styles_of(page, "Speed against context", format);
    EXPECT_EQ(styles.size(), 1u) << format;
    EXPECT_EQ(styles_of(page, "Speed against users: all", format), styles) << format;
    EXPECT_EQ(styles_of(page, "Cost against use", format), styles) << format;
    all.insert(styles.begin(), styles.end());
  }
  EXPECT_EQ(all.size(), 3u);
}

TEST(PlanPage, says_of_costs_too_how_many_formats_are_drawn) {
  PlanSheet sheet = sheet_of(machine_of(400e9), {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q2_K"});
  add_costs(sheet);
  const std::string page = plan_page({sheet}, "2026-11-28");
  EXPECT_EQ(count(page, "Drawn are 4 formats, the table has all."), 4u);
}

TEST(PlanPage, of_several_plans_has_contents) {
  const PlanSheet sheet = sheet_of(machine_of(400e9), {"Q4_K_M"});
  const std::string page = plan_page({sheet, sheet}, "2026-11-28");
  EXPECT_EQ(Checker(page).problem(), "");
  EXPECT_TRUE(has(page, "<a href=\"#sheet2\">"));
  EXPECT_TRUE(has(page, "<section id=\"sheet2\">"));
  EXPECT_FALSE(has(plan_page({sheet}, "2026-11-28"), "<nav"));
}

}  // namespace
}  // namespace dsv4
