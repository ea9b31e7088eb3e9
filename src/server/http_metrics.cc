#include "server/http_metrics.h"

namespace dsv4 {
namespace {

struct Row {
  const char* name;
  const char* help;
  int64_t HttpCounters::*field;
};

constexpr Row kGauges[] = {
    {"dsv4_http_connections_open", "Connections that are open.", &HttpCounters::connections_open},
    {"dsv4_http_responses_running", "Requests whose answer is not complete.",
     &HttpCounters::responses_running},
    {"dsv4_http_body_bytes_held", "Bytes of requests that are being received.",
     &HttpCounters::body_bytes_held}};

constexpr Row kCounters[] = {
    {"dsv4_http_connections_total", "Connections accepted.", &HttpCounters::connections_total},
    {"dsv4_http_connections_refused_total", "Connections over the limit.",
     &HttpCounters::connections_refused},
    {"dsv4_http_accept_errors_total", "Connections the system could not give (descriptors).",
     &HttpCounters::accept_errors},
    {"dsv4_http_requests_total", "Complete and well-formed requests.",
     &HttpCounters::requests_total},
    {"dsv4_http_problems_total", "Requests answered with an error before their handling.",
     &HttpCounters::problems_total},
    {"dsv4_http_disconnects_total", "Clients that left before their answer was complete.",
     &HttpCounters::disconnects},
    {"dsv4_http_aborted_requests_total", "Clients that left before their request was complete.",
     &HttpCounters::aborted_requests},
    {"dsv4_http_received_bytes_total", "Bytes received.", &HttpCounters::bytes_in},
    {"dsv4_http_sent_bytes_total", "Bytes sent.", &HttpCounters::bytes_out}};

}  // namespace

void add_http_metrics(Metrics& metrics, const HttpServer& server) {
  const auto value_of = [&server](int64_t HttpCounters::*field) {
    return [&server, field] { return static_cast<double>(server.counters().*field); };
  };
  for (const Row& row : kGauges) metrics.gauge_of(row.name, row.help, {}, value_of(row.field));
  for (const Row& row : kCounters) metrics.counter_of(row.name, row.help, {}, value_of(row.field));
  for (size_t i = 0; i < kCutReasons; ++i) {
    const auto reason = static_cast<CutReason>(i);
    metrics.counter_of("dsv4_http_cut_off_total", "Connections that the server ended, by reason.",
                       {{"reason", cut_reason_name(reason)}}, [&server, reason] {
                         return static_cast<double>(server.counters().cut(reason));
                       });
  }
}

}  // namespace dsv4
