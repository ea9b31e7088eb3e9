#include "engine/engine.h"

#include "base/error.h"

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include <fmt/core.h>

namespace dsv4 {
namespace {

using Clock = std::chrono::steady_clock;

// Prompts are computed in pieces that end at multiples of this, where a state is kept.
constexpr int64_t kStride = PrefixCache::kStrideTokens;

// A checkpoint at the end of a message costs a step of its own; nearer ones than this do not pay.
constexpr int64_t kMinPiece = 128;

// Those that cannot start yet are passed by others, in a step at most so many ...
constexpr size_t kMaxPassed = 16;
// ... and one that lacks memory only for so long: from then on nobody goes before it.
constexpr double kMaxPassedS = 20;

// Rows of logits at once.
constexpr int64_t kLogitRows = 32;

std::unique_ptr<DiskStore> open_disk(const StateLayout& layout,
                                     const std::shared_ptr<PagePool>& pool,
                                     const std::optional<DiskStoreOptions>& options) {
  return options ? std::make_unique<DiskStore>(layout, pool, *options) : nullptr;
}

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

struct Engine::Live {
  Live(const Ticket& ticket, int64_t choice, const Tokenizer& tokenizer, int64_t context)
      : sequence(ticket.request, ticket.stream, choice, tokenizer, context),
        submitted(ticket.submitted) {}

  int64_t n_computed() const { return state->n_tokens(); }
  int64_t n_pending() const { return sequence.n_tokens() - n_computed(); }
  int64_t n_prompt() const { return static_cast<int64_t>(sequence.request().prompt.size()); }

