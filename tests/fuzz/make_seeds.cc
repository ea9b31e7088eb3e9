// Writes the seeds of the corpora of safetensors, gguf, config, blocks, snapshot, disk_store,
// replay_file and routing_trace: good inputs of every form and hostile ones. Usage: fuzz_make_seeds
// tests/fuzz/corpus
#include "base/mapped_file.h"
#include "base/rng.h"
#include "cache/disk_format.h"
#include "cache/sequence_testing.h"
#include "formats/gguf_testing.h"
#include "formats/routing_trace.h"
#include "model/gguf_config.h"
#include "model/int4_testing.h"
#include "model/names.h"
#include "model/weights_testing.h"
#include "server/replay_file.h"
#include "small_model.h"
#include "text/unicode.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string with_length(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

// A whole checkpoint of fuzz_model() in one file, its MTP block apart.
std::string checkpoint(Tensors tensors) {
  std::string header;
  std::string data;
  for (auto& [name, tensor] : tensors) {
    if (name.starts_with("mtp.")) continue;
    if (name.ends_with("tid2eid")) std::ranges::fill(tensor.data, std::byte{0});
    header +=
        fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                    header.empty() ? "{" : ",", name, dtype_name(tensor.dtype),
                    fmt::join(tensor.shape, ","), data.size(), data.size() + tensor.data.size());
    data.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  return with_length(header + "}", data);
}

std::string checkpoint(const Style& style) {
  return checkpoint(random_checkpoint(fuzz_model(), style));
}

// With INT4 where the shape allows it.
std::string checkpoint(const Int4Config& int4) {
  Tensors tensors = random_checkpoint(fuzz_model(), kStyles[5]);
  for (const TensorSpec& spec : layer_specs(fuzz_model(), 0)) {
    const bool fits = spec.shape.size() == 2 && spec.name.ends_with(".weight") &&
                      spec.shape[0] % 8 == 0 && spec.shape[1] % int4.group_size == 0;
    if (fits) to_int4(tensors, spec.name, {"", int4});
  }
  return checkpoint(std::move(tensors));
}

std::string entry(const char* name, const char* dtype, const char* shape, const char* offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape,
                     offsets);
}

void write_safetensors(const fs::path& folder) {
  Style style = kNative;
  style.block = fuzz_model().fp8_block;
  write(folder / "checkpoint-native", checkpoint(style));
  style.expert = DType::kF8E4M3;
  style.scale = DType::kF32;
  style.old_scale_name = true;
  write(folder / "checkpoint-base", checkpoint(style));
  write(folder / "checkpoint-bf16",
        checkpoint({.name = "", .linear = DType::kBF16, .expert = DType::kF16}));
  write(folder / "checkpoint-awq", checkpoint(fuzz_int4(Int4Method::kAwq)));
  write(folder / "checkpoint-packed", checkpoint(fuzz_int4(Int4Method::kCompressedTensors)));
  const std::string a = entry("a", "F32", "[2,1]", "[0,8]");
  write(folder / "two-tensors", with_length(R"({"__metadata__":{"format":"pt"},)" + a + "," +
                                                entry("b", "I64", "[]", "[8,16]") + "}  ",
                                            std::string(16, 'x')));
  write(folder / "truncated", with_length("{" + a + "}", "xxxx"));
  write(folder / "overlap",
        with_length("{" + a + "," + entry("b", "U8", "[2]", "[7,9]") + "}", std::string(9, 'x')));
  write(folder / "repeated-name", with_length("{" + a + "," + a + "}", std::string(8, 'x')));
  write(folder / "overflow",
        with_length("{" + entry("a", "F32", "[4294967296,4294967296,0]", "[0,0]") + "}", ""));
  write(
      folder / "huge-offsets",
      with_length(
          "{" + entry("a", "U8", "[1]", "[18446744073709551614,18446744073709551615]") + "}", "x"));
  write(folder / "deep", with_length(R"({"a":{"shape":)" + std::string(300, '['), ""));
  write(folder / "huge-header", std::string(7, '\0') + "\x80" + "{}");
  write(folder / "index", R"({"metadata":{"total_size":6},"weight_map":{"a":"a.safetensors",)"
                          R"("a2":"a.safetensors","b":"b.safetensors","b2":"b.safetensors"}})");
  write(folder / "index-wrong-shard",
        R"({"weight_map":{"a":"b.safetensors","a2":"a.safetensors","b":"b.safetensors"}})");
  write(folder / "index-infinite", R"({"metadata":{"total_size":1e999},"weight_map":{}})");
  write(folder / "index-outside",
        R"({"weight_map":{"a":"../shards/a.safetensors","b":"..","c":1}})");
}

