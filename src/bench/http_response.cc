#include "bench/http_response.h"

#include "base/error.h"

#include <algorithm>
#include <charconv>

#include <fmt/core.h>

namespace dsv4 {
namespace {

constexpr uint64_t kMaxHeadBytes = 64 << 10;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) { return lower(c); });
  return out;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// The whole of `text` as a number.
std::optional<uint64_t> number(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

}  // namespace

HttpAddress parse_http_address(std::string_view url) {
  const std::string where(url);
  const std::string scheme = lower(url.substr(0, std::min(url.find("://"), url.size())));
  if (scheme == "https") {
    throw Error(ErrorCode::kUnsupported, where, "this client speaks plain http only");
  }
  if (scheme != "http") {
    throw Error(ErrorCode::kInvalidInput, where, "expected http://HOST:PORT");
  }
  const std::string_view rest = url.substr(7);
  const size_t slash = std::min(rest.find('/'), rest.size());
  const bool has_controls = std::ranges::any_of(
      url, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; });
  if (slash == 0 || has_controls) {
    throw Error(ErrorCode::kInvalidInput, where, "expected http://HOST:PORT");
  }
  HttpAddress address{parse_peer(rest.substr(0, slash), "80"), std::string(rest.substr(slash))};
  while (address.prefix.ends_with('/')) address.prefix.pop_back();
  return address;
}

void HttpResponse::fail(const std::string& message) const {
  throw Error(ErrorCode::kInvalidInput, fmt::format("response at byte {}", offset_), message);
}

std::string_view HttpResponse::header(std::string_view name) const {
  for (auto it = headers_.rbegin(); it != headers_.rend(); ++it) {
    if (it->first == name) return it->second;
  }
  return {};
}

void HttpResponse::take(std::string_view bytes, std::string& body) {
  while (!bytes.empty()) {
    if (state_ == State::kDone) fail("there are bytes behind the response");
    size_t n = bytes.size();
    if (state_ == State::kUntilClose) {
      body += bytes;
    } else if (state_ == State::kBody || state_ == State::kChunk) {
      n = static_cast<size_t>(std::min<uint64_t>(left_, n));
      body += bytes.substr(0, n);
      left_ -= n;
      if (left_ == 0) state_ = state_ == State::kBody ? State::kDone : State::kChunkEnd;
    } else {
      const size_t end = bytes.find('\n');
      n = std::min(end, bytes.size() - 1) + 1;
      line_ += bytes.substr(0, n);
      head_bytes_ += n;
      if (head_bytes_ > kMaxHeadBytes) {
        fail(fmt::format("the head has more than {} bytes", kMaxHeadBytes));
      }
      if (end != bytes.npos) {
        line_.pop_back();
        if (line_.ends_with('\r')) line_.pop_back();
        take_line(line_);
        line_.clear();
      }
    }
    offset_ += n;
    bytes.remove_prefix(n);
  }
}

void HttpResponse::take_line(std::string_view line) {
  switch (state_) {
    case State::kHead:
      if (status_ == 0) return take_status_line(line);
      return line.empty() ? end_head() : take_header(line);
    case State::kChunkSize:
      return take_chunk_size(line);
    case State::kChunkEnd:
      if (!line.empty()) fail("expected the end of a chunk");
      state_ = State::kChunkSize;
      head_bytes_ = 0;
      return;
    default:  // the trailer
      if (line.empty()) state_ = State::kDone;
  }
}

void HttpResponse::take_status_line(std::string_view line) {
  const bool is_http = line.starts_with("HTTP/1.") && line.size() >= 12 && line[8] == ' ';
  const std::optional<uint64_t> code = is_http ? number(line.substr(9, 3), 10) : std::nullopt;
  if (!code || *code < 100 || *code > 599 || (line.size() > 12 && line[12] != ' ')) {
    fail("expected the status line of HTTP/1.1");
  }
  status_ = static_cast<int>(*code);
}

void HttpResponse::take_header(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == line.npos || colon == 0) fail("expected NAME: VALUE");
  headers_.emplace_back(lower(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
}

void HttpResponse::end_head() {
  if (status_ < 200) {  // an interim response; the real one follows
    status_ = 0;
    headers_.clear();
    return;
  }
  head_bytes_ = 0;
  const std::string coding = lower(header("transfer-encoding"));
  const std::string_view length = header("content-length");
  if (status_ == 204 || status_ == 304) {
    state_ = State::kDone;
  } else if (!coding.empty()) {
    if (coding != "chunked") fail("the transfer coding " + coding + " was not asked for");
    state_ = State::kChunkSize;
  } else if (!length.empty()) {
    const std::optional<uint64_t> n = number(length, 10);
    if (!n) fail("the content length is no number");
    left_ = *n;
    state_ = left_ > 0 ? State::kBody : State::kDone;
  } else {
    state_ = State::kUntilClose;
  }
}

void HttpResponse::take_chunk_size(std::string_view line) {
  const std::optional<uint64_t> n = number(trimmed(line.substr(0, line.find(';'))), 16);
  if (!n) fail("expected the size of a chunk");
  left_ = *n;
  state_ = left_ > 0 ? State::kChunk : State::kTrailer;
}

void HttpResponse::close() {
  if (state_ == State::kUntilClose) state_ = State::kDone;
  if (state_ != State::kDone) {
    fail(offset_ == 0 ? "the connection was closed without a response"
                      : "the connection was closed within the response");
  }
}

void EventReader::take(std::string_view text, std::vector<std::string>& events) {
  while (!text.empty()) {
    if (after_return_ && text.front() == '\n') text.remove_prefix(1);
    after_return_ = false;
    const size_t end = text.find_first_of("\r\n");
    line_ += text.substr(0, end);
    if (line_.size() + (data_ ? data_->size() : 0) > kMaxEventBytes) {
      throw Error(ErrorCode::kOutOfRange, "event stream", "an event is too large");
    }
    if (end == text.npos) return;
    after_return_ = text[end] == '\r';
    end_line(events);
    text.remove_prefix(end + 1);
  }
}

void EventReader::end_line(std::vector<std::string>& events) {
  if (line_.empty()) {
    if (data_) events.push_back(std::move(*data_));
    data_.reset();
  } else if (line_ == "data" || line_.starts_with("data:")) {
    std::string_view value = std::string_view(line_).substr(std::min<size_t>(5, line_.size()));
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (data_) {
      *data_ += '\n';
      *data_ += value;
    } else {
      data_ = value;
    }
  }
  line_.clear();
}

}  // namespace dsv4
