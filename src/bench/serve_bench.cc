#include "bench/serve_bench.h"

#include "base/error.h"
#include "base/rng.h"
#include "bench/timing.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include <fmt/core.h>

namespace dsv4 {
namespace {

using Clock = HttpClient::Clock;

constexpr uint64_t kArrivals = 4;  // stream of random numbers

std::vector<std::pair<std::string, std::string>> headers_of(const ServeTarget& target) {
  std::vector<std::pair<std::string, std::string>> headers;
  if (!target.api_key.empty()) headers.emplace_back("Authorization", "Bearer " + target.api_key);
  return headers;
}

// What a server says about a status of failure: the message of its error, or the body's beginning.
std::string error_text(const std::string& body) {
  try {
    const Json json = Json::parse(body, "body");
    if (const Json* error = json.find("error")) {
      if (const Json* message = error->find("message")) return message->as_string("message");
      if (error->is_string()) return error->as_string("error");
    }
  } catch (const Error&) {
    // Not an error in the API's shape.
  }
  return body.substr(0, 200);
}

// A turn on its way.
class Turn {
 public:
  Turn(Conversation conversation, Clock::time_point start, double start_s, int64_t reusable)
      : conversation_(std::move(conversation)), start_(start) {
    result_.conversation = conversation_.number();
    result_.turn = conversation_.turn();
    result_.start_s = start_s;
    result_.reusable = reusable;
  }

  void take(const HttpResponse& response, std::string_view bytes) {
    if (response.status() != 200) {
      body_ += bytes.substr(0, kMaxErrorBytes - std::min(body_.size(), kMaxErrorBytes));
      return;
    }
    if (!malformed_.empty()) return;
    std::vector<std::string> events;
    try {
      reader_.take(bytes, events);
      for (const std::string& data : events) {
        if (reply_.take(data)) note_part();
      }
    } catch (const Error& error) {
      malformed_ = error.what();
    }
  }

  // How the request ended.
  const TurnResult& finish(const HttpEnd& end) {
    result_.total_s = seconds_since(start_);
    result_.finish = reply_.finish();
    if (reply_.usage()) result_.usage = *reply_.usage();
    result_.reusable = std::min(result_.reusable, result_.usage.prompt);
    const auto fail = [&](std::string kind, std::string message) {
      result_.failure = std::move(kind);
      result_.message = std::move(message);
    };
    if (end.status != 0 && end.status != 200) {
      fail(fmt::format("HTTP {}", end.status), error_text(body_));
    } else if (!reply_.error().empty()) {
      fail("error while streaming", reply_.error());
    } else if (!malformed_.empty()) {
      fail("malformed reply", malformed_);
    } else if (end.kind != HttpEnd::Kind::kComplete) {
      fail(kind_name(end.kind), end.message);
    } else if (!reply_.complete()) {
      fail("reply cut off", "the stream ended without a reason and [DONE]");
    } else if (n_parts_ == 0) {
      fail("empty reply", "it ended with " + reply_.finish());
    }
    return result_;
  }

  Conversation& conversation() { return conversation_; }
  const ChatReply& reply() const { return reply_; }

 private:
  static constexpr size_t kMaxErrorBytes = 64 << 10;

  static const char* kind_name(HttpEnd::Kind kind) {
    switch (kind) {
      case HttpEnd::Kind::kConnect:
        return "no connection";
      case HttpEnd::Kind::kTimeout:
        return "time-out";
      case HttpEnd::Kind::kMalformed:
        return "malformed reply";
      default:
        return "connection closed";
    }
  }

  void note_part() {
    const Clock::time_point now = Clock::now();
    if (n_parts_++ == 0) {
      result_.first_s = seconds_since(start_, now);
    } else {
      result_.gaps_s.push_back(static_cast<float>(seconds_since(last_part_, now)));
    }
    last_part_ = now;
  }

