// Which type each tensor gets: by class, by override, by layer.
#include "quantize/plan.h"

#include "base/error.h"
#include "quantize/quantize_testing.h"

namespace dsv4 {
namespace {

class Plan : public QuantizeFixture {
 protected:
  void SetUp() override {
    QuantizeFixture::SetUp();
    source_.emplace(write_model("source", kNative));
  }

  // The type of the tensors by their released name.
  std::map<std::string, DType> types(const TypeChoice& choice, Container container) const {
    std::map<std::string, DType> result;
    for (const PlannedWeight& weight : plan_quantize(*source_, choice, container).weights) {
      for (const size_t index : weight.sources) {
        result[source_->tensors()[index].spec.name] = weight.type;
      }
    }
    return result;
  }

  static TypeChoice choice_of(const char* name) {
    TypeChoice choice;
    choice.mix = mix_of_name(name);
    return choice;
  }

  std::string error_of(const TypeChoice& choice, Container container) const {
    try {
      plan_quantize(*source_, choice, container);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  std::optional<SourceModel> source_;
};

TEST_F(Plan, has_every_tensor_once_in_both_containers) {
  for (const auto& [type, container] :
       {std::pair{"Q4_K_M", Container::kGguf}, {"FP4", Container::kSafetensors}}) {
    const QuantizePlan plan = plan_quantize(*source_, choice_of(type), container);
    std::set<size_t> seen;
    std::set<std::string> names;
    int64_t bytes = 0;
    for (const PlannedWeight& weight : plan.weights) {
      for (const size_t index : weight.sources) EXPECT_TRUE(seen.insert(index).second);
      for (const StoredShape& tensor : weight.tensors) {
        EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
        bytes += tensor.bytes();
      }
    }
    EXPECT_EQ(seen.size(), source_->tensors().size());
    EXPECT_EQ(plan.bytes(), bytes);
  }
}

TEST_F(Plan, stacks_experts_for_gguf) {
  const QuantizePlan plan = plan_quantize(*source_, choice_of("Q4_0"), Container::kGguf);
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.tensors[0].name != "blk.1.ffn_down_exps.weight") continue;
    EXPECT_EQ(weight.tensors[0].shape, (std::vector<int64_t>{3, 256, 256}));
    ASSERT_EQ(weight.sources.size(), 3u);
    for (size_t e = 0; e < 3; ++e) {
      EXPECT_EQ(source_->tensors()[weight.sources[e]].spec.name,
                fmt::format("layers.1.ffn.experts.{}.w2.weight", e));
    }
    EXPECT_EQ(weight.bytes(), 3 * 256 * 256 / 32 * 18);
    return;
  }
  FAIL() << "no stack of down projections";
}

TEST_F(Plan, overrides_single_layers_and_nothing_else) {
  TypeChoice choice = choice_of("Q4_K");
  const auto base = types(choice, Container::kGguf);
  choice.layers[0] = mix_of_name("Q8_0");
  for (const auto& [name, type] : types(choice, Container::kGguf)) {
    if (!name.starts_with("layers.0.")) {
      EXPECT_EQ(type, base.at(name)) << name;
    } else if (name.ends_with("w1.weight")) {
      EXPECT_EQ(type, DType::kQ8_0) << name;
    }
  }
  for (const int64_t layer : {int64_t{-1}, int64_t{3}}) {
    choice.layers = {{layer, mix_of_name("Q8_0")}};
    EXPECT_NE(error_of(choice, Container::kGguf).find("there is no layer"), std::string::npos);
  }
}

TEST_F(Plan, overrides_parts) {
  TypeChoice choice = choice_of("Q4_K");
  choice.mix.shared = DType::kQ6_K;
  choice.mix.attention = DType::kBF16;
  choice.mix.head = DType::kQ5_0;
  choice.mix.small = DType::kF32;
  const auto got = types(choice, Container::kGguf);
  EXPECT_EQ(got.at("layers.0.ffn.shared_experts.w2.weight"), DType::kQ6_K);
  EXPECT_EQ(got.at("layers.1.attn.wq_b.weight"), DType::kBF16);
  EXPECT_EQ(got.at("layers.1.attn.indexer.wq_b.weight"), DType::kBF16);
  EXPECT_EQ(got.at("head.weight"), DType::kQ5_0);
  EXPECT_EQ(got.at("layers.1.ffn.gate.weight"), DType::kF32);
  EXPECT_EQ(got.at("layers.1.ffn.experts.0.w2.weight"), DType::kQ4_K);
  EXPECT_EQ(got.at("embed.weight"), DType::kF16);
}

TEST_F(Plan, lays_int4_out_in_one_group_size) {
  // Rows of wo_a and wo_b are of 128; a row of 64 would make all groups 64.
  const QuantizePlan plan = plan_quantize(*source_, choice_of("AWQ-INT4"), Container::kSafetensors);
  EXPECT_EQ(plan.types.int4_group, 128);
  for (const PlannedWeight& weight : plan.weights) {
    if (weight.type != DType::kI32 || weight.tensors.size() != 3) continue;
    const auto& shape = source_->tensors()[weight.sources[0]].spec.shape;
    EXPECT_EQ(weight.tensors[0].shape, (std::vector{shape[1], shape[0] / 8}));
    EXPECT_EQ(weight.tensors[1].shape, (std::vector{shape[1] / 128, shape[0]}));
    EXPECT_EQ(weight.tensors[2].shape, (std::vector{shape[1] / 128, shape[0] / 8}));
  }
  TypeChoice with_head = choice_of("AWQ-INT4");
  with_head.mix.head = DType::kI32;
  EXPECT_EQ(types(with_head, Container::kSafetensors).at("head.weight"), DType::kI32);

  ModelConfig narrow = quantizable_config();
  narrow.o_lora_rank = 32;  // rows of wo_b are of 64
  const SourceModel source(write_model("narrow", narrow, random_checkpoint(narrow, kNative)));
  EXPECT_EQ(plan_quantize(source, choice_of("AWQ-INT4"), Container::kSafetensors).types.int4_group,
            64);
}

TEST_F(Plan, refuses_types_that_the_container_cannot_hold) {
  for (const auto& [type, container] : {std::pair{"Q4_K", Container::kSafetensors},
                                        {"FP4", Container::kGguf},
                                        {"AWQ-INT4", Container::kGguf},
                                        {"MXFP4", Container::kSafetensors}}) {
    EXPECT_NE(error_of(choice_of(type), container).find("cannot stand in"), std::string::npos)
        << type;
    TypeChoice layers = choice_of("BF16");
    layers.layers[1] = mix_of_name(type);
    EXPECT_NE(error_of(layers, container).find("cannot stand in"), std::string::npos) << type;
  }
}

}  // namespace
}  // namespace dsv4