// Keys of a tokenizer: the 256 bytes, a merge, a marker, an added token, an unused one.
std::vector<std::string> tokenizer_keys() {
  std::string tokens;
  std::string types;
  uint32_t shifted = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
    std::string token;
    append_utf8(token, printable ? byte : shifted++);
    tokens += gguf_text(token);
    types += raw(int32_t{1});
  }
  for (const char* token : {"ab", "<｜User｜>", "<think>", "[PAD259]"}) tokens += gguf_text(token);
  types += raws({1, 3, 4, 5});
  return {gguf_key("tokenizer.ggml.model", 8, gguf_text("gpt2")),
          gguf_array("tokenizer.ggml.tokens", 8, 260, tokens),
          gguf_array("tokenizer.ggml.token_type", 5, 260, types),
          gguf_array("tokenizer.ggml.merges", 8, 1, gguf_text("a b"))};
}

// The weights of fuzz_model() under their names in GGUF; rows of 32 in the type of this number.
std::string gguf_model(uint32_t linear_type, const std::vector<std::string>& keys) {
  const ModelConfig config = fuzz_model();
  std::vector<TensorSpec> specs = global_specs(config);
  for (TensorSpec& spec : layer_specs(config, 0)) specs.push_back(std::move(spec));
  std::vector<std::string> tensors;
  std::string data;
  for (const TensorSpec& spec : specs) {
    const bool matrix = spec.shape.size() == 2 && spec.shape[1] % 32 == 0;
    const uint32_t type = spec.kind == TensorKind::kTokenMap ? 26 : matrix ? linear_type : 0;
    int64_t n_bytes = 4 * count(spec.shape);
    if (type == 8) n_bytes = count(spec.shape) / 32 * 34;
    if (type == 39) n_bytes = count(spec.shape) / 32 * 17;
    std::vector<int64_t> ne(spec.shape.rbegin(), spec.shape.rend());
    if (spec.name.find(".experts.") != std::string::npos) ne.push_back(config.n_experts);
    data.resize((data.size() + 31) / 32 * 32);
    tensors.push_back(gguf_tensor(gguf_name(spec.name).value(), ne, type, data.size()));
    data += std::string(static_cast<size_t>(n_bytes), type == 26 ? '\0' : '<');
  }
  return gguf_file(keys, tensors, data);
}

std::vector<std::string> config_keys() {
  GgufBuilder builder;
  add_config(fuzz_model(), builder);
  const std::string file =
      "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(builder.count()) + builder.bytes();
  std::vector<std::string> keys;
  const GgufHeader header = parse_gguf(bytes_of(file), "keys");
  for (const GgufKey& key : header.metadata.keys()) {
    GgufBuilder one;
    one.add(key.key, key.value);
    keys.push_back(one.bytes());
  }
  return keys;
}

