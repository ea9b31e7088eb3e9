// Both ends of `dsv4 plan --link-to` and `--link-listen`, and how links are shown.
#pragma once

#include "plan/machine.h"

#include <string>

namespace dsv4::cli {

// Measures the link to "HOST[:PORT]", for some seconds.
ClusterLink measure_link_to(const std::string& address);

// Waits at "[ADDRESS:]PORT" for one peer that measures its link to here. Says where it waits, and
// who may reach it; others that connect are told of and left.
void listen_for_link(const std::string& address);

// Lines of those that the system tells and of the one that was measured, if there are any.
void print_links(const Machine& machine);

}  // namespace dsv4::cli
