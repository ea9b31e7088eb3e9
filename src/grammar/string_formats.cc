// The table was put together from the parts of each standard's grammar.
#include "grammar/string_formats.h"

#include <utility>

namespace dsv4 {

namespace {

// RFC 3339, with the days of each month and leap years.
constexpr std::string_view kDate =
    R"(^(?:(?:[12]\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-()"
    R"(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))|(?:[12]\d(?:0[48]|[2468][048]|[1)"
    R"(3579][26])|(?:1[26]|2[048])00)-02-29))$)";

// RFC 3339, without leap seconds.
constexpr std::string_view kTime =
    R"(^(?:(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):)"
    R"([0-5]\d))$)";

constexpr std::string_view kDateTime =
    R"(^(?:(?:[12]\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-()"
    R"(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))|(?:[12]\d(?:0[48]|[2468][048]|[1)"
    R"(3579][26])|(?:1[26]|2[048])00)-02-29)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d)"
    R"({1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))$)";

// ISO 8601 as in RFC 3339, appendix A.
constexpr std::string_view kDuration =
    R"(^(?:P(?:\d{1,9}W|(?:\d{1,9}Y(?:\d{1,9}M(?:\d{1,9}D)?)?|\d{1,9}M(?:\d{1,9}D)?|\)"
    R"(d{1,9}D)(?:T(?:\d{1,9}H(?:\d{1,9}M(?:\d{1,9}S)?)?|\d{1,9}M(?:\d{1,9}S)?|\d{1,9)"
    R"(}S))?|T(?:\d{1,9}H(?:\d{1,9}M(?:\d{1,9}S)?)?|\d{1,9}M(?:\d{1,9}S)?|\d{1,9}S))))"
    R"($)";

constexpr std::string_view kUuid = R"(^(?:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$)";

constexpr std::string_view kIpv4 =
    R"(^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
    R"()){3})$)";

// RFC 3986, host.
constexpr std::string_view kIpv6 =
    R"(^(?:(?:[0-9A-Fa-f]{1,4}:){6}(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}|(?:25[0-5]|2[)"
    R"(0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3})|::(?:[0-9A)"
    R"(-Fa-f]{1,4}:){5}(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}|(?:25[0-5]|2[0-4]\d|1\d\d)"
    R"(|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3})|(?:[0-9A-Fa-f]{1,4})?:)"
    R"(:(?:[0-9A-Fa-f]{1,4}:){4}(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}|(?:25[0-5]|2[0-4)"
    R"(]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3})|(?:(?:[0-9A-F)"
    R"(a-f]{1,4}:){0,1}[0-9A-Fa-f]{1,4})?::(?:[0-9A-Fa-f]{1,4}:){3}(?:[0-9A-Fa-f]{1,4)"
    R"(}:[0-9A-Fa-f]{1,4}|(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d)"
    R"(|1\d\d|[1-9]?\d)){3})|(?:(?:[0-9A-Fa-f]{1,4}:){0,2}[0-9A-Fa-f]{1,4})?::(?:[0-9)"
    R"(A-Fa-f]{1,4}:){2}(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}|(?:25[0-5]|2[0-4]\d|1\d\)"
    R"(d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3})|(?:(?:[0-9A-Fa-f]{1,4)"
    R"(}:){0,3}[0-9A-Fa-f]{1,4})?::[0-9A-Fa-f]{1,4}:(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1)"
    R"(,4}|(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
    R"()){3})|(?:(?:[0-9A-Fa-f]{1,4}:){0,4}[0-9A-Fa-f]{1,4})?::(?:[0-9A-Fa-f]{1,4}:[0)"
    R"(-9A-Fa-f]{1,4}|(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d)"
    R"(\d|[1-9]?\d)){3})|(?:(?:[0-9A-Fa-f]{1,4}:){0,5}[0-9A-Fa-f]{1,4})?::[0-9A-Fa-f])"
    R"({1,4}|(?:(?:[0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{1,4})?::)$)";

// RFC 1123, with at most four labels of 62 bytes, which keeps the whole below its 253.
constexpr std::string_view kHostname =
    R"(^(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,60}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9)"
    R"(-]{0,60}[A-Za-z0-9])?){0,3})$)";

// An address without quotes and comments.
constexpr std::string_view kEmail =
    R"(^(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Z)"
    R"(a-z0-9](?:[A-Za-z0-9-]{0,60}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,60})"
    R"([A-Za-z0-9])?){1,3})$)";

// RFC 3986 without user names and addresses in brackets.
constexpr std::string_view kUri =
    R"(^(?:[A-Za-z][A-Za-z0-9+.-]*:(?://[A-Za-z0-9\-._~]+(?::\d{1,5})?(?:/(?:[A-Za-z0)"
    R"(-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*)*|(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0)"
    R"(-9A-Fa-f]{2})+(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*)*)(?:\?(?)"
    R"(:(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})|[/?])*)?(?:#(?:(?:[A-Za-z0-)"
    R"(9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})|[/?])*)?)$)";

constexpr std::pair<std::string_view, std::string_view> kFormats[] = {
    {"date", kDate},   {"time", kTime}, {"date-time", kDateTime}, {"duration", kDuration},
    {"uuid", kUuid},   {"ipv4", kIpv4}, {"ipv6", kIpv6},          {"hostname", kHostname},
    {"email", kEmail}, {"uri", kUri},
};

}  // namespace

std::optional<std::string_view> regex_of_format(std::string_view format) {
  for (const auto& [name, regex] : kFormats) {
    if (name == format) return regex;
  }
  return std::nullopt;
}

}  // namespace dsv4
