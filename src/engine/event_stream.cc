#include "engine/event_stream.h"

#include <iterator>
#include <utility>

namespace dsv4 {

bool EventStream::take(std::vector<StreamEvent>& events) {
  const std::lock_guard lock(mutex_);
  events.insert(events.end(), std::make_move_iterator(events_.begin()),
                std::make_move_iterator(events_.end()));
  events_.clear();
  notified_ = false;
  return !closed_;
}

bool EventStream::wait_and_take(std::vector<StreamEvent>& events) {
  {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return closed_ || !events_.empty(); });
  }
  return take(events);
}

void EventStream::push(StreamEvent event) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    first = !std::exchange(notified_, true);
  }
  arrived_.notify_one();
  if (first && notify_) notify_();
}

void EventStream::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  arrived_.notify_one();
  if (notify_) notify_();
}

}  // namespace dsv4
