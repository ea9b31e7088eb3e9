#include "quantize/quantize.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_file.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/gguf_config.h"
#include "model/gguf_tokenizer.h"
#include "quantize/awq_scales.h"
#include "quantize/resume_note.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr int64_t kPieceWeights = 8 << 20;

// Encodes planned weights one after the other and hands their tensors to a writer.
class WeightEncoder {
 public:
  WeightEncoder(const SourceModel& source, const QuantizePlan& plan,
                const ImportanceTable* importance, ThreadPool& pool,
                const QuantizeProgress& progress)
      : source_(source),
        plan_(plan),
        importance_(importance),
        pool_(pool),
        progress_(progress),
        total_(plan.bytes()) {
    if (importance != nullptr) scales_ = AwqScales(source, plan, *importance, pool);
  }

  template <typename Writer>
  void write(const PlannedWeight& weight, Writer& writer) {
    const auto append = [&](const std::vector<std::byte>& bytes) {
      if (bytes.empty()) return;  // no scales of their own
      writer.append(bytes);
      done_ += std::ssize(bytes);
      if (progress_) progress_(done_, total_);
    };
    const SourceTensor& first = source_.tensors()[weight.sources[0]];
    QuantizeReport::Part& part = report_.parts[std::string(part_name(first.spec))];
    part.bytes += weight.bytes();
    for (const size_t index : weight.sources) {
      const SourceTensor& tensor = source_.tensors()[index];
      if (tensor.table != nullptr) {
        append(token_map(tensor, weight.tensors[0].dtype));
        continue;
      }
      part.weights += tensor.matrix.rows * tensor.matrix.cols;
      part.error += write_matrix(weight, index, append);
    }
  }

  // Of an earlier run.
  void skip(const PlannedWeight& weight) {
    const SourceTensor& first = source_.tensors()[weight.sources[0]];
    QuantizeReport::Part& part = report_.parts[std::string(part_name(first.spec))];
    part.bytes += weight.bytes();
    part.weights += first.matrix.rows * first.matrix.cols * std::ssize(weight.sources);
    report_.resumed_bytes += weight.bytes();
    done_ += weight.bytes();
  }

  QuantizeReport report() {
    report_.bytes = total_;
    return report_;
  }

 private:
  template <typename Append>
  EncodingError write_matrix(const PlannedWeight& weight, size_t index, const Append& append) {
    const SourceTensor& tensor = source_.tensors()[index];
    const Encoding encoding{.from = tensor.matrix,
                            .to = weight.type,
                            .int4_group = plan_.types.int4_group,
                            .importance = importance_of(tensor, scales_.columns(index)),
                            .column_factors = scales_.columns(index),
                            .row_factors = scales_.rows(index),
                            .where = tensor.spec.name};
    const int64_t granule = piece_granule(encoding);
    const int64_t n_rows = tensor.matrix.rows;
    const int64_t piece =
        std::max<int64_t>(1, kPieceWeights / (tensor.matrix.cols * granule)) * granule;
    EncodingError error;
    EncodedRows rows;
    std::vector<std::byte> scales;
    std::vector<std::byte> zeros;
    for (int64_t begin = 0; begin < n_rows; begin += piece) {
      error += encode_rows(encoding, begin, std::min(begin + piece, n_rows), pool_, rows);
      append(rows.weights);
      scales.insert(scales.end(), rows.scales.begin(), rows.scales.end());
      zeros.insert(zeros.end(), rows.zeros.begin(), rows.zeros.end());
    }
    append(scales);
    append(zeros);
    return error;
  }

  // Of inputs that were divided by the factors of the columns.
  std::span<const float> importance_of(const SourceTensor& tensor,
                                       std::span<const float> column_factors) {
    if (importance_ == nullptr) return {};
    std::string name = tensor.spec.name;
    if (name.ends_with(".w3.weight")) name[name.size() - 8] = '1';  // gate and up have one input
    const auto found = importance_->matrices.find(name);
    if (found == importance_->matrices.end()) {
      if (tensor.spec.kind == TensorKind::kLinear || tensor.spec.kind == TensorKind::kExpert) {
        ++report_.n_without_importance;
      }
      return {};
    }
    usable_ = positive(found->second.squares);
    for (size_t i = 0; i < column_factors.size(); ++i) {
      usable_[i] /= column_factors[i] * column_factors[i];
    }
    return usable_;
  }

