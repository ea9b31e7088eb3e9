// JSON values of chat data: members keep their order and numbers keep their kind, because the
// prompt of a model contains them printed exactly as the reference encoder does (docs/text.md). For
// configuration files base/json.h is enough.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace dsv4 {

// A JSON value. Strings hold valid UTF-8 when they come from parse(). Integers have any size.
class Json {
 public:
  struct Member;
  using Array = std::vector<Json>;
  using Object = std::vector<Member>;

  enum class Kind { kNull, kBool, kInteger, kDouble, kString, kArray, kObject };
  // Python's reader takes NaN, Infinity and -Infinity, which JSON itself does not have.
  enum class NonFinite { kAccept, kReject };

  Json();  // null
  Json(const Json&);
  Json(Json&&) noexcept;
  Json& operator=(const Json&);
  Json& operator=(Json&&) noexcept;
  ~Json();
  Json(std::nullptr_t) : Json() {}
  template <std::integral T>
  Json(T value) : Json() {
    if constexpr (std::same_as<T, bool>) {
      set_bool(value);
    } else {
      set_digits(std::to_string(value));
    }
  }
  Json(double value);
  Json(std::string value);
  Json(std::string_view value) : Json(std::string(value)) {}
  Json(const char* value) : Json(std::string(value)) {}
  Json(Array items);
  Json(Object members);

  // Of a repeated key the first position and the last value stay. A lone surrogate escape becomes
  // U+FFFD; a number too large for a double becomes infinite. Linear in the text. Throws
  // Error(kInvalidInput) with `where` and the byte offset for anything else that is not JSON, for
  // ill-formed UTF-8 and for values nested deeper than kMaxJsonDepth.
  static Json parse(std::string_view text, std::string_view where,
                    NonFinite non_finite = NonFinite::kAccept);

  // One line with ", " and ": ". Only '"', '\' and control characters below U+0020 are escaped;
  // doubles print in the shortest form that reads back, in Python's notation.
  std::string print() const;

  Kind kind() const { return static_cast<Kind>(value_.index()); }
  bool is_null() const { return kind() == Kind::kNull; }
  bool is_string() const { return kind() == Kind::kString; }
  bool is_array() const { return kind() == Kind::kArray; }
  bool is_object() const { return kind() == Kind::kObject; }

  // The value of one kind. Throws Error(kInvalidInput) at `where` (a path such as
  // "messages[2].content") when the value has another kind or, for as_int, does not fit.
  bool as_bool(std::string_view where) const;
  int64_t as_int(std::string_view where) const;
  double as_double(std::string_view where) const;  // also of an integer
  const std::string& as_string(std::string_view where) const;
  const Array& as_array(std::string_view where) const;
  const Object& as_object(std::string_view where) const;

  // The member `key`, or nullptr when it is absent or this is not an object. Linear.
  const Json* find(std::string_view key) const;
  // The same, but throws Error(kInvalidInput) when there is none.
  const Json& at(std::string_view key, std::string_view where) const;

  // Adds or replaces a member. The value must be an object or null, which becomes an object.
  Json& set(std::string key, Json value);
  // Adds an element. The value must be an array or null, which becomes an array.
  Json& push_back(Json value);

  bool operator==(const Json& other) const;

 private:
  friend class JsonParser;
  friend class JsonPrinter;
  struct Integer {
    std::string digits;  // canonical: no leading zero, "0" for minus zero
    bool operator==(const Integer&) const = default;
  };

  void set_bool(bool value);
  void set_digits(std::string digits);

  // In the order of Kind.
  std::variant<std::monostate, bool, Integer, double, std::string, Array, Object> value_;
};

struct Json::Member {
  std::string key;
  Json value;
  bool operator==(const Member&) const = default;
};

// Here and not in the class, because they need Member complete.
inline Json::Json() = default;
inline Json::Json(const Json&) = default;
inline Json::Json(Json&&) noexcept = default;
inline Json& Json::operator=(const Json&) = default;
inline Json& Json::operator=(Json&&) noexcept = default;
inline Json::~Json() = default;
inline void Json::set_bool(bool value) { value_ = value; }
inline void Json::set_digits(std::string digits) { value_ = Integer{std::move(digits)}; }
inline Json::Json(double value) : value_(value) {}
inline Json::Json(std::string value) : value_(std::move(value)) {}
inline Json::Json(Array items) : value_(std::move(items)) {}
inline Json::Json(Object members) : value_(std::move(members)) {}

// "a string", "an object", ...: for messages.
std::string_view kind_name(Json::Kind kind);

// Appends `text` as it stands inside (escaped) or as (quoted) a JSON string.
void append_json_escaped(std::string& out, std::string_view text);
void append_json_quoted(std::string& out, std::string_view text);

}  // namespace dsv4
