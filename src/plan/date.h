// Dates of prices and sources, YYYY-MM-DD.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dsv4 {

// Days since 1970-01-01; nothing for what is not a day of the calendar.
std::optional<int64_t> day_number(std::string_view date);

// Prices that were looked at longer ago may have changed.
inline constexpr int64_t kPriceMaxAgeDays = 180;

// "prices of NAME are from DATE, 200 days old: check them", or nothing if they are not older than
// kPriceMaxAgeDays at `today`. No date at all is a warning too. Throws Error(kInvalidInput) when
// `today` is not a day.
std::optional<std::string> price_age_warning(std::string_view name, std::string_view date,
                                             std::string_view today);

}  // namespace dsv4
