// The counters of the HTTP server as metrics.
#pragma once

#include "server/http.h"
#include "server/metrics.h"

namespace dsv4 {

// The server must live as long as the metrics are printed.
void add_http_metrics(Metrics& metrics, const HttpServer& server);

}  // namespace dsv4
