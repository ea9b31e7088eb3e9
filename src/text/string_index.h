// Lookup of strings in a fixed set by binary search: no file can make it slow, as it could with a
// hash table whose function it knows, and comparing the first eight bytes as one number makes it
// nearly as fast.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace dsv4 {

// The first eight bytes as a big-endian number, zero-padded: orders as the strings do unless equal.
uint64_t string_beginning(std::string_view text);

// The strings must outlive the index.
class StringIndex {
 public:
  struct Entry {
    std::string_view text;
    int32_t value;
  };

  StringIndex() = default;
  explicit StringIndex(const std::vector<Entry>& entries);

  std::optional<int32_t> find(std::string_view text) const;

  // A string that occurs more than once, if any.
  std::optional<std::string_view> repeated() const;

 private:
  struct Item {
    uint64_t beginning;
    Entry entry;
    bool operator<(const Item& other) const {
      return beginning != other.beginning ? beginning < other.beginning
                                          : entry.text < other.entry.text;
    }
  };

  std::vector<Item> items_;
};

}  // namespace dsv4
