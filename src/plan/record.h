// What was predicted and what then happened: one JSON line for each run, in a file that
// `dsv4 plan --verify` adds to and `dsv4 plan --report` reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace dsv4 {

// How a number is read and how good predictions of it are meant to be.
struct ComparisonKind {
  double unit = 1;  // that people read it in
  const char* unit_name = "";
  double bound = 0;  // of errors; 0: not a prediction
};
// "memory" in bytes, "decode" and "prefill" in tokens per second, "steps" in seconds; and what
// speeds were predicted from, "read roof" and "int8 roof" per second.
ComparisonKind kind_of(std::string_view what);

struct Comparison {
  std::string what;
  double predicted = 0;
  double measured = 0;

  // predicted / measured - 1
  double error() const { return predicted / measured - 1; }
};

struct PlanRecord {
  std::string date;     // YYYY-MM-DD
  std::string version;  // of dsv4
  std::string machine;
  std::string model;
  std::string run;  // what was run, in words: "decode, 1 sequence at 1024 tokens"
  std::vector<Comparison> comparisons;
};

// One line without its end. The inverse throws Error(kInvalidInput) naming `where` and the key.
std::string record_line(const PlanRecord& record);
PlanRecord parse_record(std::string_view line, const std::string& where);

// Adds a line; makes the folder. A line that another process or an interruption left unfinished is
// ended first. Throws Error(kIo).
void append_record(const std::filesystem::path& file, const PlanRecord& record);

// All lines that can be read, and how many could not. No file: nothing. Throws Error(kIo).
struct RecordFile {
  std::vector<PlanRecord> records;
  int64_t n_unreadable = 0;
};
RecordFile load_records(const std::filesystem::path& file);

// How predictions of one kind have done.
struct Accuracy {
  int64_t n = 0;
  double median_error = 0;  // of the absolute errors
  double worst_error = 0;   // the one furthest from zero, with its sign
  double bound = 0;         // of its kind
  int64_t n_within = 0;     // of that bound
};
std::map<std::string, Accuracy> accuracy_of(const std::vector<PlanRecord>& records);

}  // namespace dsv4