  Conversation conversation_;
  Clock::time_point start_;
  Clock::time_point last_part_;
  int64_t n_parts_ = 0;
  EventReader reader_;
  ChatReply reply_;
  std::string body_;  // of a failure
  std::string malformed_;
  TurnResult result_;
};

class Runner {
 public:
  Runner(const ServeTarget& target, const ServeLoad& load, const ServeSchedule& schedule,
         const std::function<void(const TurnResult&)>& on_result)
      : target_(target),
        load_(load),
        schedule_(schedule),
        on_result_(on_result),
        client_(target.address, target.idle_s),
        is_trace_(!load.trace.empty() && load.trace.front().at_s),
        is_closed_(!is_trace_ && schedule.rate <= 0) {}

  std::vector<TurnResult> run(const std::function<bool()>& stopped) {
    begin_ = Clock::now();
    if (is_closed_) {
      for (int64_t i = 0; i < schedule_.concurrency; ++i) arrive(0);
    } else {
      schedule_arrival();
    }
    while (!due_.empty() || client_.n_open() > 0) {
      if (stopped()) {
        cancelled_ = true;
        client_.cancel_all();
        break;
      }
      start_due();
      client_.run_once(due_.empty() ? Clock::now() + std::chrono::seconds(1)
                                    : time_of(due_.begin()->first));
    }
    return std::move(results_);
  }

 private:
  // A turn that is to begin, or the next arrival (no conversation).
  struct Due {
    std::optional<Conversation> conversation;
    int64_t reusable = 0;
  };

  Clock::time_point time_of(double s) const {
    return begin_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
  }
  double now_s() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }
  bool is_over(double s) const { return schedule_.duration_s > 0 && s >= schedule_.duration_s; }

  bool is_last(int64_t number) const {
    const int64_t n = schedule_.n_conversations;
    if (n > 0 && number >= n) return true;
    return is_trace_ && number >= std::ssize(load_.trace);
  }

  // Plans conversation n_arrived_ at its time, if there is one.
  void schedule_arrival() {
    if (is_last(n_arrived_)) return;
    if (is_trace_) {
      arrival_s_ = *load_.trace[static_cast<size_t>(n_arrived_)].at_s;
    } else {
      const double u = random_uniform(load_.seed, kArrivals, static_cast<uint64_t>(n_arrived_));
      arrival_s_ -= std::log1p(-u) / schedule_.rate;
    }
    if (!is_over(arrival_s_)) due_.emplace(arrival_s_, Due{});
  }

  void arrive(double s) {
    if (is_last(n_arrived_) || is_over(s)) return;
    due_.emplace(s, Due{Conversation(load_, n_arrived_++), 0});
  }

  void start_due() {
    while (!due_.empty() && time_of(due_.begin()->first) <= Clock::now()) {
      auto node = due_.extract(due_.begin());
      if (!node.mapped().conversation) {
        node.mapped().conversation.emplace(load_, n_arrived_++);
        schedule_arrival();
      }
      start_turn(node.key(), std::move(node.mapped()));
    }
  }

  void start_turn(double s, Due due) {
    HttpCall call{.path = "/v1/chat/completions",
                  .headers = headers_of(target_),
                  .body = due.conversation->request()};
    call.headers.emplace_back("Content-Type", "application/json");
    call.headers.emplace_back("Accept", "text/event-stream");
    const auto turn =
        std::make_shared<Turn>(std::move(*due.conversation), time_of(s), s, due.reusable);
    client_.start(
        call,
        [turn](const HttpResponse& response, std::string_view bytes) {
          turn->take(response, bytes);
        },
        [this, turn](const HttpEnd& end) { end_turn(*turn, end); });
  }

  void end_turn(Turn& turn, const HttpEnd& end) {
    if (cancelled_) return;
    results_.push_back(turn.finish(end));
    const TurnResult& result = results_.back();
    if (on_result_) on_result_(result);
    if (result.failure.empty() && turn.conversation().next(turn.reply())) {
      const double s = now_s() + turn.conversation().think_s();
      const int64_t reusable = result.usage.prompt + result.usage.completion;
      if (!is_over(s)) due_.emplace(s, Due{std::move(turn.conversation()), reusable});
    } else if (is_closed_) {
      // A server that refuses at once is not asked again at once.
      constexpr double kPauseAfterFailure = 0.1;
      arrive(now_s() + (result.failure.empty() ? 0 : kPauseAfterFailure));
    }
  }

