#include "plan/plan_page.h"

#include "base/svg.h"
#include "plan/markup.h"
#include "plan/page_style.h"
#include "plan/plan_charts.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace dsv4 {
namespace {

Markup verdict_mark(const Plan& plan) {
  const char* style = plan.verdict == Verdict::kResident ? "verdict good"
                      : runs(plan)                       ? "verdict part"
                                                         : "verdict bad";
  return element("span", style, plain(verdict_name(plan.verdict)));
}

std::string tokens_text(int64_t tokens) {
  if (tokens >= 1 << 20 && tokens % (1 << 20) == 0) return fmt::format("{}M", tokens >> 20);
  if (tokens >= 1 << 10 && tokens % (1 << 10) == 0) return fmt::format("{}K", tokens >> 10);
  return fmt::format("{}", tokens);
}

// One model on one machine, from the heading to the sources.
class Sheet {
 public:
  Sheet(const PlanSheet& sheet, size_t number)
      : sheet_(sheet), table_(sheet.table), id_(fmt::format("sheet{}", number + 1)) {
    choose_drawn();
  }

  std::string html() {
    add("<section id=\"{}\">\n", id_);
    heading();
    formats();
    add("<h3>Memory and speed</h3>\n<div class=\"plots\">\n");
    memory_plot();
    speed_plots();
    add("</div>\n");
    costs();
    formulas();
    sources();
    add("</section>\n");
    return std::move(out_);
  }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }
  void add(const Markup& markup) { out_ += markup.html; }

  // Plots with more lines than this cannot be read; the tables have all.
  void choose_drawn() {
    std::vector<std::string> running;
    for (size_t i = 0; i < sheet_.speeds.by_context.size(); ++i) {
      if (!sheet_.speeds.by_context[i].points.empty() ||
          !sheet_.speeds.by_users[i].points.empty()) {
        running.push_back(sheet_.speeds.by_context[i].format);
      }
    }
    const size_t n = std::min(running.size(), kMostCurves);
    for (size_t i = 0; i < n; ++i) {
      drawn_.push_back(running[n == 1 ? 0 : i * (running.size() - 1) / (n - 1)]);
    }
  }

  void heading() {
    add("<h2>{} on {}</h2>\n", escape_markup(table_.model), escape_markup(table_.machine));
    add("<p>{}.</p>\n", escape_markup(load_text(table_.workload)));
    if (!sheet_.machine.note.empty()) {
      add("<p class=\"soft\">{}</p>\n", escape_markup(sheet_.machine.note));
    }
    add("<p class=\"answer\">{}</p>\n", escape_markup(answer()));
  }

  // The best format for a reader who reads nothing else.
  std::string answer() const {
    const Plan* best = nullptr;
    for (const Plan& plan : table_.plans) {
      const auto rank = [](const Plan& p) {
        return std::pair(p.verdict == Verdict::kResident, p.file_bytes);
      };
      if (runs(plan) && (best == nullptr || rank(plan) > rank(*best))) best = &plan;
    }
    if (best == nullptr) {
      return table_.plans.size() == 1 ? "It does not run." : "It runs in none of these formats.";
    }
    const bool resident = best->verdict == Verdict::kResident;
    return fmt::format(
        "The largest format that {}: {}, {} of {} GB, {} tokens/s for {}.",
        resident ? "memory holds" : fmt::format("runs, {}", verdict_name(best->verdict)),
        best->format, gb_text(best->memory.total()),
        gb_text(best->available_bytes * static_cast<double>(best->n_machines)),
        range_text(best->decode), table_.workload.users == 1 ? "one user" : "each user");
  }

