// CHECK for programmer errors: prints the condition, values and place, then stops. No input of any
// kind may reach one; what an input can cause is an Error (error.h). DCHECK is for inner loops and
// is compiled only into development builds.
#pragma once

#include <cstdio>
#include <cstdlib>

#include <string>

#include <fmt/core.h>

namespace dsv4::internal {

template <typename... Args>
[[noreturn]] void check_failed(const char* condition, const char* file, int line,
                               const Args&... values) {
  std::string text = fmt::format("{}:{}: CHECK({}) failed", file, line, condition);
  ((text += fmt::format(" [{}]", values)), ...);
  std::fputs((text + "\n").c_str(), stderr);
  std::abort();
}

}  // namespace dsv4::internal

// CHECK(condition, values to print...)
#define CHECK(condition, ...)                                                                    \
  do {                                                                                           \
    if (!(condition)) [[unlikely]]                                                               \
      ::dsv4::internal::check_failed(#condition, __FILE__, __LINE__ __VA_OPT__(, ) __VA_ARGS__); \
  } while (false)

#ifdef DSV4_DCHECK
#define DCHECK(...) CHECK(__VA_ARGS__)
#else
#define DCHECK(...) \
  do {              \
  } while (false)
#endif
