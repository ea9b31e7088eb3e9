#include "eval/model_hash.h"

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <xxhash.h>

namespace dsv4 {
namespace {

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

class Hash {
 public:
  Hash() : state_(XXH3_createState()) {
    if (state_ == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(state_.get());
  }

  void add(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  void add(const std::string& text) { add(std::as_bytes(std::span(text))); }

  std::string digits() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
  }

 private:
  std::unique_ptr<XXH3_state_t, FreeState> state_;
};

}  // namespace

std::string hash_model(const Checkpoint& checkpoint, const ModelConfig& config,
                       const std::function<void(int64_t n_done, int64_t n_total)>& progress) {
  constexpr size_t kPiece = size_t{64} << 20;
  std::vector<const StoredTensor*> tensors;
  const int64_t n_total = checkpoint.tensor_bytes();
  for (const StoredTensor& tensor : checkpoint.tensors()) tensors.push_back(&tensor);
  std::ranges::sort(tensors, {}, &StoredTensor::name);
  Hash hash;
  hash.add(config_to_json(config));
  int64_t n_done = 0;
  for (const StoredTensor* tensor : tensors) {
    hash.add(fmt::format("\n{} {} {}\n", tensor->name, dtype_name(tensor->dtype), tensor->shape));
    for (size_t begin = 0; begin < tensor->data.size(); begin += kPiece) {
      const size_t n = std::min(kPiece, tensor->data.size() - begin);
      hash.add(tensor->data.subspan(begin, n));
      n_done += static_cast<int64_t>(n);
      if (progress) progress(n_done, n_total);
    }
  }
  return hash.digits();
}

std::string hash_bytes(std::span<const std::byte> bytes) {
  Hash hash;
  hash.add(bytes);
  return hash.digits();
}

}  // namespace dsv4