void write_gguf(const fs::path& folder) {
  write(folder / "model-f32", gguf_model(0, config_keys()));
  write(folder / "model-q8_0", gguf_model(8, config_keys()));
  write(folder / "model-mxfp4", gguf_model(39, {gguf_u32("general.alignment", 32)}));
  write(folder / "config", gguf_file(config_keys(), {}, ""));
  write(folder / "tokenizer", gguf_file(tokenizer_keys(), {}, ""));
  write(folder / "released-size",
        gguf_file({gguf_key("general.architecture", 8, gguf_text("deepseek4")),
                   gguf_u32("deepseek4.block_count", 43), gguf_u32("deepseek4.num_hash_layers", 3),
                   gguf_key("deepseek4.swiglu_limit", 12, raw(10.0))},
                  {}, ""));
  write(folder / "every-value",
        gguf_file({gguf_key("a", 0, "x"), gguf_key("b", 3, raw(int16_t{-1})),
                   gguf_key("c", 10, raw(~uint64_t{0})), gguf_key("d", 12, raw(1e300)),
                   gguf_key("e", 7, "\1"), gguf_array("f", 8, 2, gguf_text("") + gguf_text("y")),
                   gguf_array("g", 11, 1, raw(int64_t{-1})), gguf_array("h", 6, 1, raw(1.5f))},
                  {}, ""));
  write(folder / "aligned",
        gguf_file({gguf_u32("general.alignment", 64)},
                  {gguf_tensor("a", {3}, 24, 0), gguf_tensor("b", {256}, 16, 64)},
                  std::string(130, 'x'), 64));
  write(folder / "drafter", gguf_file({},
                                      {gguf_tensor("blk.1.nextn.enorm.weight", {1}, 24, 0),
                                       gguf_tensor("blk.0.ffn_up_exps.weight", {1, 1, 2}, 24, 32)},
                                      std::string(34, 'x')));
  write(folder / "huge-counts", "GGUF" + raw(uint32_t{3}) + raw(~uint64_t{0}) + raw(~uint64_t{0}));
  write(folder / "huge-array", gguf_file({gguf_array("a", 12, uint64_t{1} << 61, "")}, {}, ""));
  write(folder / "huge-tensor",
        gguf_file({}, {gguf_tensor("a", {int64_t{1} << 62, 16}, 0, ~uint64_t{31})}, ""));
  write(folder / "version-2", "GGUF" + raw(uint32_t{2}) + std::string(16, '\0'));
  write(folder / "big-endian", "GGUF" + raw(uint32_t{3} << 24) + std::string(16, '\0'));
}

// Settings and a row of one or two blocks of each type, scales of all kinds among them.
void write_blocks(const fs::path& folder) {
  constexpr size_t kBytes[] = {18, 20, 22, 24, 34, 84, 110, 144, 176, 210, 66, 17, 17, 36};
  for (size_t type = 0; type < std::size(kBytes); ++type) {
    for (const char* kind : {"plain", "hostile"}) {
      const bool hostile = kind[0] == 'h';
      std::string bytes = {static_cast<char>(type), static_cast<char>(type % 2),
                           static_cast<char>(hostile ? 0x84 : 2), 7};
      for (size_t i = 0; i < 2 * kBytes[type]; ++i) {
        bytes += static_cast<char>(random_bits(type, 0, i) % (hostile ? 256 : 60));
      }
      if (hostile) bytes.replace(4, 2, "\xFF\x7C");  // a NaN where halves come first
      write(folder / fmt::format("{}-{:02}", kind, type), bytes);
    }
  }
}

void write_config(const fs::path& folder, const fs::path& golden) {
  const std::string t1 = read_file(golden / "t1" / "config.json");
  write(folder / "t1", t1);
  write(folder / "t3", read_file(golden / "t3" / "config.json"));
  write(folder / "t3-inference", read_file(golden / "t3" / "inference" / "config.json"));
  write(folder / "flash", config_to_json(preset_config("flash")));
  write(folder / "tiny", config_to_json(preset_config("tiny")));
  ModelConfig int4 = preset_config("tiny");
  int4.int4 = fuzz_int4(Int4Method::kAwq);
  write(folder / "awq", config_to_json(int4));
  int4.int4 = fuzz_int4(Int4Method::kCompressedTensors);
  write(folder / "compressed-tensors", config_to_json(int4));
  write(folder / "newer-spelling", R"({"vocab_size":64,"hidden_size":32,"num_hidden_layers":3,
"num_attention_heads":2,"head_dim":32,"q_lora_rank":8,"o_groups":1,"o_lora_rank":8,
"sliding_window":8,"index_n_heads":2,"index_head_dim":16,"index_topk":4,"n_routed_experts":4,
"num_experts_per_tok":2,"moe_intermediate_size":32,"routed_scaling_factor":1.5,"swiglu_limit":10,
"hc_mult":4,"hc_sinkhorn_iters":20,"partial_rotary_factor":0.25,"rope_theta":10000,
"layer_types":["sliding_attention","compressed_sparse_attention","heavily_compressed_attention"],
"mlp_layer_types":["hash_moe","moe","moe"],"compress_rates":{"compressed_sparse_attention":4,
"heavily_compressed_attention":16},"rope_parameters":{"main":{"rope_type":"default",
"rope_theta":10000},"compress":{"rope_type":"yarn","rope_theta":160000,"factor":16,
"original_max_position_embeddings":65536,"beta_fast":32,"beta_slow":1}}})");
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = t1;
    return text.replace(text.find(from), from.size(), to);
  };
  write(folder / "infinite", replaced(R"("vocab_size": 512)", R"("vocab_size": 1e400)"));
  write(folder / "not-a-number", replaced(R"("swiglu_limit": 2.0)", R"("swiglu_limit": NaN)"));
  write(folder / "huge",
        replaced(R"("max_position_embeddings": 512)", R"("max_position_embeddings": 1073741824)"));
  write(folder / "fraction", replaced(R"("head_dim": 96)", R"("head_dim": 96.5)"));
  write(folder / "wrong-types", replaced(R"("rope_scaling": {)", R"("rope_scaling": [], "x": {)"));
  write(folder / "v4.1", R"({"model_type":"deepseek_v41","text_config":{"hidden_size":5120}})");
  write(folder / "deep", R"({"a":)" + std::string(300, '[') + std::string(300, ']') + "}");
}

