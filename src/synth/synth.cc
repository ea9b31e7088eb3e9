#include "synth/synth.h"

#include "base/error.h"
#include "base/output_file.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/gguf_config.h"
#include "model/gguf_tokenizer.h"
#include "model/param_count.h"
#include "synth/byte_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <numeric>
#include <string_view>
#include <system_error>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kGgufName = "model.gguf";

// Consecutive tensors of the plan that share a file.
struct Shard {
  size_t first = 0;
  size_t count = 0;
};

std::vector<Shard> plan_shards(const SynthPlan& plan, int64_t shard_bytes) {
  std::vector<Shard> shards;
  int64_t size = 0;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const int64_t bytes = plan.tensors[i].bytes();
    if (shards.empty() || size + bytes > shard_bytes) {
      shards.push_back({i, 0});
      size = 0;
    }
    ++shards.back().count;
    size += bytes;
  }
  return shards;
}

std::string shard_name(size_t i, size_t n) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, n);
}

// Files that an earlier synthesis may have left, also an unfinished one.
bool is_checkpoint_file(const std::string& name) {
  return name == kIndexName || name == "config.json" || name == "generation_config.json" ||
         name == "tokenizer.json" || name == kGgufName ||
         name == std::string(kGgufName) + ".part" ||
         (name.starts_with("model-") &&
          (name.ends_with(".safetensors") || name.ends_with(".safetensors.part")));
}

Error file_error(const fs::path& path, const std::string& action, const std::error_code& error) {
  return {ErrorCode::kIo, path.string(), fmt::format("cannot {}: {}", action, error.message())};
}

// Looks through what is in the folder, if it exists: the files to replace.
std::vector<fs::path> files_to_replace(const fs::path& folder, bool replace) {
  std::error_code error;
  if (!fs::exists(folder, error)) return {};
  std::vector<fs::path> old_files;
  bool is_empty = true;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    is_empty = false;
    if (is_checkpoint_file(entry->path().filename().string())) old_files.push_back(entry->path());
  }
  if (error) throw file_error(folder, "list the folder", error);
  if (is_empty || replace) return old_files;
  throw Error(ErrorCode::kIo, folder.string(),
              "is not empty; choose another folder, or replace its checkpoint with --force");
}

// Bytes that the folder, which may not exist yet, can take once the old files are gone.
uint64_t room_in(const fs::path& folder, const std::vector<fs::path>& old_files) {
  uint64_t room = free_disk_bytes(folder);
  for (const fs::path& file : old_files) {
    std::error_code error;
    const uint64_t size = fs::file_size(file, error);
    if (!error) room += size;
  }
  return room;
}

void check_room(const fs::path& folder, int64_t needed, uint64_t room) {
  if (static_cast<double>(needed) * 1.01 <= static_cast<double>(room)) return;
  throw Error(ErrorCode::kOutOfRange, folder.string(),
              fmt::format("the checkpoint needs {:.1f} GB, the disk has {:.1f} GB free; choose "
                          "fewer layers or experts, or another disk",
                          static_cast<double>(needed) * 1e-9, static_cast<double>(room) * 1e-9));
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw Error(ErrorCode::kIo, path.string(), "cannot write");
}

// config_to_json with what a checkpoint of BF16 weights has not.
std::string config_text(const ModelConfig& config, SynthFormat format) {
  auto json = nlohmann::ordered_json::parse(config_to_json(config));
  if (format == SynthFormat::kNative) {
    json["expert_dtype"] = "fp4";
  } else {
    json.erase("quantization_config");
  }
  return json.dump(2) + "\n";
}

std::string generation_config_text(const ModelConfig& config) {
  const nlohmann::ordered_json json = {{"_from_model_config", true},
                                       {"bos_token_id", config.bos_token_id},
                                       {"eos_token_id", config.eos_token_id},
                                       {"do_sample", true},
                                       {"temperature", 1.0},
                                       {"top_p", 1.0}};
  return json.dump(2) + "\n";
}

