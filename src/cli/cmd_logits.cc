// `dsv4 logits`: logits of every position of a token sequence, to a safetensors file.
#include "base/error.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/progress.h"
#include "formats/safetensors.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>

#include <fmt/core.h>

namespace dsv4::cli {
namespace {

struct LogitsArgs {
  ModelArgs model;
  std::string ids;
  int64_t decode_from = -1;
  bool mtp = false;
  bool trace = false;
  std::string output;
};

// Before the work, not after it.
void require_folder_of(const std::filesystem::path& file) {
  const std::filesystem::path folder = std::filesystem::absolute(file).parent_path();
  if (std::filesystem::is_directory(folder)) return;
  throw Error(ErrorCode::kNotFound, folder.string(),
              "the folder of the output file does not exist; make it first");
}

// Runs the sequence in the asked-for pieces and keeps the logits of all positions.
class LogitsRun {
 public:
  LogitsRun(const LogitsArgs& args, Model& model)
      : args_(args), model_(model), ids_(parse_ids(args.ids)), state_(model.state_layout()) {
    const auto n = static_cast<int64_t>(ids_.size());
    if (args.mtp && !model.has_mtp()) {
      throw Error(ErrorCode::kUnsupported, args.model.path,
                  "the checkpoint has no MTP block; run without --mtp");
    }
    logits_ = Tensor<float, 2>({n, model.config().vocab_size});
    if (!args.mtp) return;
    mtp_logits_ = Tensor<float, 2>({n, model.config().vocab_size});
    streams_ = Tensor<float, 3>({n, model.config().hc_mult, model.config().hidden_size});
  }

  void run() {
    const auto n = static_cast<int64_t>(ids_.size());
    const int64_t n_prefill = args_.decode_from < 0 ? n : std::min(args_.decode_from, n);
    Progress progress("logits");
    for (int64_t begin = 0; begin < n;) {
      const int64_t count = begin < n_prefill ? std::min(args_.model.chunk, n_prefill - begin) : 1;
      forward(begin, count);
      begin += count;
      progress.update(begin, n);
    }
    if (args_.mtp) run_mtp(n_prefill);
  }

  void write() const {
    std::vector<SafetensorsWriter::Declaration> tensors;
    const auto declare = [&](const std::string& name, const Tensor<float, 2>& tensor) {
      const auto& shape = tensor.view().shape();
      tensors.push_back({name, DType::kF32, {shape.begin(), shape.end()}});
    };
    declare("logits", logits_);
    if (args_.mtp) declare("mtp_logits", mtp_logits_);
    for (const auto& [name, stage] : trace_.stages()) {
      tensors.push_back({name, stage.ints.empty() ? DType::kF32 : DType::kI32, stage.shape});
    }
    SafetensorsWriter writer(args_.output, tensors);
    const auto append = [&](const auto* data, size_t count) {
      writer.append(std::as_bytes(std::span(data, count)));
    };
    append(logits_.view().data(), static_cast<size_t>(logits_.view().count()));
    if (args_.mtp) append(mtp_logits_.view().data(), static_cast<size_t>(logits_.view().count()));
    for (const auto& [name, stage] : trace_.stages()) {
      append(stage.floats.data(), stage.floats.size());
      append(stage.ints.data(), stage.ints.size());
    }
    writer.finish();
  }

 private:
  Trace* trace() { return args_.trace ? &trace_ : nullptr; }

  void forward(int64_t begin, int64_t count) {
    Batch batch;
    batch.add(state_,
              std::span(ids_).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)));
    const View<const float, 3> streams = model_.forward(batch, trace());
    if (args_.mtp) {
      std::copy_n(streams.data(), streams.count(), &streams_.view()(begin, 0, 0));
    }
    model_.logits(streams, logits_.view().slice(begin, count), trace());
  }

  // Position i pairs its final streams with token i + 1; after the last comes the own argmax.
  void run_mtp(int64_t n_prefill) {
    const auto n = static_cast<int64_t>(ids_.size());
    std::vector<int32_t> next(ids_.begin() + 1, ids_.end());
    const auto last = logits_.view()[n - 1].span();
    next.push_back(static_cast<int32_t>(std::ranges::max_element(last) - last.begin()));
    SequenceState state(model_.mtp_state_layout());
    for (int64_t begin = 0; begin < n;) {
      const int64_t count = begin < n_prefill ? std::min(args_.model.chunk, n_prefill - begin) : 1;
      Batch batch;
      batch.add(state,
                std::span(next).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)));
      const auto streams = model_.mtp_forward(batch, streams_.view().slice(begin, count), trace());
      model_.mtp_logits(streams, mtp_logits_.view().slice(begin, count), trace());
      begin += count;
    }
  }

  const LogitsArgs& args_;
  Model& model_;
  std::vector<int32_t> ids_;
  SequenceState state_;
  Tensor<float, 2> logits_;      // [n, V]
  Tensor<float, 2> mtp_logits_;  // [n, V]
  Tensor<float, 3> streams_;     // [n, hc, d], for the MTP block
  Trace trace_;
};

}  // namespace

void add_logits(CLI::App& app) {
  auto args = std::make_shared<LogitsArgs>();
  CLI::App* command = app.add_subcommand("logits", "Write the logits of every position to a file");
  args->model.numerics = Numerics::kExact;  // to compare with other implementations
  args->model.add_to(*command);
  command->add_option("--ids", args->ids, "Token ids, for example 0,17,42")->required();
  command
      ->add_option("--decode-from", args->decode_from,
                   "Prefill this many tokens and feed the rest one at a time")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--mtp", args->mtp, "Also write mtp_logits of the MTP block");
  command->add_flag("--trace", args->trace, "Also write every stage of every layer");
  command->add_option("-o,--output", args->output, "Safetensors file to write")
      ->required()
      ->type_name("FILE");
  command->footer(
      "The file holds logits F32 [n, V]; with --mtp mtp_logits F32 [n, V], row i from the streams\n"
      "of position i and token i + 1 (after the last token, the most likely one); with --trace\n"
      "stages such as layers.3.attn.q.");
  command->callback([args] {
    require_folder_of(args->output);
    LoadedModel model(args->model);
    LogitsRun run(*args, *model);
    run.run();
    run.write();
  });
}

}  // namespace dsv4::cli