  // An input that was always zero matters a little still, and there must be some importance.
  static std::vector<float> positive(std::span<const float> squares) {
    double sum = 0;
    for (const float square : squares) sum += square;
    const auto mean = static_cast<float>(sum / static_cast<double>(squares.size()));
    std::vector<float> result(squares.begin(), squares.end());
    for (float& square : result) square = mean > 0 ? square / mean + 1e-4f : 1.0f;
    return result;
  }

  static std::vector<std::byte> token_map(const SourceTensor& tensor, DType to) {
    const std::span<const std::byte> data = tensor.table->data;
    if (tensor.table->dtype == to) return {data.begin(), data.end()};
    std::vector<std::byte> result(data.size() / 2);  // I64 to I32; load_weights checked the values
    for (size_t i = 0; i < result.size() / 4; ++i) {
      std::memcpy(&result[4 * i], &data[8 * i], 4);  // little-endian: the low half
    }
    return result;
  }

  const SourceModel& source_;
  const QuantizePlan& plan_;
  const ImportanceTable* importance_;
  ThreadPool& pool_;
  const QuantizeProgress& progress_;
  int64_t total_;
  int64_t done_ = 0;
  AwqScales scales_;
  std::vector<float> usable_;  // what importance_of() returned
  QuantizeReport report_;
};

template <typename Writer>
std::vector<typename Writer::Declaration> declarations(std::span<const PlannedWeight> weights) {
  std::vector<typename Writer::Declaration> result;
  for (const PlannedWeight& weight : weights) {
    for (const StoredShape& tensor : weight.tensors) {
      result.push_back({tensor.name, tensor.dtype, tensor.shape});
    }
  }
  return result;
}

// llama.cpp's number of a mix, which some programs show.
std::optional<uint32_t> file_type(std::string_view name) {
  constexpr std::pair<std::string_view, uint32_t> kNumbers[] = {
      {"F32", 0},     {"F16", 1},      {"Q4_0", 2},    {"Q4_1", 3},  {"Q8_0", 7},
      {"Q5_0", 8},    {"Q5_1", 9},     {"Q2_K", 10},   {"Q3_K", 11}, {"Q3_K_M", 12},
      {"Q4_K_S", 14}, {"Q4_K", 14},    {"Q4_K_M", 15}, {"Q5_K", 16}, {"Q5_K_M", 17},
      {"Q6_K", 18},   {"IQ2_XXS", 19}, {"BF16", 32},   {"MXFP4", 38}};
  for (const auto& [known, number] : kNumbers) {
    if (known == name) return number;
  }
  return std::nullopt;
}

std::string model_name(const SourceModel& source) {
  if (source.checkpoint().gguf() != nullptr) {
    const GgufValue* name = source.checkpoint().gguf()->find("general.name");
    if (name != nullptr && name->as_string()) return std::string(*name->as_string());
  }
  const fs::path path = fs::weakly_canonical(source.path());
  return fs::is_directory(path) ? path.filename().string() : path.stem().string();
}

void add_source_tokenizer(const SourceModel& source, GgufBuilder& metadata) {
  if (const GgufMetadata* gguf = source.checkpoint().gguf()) {
    for (const GgufKey& key : gguf->keys()) {
      if (key.key.starts_with("tokenizer.")) metadata.add(key.key, key.value);
    }
    return;
  }
  const fs::path path = source.path() / "tokenizer.json";
  if (!fs::is_regular_file(path)) return;
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  const ModelConfig& config = source.config();
  add_tokenizer(text, config.vocab_size, static_cast<int32_t>(config.bos_token_id),
                static_cast<int32_t>(config.eos_token_id), metadata);
}

GgufBuilder gguf_metadata(const SourceModel& source, const QuantizeOptions& options) {
  GgufBuilder metadata;
  add_config(source.config(), metadata);
  metadata.add_string("general.name", model_name(source));
  metadata.add_string("general.type", "model");
  metadata.add_u32("general.quantization_version", 2);
  if (const auto number = file_type(options.type_name)) {
    metadata.add_u32("general.file_type", *number);
  }
  metadata.add_string("dsv4.quantize.type", options.type_name);
  add_source_tokenizer(source, metadata);
  return metadata;
}