  const ServeTarget& target_;
  const ServeLoad& load_;
  const ServeSchedule& schedule_;
  const std::function<void(const TurnResult&)>& on_result_;
  HttpClient client_;
  bool is_trace_;
  bool is_closed_;
  bool cancelled_ = false;
  Clock::time_point begin_;
  double arrival_s_ = 0;
  int64_t n_arrived_ = 0;
  std::multimap<double, Due> due_;  // by seconds from the beginning
  std::vector<TurnResult> results_;
};

}  // namespace

Distribution::Distribution(std::vector<float> values) : values_(std::move(values)) {
  std::ranges::sort(values_);
}

double Distribution::quantile(double q) const {
  if (values_.empty()) return 0;
  const double at = q * static_cast<double>(values_.size() - 1);
  const auto i = static_cast<size_t>(at);
  const double low = values_[i];
  const double high = values_[std::min(i + 1, values_.size() - 1)];
  return low + (at - static_cast<double>(i)) * (high - low);
}

double Distribution::mean() const {
  if (values_.empty()) return 0;
  return std::accumulate(values_.begin(), values_.end(), 0.0) / static_cast<double>(values_.size());
}

ServeReport summarize(const std::vector<TurnResult>& results) {
  ServeReport report;
  std::vector<float> first, between, total;
  double begin = 0, end = 0;
  for (const TurnResult& r : results) {
    if (report.n_requests++ == 0) begin = r.start_s;
    begin = std::min(begin, r.start_s);
    end = std::max(end, r.start_s + r.total_s);
    if (!r.failure.empty()) {
      ++report.n_failed;
      ++report.failures[r.failure];
      report.first_message.try_emplace(r.failure, r.message);
      continue;
    }
    ++report.finishes[r.finish];
    report.usage.prompt += r.usage.prompt;
    report.usage.cached += r.usage.cached;
    report.usage.completion += r.usage.completion;
    report.usage.reasoning += r.usage.reasoning;
    report.reusable += r.reusable;
    report.reusable_cached += std::min(r.reusable, r.usage.cached);
    first.push_back(static_cast<float>(r.first_s));
    total.push_back(static_cast<float>(r.total_s));
    between.insert(between.end(), r.gaps_s.begin(), r.gaps_s.end());
  }
  report.seconds = end - begin;
  report.first = Distribution(std::move(first));
  report.between = Distribution(std::move(between));
  report.total = Distribution(std::move(total));
  return report;
}

std::vector<TurnResult> run_serve_bench(const ServeTarget& target, const ServeLoad& load,
                                        const ServeSchedule& schedule,
                                        const std::function<bool()>& stopped,
                                        const std::function<void(const TurnResult&)>& on_result) {
  return Runner(target, load, schedule, on_result).run(stopped);
}

std::string first_model(const ServeTarget& target) {
  const HttpCall call{.method = "GET", .path = "/v1/models", .headers = headers_of(target)};
  const std::string where = "http://" + target.address.text() + target.address.prefix + call.path;
  std::string body;
  const HttpEnd end = http_fetch(target.address, call, target.idle_s, body);
  if (end.kind != HttpEnd::Kind::kComplete) throw Error(ErrorCode::kIo, where, end.message);
  if (end.status != 200) {
    throw Error(ErrorCode::kIo, where, fmt::format("status {}: {}", end.status, error_text(body)));
  }
  const Json json = Json::parse(body, where);
  const Json::Array& data = json.at("data", where).as_array(where + ": data");
  if (data.empty()) throw Error(ErrorCode::kInvalidInput, where, "the server has no model");
  return data.front().at("id", where).as_string(where + ": data[0].id");
}

}  // namespace dsv4
