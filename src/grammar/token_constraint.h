// What may come next in a reply: the boundary between the sampler, which asks for it before every
// token, and the grammars that decide it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace dsv4 {

// State of one reply. Used by one thread at a time.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // Sets bit i % 64 of word i / 64 for each token id i that may come next, and clears the others.
  // `allowed` has (vocabulary + 63) / 64 words. Returns false, and leaves `allowed` as it is, when
  // every token may come. At least one token may always come.
  virtual bool mask(std::span<uint64_t> allowed) = 0;

  // The token that came; one that the mask had not allowed ends the constraint, after which all
  // tokens are allowed.
  virtual void accept(int32_t id) = 0;

  // A constraint in the same state, for another reply to the same prompt.
  virtual std::unique_ptr<TokenConstraint> clone() const = 0;
};

}  // namespace dsv4