  void formats() {
    const bool many = table_.workload.users > 1;
    HtmlTable html{.caption = "Formats with memory, verdict and speed"};
    html.head = {"format", "file, GB", "bits per weight", "memory, GB", "verdict"};
    html.words = {4};
    const std::vector<std::string> speeds = {
        "tokens/s", "prompt tokens/s", "first token", "next, p50", "p95", "p99"};
    html.head.insert(html.head.end(), speeds.begin(), speeds.end());
    if (many) html.head.insert(html.head.begin() + 6, "tokens/s of all");
    html.head.emplace_back("limit");
    for (const Plan& plan : table_.plans) {
      HtmlTable::Row row = {
          plain(plan.format), plain(gb_text(static_cast<double>(plan.file_bytes))),
          plain(fmt::format("{:.2f}", plan.bits_per_weight)), plain(gb_text(plan.memory.total())),
          Markup{verdict_mark(plan).html + element("small", "", plain(plan.reason)).html}};
      if (runs(plan)) {
        row.push_back(plain(range_text(plan.decode)));
        if (many) row.push_back(plain(range_text(plan.decode_total)));
        row.push_back(plain(range_text(plan.prefill)));
        for (const Estimate* e :
             {&plan.first_token_s, &plan.between_p50_s, &plan.between_p95_s, &plan.between_p99_s}) {
          row.push_back(plain(seconds_text(*e)));
        }
        row.push_back(plain(limit_name(plan.decode_limit)));
      } else {
        row.resize(html.head.size());
      }
      html.rows.push_back(std::move(row));
    }
    add(to_markup(html));
    add("<ul class=\"notes\">\n");
    for (const std::string& note : table_notes(table_)) {
      add("<li>{}</li>\n", escape_markup(note));
    }
    add("</ul>\n");
  }

  void open_figure(const std::string& title, const std::string& caption) {
    add("<figure>\n<h4>{}</h4>\n<figcaption>{}</figcaption>\n", escape_markup(title),
        escape_markup(caption));
  }

  void close_figure(const HtmlTable& numbers) {
    add("<details><summary>Table: {}</summary>\n", escape_markup(numbers.caption));
    add(to_markup(numbers));
    add("</details>\n</figure>\n");
  }

  void memory_plot() {
    const std::string title = "Memory by class";
    open_figure(title, "What each format takes, and the memory of one machine.");
    HtmlTable numbers{.caption = "memory in GB"};
    numbers.head = {"format"};
    add("<ul class=\"legend\">");
    for (const MemoryClass& kind : memory_classes()) {
      add("<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect width=\"10\" height=\"10\" "
          "class=\"m-{}\"/></svg>{}</li>",
          kind.style, kind.title);
      numbers.head.emplace_back(kind.title);
    }
    add("</ul>\n");
    numbers.head.emplace_back("total");
    for (const Plan& plan : table_.plans) {
      HtmlTable::Row row = {plain(plan.format)};
      for (const MemoryClass& kind : memory_classes()) {
        row.push_back(plain(fmt::format("{:.3f}", plan.memory.*kind.bytes * 1e-9)));
      }
      row.push_back(plain(fmt::format("{:.3f}", plan.memory.total() * 1e-9)));
      numbers.rows.push_back(std::move(row));
    }
    out_ += memory_chart(table_.plans, title);
    close_figure(numbers);
  }

  // Each format has the same style in all plots.
  std::vector<ChartLine> drawn_of(const std::vector<Curve>& curves) const {
    std::vector<ChartLine> found;
    for (size_t style = 0; style < drawn_.size(); ++style) {
      const auto curve = std::ranges::find(curves, drawn_[style], &Curve::format);
      if (curve != curves.end() && !curve->points.empty()) found.push_back({&*curve, style});
    }
    return found;
  }

  // For the caption: how many of the curves are drawn, if not all.
  std::string drawn_note(const std::vector<Curve>& curves) const {
    const size_t n_drawn = drawn_of(curves).size();
    const auto n_running = static_cast<size_t>(
        std::ranges::count_if(curves, [](const Curve& curve) { return !curve.points.empty(); }));
    if (n_drawn == n_running) return "";
    return fmt::format(" Drawn are {} formats, the table has all.", n_drawn);
  }

  // All x of the curves, rising.
  static std::vector<double> places(const std::vector<Curve>& curves) {
    std::vector<double> xs;
    for (const Curve& curve : curves) {
      for (const CurvePoint& p : curve.points) xs.push_back(p.x);
    }
    std::ranges::sort(xs);
    xs.erase(std::unique(xs.begin(), xs.end()), xs.end());
    return xs;
  }

