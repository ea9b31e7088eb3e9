#include "bench/machine_probe.h"

#include "bench/disk_bench.h"
#include "bench/host.h"
#include "bench/kernel_bench.h"
#include "bench/operation_bench.h"
#include "bench/product_bench.h"
#include "bench/timing.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace dsv4 {
namespace {

// Machines shared with others change from second to second: everything is measured in several
// rounds, and roofs between the formats of each.
constexpr int kRounds = 2;

// All that is measured with one pool of threads.
class KernelProbe {
 public:
  KernelProbe(ThreadPool& pool, const ProbeOptions& options, int64_t roof_bytes,
              size_t weight_bytes)
      : options_(options),
        meter_(pool, options.isa, roof_bytes),
        ops_(make_cpu_ops(pool, options.isa)),
        products_(*ops_, product_plan(pool, options, weight_bytes)),
        operations_(*ops_, operation_plan(pool, options, weight_bytes)) {}

  // One round, told in so many parts, of formats and then of operations.
  void run(const std::function<void(const std::string& what)>& tell) {
    const std::vector<WeightFormat> formats = kernel_formats();
    for (size_t i = 0; i < formats.size(); ++i) {
      tell(fmt::format("products with {}", weight_format_name(formats[i])));
      products_.measure(formats[i], [this] {
        roofs_.push_back(meter_.measure());
        return roofs_.back().read;
      });
    }
    tell("operations");
    roofs_.push_back(meter_.measure());
    operations_.measure();
    calls_.push_back(product_call_seconds(*ops_, options_.quick ? 0 : 0.1));
  }

  Median roof(double Roofs::*which) const {
    std::vector<double> values;
    for (const Roofs& roofs : roofs_) values.push_back(roofs.*which);
    return median(std::move(values));
  }

  void fill(Probe& probe) const {
    probe.product_call_s = median(calls_).value;
    probe.products = products_.rates();
    probe.operations = operations_.rates();
  }

 private:
  static ProductPlan product_plan(const ThreadPool& pool, const ProbeOptions& options,
                                  size_t weight_bytes) {
    if (options.quick) {
      return {.shape = {128, 256},
              .memory_bytes = size_t{1} << 18,
              .n_tokens = {1, 4},
              .seconds = 0,
              .step_seconds = 0};
    }
    // Matrices have 32 panels of rows, of which a thread should have a few.
    return {.memory_bytes = weight_bytes, .min_matrices = 1 + pool.n_threads() / 16};
  }

  static OperationPlan operation_plan(const ThreadPool& pool, const ProbeOptions& options,
                                      size_t weight_bytes) {
    // In twice the memory of the weights: a MiB for each row.
    OperationPlan plan{.n_rows = static_cast<int64_t>(weight_bytes >> 19),
                       .n_threads = pool.n_threads()};
    if (options.quick) {
      plan.n_rows = 2;
      plan.seconds = 0;
      plan.is_short = true;
    }
    return plan;
  }

  const ProbeOptions& options_;
  RoofMeter meter_;
  std::unique_ptr<Ops> ops_;
  ProductBench products_;
  OperationBench operations_;
  std::vector<Roofs> roofs_;
  std::vector<double> calls_;
};

class MachineProbe {
 public:
  MachineProbe(const ProbeOptions& options, const ProbeProgress& progress)
      : options_(options), progress_(progress) {}

  Machine run() {
    describe();
    measure_memory();
    measure_kernels();
    measure_disk();
    for (const std::string& note : notes_)
      machine_.note += (machine_.note.empty() ? "" : "; ") + note;
    constexpr size_t kMaxNote = 1000;  // what a machine file may have
    machine_.note.resize(std::min(machine_.note.size(), kMaxNote));
    return std::move(machine_);
  }

 private:
  int n_rounds() const { return options_.quick ? 1 : kRounds; }
  // Memory, formats and operations of each round, disk.
  double n_parts() const { return 2 + n_rounds() * (std::ssize(kernel_formats()) + 1.0); }

  void tell(const std::string& what) {
    if (progress_) progress_(what, n_told_ / n_parts());
    n_told_ += 1;
  }

