#include "server/http_parser.h"

#include <algorithm>
#include <limits>

#include <fmt/core.h>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

namespace dsv4 {
namespace {

namespace http = boost::beast::http;
using boost::beast::string_view;
using boost::system::error_code;

// Every request that is not yet complete has at least this much to come: the end of a chunked body
// ("0\r\n\r\n") is the shortest. Beast asserts it when it reads that end.
constexpr size_t kShortestRest = 5;

constexpr std::string_view kHeaderEnd = "\r\n\r\n";  // and the end of a trailer

bool is_token(std::string_view text) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kOthers.find(c) != std::string_view::npos;
  });
}

HttpProblem problem_of(error_code code, const HttpLimits& limits) {
  using http::error;
  if (code == error::header_limit) {
    return {431, "headers_too_large",
            fmt::format("request line and headers are longer than {} bytes or {} lines",
                        limits.header_bytes, limits.max_headers)};
  }
  if (code == error::body_limit) {
    return {413, "body_too_large",
            fmt::format("the body is longer than {} bytes", limits.body_bytes)};
  }
  if (code == error::bad_version) {
    return {505, "unsupported_version", "only HTTP/1.1 and HTTP/1.0 are spoken here"};
  }
  return {400, "malformed_request", fmt::format("not a valid HTTP request: {}", code.message())};
}

}  // namespace

class RequestParser::Impl final : public http::basic_parser<true> {
 public:
  explicit Impl(const HttpLimits& limits) : limits_(limits) {
    header_limit(std::numeric_limits<std::uint32_t>::max());  // ours is checked in find_header_end
    body_limit(boost::none);  // until the headers are there, so that the problem can name the path
  }

  Status advance(std::string& input);

  HttpRequest request_;
  HttpProblem problem_;
  std::string target_;
  bool failed_ = false;
  bool header_seen_ = false;
  bool header_reported_ = false;

 private:
  Status find_header_end(const std::string& input);
  size_t chunk_bytes(std::string_view rest);
  Status fail(HttpProblem problem);
  void check_header();
  void check_framing();
  void set_target();
  const std::string* only(std::string_view name);

