#include "plan/date.h"

#include "base/error.h"

#include <chrono>

#include <fmt/core.h>

namespace dsv4 {

std::optional<int64_t> day_number(std::string_view date) {
  constexpr std::string_view kForm = "0000-00-00";
  if (date.size() != kForm.size()) return std::nullopt;
  int parts[3] = {0, 0, 0};
  int* part = parts;
  for (size_t i = 0; i < kForm.size(); ++i) {
    const char c = date[i];
    if (kForm[i] == '-') {
      if (c != '-') return std::nullopt;
      ++part;
    } else {
      if (c < '0' || c > '9') return std::nullopt;
      *part = *part * 10 + (c - '0');
    }
  }
  const std::chrono::year_month_day day(std::chrono::year(parts[0]),
                                        std::chrono::month(static_cast<unsigned>(parts[1])),
                                        std::chrono::day(static_cast<unsigned>(parts[2])));
  if (!day.ok()) return std::nullopt;
  return std::chrono::sys_days(day).time_since_epoch().count();
}

std::optional<std::string> price_age_warning(std::string_view name, std::string_view date,
                                             std::string_view today) {
  const std::optional<int64_t> now = day_number(today);
  if (!now) {
    throw Error(ErrorCode::kInvalidInput, "today",
                fmt::format("expected a day as YYYY-MM-DD, found \"{}\"", today));
  }
  const std::optional<int64_t> then = day_number(date);
  if (!then) return fmt::format("prices of {} have no date: check them", name);
  const int64_t age = *now - *then;
  if (age <= kPriceMaxAgeDays) return std::nullopt;
  return fmt::format("prices of {} are from {}, {} days old: check them", name, date, age);
}

}  // namespace dsv4
