#include "cli/plan_html.h"

#include "base/output_file.h"

#include <algorithm>
#include <span>

namespace dsv4::cli {

PlanSheet plan_sheet(const PlanTable& table, const Machine& machine, const CostTable& costs,
                     int64_t max_context, const PlanFor& plan_for) {
  // Of a model that states no limit.
  constexpr int64_t kUsualContext = int64_t{1} << 17;
  PlanSheet sheet{.table = table, .machine = machine};
  std::vector<std::string> formats;
  for (const Plan& plan : table.plans) formats.push_back(plan.format);
  const int64_t most =
      max_context > 0 ? max_context : std::max(kUsualContext, table.workload.context);
  sheet.speeds = speed_curves(formats, table.workload, most, plan_for);
  sheet.costs = costs;
  return sheet;
}

void write_plan_page(const std::string& path, const std::vector<PlanSheet>& sheets,
                     const std::string& date) {
  const std::string page = plan_page(sheets, date);
  OutputFile file(path);
  file.write(std::as_bytes(std::span(page)));
  file.finish();
}

}  // namespace dsv4::cli