// Files that are there and whose room the output takes over count as free.
void check_room(const QuantizePlan& plan, const fs::path& output,
                const std::vector<fs::path>& taken_over) {
  std::error_code error;
  uint64_t room = free_disk_bytes(output);
  for (const fs::path& old : taken_over) {
    const uint64_t size = fs::file_size(old, error);
    if (!error) room += size;
  }
  const int64_t needed = plan.bytes();
  if (static_cast<double>(needed) * 1.01 <= static_cast<double>(room)) return;
  throw Error(ErrorCode::kOutOfRange, output.string(),
              fmt::format("the model needs {:.1f} GB, the disk has {:.1f} GB free",
                          static_cast<double>(needed) * 1e-9, static_cast<double>(room) * 1e-9));
}

void check_is_new(const SourceModel& source, const fs::path& file, const QuantizeOptions& options) {
  if (source.is_part_of(options.output)) {
    throw Error(ErrorCode::kInvalidInput, options.output.string(),
                "is the model that is quantised");
  }
  std::error_code ignored;  // what cannot be looked at cannot be written either
  if (fs::exists(file, ignored) && !options.replace) {
    throw Error(ErrorCode::kIo, file.string(), "is there already; replace it with --force");
  }
}

void create_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw Error(ErrorCode::kIo, folder.string(),
                fmt::format("cannot create the folder: {}", error.message()));
  }
}

void write_gguf(const SourceModel& source, const QuantizePlan& plan, const ResumeNote& note,
                const QuantizeOptions& options, WeightEncoder& encoder) {
  const fs::path part = options.output.string() + ".part";
  std::error_code ignored;  // nothing may be there
  if (!note.matches()) fs::remove(part, ignored);
  check_room(plan, options.output, {part});
  if (options.output.has_parent_path()) create_folder(options.output.parent_path());
  note.write();
  GgufWriter writer = GgufWriter::resume(options.output, gguf_metadata(source, options),
                                         declarations<GgufWriter>(plan.weights));
  const size_t n_done = writer.n_written();
  for (size_t i = 0; i < plan.weights.size(); ++i) {
    if (i < n_done) {
      encoder.skip(plan.weights[i]);
    } else {
      encoder.write(plan.weights[i], writer);
    }
  }
  writer.finish();
}

void write_text(const fs::path& path, const std::string& text) {
  OutputFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.finish();
}

std::string config_text(const SourceModel& source, const QuantizePlan& plan) {
  const auto uses = [&](DType type) {
    return std::ranges::any_of(plan.weights, [&](const PlannedWeight& weight) {
      return weight.type == type && source.tensors()[weight.sources[0]].table == nullptr;
    });
  };
  ModelConfig config = source.config();
  config.fp8_block = {};
  config.int4 = {};
  if (uses(DType::kI32)) config.int4 = {Int4Method::kAwq, plan.types.int4_group, false};
  auto json = nlohmann::ordered_json::parse(config_to_json(config));
  if (uses(DType::kI8)) json["expert_dtype"] = "fp4";
  if (!uses(DType::kI8) && !uses(DType::kF8E4M3) && !uses(DType::kI32)) {
    json.erase("quantization_config");
  }
  return json.dump(2) + "\n";
}

// Everything of the folder but its weights, by file name. Read before the weights, as it can fail.
std::map<std::string, std::string> side_files(const SourceModel& source, const QuantizePlan& plan) {
  std::map<std::string, std::string> files = {{"config.json", config_text(source, plan)}};
  if (const GgufMetadata* gguf = source.checkpoint().gguf()) {
    if (gguf->find("tokenizer.ggml.model") != nullptr) {
      files["tokenizer.json"] = tokenizer_json_from_gguf(*gguf, source.path().string());
    }
    return files;
  }
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    const fs::path from = source.path() / name;
    if (fs::is_regular_file(from)) files[name] = read_file(from);
  }
  return files;
}