  void describe() {
    const HostMemory memory = host_memory();
    machine_.name = "this";
    machine_.kind = DeviceKind::kCpu;
    machine_.memory_bytes = memory.total;
    machine_.reserved_bytes = memory.in_use;
    machine_.date = options_.date;
    machine_.links = system_links();
    const std::vector<std::string> gpus = gpu_names();
    if (!gpus.empty()) {
      notes_.push_back(fmt::format("GPUs that dsv4 has no kernels for: {}", fmt::join(gpus, ", ")));
    }
    probe_.version = options_.version;
    probe_.isa = isa_name(options_.isa);
  }

  // Never more than a share of what is free: this runs beside other programs.
  int64_t bytes_per_thread(int n_threads) const {
    if (options_.quick) return int64_t{1} << 20;
    const auto share = static_cast<int64_t>(free_bytes() / 4) / n_threads;
    return std::max(int64_t{1} << 20, std::min(kRoofBytesPerThread, share) / 4096 * 4096);
  }
  size_t weight_bytes() const {
    constexpr double kMost = 256 << 20;
    constexpr double kLeast = 64 << 20;  // F32 has 32 MiB in a matrix
    return static_cast<size_t>(std::clamp(free_bytes() / 8, kLeast, kMost));
  }
  double free_bytes() const { return machine_.memory_bytes - machine_.reserved_bytes; }

  void measure_memory() {
    tell("memory");
    const ThreadOptions threads{.n_threads = options_.n_threads, .pin = options_.pin};
    probe_.n_threads = count_threads(threads);
    probe_.read_by_threads =
        read_roofs_by_threads(threads, options_.isa, bytes_per_thread(probe_.n_threads));
    machine_.title = fmt::format("{}, {} thread{}, {:.0f} GiB", processor_name(), probe_.n_threads,
                                 probe_.n_threads == 1 ? "" : "s", machine_.memory_bytes / 0x1p30);
  }

  void measure_kernels() {
    ThreadPool pool({.n_threads = options_.n_threads, .pin = options_.pin});
    KernelProbe kernels(pool, options_, bytes_per_thread(pool.n_threads()), weight_bytes());
    for (int i = 0; i < n_rounds(); ++i) {
      kernels.run([&](const std::string& what) { tell(what); });
    }
    kernels.fill(probe_);
    DeviceRates& rates = machine_.rates;
    std::string spreads;
    const auto take = [&](const char* name, double Roofs::*which, double& rate) {
      const Median roof = kernels.roof(which);
      rate = roof.value;
      if (rate > 0) spreads += fmt::format(" {} {:.0f}%", name, roof.spread * 100);
    };
    take("read", &Roofs::read, rates.read);
    take("int8", &Roofs::int8, rates.int8);
    take("bf16", &Roofs::bf16, rates.bf16);
    take("f32", &Roofs::f32, rates.f32);
    notes_.push_back("spread of the rates:" + spreads);
    machine_.probe = std::move(probe_);
  }

  void measure_disk() {
    tell("disk");
    if (options_.disk_file.empty() && options_.disk_folder.empty()) {
      notes_.emplace_back("disk not measured");
      return;
    }
    DiskPlan plan{.file = options_.disk_file,
                  .folder = options_.disk_folder,
                  .block_bytes = options_.disk_block_bytes};
    if (options_.quick) {
      plan.file_bytes = int64_t{1} << 20;
      plan.block_bytes = std::min<int64_t>(plan.block_bytes, 64 << 10);
      plan.seconds = 0;
    }
    const DiskMeasurement disk = bench_disk(plan);
    machine_.disk = disk.rates;
    notes_.push_back("disk: " + disk.text());
  }

  const ProbeOptions& options_;
  const ProbeProgress& progress_;
  double n_told_ = 0;
  Machine machine_;
  Probe probe_;
  std::vector<std::string> notes_;
};

}  // namespace

Machine probe_machine(const ProbeOptions& options, const ProbeProgress& progress) {
  return MachineProbe(options, progress).run();
}

}  // namespace dsv4
