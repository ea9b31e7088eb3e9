// Whole models: what is written against what was read, runs that stop and go on, and what goes
// wrong.
#include "quantize/quantize.h"

#include "base/error.h"
#include "quantize/quantize_testing.h"

#include <cmath>
#include <limits>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

constexpr Style kBf16 = {.name = "BF16", .linear = DType::kBF16, .expert = DType::kBF16};

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class Quantize : public QuantizeFixture {};

class QuantizeType : public QuantizeFixture, public testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Every, QuantizeType, testing::ValuesIn(mix_names()), [](const auto& test) {
  std::string name = test.param;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

// Squared errors and squares of what was not copied, from the decoded values of both models.
std::map<std::string, EncodingError> errors_between(const SourceModel& a, const SourceModel& b) {
  std::map<std::string, EncodingError> parts;
  for (size_t t = 0; t < a.tensors().size(); ++t) {
    const SourceTensor& from = a.tensors()[t];
    if (from.table != nullptr) continue;
    EncodingError& part = parts[std::string(part_name(from.spec))];
    for (int64_t row = 0; row < from.matrix.rows; ++row) {
      const std::vector<float> x = row_of(from.matrix, row);
      const std::vector<float> y = row_of(b.tensors()[t].matrix, row);
      for (size_t i = 0; i < x.size(); ++i) {
        part.error += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
        part.square += double{x[i]} * x[i];
      }
    }
  }
  return parts;
}

TEST_P(QuantizeType, writes_again_the_bytes_that_it_reads) {
  const SourceModel source(write_model("source", kBf16));
  const QuantizeReport report = quantize_to(source, GetParam(), folder_ / "once");
  quantize_to(source, GetParam(), folder_ / "one-thread", {.n_threads = 1});
  EXPECT_EQ(files_of(folder_ / "once"), files_of(folder_ / "one-thread"));
  const SourceModel once(folder_ / "once");
  quantize_to(once, GetParam(), folder_ / "twice");
  EXPECT_EQ(files_of(folder_ / "once"), files_of(folder_ / "twice"));

  for (const auto& [part, error] : errors_between(source, once)) {
    const EncodingError& told = report.parts.at(part).error;
    if (told.square == 0) {
      EXPECT_EQ(error.error, 0) << part << " was copied";
    } else {
      EXPECT_NEAR(told.relative_rms(), error.relative_rms(), 1e-9) << part;
    }
  }
}

struct Stopped {};

// Runs until some share of the bytes is written.
void stop_at(double share, const SourceModel& source, const std::string& type,
             const fs::path& output, QuantizeRun run = {}) {
  run.progress = [share](int64_t done, int64_t total) {
    if (static_cast<double>(done) >= share * static_cast<double>(total)) throw Stopped();
  };
  EXPECT_THROW(quantize_to(source, type, output, run), Stopped);
}

TEST_P(QuantizeType, goes_on_where_it_stopped) {
  const SourceModel source(write_model("source", GetParam() == "F16" ? kBf16 : kNative));
  quantize_to(source, GetParam(), folder_ / "whole", {.n_threads = 5});
  const fs::path output = folder_ / "stopped";
  for (const double share : {0.3, 0.8}) stop_at(share, source, GetParam(), output);
  const QuantizeReport report = quantize_to(source, GetParam(), output);
  EXPECT_GT(report.resumed_bytes, 0);
  EXPECT_LT(report.resumed_bytes, report.bytes);
  EXPECT_EQ(files_of(folder_ / "whole"), files_of(output));
  if (container_for(GetParam()) == Container::kGguf) {
    EXPECT_FALSE(fs::exists(output.string() + ".part"));
    EXPECT_FALSE(fs::exists(output.string() + ".part.source"));
  }
}

TEST_F(Quantize, goes_on_with_a_file_that_was_cut_anywhere) {
  const SourceModel source(write_model("source", kNative));
  const fs::path output = folder_ / "m.gguf";
  quantize_to(source, "Q8_0", folder_ / "whole.gguf");
  const std::string whole = read_file(folder_ / "whole.gguf");
  stop_at(0.9, source, "Q8_0", output);
  const std::string part = read_file(output.string() + ".part");
  const std::string note = read_file(output.string() + ".part.source");
  for (size_t size = part.size(); size > 70001; size -= 70001) {
    std::ofstream(output.string() + ".part", std::ios::binary) << part.substr(0, size);
    std::ofstream(output.string() + ".part.source", std::ios::binary) << note;
    quantize_to(source, "Q8_0", output);
    ASSERT_EQ(read_file(output), whole) << "cut at " << size;
    fs::remove(output);
  }
}

TEST_F(Quantize, leaves_a_file_alone_that_another_run_writes) {
  const SourceModel source(write_model("source", kNative));
  const fs::path output = folder_ / "m.gguf";
  std::string message;
  const QuantizeProgress meddle = [&](int64_t, int64_t) {
    if (message.empty()) message = message_of([&] { quantize_to(source, "Q8_0", output); });
  };
  quantize_to(source, "Q8_0", output, {.progress = meddle});
  EXPECT_NE(message.find("is being written by another run"), std::string::npos) << message;
  quantize_to(source, "Q8_0", folder_ / "alone.gguf");
  EXPECT_EQ(read_file(output), read_file(folder_ / "alone.gguf"));
}

TEST_F(Quantize, does_not_go_on_with_what_is_of_other_types_weights_or_importance) {
  const SourceModel source(write_model("source", kNative));
  ModelConfig config = quantizable_config();
  Tensors tensors = random_checkpoint(config, kNative);
  for (auto& [name, tensor] : tensors) {  // other values in the same places
    if (tensor.dtype == DType::kI8) tensor = random_tensor(name + "x", tensor.dtype, tensor.shape);
  }
  const SourceModel other(write_model("other", config, tensors));
  ImportanceTable importance;
  importance.matrices["layers.0.ffn.experts.0.w1.weight"] = {
      1, std::vector<float>(256, 1.0f), {100}};
  importance.matrices["layers.0.ffn.experts.0.w1.weight"].squares[3] = 1000;
  for (const char* type : {"Q4_K", "AWQ-INT4"}) {
    quantize_to(source, type, folder_ / type);
    const auto expected = files_of(folder_ / type);
    const fs::path output = folder_ / (std::string(type) + "-stopped");
    stop_at(0.6, other, type, output);
    // general.name is the source's, whose folder has another name.
    EXPECT_EQ(quantize_to(source, type, output).resumed_bytes, 0);
    EXPECT_EQ(files_of(output), expected);
    fs::remove_all(output);
    stop_at(0.6, source, type, output, {.importance = &importance});
    EXPECT_EQ(quantize_to(source, type, output).resumed_bytes, 0);
    EXPECT_EQ(files_of(output), expected);
    fs::remove_all(output);
    stop_at(0.6, source, container_for(type) == Container::kGguf ? "Q5_K" : "FP4", output);
    EXPECT_EQ(quantize_to(source, type, output).resumed_bytes, 0);
    auto files = files_of(output);
    std::erase_if(files, [&](const auto& file) { return !expected.contains(file.first); });
    EXPECT_EQ(files, expected);
  }
}

// FP4 experts become MXFP4 and come back, byte by byte; FP8 becomes BF16 without loss.
TEST_F(Quantize, repacks_fp4_without_loss_both_ways) {
  const ModelConfig config = quantizable_config();
  const Tensors tensors = random_checkpoint(config, kNative);
  const SourceModel source(write_model("source", config, tensors));
  TypeChoice types;
  types.mix = mix_of_name("MXFP4");
  types.mix.attention = types.mix.shared = DType::kBF16;
  ThreadPool pool(2);
  quantize(source, plan_quantize(source, types, Container::kGguf), nullptr,
           {folder_ / "m.gguf", "MXFP4"}, pool);
  const SourceModel mxfp4(folder_ / "m.gguf");
  EXPECT_EQ(matrix_of(mxfp4, "layers.1.ffn.experts.1.w2.weight").format, WeightFormat::kMXFP4);
  for (const SourceTensor& tensor : source.tensors()) {
    if (tensor.spec.kind != TensorKind::kExpert && tensor.spec.kind != TensorKind::kLinear)
      continue;
    const QuantMatrix& got = matrix_of(mxfp4, tensor.spec.name);
    for (int64_t row = 0; row < got.rows; ++row) {
      ASSERT_EQ(row_of(got, row), row_of(tensor.matrix, row)) << tensor.spec.name << " " << row;
    }
  }
  quantize_to(mxfp4, "FP4", folder_ / "back");
  const Checkpoint back = Checkpoint::open(folder_ / "back");
  for (const auto& [name, tensor] : tensors) {
    if (name.find(".experts.") == std::string::npos) continue;
    const StoredTensor* stored = back.find(name);
    ASSERT_NE(stored, nullptr) << name;
    EXPECT_EQ(stored->shape, tensor.shape) << name;
    EXPECT_TRUE(std::ranges::equal(stored->data, tensor.data)) << name;
  }
}

TEST_F(Quantize, keeps_a_release_as_it_is) {
  const ModelConfig config = quantizable_config();
  const Tensors tensors = random_checkpoint(config, kNative);
  const SourceModel source(write_model("source", config, tensors));
  quantize_to(source, "FP4", folder_ / "copy");
  const Checkpoint copy = Checkpoint::open(folder_ / "copy");
  EXPECT_EQ(copy.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const StoredTensor* stored = copy.find(name);
    ASSERT_NE(stored, nullptr) << name;
    EXPECT_EQ(stored->dtype, tensor.dtype) << name;
    EXPECT_TRUE(std::ranges::equal(stored->data, tensor.data)) << name;
  }
  EXPECT_EQ(load_config(folder_ / "copy"), config);
}

TEST_F(Quantize, replaces_only_when_told) {
  const SourceModel source(write_model("source", kNative));
  for (const char* type : {"Q8_0", "FP4"}) {
    const fs::path output = folder_ / type;
    const auto run = [&](bool replace) { quantize_to(source, type, output, {.replace = replace}); };
    run(false);
    const auto before = files_of(output);
    EXPECT_NE(message_of([&] { run(false); }).find("is there already"), std::string::npos);
    EXPECT_EQ(files_of(output), before);
    run(true);
    EXPECT_EQ(files_of(output), before);
  }
}

TEST_F(Quantize, never_writes_over_its_source) {
  const fs::path folder = write_model("source", kNative);
  const auto before = files_of(folder);
  const auto expect_refused = [](const SourceModel& source, const char* type, const fs::path& to) {
    const std::string message =
        message_of([&] { quantize_to(source, type, to, {.replace = true}); });
    EXPECT_NE(message.find("is the model that is quantised"), std::string::npos) << message;
  };
  expect_refused(SourceModel(folder), "FP4", folder);
  EXPECT_EQ(files_of(folder), before);
  quantize_to(SourceModel(folder), "Q8_0", folder_ / "m.gguf");
  expect_refused(SourceModel(folder_ / "m.gguf"), "Q4_K", folder_ / "m.gguf");
}

TEST_F(Quantize, says_that_the_disk_is_too_small) {
  const SourceModel source(write_model("source", kNative));
  for (const char* type : {"Q8_0", "FP4"}) {
    TypeChoice types;
    types.mix = mix_of_name(type);
    QuantizePlan plan = plan_quantize(source, types, container_for(type));
    plan.weights.back().tensors[0].shape[0] = int64_t{1} << 50;
    ThreadPool pool(1);
    const fs::path output = folder_ / type;
    const std::string message = message_of([&] {
      quantize(source, plan, nullptr, {output, type}, pool);
    });
    EXPECT_NE(message.find("GB free"), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(output));
    EXPECT_FALSE(fs::exists(output.string() + ".part"));
  }
}

TEST_F(Quantize, names_the_weight_that_a_type_cannot_hold) {
  const ModelConfig config = quantizable_config();
  Tensors tensors = random_checkpoint(config, kBf16);
  const std::string name = "layers.1.ffn.experts.1.w2.weight";
  struct Case {
    float value;
    const char* type;
  };
  for (const Case& bad : {Case{std::numeric_limits<float>::quiet_NaN(), "Q4_K"},
                          {std::numeric_limits<float>::infinity(), "MXFP4"},
                          {-std::numeric_limits<float>::infinity(), "AWQ-INT4"},
                          {std::numeric_limits<float>::quiet_NaN(), "FP8"},
                          {1e6f, "F16"}}) {
    for (const size_t index : {size_t{200 * 256 + 17}, size_t{9 * 256 + 5}}) {
      const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(bad.value) >> 16);
      std::memcpy(&tensors[name].data[2 * index], &bits, 2);
    }
    const SourceModel source(write_model(bad.type, config, tensors));
    for (const int n : {1, 3}) {
      const std::string message = message_of([&] {
        quantize_to(source, bad.type, folder_ / fmt::format("out-{}", bad.type), {.n_threads = n});
      });
      EXPECT_EQ(message.find(name), 0u) << message;
      EXPECT_NE(message.find("row 9, column 5"), std::string::npos) << message;
    }
  }
}

