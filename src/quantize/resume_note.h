// What an unfinished output is made of, in a file beside it while it grows: one that was begun with
// other weights or another importance must not be gone on with, and finished outputs say nothing of
// where they came from.
#pragma once

#include "quantize/importance.h"
#include "quantize/source_model.h"

#include <filesystem>
#include <string>

namespace dsv4 {

// Distinguishes weights and importance: names, types, shapes, places and a sample of the bytes of
// all tensors, and every square.
std::string source_identity(const SourceModel& source, const ImportanceTable* importance);

class ResumeNote {
 public:
  ResumeNote(std::filesystem::path path, std::string identity);

  // Whether an earlier run made its output of the same.
  bool matches() const { return matches_; }
  // Throws Error(kIo).
  void write() const;
  void remove() const;

 private:
  std::filesystem::path path_;
  std::string identity_;
  bool matches_ = false;
};

}  // namespace dsv4