void write_snapshots(const fs::path& folder) {
  const auto snapshot = [](const std::vector<int64_t>& steps) {
    TestSequence sequence(small_layout(6), 1);
    for (const int64_t n : steps) n > 0 ? sequence.feed(n) : sequence.rollback(-n);
    const auto bytes = sequence.state().snapshot();
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const auto changed = [&](size_t at, uint64_t value) {
    std::string bytes = snapshot({9});
    std::memcpy(bytes.data() + at, &value, 8);
    const uint64_t checksum = XXH3_64bits(bytes.data(), bytes.size() - 8);
    std::memcpy(bytes.data() + bytes.size() - 8, &checksum, 8);
    return bytes;
  };
  write(folder / "empty", snapshot({}));
  write(folder / "one-token", snapshot({1}));
  write(folder / "nine-tokens", snapshot({9}));
  write(folder / "rolled-back", snapshot({14, -5}));
  write(folder / "many-tokens", snapshot({150, 3}));
  write(folder / "truncated", snapshot({9}).substr(0, 100));
  write(folder / "longer", snapshot({9}) + "x");
  write(folder / "flipped", snapshot({8, 1}).replace(60, 1, "\x55"));
  write(folder / "other-model", changed(16, 1));
  write(folder / "other-version", changed(8, 2 | uint64_t{2} << 32));
  write(folder / "other-storage", changed(8, 3 | uint64_t{1} << 32));
  write(folder / "negative-tokens", changed(24, ~uint64_t{0}));
  write(folder / "huge-tokens", changed(24, ~uint64_t{0} >> 1));
  write(folder / "huge-oldest", changed(32, uint64_t{1} << 63));
}

void write_disk_files(const fs::path& folder) {
  const StateLayout layout = small_layout(6);
  const auto file = [&](DiskHeader header, int64_t n_tokens) {
    TestSequence sequence(layout, 1);
    sequence.feed(n_tokens);
    header.fingerprint = layout.fingerprint;
    header.storage = static_cast<uint32_t>(layout.storage);
    header.hash = hash_tokens(layout, 0, sequence.tokens());
    const StateCheckpoint checkpoint = sequence.state().checkpoint(header.end - header.oldest);
    const auto bytes = encode_disk_file(layout, header, sequence.tokens(), checkpoint);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const auto checkpoint = [&](int64_t begin, int64_t end, int64_t oldest) {
    return file({DiskFileKind::kCheckpoint, CheckpointKind::kEnd, 0, 0, 0, begin, end, oldest},
                end);
  };
  const auto segment = [&](int64_t begin, int64_t end) {
    return file({DiskFileKind::kSegment, CheckpointKind::kStride, 0, 0, 0, begin, end, end}, end);
  };
  const auto changed = [&](size_t at, uint64_t value) {
    std::string bytes = checkpoint(0, 13, 13);
    std::memcpy(bytes.data() + at, &value, 8);
    const uint64_t checksum = XXH3_64bits(bytes.data(), 136);
    std::memcpy(bytes.data() + 136, &checksum, 8);
    return bytes;
  };
  write(folder / "checkpoint-one-token", checkpoint(0, 1, 1));
  write(folder / "checkpoint", checkpoint(0, 13, 13));
  write(folder / "checkpoint-with-rollback", checkpoint(0, 20, 15));
  write(folder / "checkpoint-behind-a-segment", checkpoint(24, 30, 30));
  write(folder / "segment", segment(0, 24));
  write(folder / "second-segment", segment(24, 48));
  write(folder / "truncated", checkpoint(0, 13, 13).substr(0, 200));
  write(folder / "header", checkpoint(0, 13, 13).substr(0, 144));
  write(folder / "longer", segment(0, 24) + "x");
  write(folder / "flipped", checkpoint(0, 13, 13).replace(160, 1, "\x55"));
  write(folder / "other-version", changed(8, 2 | uint64_t{2} << 32));
  write(folder / "other-model", changed(16, 1));
  write(folder / "negative-begin", changed(40, ~uint64_t{0}));
  write(folder / "huge-end", changed(48, ~uint64_t{0} >> 1));
  write(folder / "huge-oldest", changed(56, uint64_t{1} << 63));
}

void write_replay_files(const fs::path& folder) {
  const std::string start = encode_replay_start(5, 6);
  const std::string record = encode_replay_record(
      {.keys = {{1, 2}, {3, 4}},
       .replay = {.reasoning = "so", .reasoning_ids = {8, 9}, .reply_ids = {10, 11, 1}}});
  const auto changed = [&](size_t at, uint32_t value) {
    std::string bytes = start + record;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    return bytes;
  };
  write(folder / "empty", start);
  write(folder / "one", start + record);
  write(folder / "two", start + encode_replay_record({}) + record);
  write(folder / "truncated", (start + record).substr(0, start.size() + record.size() - 1));
  write(folder / "behind", start + record + "x");
  write(folder / "other-version", changed(8, 2));
  write(folder / "huge-record", changed(32, ~uint32_t{0}));
  write(folder / "wrong-checksum", changed(40, 0));
  write(folder / "huge-list", changed(48, ~uint32_t{0}));
}

// A trace with passes of these numbers of tokens.
std::string routing_trace(const RoutingShape& shape, const std::vector<int64_t>& passes) {
  const fs::path path = fs::temp_directory_path() / "dsv4-seed-routing-trace";
  RoutingTraceWriter writer(path, shape);
  for (const int64_t n_tokens : passes) {
    writer.begin_pass(n_tokens);
    for (int64_t layer = 0; layer < shape.n_layers; ++layer) {
      std::vector<int32_t> ids;
      for (int64_t i = 0; i < n_tokens * shape.n_active; ++i) {
        ids.push_back(static_cast<int32_t>((i * 3 + layer) % shape.n_experts));
      }
      writer.add_layer(ids);
    }
  }
  writer.finish();
  const std::string bytes = read_file(path);
  fs::remove(path);
  return bytes;
}

void write_routing_traces(const fs::path& folder) {
  const RoutingShape small{2, 8, 2, 7, {10, 20}};
  const std::string good = routing_trace(small, {5, 1, 1});
  const auto changed = [&](size_t at, uint32_t value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    return bytes;
  };
  write(folder / "empty", routing_trace(small, {}));
  write(folder / "passes", good);
  write(folder / "wide", routing_trace({3, 300, 4, 0, {1, 2, 3}}, {1, 130}));
  write(folder / "truncated", good.substr(0, good.size() - 1));
  write(folder / "header", good.substr(0, 40));
  write(folder / "other-version", changed(8, 2));
  write(folder / "huge-layers", changed(12, ~uint32_t{0}));
  write(folder / "huge-block", changed(56, ~uint32_t{0}));
  write(folder / "huge-passes", changed(60, ~uint32_t{0}));
  write(folder / "huge-pass", changed(72, ~uint32_t{0}));
  write(folder / "zero-tokens", changed(72, 0));
  write(folder / "high-expert", changed(73, ~uint32_t{0}));
}

}  // namespace
}  // namespace dsv4

int main(int argc, char** argv) {
  try {
    if (argc != 2) throw std::runtime_error("usage: fuzz_make_seeds tests/fuzz/corpus");
    const std::filesystem::path corpus = argv[1];
    dsv4::write_safetensors(corpus / "safetensors");
    dsv4::write_gguf(corpus / "gguf");
    dsv4::write_blocks(corpus / "blocks");
    dsv4::write_config(corpus / "config", corpus / ".." / ".." / "golden");
    dsv4::write_snapshots(corpus / "snapshot");
    dsv4::write_disk_files(corpus / "disk_store");
    dsv4::write_replay_files(corpus / "replay_file");
    dsv4::write_routing_traces(corpus / "routing_trace");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
