// Speed of reads at random places of a file, past the page cache, as experts are read from disk.
#pragma once

#include "plan/machine.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace dsv4 {

struct DiskPlan {
  std::filesystem::path file;               // read; if empty, one is made:
  std::filesystem::path folder;             // in it, which is gone from it at once
  int64_t file_bytes = int64_t{512} << 20;  // at most; no more than a quarter of what is free
  int64_t block_bytes = int64_t{8} << 20;   // of a read; whole 4 KiB, fewer in a short file
  double seconds = 2;                       // of reading, with each number of threads
  double write_seconds = 10;                // after which the file is long enough
  int n_threads = 4;                        // of the second measurement
};

struct DiskMeasurement {
  DiskRates rates;        // read: with all threads; latency_s: of one thread, besides read
  double read_alone = 0;  // bytes per second with one thread
  double block_s = 0;     // median time of a read with one thread
  double spread = 0;      // of those times, (third quartile - first quartile) / median
  bool direct = false;    // past the page cache; else the system was asked to forget the blocks
  int64_t block_bytes = 0;
  int64_t file_bytes = 0;

  // What was measured in words, for a note.
  std::string text() const;
};

// Throws Error(kNotFound, kIo), Error(kInvalidInput) for a plan without file and folder, and
// Error(kOutOfRange) where a file is shorter than 4 KiB or the disk has too little free.
DiskMeasurement bench_disk(const DiskPlan& plan);

}  // namespace dsv4
