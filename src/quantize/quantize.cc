#include "quantize/quantize.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_file.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "quantize/awq_scales.h"
#include "quantize/output_files.h"
#include "quantize/resume_note.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include <fmt/core.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

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

// Files that are there and whose room the output takes over count as free.
void check_room(const SourceModel& source, const QuantizePlan& plan, const QuantizeOptions& options,
                const std::vector<fs::path>& taken_over) {
  std::error_code error;
  uint64_t room = free_disk_bytes(options.output);
  for (const fs::path& old : taken_over) {
    const uint64_t size = fs::file_size(old, error);
    if (!error) room += size;
  }
  const int64_t needed = output_bytes(source, plan, options.type_name, options.shard_bytes);
  if (static_cast<uint64_t>(needed) <= room) return;
  throw Error(ErrorCode::kOutOfRange, options.output.string(),
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
  check_room(source, plan, options, {part});
  if (options.output.has_parent_path()) create_folder(options.output.parent_path());
  note.write();
  GgufWriter writer = GgufWriter::resume(options.output, gguf_metadata(source, options.type_name),
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

void write_safetensors(const SourceModel& source, const QuantizePlan& plan, const ResumeNote& note,
                       const QuantizeOptions& options, WeightEncoder& encoder) {
  const fs::path& folder = options.output;
  // Before the weights, as it can fail.
  const std::map<std::string, std::string> texts = side_files(source, plan);
  const auto shards = cut_shards(plan, options.shard_bytes);
  std::vector<fs::path> files;
  for (size_t i = 0; i < shards.size(); ++i) files.push_back(folder / shard_name(i, shards.size()));
  check_room(source, plan, options, files);
  create_folder(folder);
  note.write();
  std::error_code ignored;  // nothing may be there
  fs::remove(folder / kIndexName, ignored);
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto tensors = declarations<SafetensorsWriter>(shards[i]);
    if (note.matches() && SafetensorsWriter::is_written(files[i], tensors, shard_metadata())) {
      for (const PlannedWeight& weight : shards[i]) encoder.skip(weight);
      continue;
    }
    SafetensorsWriter writer(files[i], tensors, shard_metadata());
    for (const PlannedWeight& weight : shards[i]) encoder.write(weight, writer);
    writer.finish();
  }
  for (const auto& [name, text] : texts) write_text(folder / name, text);
  write_text(folder / kIndexName, index_text(plan, shards));
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
