#include "engine/scheduler.h"

#include "base/check.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace dsv4 {
namespace {

// A token of a reply costs about as much as this many of a prompt, which share reads of weights.
constexpr double kReplyTokenCost = 4;

// Of a step, at least this part is for prompts when there are any; of that, the same part for the
// oldest.
constexpr int64_t kPart = 4;

}  // namespace

Scheduler::Tenant& Scheduler::enter(const std::string& name) {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [other, tenant] : tenants_) {
    if (tenant.n_present > 0) least = std::min(least, tenant.served);
  }
  // Those who are away and would begin at the same place anyway need no counter.
  std::erase_if(tenants_, [&](const auto& item) {
    return item.second.n_present == 0 && item.second.served <= least && item.first != name;
  });
  Tenant& tenant = tenants_[name];
  const bool others_present = least < std::numeric_limits<double>::infinity();
  if (tenant.n_present == 0 && others_present) tenant.served = std::max(tenant.served, least);
  ++tenant.n_present;
  return tenant;
}

void Scheduler::add(SequenceId id, const std::string& tenant, int priority) {
  waiting_[id] = {.id = id, .tenant = &enter(tenant), .name = tenant, .priority = priority};
}

void Scheduler::start(SequenceId id, int64_t n_pending) {
  auto node = waiting_.extract(id);
  CHECK(!node.empty(), id);
  node.mapped().n_pending = n_pending;
  node.mapped().decoding = false;
  running_.insert(std::move(node));
}

void Scheduler::suspend(SequenceId id) {
  auto node = running_.extract(id);
  CHECK(!node.empty(), id);
  waiting_.insert(std::move(node));
}

void Scheduler::hold(SequenceId id) {
  auto node = waiting_.extract(id);
  CHECK(!node.empty(), id);
  held_.insert(std::move(node));
}

void Scheduler::release(SequenceId id) {
  auto node = held_.extract(id);
  CHECK(!node.empty(), id);
  waiting_.insert(std::move(node));
}

void Scheduler::remove(SequenceId id) {
  for (Entries* entries : {&waiting_, &held_, &running_}) {
    const auto found = entries->find(id);
    if (found == entries->end()) continue;
    --found->second.tenant->n_present;
    entries->erase(found);
  }
}

bool Scheduler::goes_before(const Entry& a, const Entry& b) const {
  return std::tuple(-a.priority, a.tenant->served, a.id) <
         std::tuple(-b.priority, b.tenant->served, b.id);
}

SequenceId Scheduler::next_waiting(std::span<const SequenceId> passed) const {
  if (!has_place()) return 0;
  const Entry* next = nullptr;
  for (const auto& [id, entry] : waiting_) {
    if (std::ranges::find(passed, id) != passed.end()) continue;
    if (next == nullptr || goes_before(entry, *next)) next = &entry;
  }
  return next != nullptr ? next->id : 0;
}

SequenceId Scheduler::next_victim() const {
  if (running_.empty()) return 0;
  return std::ranges::max_element(
             running_,
             [&](const auto& a, const auto& b) { return goes_before(a.second, b.second); })
      ->first;
}

void Scheduler::give(Entry& entry, int64_t n_tokens) {
  for (Share& share : shares_) {
    if (share.id != entry.id) continue;
    share.n_tokens += n_tokens;
    return;
  }
  shares_.push_back({entry.id, n_tokens});
}

// In turns, beginning behind the one that came last.
void Scheduler::plan_decoding(int64_t budget) {
  auto next = running_.upper_bound(last_decoded_);
  for (size_t i = 0; i < running_.size() && budget > 0; ++i) {
    if (next == running_.end()) next = running_.begin();
    if (next->second.decoding) {
      shares_.push_back({next->first, 1});
      last_decoded_ = next->first;
      --budget;
    }
    ++next;
  }
}

void Scheduler::plan_prompts(int64_t budget) {
  if (prompts_.empty() || budget <= 0) return;
  const int64_t for_oldest = std::max<int64_t>(1, budget / kPart);
  Entry& oldest = *prompts_.front();  // running_ is in the order of arrival
  const int64_t first = std::min(oldest.n_pending, for_oldest);
  give(oldest, first);
  budget -= first;
  std::ranges::sort(prompts_, [](const Entry* a, const Entry* b) {
    return std::tuple(-a->priority, a->tenant->served, a->n_pending, a->id) <
           std::tuple(-b->priority, b->tenant->served, b->n_pending, b->id);
  });
  for (Entry* entry : prompts_) {
    const int64_t pending = entry->n_pending - (entry == &oldest ? first : 0);
    const int64_t n = std::min(pending, budget);
    if (n > 0) give(*entry, n);
    budget -= n;
  }
}

const std::vector<Scheduler::Share>& Scheduler::plan() {
  shares_.clear();
  prompts_.clear();
  for (auto& [id, entry] : running_) {
    if (!entry.decoding) prompts_.push_back(&entry);
  }
  const int64_t all = limits_.max_batch_tokens;
  int64_t for_prompts = prompts_.empty() ? 0 : std::max<int64_t>(1, all / kPart);
  if (for_prompts == all) for_prompts = std::exchange(prompts_turn_, !prompts_turn_) ? 1 : 0;
  plan_decoding(all - for_prompts);
  plan_prompts(all - static_cast<int64_t>(shares_.size()));
  return shares_;
}

void Scheduler::commit(SequenceId id, int64_t n_tokens, int64_t n_pending) {
  const auto found = running_.find(id);
  CHECK(found != running_.end(), id);
  Entry& entry = found->second;
  entry.tenant->served += static_cast<double>(n_tokens) * (entry.decoding ? kReplyTokenCost : 1);
  entry.n_pending = n_pending;
  entry.decoding = n_pending == 1;
}

}  // namespace dsv4