// Makes the bytes of tensors piece by piece and appends them to files.
class ShardWriter {
 public:
  ShardWriter(const SynthPlan& plan, const SynthOptions& options, ThreadPool& pool,
              const SynthProgress& progress)
      : plan_(plan),
        options_(options),
        pool_(pool),
        progress_(progress),
        total_(plan.bytes()),
        buffer_(kPieceBytes) {}

  void write(const Shard& shard, const std::string& name) {
    const std::span tensors = std::span(plan_.tensors).subspan(shard.first, shard.count);
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const PlannedTensor& tensor : tensors) {
      declarations.push_back({tensor.name, tensor.dtype, tensor.shape});
    }
    SafetensorsWriter writer(options_.folder / name, declarations, {{"format", "pt"}});
    for (const PlannedTensor& tensor : tensors) write(tensor, writer);
    writer.finish();
  }

  void write_gguf(const GgufBuilder& metadata) {
    std::vector<GgufWriter::Declaration> declarations;
    for (const PlannedTensor& tensor : plan_.tensors) {
      declarations.push_back({tensor.name, tensor.dtype, tensor.shape});
    }
    GgufWriter writer(options_.folder / kGgufName, metadata, declarations);
    for (const PlannedTensor& tensor : plan_.tensors) write(tensor, writer);
    writer.finish();
  }

 private:
  static constexpr int64_t kPieceBytes = 8 << 20;
  static constexpr int64_t kGrainBytes = 64 << 10;

  template <typename Writer>
  void write(const PlannedTensor& tensor, Writer& writer) {
    const TensorBytes source = tensor_bytes(plan_, tensor, options_.seed);
    const int64_t grain = std::max<int64_t>(1, kGrainBytes / source.granule) * source.granule;
    const int64_t piece = std::max<int64_t>(1, kPieceBytes / grain) * grain;
    const int64_t size = tensor.bytes();
    buffer_.resize(static_cast<size_t>(std::max(piece, kPieceBytes)));
    for (int64_t begin = 0; begin < size; begin += piece) {
      const int64_t n = std::min(piece, size - begin);
      const std::span<std::byte> out = std::span(buffer_).first(static_cast<size_t>(n));
      pool_.parallel_for(n, grain, [&](int64_t from, int64_t to) {
        source.fill(begin + from,
                    out.subspan(static_cast<size_t>(from), static_cast<size_t>(to - from)));
      });
      writer.append(out);
      done_ += n;
      if (progress_) progress_(done_, total_);
    }
  }

  const SynthPlan& plan_;
  const SynthOptions& options_;
  ThreadPool& pool_;
  const SynthProgress& progress_;
  int64_t total_;
  int64_t done_ = 0;
  std::vector<std::byte> buffer_;
};

// Writes all shards and returns the text of the index.
std::string write_shards(const SynthPlan& plan, const std::vector<Shard>& shards,
                         ShardWriter& writer) {
  nlohmann::json map = nlohmann::json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i, shards.size());
    writer.write(shards[i], name);
    for (size_t k = 0; k < shards[i].count; ++k) map[plan.tensors[shards[i].first + k].name] = name;
  }
  const nlohmann::json index = {{"metadata", {{"total_size", plan.bytes()}}}, {"weight_map", map}};
  return index.dump(2) + "\n";
}

GgufBuilder gguf_metadata(const ModelConfig& config, const std::optional<std::string>& tokenizer) {
  GgufBuilder metadata;
  add_config(config, metadata);
  metadata.add_string("general.name", "synthetic DeepSeek V4");
  metadata.add_u32("general.quantization_version", 2);
  if (tokenizer) {
    add_tokenizer(*tokenizer, config.vocab_size, static_cast<int32_t>(config.bos_token_id),
                  static_cast<int32_t>(config.eos_token_id), metadata);
  }
  return metadata;
}

// All files of a safetensors checkpoint; the number of shards.
int64_t write_checkpoint(const SynthPlan& plan, const SynthOptions& options,
                         const std::optional<std::string>& tokenizer, ShardWriter& writer) {
  const std::vector<Shard> shards = plan_shards(plan, options.shard_bytes);
  write_text(options.folder / "config.json", config_text(plan.config, options.format));
  write_text(options.folder / "generation_config.json", generation_config_text(plan.config));
  if (tokenizer) write_text(options.folder / "tokenizer.json", *tokenizer);
  write_text(options.folder / kIndexName, write_shards(plan, shards, writer));
  return std::ssize(shards);
}

}  // namespace

