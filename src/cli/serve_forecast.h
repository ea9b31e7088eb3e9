// What the planner would have said of a run of `dsv4 serve`, beside what happened: logged at its
// end.
#pragma once

#include "base/log.h"
#include "cli/model_options.h"
#include "engine/engine.h"

namespace dsv4::cli {

// Memory, and the time of all steps where this machine has been probed with the threads and
// instructions of the run. Says nothing of a run without requests or with a limit of memory for
// experts. Never throws: the server has done its work.
void log_forecast(const ModelArgs& args, const Model& model, const EngineStats& stats,
                  const Log& log);

}  // namespace dsv4::cli
