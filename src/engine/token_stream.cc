#include "engine/token_stream.h"

#include <iterator>
#include <utility>

namespace dsv4 {

bool TokenStream::take(std::vector<StreamEvent>& events) {
  const std::lock_guard lock(mutex_);
  events.insert(events.end(), std::make_move_iterator(events_.begin()),
                std::make_move_iterator(events_.end()));
  events_.clear();
  notified_ = false;
  return !closed_;
}

bool TokenStream::wait_and_take(std::vector<StreamEvent>& events) {
  {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return closed_ || !events_.empty(); });
  }
  return take(events);
}

void TokenStream::push(StreamEvent event) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    first = !std::exchange(notified_, true);
  }
  arrived_.notify_one();
  if (first && notify_) notify_();
}

void TokenStream::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  arrived_.notify_one();
  if (notify_) notify_();
}

}  // namespace dsv4
