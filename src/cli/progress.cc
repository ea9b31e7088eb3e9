#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include <fmt/core.h>

namespace dsv4::cli {

Progress::Progress(std::string label)
    : label_(std::move(label)), terminal_(isatty(STDERR_FILENO)) {}

Progress::~Progress() { clear(); }

void Progress::update(int64_t done, int64_t total, const std::string& note) {
  constexpr int kWidth = 30;
  const Clock::time_point now = Clock::now();
  if (!terminal_ || total <= 0 || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  drawn_ = true;
  const double share = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  const auto filled = static_cast<size_t>(share * kWidth);
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const std::string left =
      share > 0 ? fmt::format("{:.0f}s left", elapsed / share * (1 - share)) : std::string();
  fmt::print(stderr, "\r\033[K{} [{}{}] {:3.0f}% {} {}", label_, std::string(filled, '#'),
             std::string(kWidth - filled, '.'), share * 100, left, note);
  std::fflush(stderr);
}

void Progress::clear() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
  drawn_ = false;
}

}  // namespace dsv4::cli