  Sequence sequence;
  std::unique_ptr<SequenceState> state;  // null while it waits
  PromptUsage usage;
  Clock::time_point submitted;
  std::optional<Clock::time_point> started;
  bool prompt_done = false;
  std::vector<SequenceId> followers;  // other choices, which wait for the prompt
  // Other prompts, which wait until so many of the tokens are computed that they have in common.
  std::vector<std::pair<SequenceId, int64_t>> behind;
  std::shared_ptr<int64_t> n_open;  // choices of the request that have not ended
};

// ---- Any thread

Engine::Engine(Model& model, const Tokenizer& tokenizer, const EngineOptions& options)
    : model_(model),
      tokenizer_(tokenizer),
      options_(options),
      scheduler_({options.max_running, model.options().max_batch_tokens}),
      pool_(std::make_shared<PagePool>()),
      cache_(model.state_layout(), pool_, options.cache,
             open_disk(model.state_layout(), pool_, options.disk)),
      ring_bytes_(state_bytes(model.state_layout(), 0).total()),
      last_streams_({kLogitRows, model.config().hc_mult, model.config().hidden_size}),
      logits_({kLogitRows, model.config().vocab_size}) {
  scratch_.allowed.resize(static_cast<size_t>(model.config().vocab_size + 63) / 64);
  counts_.state_bytes_limit = options.state_bytes;
  stats_ = counts_;
  thread_ = std::thread([this] { run(); });
}

Engine::~Engine() { stop(); }

void Engine::check(const Request& request) const {
  const auto n_prompt = static_cast<int64_t>(request.prompt.size());
  if (n_prompt == 0) {
    throw Error(ErrorCode::kInvalidInput, "prompt", "is empty; give at least one token");
  }
  if (n_prompt >= context()) {
    // In these words clients see that they have to shorten the conversation.
    throw Error(ErrorCode::kOutOfRange, "prompt",
                fmt::format("prompt is too long: {} tokens > {} maximum; shorten it or raise the "
                            "context length",
                            n_prompt, context() - 1));
  }
  check_ids(request.prompt, "prompt");
  check_ids(request.stop_ids, "stop_ids");
  if (request.thinking) {
    const std::vector<int32_t>& closing = request.thinking->closing;
    check_ids(closing, "thinking");
    if (closing.empty()) throw Error(ErrorCode::kInvalidInput, "thinking", "has no closing");
  }
  request.sampling.validate();
  if (request.n_choices < 1 || request.n_choices > options_.max_running) {
    throw Error(ErrorCode::kOutOfRange, "n",
                fmt::format("{} is not in 1..{}", request.n_choices, options_.max_running));
  }
  const int64_t room = context() - n_prompt;
  const int64_t n_reply = request.max_tokens > 0 ? std::min(request.max_tokens, room) : room;
  const int64_t need = bytes_for(n_prompt + n_reply);
  if (need <= options_.state_bytes) return;
  throw Error(ErrorCode::kOutOfRange, "max_tokens",
              fmt::format("prompt and reply of {} tokens take {} MiB of state, {} are set aside; "
                          "ask for fewer tokens or raise --state-memory",
                          n_prompt + n_reply, need >> 20, options_.state_bytes >> 20));
}

void Engine::check_ids(std::span<const int32_t> ids, const char* name) const {
  for (const int32_t id : ids) {
    if (id >= 0 && id < model_.config().vocab_size) continue;
    throw Error(
        ErrorCode::kInvalidInput, name,
        fmt::format("token {} is not in the vocabulary of {}", id, model_.config().vocab_size));
  }
}

Engine::Submission Engine::submit(Request request, std::function<void()> notify) {
  check(request);
  Submission result{.stream = std::make_shared<EventStream>(std::move(notify))};
  const std::lock_guard lock(mutex_);
  if (stopping_ || joining_) {
    result = {nullptr, Refusal::kStopping};
  } else if (n_present_ >= options_.max_requests) {
    result = {nullptr, Refusal::kQueueFull};
  }
  if (result.stream == nullptr) {
    ++stats_.n_refused;
    return result;
  }
  ++n_present_;
  queue_.push_back(
      {std::make_shared<const Request>(std::move(request)), result.stream, Clock::now()});
  work_.notify_one();
  return result;
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void Engine::stop() {
  {
    const std::lock_guard lock(mutex_);
    joining_ = true;
    work_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

// ---- The step thread

void Engine::run() {
  while (wait_for_work()) step();
  while (!live_.empty()) {
    const SequenceId id = live_.begin()->first;
    live_.begin()->second->sequence.end(EndReason::kCancelled);
    finish(id);
  }
  cache_.flush();
  publish();
}

// Takes what has been submitted. False when the engine stops.
bool Engine::wait_for_work() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [&] { return joining_ || !queue_.empty() || !live_.empty(); });
  std::swap(tickets_, queue_);
  const bool goes_on = !joining_;
  lock.unlock();
  for (Ticket& ticket : tickets_) accept(std::move(ticket));
  tickets_.clear();
  return goes_on;
}

void Engine::accept(Ticket ticket) {
  ++counts_.n_requests;
  const Request& request = *ticket.request;
  std::vector<std::unique_ptr<Live>> choices;
  try {
    for (int64_t i = 0; i < request.n_choices; ++i) {
      choices.push_back(std::make_unique<Live>(ticket, i, tokenizer_, context()));
    }
  } catch (const std::exception& e) {  // a constraint without a clone, no memory
    for (int64_t i = 0; i < request.n_choices; ++i) {
      ticket.stream->push({.kind = StreamEvent::Kind::kEnd,
                           .choice = i,
                           .reason = EndReason::kError,
                           .error = e.what()});
    }
    return close(*ticket.stream);
  }
  const auto n_open = std::make_shared<int64_t>(request.n_choices);
  const SequenceId leader = last_id_ + 1;
  scheduler_.add(leader, request.tenant, request.priority);
  for (std::unique_ptr<Live>& live : choices) {
    const SequenceId id = ++last_id_;
    live->n_open = n_open;
    if (id != leader) live_.at(leader)->followers.push_back(id);
    live_.emplace(id, std::move(live));
  }
}

void Engine::step() {
  const auto begin = Clock::now();
  drop_gone();
  start_waiting();
  const std::vector<Scheduler::Share>& shares = plan_within_memory();
  if (!shares.empty()) {
    try {
      compute(shares);
    } catch (const std::exception& e) {
      fail(shares, e.what());
    }
    ++counts_.n_steps;
    counts_.step_s += seconds_between(begin, Clock::now());
  }
  make_room(0, spare_states_.size());  // for what the cache has taken
  publish();
}

// Ends what nobody waits for any more.
void Engine::drop_gone() {
  const auto now = Clock::now();
  gone_.clear();
  for (auto& [id, live] : live_) {
    const auto& deadline = live->sequence.request().deadline;
    if (live->sequence.stream()->cancelled()) {
      gone_.emplace_back(id, EndReason::kCancelled);
      ++counts_.n_cancelled;
    } else if (deadline && now >= *deadline) {
      gone_.emplace_back(id, EndReason::kDeadline);
    }
  }
  for (const auto& [id, reason] : gone_) {
    live_.at(id)->sequence.end(reason);
    finish(id);
  }
}

int64_t Engine::bytes_for(int64_t n_tokens) const {
  return state_bytes(model_.state_layout(), n_tokens).total();
}

int64_t Engine::bytes_in_use() const {
  const auto n_states = scheduler_.n_running() + std::ssize(spare_states_);
  const PagePoolStats pages = pool_->stats();
  const int64_t buffers = cache_.used_bytes() - pages.checkpoint_bytes;
  return n_states * ring_bytes_ + pages.live_bytes + buffers;
}

// What the running sequences are going to take for tokens that they have already.
int64_t Engine::bytes_to_come() const {
  int64_t bytes = 0;
  for (const auto& [id, live] : live_) {
    if (live->state == nullptr || live->n_pending() <= 1) continue;
    bytes += bytes_for(live->sequence.n_tokens()) - bytes_for(live->n_computed());
  }
  return bytes;
}

// Makes sure that `n_bytes` more fit, where need be by giving up states that nobody uses, but for
// `n_spare` of them, and what the cache keeps. Nothing is given up for what does not fit anyway.
bool Engine::make_room(int64_t n_bytes, size_t n_spare) {
  const int64_t limit = options_.state_bytes - n_bytes;
  const auto n_more = static_cast<int64_t>(spare_states_.size() - n_spare);
  if (bytes_in_use() - limit > n_more * ring_bytes_ + cache_.used_bytes()) return false;
  while (bytes_in_use() > limit && spare_states_.size() > n_spare) spare_states_.pop_back();
  const int64_t excess = bytes_in_use() - limit;
  if (excess > 0) cache_.release(excess);
  const int64_t used = bytes_in_use();
  if (used > limit) return false;
  pool_->trim(limit - used + n_bytes);
  return true;
}

void Engine::start_waiting() {
  passed_.clear();
  while (passed_.size() < kMaxPassed) {
    const SequenceId id = scheduler_.next_waiting(passed_);
    if (id == 0) return;
    if (follows_another(id) || start_or_end(id)) continue;
    if (seconds_between(live_.at(id)->submitted, Clock::now()) > kMaxPassedS) return;
    passed_.push_back(id);
  }
}

// False where it lacks memory that others will give back.
bool Engine::start_or_end(SequenceId id) {
  std::string problem = "no memory for its state";
  try {
    if (start(id)) return true;
    if (scheduler_.n_running() > 0) return false;
  } catch (const std::exception& e) {
    problem = e.what();
  }
  live_.at(id)->sequence.end(EndReason::kError, problem);
  finish(id);
  return true;
}

// Whether a prompt that is computed now will leave a state that saves this one much: many requests
// with the same long beginning compute it once. Those who wait for it make way for others.
bool Engine::follows_another(SequenceId id) {
  const Live& live = *live_.at(id);
  const std::vector<int32_t>& tokens = live.sequence.tokens();
  if (live.sequence.n_tokens() <= kStride || scheduler_.n_running() == 0) return false;
  const uint64_t salt = live.sequence.request().salt;
  int64_t n_known = -1;
  for (const auto& [other_id, other] : live_) {
    if (other->state == nullptr || other->prompt_done || other_id == id) continue;
    if (other->sequence.request().salt != salt) continue;
    const std::vector<int32_t>& ahead = other->sequence.tokens();
    const int64_t n_common = std::ranges::mismatch(tokens, ahead).in1 - tokens.begin();
    if (n_common < kStride || n_common <= other->n_computed()) continue;
    if (n_known < 0) n_known = cache_.find(tokens, salt).n_tokens;
    if (n_common - n_known < kMinPiece) continue;
    other->behind.emplace_back(id, n_common);
    scheduler_.hold(id);
    return true;
  }
  return false;
}

// Gives it a state with the longest prefix that the cache has. False if there is no room.
bool Engine::start(SequenceId id) {
  Live& live = *live_.at(id);
  const Sequence& sequence = live.sequence;
  const uint64_t salt = sequence.request().salt;
  const int64_t ring = spare_states_.empty() ? ring_bytes_ : 0;
  const PrefixLookup known = cache_.find(sequence.tokens(), salt);
  const int64_t n_shared = known.n_from_disk > 0 ? 0 : known.n_tokens;
  const int64_t need = ring + bytes_for(sequence.n_tokens()) - bytes_for(n_shared);
  if (!make_room(need + bytes_to_come(), std::min<size_t>(1, spare_states_.size()))) return false;
  if (spare_states_.empty()) {
    spare_states_.push_back(std::make_unique<SequenceState>(model_.state_layout(), pool_));
  }
  const PrefixLookup found = cache_.restore(sequence.tokens(), salt, *spare_states_.back());
  live.state = std::move(spare_states_.back());
  spare_states_.pop_back();
  scheduler_.start(id, live.n_pending());
  if (!live.started) {
    live.started = Clock::now();
    const int64_t n_cached = std::min(found.n_tokens, live.n_prompt());
    live.usage = {.n_prompt = live.n_prompt(),
                  .n_done = n_cached,
                  .n_cached = n_cached,
                  .n_cached_disk = std::min(found.n_from_disk, n_cached),
                  .miss = prefix_miss_name(found.miss),
                  .queued_s = seconds_between(live.submitted, *live.started)};
    counts_.n_cached_tokens += n_cached;
    sequence.stream()->push(
        {.kind = StreamEvent::Kind::kStarted, .choice = sequence.choice(), .usage = live.usage});
  }
  return true;
}

// The state goes to the cache, from where a later start takes what is left of it.
void Engine::suspend(SequenceId id) {
  Live& live = *live_.at(id);
  keep(live, CheckpointKind::kEnd);
  release_state(live);
  release_behind(live);
  scheduler_.suspend(id);
  ++counts_.n_preempted;
}

const std::vector<Scheduler::Share>& Engine::plan_within_memory() {
  for (;;) {
    const std::vector<Scheduler::Share>& shares = scheduler_.plan();
    int64_t need = 0;
    for (const auto& [id, n_tokens] : shares) {
      const int64_t n_computed = live_.at(id)->n_computed();
      need += bytes_for(n_computed + n_tokens) - bytes_for(n_computed);
    }
    if (shares.empty() || make_room(need, 0)) return shares;
    const SequenceId victim = scheduler_.next_victim();
    if (scheduler_.n_running() > 1) {
      suspend(victim);
    } else {
      live_.at(victim)->sequence.end(EndReason::kError, "no memory for its state");
      finish(victim);
    }
  }
}

// The next position behind `position` at which a checkpoint is kept: the ends of messages that are
// far enough from others, multiples of the stride, the end of the prompt.
int64_t Engine::next_stop(const Live& live) const {
  const int64_t position = live.n_computed();
  const int64_t n_prompt = live.n_prompt();
  if (position >= n_prompt) return live.sequence.n_tokens();
  int64_t stop = std::min(n_prompt, (position / kStride + 1) * kStride);
  for (const int64_t boundary : live.sequence.request().boundaries) {
    const bool far_enough = boundary - position >= kMinPiece && n_prompt - boundary >= kMinPiece;
    if (far_enough && boundary < stop) stop = boundary;
  }
  return stop;
}

void Engine::compute(const std::vector<Scheduler::Share>& shares) {
  batch_.clear();
  for (const auto& [id, n_share] : shares) {
    const Live& live = *live_.at(id);
    const int64_t n = std::min(n_share, next_stop(live) - live.n_computed());
    const auto all = std::span<const int32_t>(live.sequence.tokens());
    batch_.add(*live.state,
               all.subspan(static_cast<size_t>(live.n_computed()), static_cast<size_t>(n)));
  }
  counts_.last_batch_tokens = batch_.n_tokens();
  const View<const float, 3> streams = model_.forward(batch_);
  // Rows of those whose next token can be chosen, some at a time.
  size_t done = 0;
  while (done < shares.size()) {
    const size_t first = done;
    int64_t n_rows = 0;
    for (; done < shares.size() && n_rows < kLogitRows; ++done) {
      if (live_.at(shares[done].id)->n_pending() > 0) continue;
      const Segment& segment = batch_.segments[done];
      const auto row = streams.slice(segment.first_row + segment.n_tokens - 1, 1);
      std::copy_n(row.data(), row.count(), &last_streams_.view()(n_rows++, 0, 0));
    }
    if (n_rows > 0) {
      model_.logits(last_streams_.first(n_rows), logits_.first(n_rows));
    }
    int64_t row = 0;
    for (size_t i = first; i < done; ++i) {
      const bool complete = live_.at(shares[i].id)->n_pending() == 0;
      advance(shares[i].id, batch_.segments[i].n_tokens,
              complete ? logits_.view()[row++].span() : std::span<const float>());
    }
  }
}

// `logits` after its last token, or empty where the prompt is not computed yet.
void Engine::advance(SequenceId id, int64_t n_tokens, std::span<const float> logits) {
  Live& live = *live_.at(id);
  const int64_t position = live.n_computed();
  if (position <= live.n_prompt()) {
    counts_.n_prompt_tokens += n_tokens;
    keep_on_the_way(live);
    if (!live.prompt_done) report_prompt(live);
    release_behind(live);
  }
  bool goes_on = true;
  if (!logits.empty()) {
    const int64_t before = live.sequence.n_tokens();
    goes_on = extend(live.sequence, logits);
    counts_.n_reply_tokens += live.sequence.n_tokens() - before;
  }
  if (goes_on) {
    scheduler_.commit(id, n_tokens, live.n_pending());
  } else {
    scheduler_.commit(id, n_tokens, 0);
    finish(id);
  }
}

// A constraint that gives up ends its own reply only.
bool Engine::extend(Sequence& sequence, std::span<const float> logits) {
  try {
    return sequence.extend(logits, scratch_);
  } catch (const std::exception& e) {
    sequence.end(EndReason::kError, e.what());
    return false;
  }
}

// Checkpoints of a prompt: at multiples of the stride, at ends of messages, before the last token,
// from which the same prompt can be answered again. Those that the last piece has passed by a few
// tokens are reached by taking these back for a moment.
void Engine::keep_on_the_way(const Live& live) {
  const int64_t position = live.n_computed();
  if (position % kStride == 0) keep(live, CheckpointKind::kStride);
  const int64_t oldest = position - live.state->max_rollback();
  for (const int64_t boundary : live.sequence.request().boundaries) {
    if (boundary >= oldest && boundary <= position) keep_at(live, boundary);
  }
  if (position == live.n_prompt()) keep_at(live, position - 1);
}

void Engine::keep_at(const Live& live, int64_t position) {
  const int64_t n_back = live.n_computed() - position;
  live.state->rollback(n_back);
  keep(live, CheckpointKind::kBoundary);
  live.state->advance(n_back);
}

void Engine::keep(const Live& live, CheckpointKind kind) {
  if (live.n_computed() == 0) return;
  const auto tokens = std::span<const int32_t>(live.sequence.tokens());
  try {
    cache_.store(tokens.first(static_cast<size_t>(live.n_computed())), live.sequence.request().salt,
                 *live.state, kind);
  } catch (const std::bad_alloc&) {
    // It is computed again if need be: no reason to end anybody.
  }
}

// The other choices begin where the first one's prompt ended.
void Engine::report_prompt(Live& live) {
  live.usage.n_done = live.n_computed();
  live.prompt_done = live.n_computed() == live.n_prompt();
  StreamEvent event{.kind = StreamEvent::Kind::kProgress, .choice = live.sequence.choice()};
  if (live.prompt_done) {
    event.kind = StreamEvent::Kind::kPrompt;
    live.usage.prefill_s = seconds_between(*live.started, Clock::now());
    release_followers(live);
  }
  event.usage = live.usage;
  live.sequence.stream()->push(std::move(event));
}

void Engine::release_followers(Live& live) {
  const Request& request = live.sequence.request();
  for (const SequenceId id : live.followers) {
    if (live_.contains(id)) scheduler_.add(id, request.tenant, request.priority);
  }
  live.followers.clear();
}

// Those who waited for what is computed now, or will not be, can start.
void Engine::release_behind(Live& live) {
  const bool goes_on = live.state != nullptr && !live.prompt_done;
  std::erase_if(live.behind, [&](const auto& item) {
    const auto& [id, n_common] = item;
    if (goes_on && live.n_computed() < n_common) return false;
    if (live_.contains(id)) scheduler_.release(id);
    return true;
  });
}

void Engine::release_state(Live& live) {
  if (live.state == nullptr) return;
  live.state->clear();
  spare_states_.push_back(std::move(live.state));
  cache_.keep_budget();  // pages that this state shared are the cache's alone now
}

// Of a sequence that has ended: keeps its state for a prompt that goes on from it.
void Engine::finish(SequenceId id) {
  Live& live = *live_.at(id);
  if (live.state != nullptr) keep(live, CheckpointKind::kEnd);
  release_state(live);
  release_followers(live);
  release_behind(live);
  scheduler_.remove(id);
  const std::shared_ptr<EventStream> stream = live.sequence.stream();
  const bool is_last = --*live.n_open == 0;
  live_.erase(id);
  if (is_last) close(*stream);
}

// Of a request that has ended.
void Engine::close(EventStream& stream) {
  {
    const std::lock_guard lock(mutex_);
    --n_present_;
  }
  stream.close();
}

// A step that failed leaves the states as they were or empty; its sequences cannot go on.
void Engine::fail(const std::vector<Scheduler::Share>& shares, const std::string& error) {
  for (const auto& [id, n_tokens] : std::vector<Scheduler::Share>(shares)) {
    if (!live_.contains(id)) continue;
    live_.at(id)->sequence.end(EndReason::kError, error);
    finish(id);
  }
}

void Engine::publish() {
  counts_.n_running = scheduler_.n_running();
  counts_.n_waiting = scheduler_.n_waiting();
  counts_.state_bytes = bytes_in_use();
  counts_.cache = cache_.stats();
  if (cache_.disk() != nullptr) counts_.disk = cache_.disk()->stats();
  counts_.expert_runs = model_.n_expert_runs();
  if (model_.experts() != nullptr) counts_.experts = model_.experts()->stats();
  const std::lock_guard lock(mutex_);
  counts_.n_refused = stats_.n_refused;
  stats_ = counts_;
}

}  // namespace dsv4