  void speed_plot(const std::string& title, const std::string& caption, const std::string& x_label,
                  const std::vector<Curve>& curves) {
    open_figure(title, caption + drawn_note(curves));
    HtmlTable numbers{.caption = "tokens/s by " + x_label};
    numbers.head = {"format"};
    LineChart chart{.title = title, .description = caption, .x_label = x_label};
    const std::vector<double> xs = places(curves);
    for (const double x : xs) {
      const std::string text = tokens_text(static_cast<int64_t>(x));
      chart.x_ticks.emplace_back(x, text);
      numbers.head.push_back(text);
    }
    chart.lines = drawn_of(curves);
    for (const Curve& curve : curves) {
      HtmlTable::Row row = {plain(curve.format)};
      for (const double x : xs) {
        const auto p = std::ranges::find(curve.points, x, &CurvePoint::x);
        row.push_back(plain(p == curve.points.end() ? "-" : range_text(p->y)));
      }
      numbers.rows.push_back(std::move(row));
    }
    out_ += line_chart(chart);
    close_figure(numbers);
  }

  void speed_plots() {
    if (drawn_.empty()) {
      add("<p>No format runs with any other context or number of users either.</p>\n");
      return;
    }
    const Workload& w = table_.workload;
    speed_plot("Speed against context",
               fmt::format("Tokens per second of a user in a reply at the end of the context, {} "
                           "user{}. Bands run from the least to the most.",
                           w.users, w.users == 1 ? "" : "s"),
               "tokens of context", sheet_.speeds.by_context);
    speed_plot("Speed against users: each",
               fmt::format("Tokens per second of one of so many users, {} tokens of context each. "
                           "Formats that do not fit into memory: up to {} users.",
                           w.context, OtherLoads::kMostUsers),
               "users", sheet_.speeds.by_users);
    speed_plot("Speed against users: all",
               fmt::format("Tokens per second of all users together, {} tokens of context each.",
                           w.context),
               "users", sheet_.speeds.by_users_total);
  }

  void costs() {
    const CostTable& costs = sheet_.costs;
    if (costs.formats.empty()) return;
    add("<h3>Cost</h3>\n");
    const CostInput& input = costs.formats.front().input;
    const UsageProfile& usage = input.usage;
    add("<p>In {}, for a machine that is {}. {:.0f} requests a day, of {:.0f} tokens ({:.0f} % "
        "cached) with {:.0f} of reply, {:.0f} % of them thinking.</p>\n",
        escape_markup(costs.currency), ownership_name(input.ownership), usage.requests_per_day,
        usage.prompt_tokens, 100 * usage.cached_share, usage.output_tokens,
        100 * usage.thinking_share);
    for (const std::string& warning : costs.warnings) {
      add("<p class=\"soft\">Warning: {}</p>\n", escape_markup(warning));
    }
    add("<div class=\"plots\">\n");
    cost_plot();
    add("</div>\n");
    add("<p>What a million tokens of each kind cost at this use, and if the machine never waited:"
        "</p>\n");
    cost_table();
    tariff_table();
  }

  void cost_plot() {
    const CostTable& costs = sheet_.costs;
    std::vector<Curve> curves;
    for (const PricedFormat& priced : costs.formats) curves.push_back(cost_by_hours(priced));
    const std::string title = "Cost against use";
    const std::string caption =
        "Cost of requests for a million tokens of their replies, prompts included, by hours of a "
        "day in which the machine works; it is paid for all day. Dashed: the same requests by "
        "tariffs. At 24 hours: a machine that is paid for only while it works.";
    open_figure(title, caption + drawn_note(curves));
    LineChart chart{.title = title, .description = caption, .x_label = "hours of work a day"};
    HtmlTable numbers{.caption = fmt::format("{} for a million tokens of replies", costs.currency)};
    numbers.head = {"format"};
    for (const CurvePoint& p : curves.front().points) {
      chart.x_ticks.emplace_back(p.x, fmt::format("{:g}", p.x));
      numbers.head.push_back(fmt::format("{:g} h", p.x));
    }
    chart.lines = drawn_of(curves);
    for (const Curve& curve : curves) {
      HtmlTable::Row row = {plain(curve.format)};
      for (const CurvePoint& p : curve.points) {
        row.push_back(plain(money_text(p.y.low) + "-" + money_text(p.y.high)));
      }
      numbers.rows.push_back(std::move(row));
    }
    constexpr size_t kMostLevels = 8;
    for (const Tariff& tariff : costs.tariffs) {
      if (tariff.currency != costs.currency || chart.levels.size() == kMostLevels) continue;
      chart.levels.emplace_back(tariff_cost_per_million(costs.formats.front().input.usage, tariff),
                                tariff.name);
    }
    out_ += line_chart(chart);
    close_figure(numbers);
  }

