// Times of steps between measurements of the machine's roofs. A machine shared with others is
// twice as fast in one second as in the next, so a step is held against the roofs around it.
#pragma once

#include "kernels/cpu/roofs.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

namespace dsv4 {

double seconds_since(std::chrono::steady_clock::time_point start,
                     std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());

// Some steps and the roofs of just before or just after, whichever is the higher.
struct Slice {
  double seconds = 0;  // of one step, the median
  Roofs roofs;
};

// Spread is (third quartile - first quartile) / median.
struct Median {
  double value = 0;
  double spread = 0;
};

Median median(std::vector<double> values);

// Adds times of step(), which returns its time, for so many seconds; one at least.
void add_times(double seconds, const std::function<double()>& step, std::vector<double>& times);

// Seconds that a call takes, on average over as many as take `min_seconds`, so that looking at the
// clock does not count.
double seconds_per_call(double min_seconds, const std::function<void()>& call);

// Adds such times, each over 20 microseconds or more, for so many seconds; one at least.
void add_call_times(double seconds, const std::function<void()>& call, std::vector<double>& times);

struct Timing {
  Median seconds;  // of one step
  int64_t n_steps = 0;
  std::vector<Slice> slices;

  // Median of a roof over the slices.
  double roof(double Roofs::*which) const;
  // What share of a roof steps reach that do so much work, by slice.
  Median share(double work, double Roofs::*which) const;
};

struct SlicePlan {
  int n_slices = 0;
  double min_seconds = 0;  // of a slice, which has one step at least
};

// Runs slices of step(), which returns its time, between calls of roofs().
Timing measure_slices(const SlicePlan& plan, const std::function<Roofs()>& roofs,
                      const std::function<double()>& step);

}  // namespace dsv4
