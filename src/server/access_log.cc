#include "server/access_log.h"

#include <vector>

namespace dsv4 {

std::string access_line(LogFormat format, const AccessRecord& record) {
  std::vector<LogField> fields = {
      {"time", log_time(record.unix_ms)}, {"id", record.id},
      {"key", record.key_name},           {"remote", record.remote},
      {"method", record.method},          {"path", record.path},
      {"status", record.status},          {"bytes", record.response_bytes}};
  const auto add = [&](const char* name, auto value) {
    if (value >= 0) fields.push_back({name, value});
  };
  add("duration_s", record.duration_s);
  add("ttft_s", record.first_token_s);
  add("tokens_in", record.tokens_in);
  add("tokens_cached", record.tokens_cached);
  if (*record.cache_miss != '\0') fields.push_back({"cache_miss", record.cache_miss});
  add("tokens_out", record.tokens_out);
  fields.push_back({"client_gone", record.client_gone});
  return log_line(format, fields);
}

}  // namespace dsv4