std::vector<int64_t> parse_layers(const std::string& text, int64_t n_layers) {
  const auto refuse = [&](const std::string& message) {
    throw Error(ErrorCode::kInvalidInput, "layers", message);
  };
  std::vector<int64_t> numbers;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    int64_t number = -1;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, number);
    if (error != std::errc() || stop != text.data() + end || number < 0) {
      refuse(fmt::format("'{}' is neither a number nor a list such as 0,2,3", text));
    }
    numbers.push_back(number);
    begin = end + 1;
  }
  const bool is_list = text.find(',') != std::string::npos;
  if (numbers.empty()) refuse("expected a number or a list such as 0,2,3");
  if (!is_list) {
    if (numbers[0] < 1 || numbers[0] > n_layers) {
      refuse(fmt::format("{} is outside 1 to {}", numbers[0], n_layers));
    }
    std::vector<int64_t> first(static_cast<size_t>(numbers[0]));
    std::iota(first.begin(), first.end(), 0);
    return first;
  }
  for (const int64_t number : numbers) {
    if (number >= n_layers) {
      refuse(fmt::format("there is no layer {}, the last is {}", number, n_layers - 1));
    }
  }
  return numbers;
}

ModelConfig select_layers(const ModelConfig& config, const std::vector<int64_t>& layers) {
  ModelConfig result = config;
  result.compress_ratios.clear();
  result.n_layers = static_cast<int64_t>(layers.size());
  result.n_hash_layers = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    result.compress_ratios.push_back(config.ratio(layers[i]));
    if (!config.is_hash_layer(layers[i])) continue;
    if (result.n_hash_layers != static_cast<int64_t>(i)) {
      throw Error(ErrorCode::kInvalidInput, "layers",
                  fmt::format("layer {} routes by token id (the first {} do) and must come before "
                              "layers that do not",
                              layers[i], config.n_hash_layers));
    }
    ++result.n_hash_layers;
  }
  std::vector<int64_t> all(static_cast<size_t>(config.n_layers));
  std::iota(all.begin(), all.end(), 0);
  if (layers != all) result.n_mtp_layers = 0;
  return result;
}

SynthReport synthesize(const ModelConfig& config, const SynthOptions& options, ThreadPool& pool,
                       const SynthProgress& progress) {
  ModelConfig written = config;
  written.has_dspark = false;
  const bool is_gguf = options.format == SynthFormat::kGguf;
  written.n_mtp_layers = is_gguf ? 0 : std::min<int64_t>(config.n_mtp_layers, 1);
  parse_config(config_to_json(written), "configuration");  // refuse what could not be loaded

  const std::vector<fs::path> old_files = files_to_replace(options.folder, options.replace);
  const uint64_t room = room_in(options.folder, old_files);
  // Before the plan, whose size follows the configuration: a quarter byte is about the least of a
  // weight.
  check_room(options.folder, count_params(written).main_model() / 4, room);
  const SynthPlan plan =
      is_gguf ? plan_gguf(written, options.mix) : plan_tensors(written, options.format);
  check_room(options.folder, plan.bytes(), room);
  std::error_code error;
  for (const fs::path& file : old_files) {
    if (!fs::remove(file, error) && error) throw file_error(file, "remove", error);
  }
  fs::create_directories(options.folder, error);
  if (error) throw file_error(options.folder, "create the folder", error);

  const std::optional<std::string> tokenizer = byte_tokenizer_json(written.vocab_size);
  ShardWriter writer(plan, options, pool, progress);
  int64_t n_files = 1;
  if (is_gguf) {
    writer.write_gguf(gguf_metadata(written, tokenizer));
  } else {
    n_files = write_checkpoint(plan, options, tokenizer, writer);
  }
  return {.n_tensors = static_cast<int64_t>(plan.tensors.size()),
          .n_bytes = plan.bytes(),
          .n_files = n_files,
          .has_tokenizer = tokenizer.has_value()};
}

}  // namespace dsv4