std::vector<std::span<const PlannedWeight>> cut_shards(const QuantizePlan& plan, int64_t limit) {
  const std::span<const PlannedWeight> all = plan.weights;
  std::vector<std::span<const PlannedWeight>> shards;
  size_t begin = 0;
  int64_t size = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const int64_t bytes = all[i].bytes();
    if (i > begin && size + bytes > limit) {
      shards.push_back(all.subspan(begin, i - begin));
      begin = i;
      size = 0;
    }
    size += bytes;
  }
  shards.push_back(all.subspan(begin));
  return shards;
}

std::string shard_name(size_t i, size_t n) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, n);
}

void write_safetensors(const SourceModel& source, const QuantizePlan& plan, const ResumeNote& note,
                       const QuantizeOptions& options, WeightEncoder& encoder) {
  const fs::path& folder = options.output;
  const std::map<std::string, std::string> texts = side_files(source, plan);
  const auto shards = cut_shards(plan, options.shard_bytes);
  std::vector<fs::path> files;
  for (size_t i = 0; i < shards.size(); ++i) files.push_back(folder / shard_name(i, shards.size()));
  check_room(plan, folder, files);
  create_folder(folder);
  note.write();
  std::error_code ignored;  // nothing may be there
  fs::remove(folder / kIndexName, ignored);
  const std::map<std::string, std::string> metadata = {{"format", "pt"}};
  nlohmann::json map = nlohmann::json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto tensors = declarations<SafetensorsWriter>(shards[i]);
    for (const auto& tensor : tensors) map[tensor.name] = files[i].filename().string();
    if (note.matches() && SafetensorsWriter::is_written(files[i], tensors, metadata)) {
      for (const PlannedWeight& weight : shards[i]) encoder.skip(weight);
      continue;
    }
    SafetensorsWriter writer(files[i], tensors, metadata);
    for (const PlannedWeight& weight : shards[i]) encoder.write(weight, writer);
    writer.finish();
  }
  for (const auto& [name, text] : texts) write_text(folder / name, text);
  const nlohmann::json index = {{"metadata", {{"total_size", plan.bytes()}}}, {"weight_map", map}};
  write_text(folder / kIndexName, index.dump(2) + "\n");
}

// Before anything is written: an entry that fits no weight shows that the file is of another model.
void check_importance(const SourceModel& source, const ImportanceTable& importance) {
  std::map<std::string_view, const QuantMatrix*> matrices;
  for (const SourceTensor& tensor : source.tensors()) {
    if (tensor.table == nullptr) matrices.emplace(tensor.spec.name, &tensor.matrix);
  }
  constexpr const char* kOther = "the importance matrix is of another model: ";
  for (const auto& [name, entry] : importance.matrices) {
    const auto found = matrices.find(name);
    if (found == matrices.end()) {
      throw Error(ErrorCode::kInvalidInput, name,
                  fmt::format("{}this one has no such weight", kOther));
    }
    const int64_t cols = std::ssize(entry.squares) / entry.groups;
    const QuantMatrix& matrix = *found->second;
    if (cols == matrix.cols && matrix.rows % entry.groups == 0) continue;
    throw Error(ErrorCode::kInvalidInput, name,
                fmt::format("{}it has {} columns in {} groups, this weight is [{}, {}]", kOther,
                            cols, entry.groups, matrix.rows, matrix.cols));
  }
}

}  // namespace

QuantizeReport quantize(const SourceModel& source, const QuantizePlan& plan,
                        const ImportanceTable* importance, const QuantizeOptions& options,
                        ThreadPool& pool, const QuantizeProgress& progress) {
  const bool gguf = plan.container == Container::kGguf;
  check_is_new(source, gguf ? options.output : options.output / kIndexName, options);
  if (importance != nullptr) check_importance(source, *importance);
  const ResumeNote note(gguf ? options.output.string() + ".part.source"
                             : (options.output / "quantize.part.source").string(),
                        source_identity(source, importance));
  WeightEncoder encoder(source, plan, importance, pool, progress);
  if (gguf) {
    write_gguf(source, plan, note, options, encoder);
  } else {
    write_safetensors(source, plan, note, options, encoder);
  }
  note.remove();
  return encoder.report();
}

}  // namespace dsv4
