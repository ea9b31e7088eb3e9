// A progress bar on standard error for long work; silent when that is not a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace dsv4::cli {

class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();  // clears the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Redraws at most ten times a second. `note` follows the bar.
  void update(int64_t done, int64_t total, const std::string& note = {});
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_{};
};

}  // namespace dsv4::cli
