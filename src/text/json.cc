// Access to JSON values and printing. Reading is in json_parse.cc.
#include "text/json.h"

#include "base/check.h"
#include "base/error.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>

namespace dsv4 {

namespace {

[[noreturn]] void throw_kind(std::string_view where, std::string_view expected, Json::Kind found) {
  throw Error(ErrorCode::kInvalidInput, std::string(where),
              fmt::format("expected {}, found {}", expected, kind_name(found)));
}

// Python's repr: digits and exponent of the shortest form that reads back, positional while the
// decimal exponent is in [-4, 16).
void append_double(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  if (std::signbit(value)) out += '-';
  if (std::isinf(value)) {
    out += "Infinity";
    return;
  }
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, std::fabs(value),
                                          std::chars_format::scientific);
  CHECK(error == std::errc());
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);
  int exponent = 0;
  std::from_chars(text.data() + e + 2, end, exponent);
  if (text[e + 1] == '-') exponent = -exponent;

  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out.append(".").append(digits, 1);
    out += fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    out.append("0.").append(static_cast<size_t>(-exponent - 1), '0').append(digits);
  } else {
    const size_t n_whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() < n_whole + 1) digits.append(n_whole + 1 - digits.size(), '0');
    out.append(digits, 0, n_whole).append(".").append(digits, n_whole);
  }
}

}  // namespace

class JsonPrinter {
 public:
  explicit JsonPrinter(std::string& out) : out_(out) {}

  // Recurses as deep as the value, which parse() bounds.
  void print(const Json& json) {
    switch (json.kind()) {
      case Json::Kind::kNull:
        out_ += "null";
        break;
      case Json::Kind::kBool:
        out_ += std::get<bool>(json.value_) ? "true" : "false";
        break;
      case Json::Kind::kInteger:
        out_ += std::get<Json::Integer>(json.value_).digits;
        break;
      case Json::Kind::kDouble:
        append_double(out_, std::get<double>(json.value_));
        break;
      case Json::Kind::kString:
        append_json_quoted(out_, std::get<std::string>(json.value_));
        break;
      case Json::Kind::kArray:
        print_array(std::get<Json::Array>(json.value_));
        break;
      case Json::Kind::kObject:
        print_object(std::get<Json::Object>(json.value_));
        break;
    }
  }

 private:
  void print_array(const Json::Array& items) {
    out_ += '[';
    for (const Json& item : items) {
      if (&item != &items.front()) out_ += ", ";
      print(item);
    }
    out_ += ']';
  }

  void print_object(const Json::Object& members) {
    out_ += '{';
    for (const Json::Member& member : members) {
      if (&member != &members.front()) out_ += ", ";
      append_json_quoted(out_, member.key);
      out_ += ": ";
      print(member.value);
    }
    out_ += '}';
  }

  std::string& out_;
};

std::string Json::print() const {
  std::string out;
  JsonPrinter(out).print(*this);
  return out;
}

std::string_view kind_name(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::kNull:
      return "null";
    case Json::Kind::kBool:
      return "a boolean";
    case Json::Kind::kInteger:
      return "an integer";
    case Json::Kind::kDouble:
      return "a number";
    case Json::Kind::kString:
      return "a string";
    case Json::Kind::kArray:
      return "an array";
    case Json::Kind::kObject:
      return "an object";
  }
  return "";
}

bool Json::as_bool(std::string_view where) const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  throw_kind(where, "true or false", kind());
}

int64_t Json::as_int(std::string_view where) const {
  const Integer* integer = std::get_if<Integer>(&value_);
  if (integer == nullptr) throw_kind(where, "an integer", kind());
  int64_t value = 0;
  const char* end = integer->digits.data() + integer->digits.size();
  if (std::from_chars(integer->digits.data(), end, value).ec != std::errc()) {
    throw Error(ErrorCode::kInvalidInput, std::string(where), "the integer is too large");
  }
  return value;
}

double Json::as_double(std::string_view where) const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  if (kind() != Kind::kInteger) throw_kind(where, "a number", kind());
  return static_cast<double>(as_int(where));
}

const std::string& Json::as_string(std::string_view where) const {
  if (const std::string* value = std::get_if<std::string>(&value_)) return *value;
  throw_kind(where, "a string", kind());
}

const Json::Array& Json::as_array(std::string_view where) const {
  if (const Array* value = std::get_if<Array>(&value_)) return *value;
  throw_kind(where, "an array", kind());
}

const Json::Object& Json::as_object(std::string_view where) const {
  if (const Object* value = std::get_if<Object>(&value_)) return *value;
  throw_kind(where, "an object", kind());
}

const Json* Json::find(std::string_view key) const {
  if (const Object* members = std::get_if<Object>(&value_)) {
    for (const Member& member : *members) {
      if (member.key == key) return &member.value;
    }
  }
  return nullptr;
}

const Json& Json::at(std::string_view key, std::string_view where) const {
  if (!is_object()) throw_kind(where, "an object", kind());
  if (const Json* value = find(key)) return *value;
  throw Error(ErrorCode::kInvalidInput, std::string(where), fmt::format("\"{}\" is missing", key));
}

Json& Json::set(std::string key, Json value) {
  if (is_null()) value_ = Object{};
  CHECK(is_object(), kind_name(kind()));
  Object& members = std::get<Object>(value_);
  for (Member& member : members) {
    if (member.key == key) {
      member.value = std::move(value);
      return *this;
    }
  }
  members.push_back({std::move(key), std::move(value)});
  return *this;
}

Json& Json::push_back(Json value) {
  if (is_null()) value_ = Array{};
  CHECK(is_array(), kind_name(kind()));
  std::get<Array>(value_).push_back(std::move(value));
  return *this;
}

bool Json::operator==(const Json& other) const { return value_ == other.value_; }

void append_json_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
}

void append_json_quoted(std::string& out, std::string_view text) {
  out += '"';
  append_json_escaped(out, text);
  out += '"';
}

}  // namespace dsv4
