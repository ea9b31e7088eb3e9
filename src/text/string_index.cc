#include "text/string_index.h"

#include <algorithm>

namespace dsv4 {

uint64_t string_beginning(std::string_view text) {
  uint64_t beginning = 0;
  for (size_t i = 0; i < sizeof beginning; ++i) {
    beginning = beginning << 8 | (i < text.size() ? static_cast<unsigned char>(text[i]) : 0u);
  }
  return beginning;
}

StringIndex::StringIndex(const std::vector<Entry>& entries) {
  items_.reserve(entries.size());
  for (const Entry& entry : entries) items_.push_back({string_beginning(entry.text), entry});
  std::sort(items_.begin(), items_.end());
}

std::optional<int32_t> StringIndex::find(std::string_view text) const {
  const Item wanted{string_beginning(text), {text, 0}};
  const auto item = std::lower_bound(items_.begin(), items_.end(), wanted);
  if (item == items_.end() || item->entry.text != text) return std::nullopt;
  return item->entry.value;
}

std::optional<std::string_view> StringIndex::repeated() const {
  for (size_t i = 1; i < items_.size(); ++i) {
    if (items_[i].entry.text == items_[i - 1].entry.text) return items_[i].entry.text;
  }
  return std::nullopt;
}

}  // namespace dsv4