  void on_request_impl(http::verb, string_view method, string_view target, int version,
                       error_code&) override {
    request_.method.assign(method.data(), method.size());
    target_.assign(target.data(), target.size());
    request_.minor_version = version - 10;
  }
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_field_impl(http::field, string_view name, string_view value, error_code& error) override {
    if (header_seen_) return;  // of a trailer: nobody asks for those
    if (request_.headers.size() >= limits_.max_headers) error = http::error::header_limit;
    request_.headers.push_back({std::string(name), std::string(value)});
  }
  void on_header_impl(error_code&) override {
    header_seen_ = true;
    body_limit(limits_.body_bytes);
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code&) override {
    request_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t size, string_view extensions,
                            error_code& error) override {
    if (extensions.size() > limits_.header_bytes) error = http::error::bad_chunk_extension;
    chunk_left_ = size;
    chunk_begun_ = true;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code&) override {
    chunk_left_ -= body.size();
    request_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_finish_impl(error_code&) override {}

  const HttpLimits& limits_;
  size_t searched_bytes_ = 0;  // of the input, where the headers do not end
  size_t header_bytes_ = 0;    // with the empty line; 0 as long as that is not there
  uint64_t chunk_left_ = 0;    // of the chunk that is read
  bool chunk_begun_ = false;
};

RequestParser::Status RequestParser::Impl::fail(HttpProblem problem) {
  if (!failed_) problem_ = std::move(problem);
  failed_ = true;
  if (request_.path.empty()) request_.path = target_;  // as far as it is known
  return Status::kProblem;
}

// The headers are parsed when all of them are there: what is wrong with them then does not depend
// on how they came.
RequestParser::Status RequestParser::Impl::find_header_end(const std::string& input) {
  if (!input.empty() && !is_token(std::string_view(input).substr(0, 1))) {
    return fail({400, "malformed_request", "this is not HTTP (or it is TLS, which is not set up)"});
  }
  const size_t end = input.find(kHeaderEnd, searched_bytes_);
  if (end != std::string::npos) header_bytes_ = end + kHeaderEnd.size();
  searched_bytes_ = input.size() - std::min(input.size(), kHeaderEnd.size() - 1);
  const bool is_too_long = header_bytes_ == 0 ? input.size() >= limits_.header_bytes
                                              : header_bytes_ > limits_.header_bytes;
  if (is_too_long) return fail(problem_of(http::error::header_limit, limits_));
  return header_bytes_ == 0 ? Status::kNeedMore : Status::kHeader;
}

// How much of a chunked body to parse at once: the rest of a chunk, a whole line with a size, or
// the last one with all of the trailer. An extension whose quotation goes on behind its line, or
// could by a backslash, is refused: readers disagree about what follows it. 0: not complete, or
// refused.
size_t RequestParser::Impl::chunk_bytes(std::string_view rest) {
  constexpr std::string_view kLineEnd = "\r\n";
  if (chunk_left_ > 0) return static_cast<size_t>(std::min<uint64_t>(chunk_left_, rest.size()));
  const size_t begin = chunk_begun_ ? kLineEnd.size() : 0;  // behind the end of the chunk before
  const size_t end = rest.find(kLineEnd, begin);
  if (end == std::string_view::npos) return 0;
  const std::string_view line = rest.substr(begin, end - begin);
  const bool is_open = std::ranges::count(line, '"') % 2 != 0;
  if (is_open || line.find('\\') != std::string_view::npos) {
    fail({400, "malformed_request",
          "the extension of a chunk has a backslash or does not end with its line"});
    return 0;
  }
  // Whatever follows the zeros: Beast wants the trailer as soon as it has read the size.
  const size_t n_zeros = std::min(line.find_first_not_of('0'), line.size());
  const bool is_last = n_zeros > 0 && (n_zeros == line.size() || hex_value(line[n_zeros]) < 0);
  size_t n = end + kLineEnd.size();
  if (is_last) {
    const size_t trailer_end = rest.find(kHeaderEnd, end);
    if (trailer_end == std::string_view::npos) return 0;
    n = trailer_end + kHeaderEnd.size();
  }
  // As advance() refuses it where it comes in pieces.
  if (n > limits_.header_bytes) {
    fail(problem_of(http::error::header_limit, limits_));
    return 0;
  }
  return n;
}

RequestParser::Status RequestParser::Impl::advance(std::string& input) {
  if (failed_) return Status::kProblem;
  if (header_bytes_ == 0) {
    const Status status = find_header_end(input);
    if (status != Status::kHeader) return status;
  }
  error_code error;
  size_t used = 0;
  while (!error && !is_done()) {
    if (header_seen_ && !header_reported_) break;
    const size_t rest = header_seen_ ? input.size() - used : header_bytes_ - used;
    if (rest == 0 || (header_seen_ && chunked() && rest < kShortestRest)) break;
    size_t n = rest;
    if (header_seen_ && chunked()) n = chunk_bytes(std::string_view(input).substr(used));
    if (n == 0) break;
    used += put({input.data() + used, n}, error);
  }
  input.erase(0, used);
  if (failed_) return Status::kProblem;
  const bool is_short = error == http::error::need_more;
  if ((error && !is_short) || !header_seen_) return fail(problem_of(error, limits_));
  if (header_seen_ && !header_reported_) {
    header_reported_ = true;
    check_header();
    return failed_ ? Status::kProblem : Status::kHeader;
  }
  if (is_done()) return Status::kComplete;
  // Lines of a chunked body stay in the input until they are complete.
  if (input.size() >= limits_.header_bytes) {
    return fail(problem_of(http::error::header_limit, limits_));
  }
  return Status::kNeedMore;
}

// The value of a header that may be there once. A second one is a problem.
const std::string* RequestParser::Impl::only(std::string_view name) {
  const std::string* value = nullptr;
  for (const HttpHeader& header : request_.headers) {
    if (lower_case(header.name) != name) continue;
    if (value != nullptr) {
      fail({400, "malformed_request", fmt::format("more than one {} header", name)});
    }
    value = &header.value;
  }
  return value;
}

void RequestParser::Impl::check_header() {
  request_.keep_alive = keep_alive();
  set_target();
  if (!is_token(request_.method)) fail({400, "malformed_request", "the method is not a token"});
  check_framing();
  const std::string* host = only("host");
  if (host == nullptr && request_.minor_version > 0) {
    fail({400, "malformed_request", "an HTTP/1.1 request needs a Host header"});
  }
  const std::string* expect = only("expect");
  if (expect != nullptr && lower_case(*expect) != "100-continue") {
    fail({417, "expectation_failed", "the only expectation that is met is 100-continue"});
  }
}

// How long the body is must have one meaning for everyone who reads the request.
void RequestParser::Impl::check_framing() {
  const std::string* length = only("content-length");
  if (length != nullptr &&
      !std::ranges::all_of(*length, [](char c) { return c >= '0' && c <= '9'; })) {
    fail({400, "malformed_request", "Content-Length is not a number"});
  }
  if (content_length().value_or(0) > limits_.body_bytes) {
    fail(problem_of(http::error::body_limit, limits_));
  }
  const std::string* coding = only("transfer-encoding");
  if (coding == nullptr) return;
  if (length != nullptr) {
    fail({400, "malformed_request", "both Content-Length and Transfer-Encoding are given"});
  } else if (request_.minor_version == 0) {
    fail({400, "malformed_request", "HTTP/1.0 has no Transfer-Encoding"});
  } else if (lower_case(*coding) != "chunked") {
    fail({501, "unsupported_transfer_encoding", "the only Transfer-Encoding known is chunked"});
  }
}

void RequestParser::Impl::set_target() {
  std::string_view target = target_;
  // The absolute form, as sent to proxies: http://host/path.
  const std::string scheme = lower_case(target.substr(0, 8));
  const size_t prefix = scheme.starts_with("http://") ? 7 : scheme.starts_with("https://") ? 8 : 0;
  if (prefix > 0) {
    target.remove_prefix(std::min(target.size(), target.find_first_of("/?", prefix)));
  }
  target = target.substr(0, target.find('#'));
  const size_t question = std::min(target.size(), target.find('?'));
  request_.query = target.substr(std::min(target.size(), question + 1));
  const auto path = percent_decode(target.substr(0, question));
  request_.path = path.value_or("");
  if (prefix > 0 && request_.path.empty()) request_.path = "/";
  const bool is_star = request_.path == "*" && request_.method == "OPTIONS";
  if (!path || !(request_.path.starts_with('/') || is_star)) {
    fail({400, "malformed_request", "the target of the request is not a path"});
  }
}

RequestParser::RequestParser(const HttpLimits& limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestParser::~RequestParser() = default;

RequestParser::Status RequestParser::advance(std::string& input) { return impl_->advance(input); }

HttpRequest& RequestParser::request() { return impl_->request_; }

bool RequestParser::has_body() const { return !impl_->is_done(); }

bool RequestParser::expects_continue() const {
  return impl_->request_.minor_version > 0 && impl_->request_.header("expect") != nullptr;
}

size_t RequestParser::body_bytes() const { return impl_->request_.body.size(); }

const HttpProblem& RequestParser::problem() const { return impl_->problem_; }

}  // namespace dsv4
