// How much each input column of each weight matters: the mean square of what calibration text feeds
// into it. The error of a product is about the sum over columns of importance times the squared
// error of the weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace dsv4 {

// Of one matrix. A matrix whose groups of rows have inputs of their own (wo_a) has a row of squares
// for each group.
struct InputSquares {
  int64_t groups = 1;
  std::vector<float> squares;   // [groups, columns], means over the tokens
  std::vector<int64_t> tokens;  // [groups] that the matrix has seen
};

struct ImportanceTable {
  std::map<std::string, InputSquares> matrices;  // by the released name
  int64_t n_tokens = 0;                          // of the calibration text
};

// The file is safetensors: for each matrix "NAME" F32 [groups, columns] and "NAME.tokens" I64
// [groups], with the other fields in the metadata. Throws Error(kIo).
void write_importance(const ImportanceTable& table, const std::filesystem::path& path);
// Throws Error(kNotFound, kInvalidInput, kUnsupported) naming file and tensor.
ImportanceTable read_importance(const std::filesystem::path& path);

// An expert that saw few tokens is weighed with what the experts of its layer saw together:
//   (tokens * own + kPriorTokens * mean of the layer) / (tokens + kPriorTokens).
inline constexpr int64_t kPriorTokens = 32;
void blend_rare_experts(ImportanceTable& table);

}  // namespace dsv4