TEST_F(Quantize, refuses_the_importance_of_another_model) {
  const SourceModel source(write_model("source", kNative));
  const auto message = [&](const std::string& name, int64_t groups, size_t n) {
    ImportanceTable table;
    table.matrices[name] = {groups, std::vector<float>(n, 1.0f),
                            std::vector<int64_t>(static_cast<size_t>(groups), 50)};
    return message_of(
        [&] { quantize_to(source, "Q4_K", folder_ / "m.gguf", {.importance = &table}); });
  };
  for (const std::string& text :
       {message("layers.3.attn.wq_a.weight", 1, 256), message("layers.0.attn.wq_a.weight", 1, 255),
        message("layers.0.attn.wo_a.weight", 3, 3 * 128)}) {
    EXPECT_NE(text.find("of another model"), std::string::npos) << text;
  }
  EXPECT_FALSE(fs::exists(folder_ / "m.gguf.part"));
  EXPECT_EQ(message("layers.0.attn.wo_a.weight", 2, 2 * 128), "no error");
}

TEST_F(Quantize, weighs_both_first_projections_of_an_expert_with_one_entry) {
  const SourceModel source(write_model("source", kBf16));
  ImportanceTable table;
  InputSquares& entry = table.matrices["layers.0.ffn.experts.0.w1.weight"];
  entry = {1, std::vector<float>(256, 1.0f), {100}};
  for (size_t i = 0; i < 256; i += 8) entry.squares[i] = 1000;
  quantize_to(source, "Q4_K", folder_ / "even.gguf");
  const QuantizeReport report =
      quantize_to(source, "Q4_K", folder_ / "weighed.gguf", {.importance = &table});
  const SourceModel even(folder_ / "even.gguf");
  const SourceModel weighed(folder_ / "weighed.gguf");
  const auto weighted_error = [&](const SourceModel& model, const std::string& name) {
    double sum = 0;
    for (int64_t row = 0; row < 256; ++row) {
      const std::vector<float> x = row_of(matrix_of(source, name), row);
      const std::vector<float> y = row_of(matrix_of(model, name), row);
      for (size_t i = 0; i < 256; ++i) sum += entry.squares[i] * std::pow(x[i] - y[i], 2);
    }
    return sum;
  };
  const std::string expert = "layers.0.ffn.experts.0.";
  for (const char* part : {"w1.weight", "w3.weight"}) {
    EXPECT_LT(weighted_error(weighed, expert + part), 0.8 * weighted_error(even, expert + part));
  }
  EXPECT_EQ(weighted_error(weighed, expert + "w2.weight"),
            weighted_error(even, expert + "w2.weight"));
  EXPECT_GT(report.n_without_importance, 0);
}

}  // namespace
}  // namespace dsv4
