// Lines from the user: edited with history in a terminal (libedit), plainly read otherwise.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace dsv4::cli {

class LineReader {
 public:
  LineReader();
  ~LineReader();

  bool interactive() const { return editor_ != nullptr; }

  // The next input, or nothing at the end of the input. A line that ends in a backslash goes on in
  // the next one. Ctrl-C gives an empty line.
  std::optional<std::string> read(const std::string& prompt);

 private:
  struct Editor;

  std::optional<std::string> read_line(const std::string& prompt);

  std::unique_ptr<Editor> editor_;  // only in a terminal
};

}  // namespace dsv4::cli
