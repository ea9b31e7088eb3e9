#include "quantize/resume_note.h"

#include "base/output_file.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include <fmt/core.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

uint64_t hash_of(const ImportanceTable& table) {
  std::string text = fmt::format("{}\n", table.n_tokens);
  for (const auto& [name, matrix] : table.matrices) {
    const uint64_t squares =
        XXH3_64bits(matrix.squares.data(), matrix.squares.size() * sizeof(float));
    text += fmt::format("{} {} {:016x}\n", name, matrix.groups, squares);
  }
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace

std::string source_identity(const SourceModel& source, const ImportanceTable* importance) {
  std::string identity = fmt::format("weights {:016x}\n", source.sample_hash());
  if (importance != nullptr) identity += fmt::format("importance {:016x}\n", hash_of(*importance));
  return identity;
}

ResumeNote::ResumeNote(std::filesystem::path path, std::string identity)
    : path_(std::move(path)), identity_(std::move(identity)) {
  std::ifstream file(path_, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  matches_ = file && text == identity_;
}

void ResumeNote::write() const {
  if (matches_) return;
  OutputFile file(path_);
  file.write(std::as_bytes(std::span(identity_)));
  file.finish();
}

void ResumeNote::remove() const {
  std::error_code ignored;  // a note of a finished output does no harm
  std::filesystem::remove(path_, ignored);
}

}  // namespace dsv4