  void cost_table() {
    HtmlTable html{.caption = "Cost of tokens by format"};
    html.head = {"format",
                 "busy",
                 "machines",
                 "a day",
                 "million input",
                 "million cached",
                 "million output",
                 "input at full load",
                 "output at full load"};
    for (const PricedFormat& priced : sheet_.costs.formats) {
      const CostTexts texts = cost_texts(priced.cost);
      HtmlTable::Row row = {plain(priced.format)};
      for (const std::string* text :
           {&texts.busy, &texts.machines, &texts.per_day, &texts.input, &texts.cached,
            &texts.output, &texts.full_load_input, &texts.full_load_output}) {
        row.push_back(plain(*text));
      }
      html.rows.push_back(std::move(row));
    }
    add(to_markup(html));
  }

  void tariff_table() {
    const CostTable& costs = sheet_.costs;
    const PricedFormat& cheapest = costs.cheapest();
    HtmlTable html{.caption = "Tariffs"};
    html.head = {"tariff",
                 "input",
                 "cached",
                 "output",
                 "seen",
                 "source",
                 fmt::format("requests from which the machine pays, {}", cheapest.format)};
    html.words = {5};
    for (const Tariff& tariff : costs.tariffs) {
      html.rows.push_back({plain(tariff.title), plain(money_text(tariff.input)),
                           plain(money_text(tariff.cached_input)), plain(money_text(tariff.output)),
                           plain(tariff.date), source_link(tariff.source),
                           plain(break_even_text(cheapest, tariff))});
    }
    if (!html.rows.empty()) add(to_markup(html));
  }

  void formulas() {
    add("<h3>How the numbers come about</h3>\n");
    for (const Plan& plan : table_.plans) {
      add("<details><summary>{}: {}</summary>\n", escape_markup(plan.format),
          verdict_name(plan.verdict));
      if (plan.n_machines > 1) {
        add("<p>First layer of each machine: {}</p>\n", fmt::join(plan.first_layers, ", "));
      }
      add("<dl>\n");
      for (const Formula& f : plan.formulas) {
        add("<dt>{} = {}</dt><dd>{}</dd><dd>{}</dd>\n", escape_markup(f.what),
            escape_markup(f.result), escape_markup(f.formula), escape_markup(f.inputs));
      }
      add("</dl>\n</details>\n");
    }
  }

  void sources() {
    if (sheet_.machine.sources.empty()) return;
    HtmlTable html{.caption = "Sources of the machine's figures"};
    html.head = {"figure", "source"};
    html.words = {1};
    for (const auto& [key, source] : sheet_.machine.sources) {
      html.rows.push_back({plain(key), source_link(source)});
    }
    add("<details><summary>Where the machine's figures are from</summary>\n");
    add(to_markup(html));
    add("</details>\n");
  }

  const PlanSheet& sheet_;
  const PlanTable& table_;
  std::string id_;
  std::vector<std::string> drawn_;  // formats, in the order of their styles
  std::string out_;
};

std::string contents(const std::vector<PlanSheet>& sheets) {
  std::string out = "<nav aria-label=\"Contents\"><ul>\n";
  for (size_t i = 0; i < sheets.size(); ++i) {
    out +=
        fmt::format("<li><a href=\"#sheet{}\">{} on {}</a></li>\n", i + 1,
                    escape_markup(sheets[i].table.model), escape_markup(sheets[i].table.machine));
  }
  return out + "</ul></nav>\n";
}

}  // namespace

std::string plan_page(const std::vector<PlanSheet>& sheets, const std::string& date) {
  // Nothing is fetched or run, whatever a name may contain.
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n"
      "<h1>What the model will do on the machine</h1>\n"
      "<p class=\"soft\">Planned by dsv4 on {}.</p>\n",
      sheets.size() == 1 ? escape_markup(sheets[0].table.model + " on " + sheets[0].table.machine)
                         : "Plans of models on machines",
      page_style_files().front().bytes, escape_markup(date));
  if (sheets.size() > 1) out += contents(sheets);
  for (size_t i = 0; i < sheets.size(); ++i) out += Sheet(sheets[i], i).html();
  return out + "</main>\n</body>\n</html>\n";
}

}  // namespace dsv4
