// Options that every command with a model has, and the loaded model that they describe.
#pragma once

#include "base/thread_pool.h"
#include "engine/engine.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/ops.h"
#include "model/model.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace dsv4::cli {

struct ModelArgs {
  std::string path;
  Numerics numerics = Numerics::kFast;
  std::optional<KvStorage> kv;
  std::string isa = "auto";
  int threads = 0;             // 0: all cores
  bool pin = false;            // threads to cores
  int64_t context = 0;         // 0: as config.json says
  int64_t chunk = 512;         // tokens of one forward pass
  uint64_t expert_memory = 0;  // bytes; 0: all experts may stay in memory

  // --model, --numerics, --kv, --context and those of add_machine_to
  void add_to(CLI::App& command);
  // --expert-memory, --isa, --threads, --pin, --chunk
  void add_machine_to(CLI::App& command);
};

// --temperature, --top-k, ... --seed, --logit-bias
struct SamplingArgs {
  SamplingParams params;
  std::optional<float> temperature;     // without: the model's recommendation, else 1
  std::optional<float> top_p;           // likewise
  std::vector<std::string> logit_bias;  // "ID=BIAS"

  void add_to(CLI::App& command);
  // Parses logit_bias and checks ranges. Throws Error(kInvalidInput).
  SamplingParams get() const;
};

// A model with the threads and operations that it runs on.
class LoadedModel {
 public:
  explicit LoadedModel(const ModelArgs& args);
  Model& operator*() { return model_; }
  const Model& operator*() const { return model_; }
  ThreadPool& pool() { return pool_; }
  Model* operator->() { return &model_; }
  const Model* operator->() const { return &model_; }

 private:
  ThreadPool pool_;
  std::unique_ptr<Ops> ops_;
  Model model_;
};

// --record-routing: a trace of which experts each token uses, written while the model runs.
class RoutingRecorder {
 public:
  void add_to(CLI::App& command);
  // Records `model` from now on, if asked to; this must outlive the use of the model.
  void start(Model& model);
  // Throws Error(kIo) where the trace could not be written in full.
  void finish();

 private:
  std::string path_;
  std::unique_ptr<RoutingTraceWriter> writer_;
};

// An engine for one user: memory for `max_running` sequences that begin, one of them as long as the
// context, and for states that a next prompt may return to.
EngineOptions engine_options(const Model& model, int64_t max_running);

// An option whose values are the names of the numerics.
void add_numerics_option(CLI::App& command, const std::string& name, Numerics& numerics,
                         const std::string& description);

// --kv, what the state keeps its entries in.
void add_kv_option(CLI::App& command, std::optional<KvStorage>& kv);

// "auto" is the best instruction set of this machine. Throws Error(kUnsupported) for one that it
// lacks.
Isa parse_isa(const std::string& name);

// Ids from "1,2,3". Throws Error(kInvalidInput) naming the entry that is not a number.
std::vector<int32_t> parse_ids(const std::string& text);

}  // namespace dsv4::cli
