#include "cli/line_reader.h"

#include "cli/conversation.h"

#include <histedit.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

namespace dsv4::cli {

// libedit with its history; both are freed with the reader.
struct LineReader::Editor {
  Editor() : history(history_init()), line(el_init("dsv4", stdin, stdout, stderr)) {
    HistEvent event;
    ::history(history, &event, H_SETSIZE, 1000);
    ::history(history, &event, H_SETUNIQUE, 1);
    el_set(line, EL_CLIENTDATA, this);
    el_set(line, EL_PROMPT, prompt_of);
    el_set(line, EL_EDITOR, "emacs");
    el_set(line, EL_HIST, ::history, history);
    el_set(line, EL_SIGNAL, 0);
    el_source(line, nullptr);
  }
  ~Editor() {
    el_end(line);
    history_end(history);
  }

  static char* prompt_of(EditLine* line) {
    Editor* editor = nullptr;
    el_get(line, EL_CLIENTDATA, &editor);
    return editor->prompt.data();
  }

  History* history;
  EditLine* line;
  std::string prompt;
};

LineReader::LineReader() {
  if (isatty(STDIN_FILENO) != 0) editor_ = std::make_unique<Editor>();
}

LineReader::~LineReader() = default;

std::optional<std::string> LineReader::read_line(const std::string& prompt) {
  std::string text;
  if (!editor_) {
    if (!std::getline(std::cin, text)) return std::nullopt;
    return text;
  }
  editor_->prompt = prompt;
  int length = 0;
  const char* line = el_gets(editor_->line, &length);
  if (was_interrupted()) {
    clear_interrupt();
    el_reset(editor_->line);
    std::puts("");
    return std::string();
  }
  if (line == nullptr || length <= 0) return std::nullopt;
  text.assign(line, static_cast<size_t>(length));
  if (text.back() == '\n') text.pop_back();
  if (!text.empty()) {
    HistEvent event;
    ::history(editor_->history, &event, H_ENTER, text.c_str());
  }
  return text;
}

std::optional<std::string> LineReader::read(const std::string& prompt) {
  std::optional<std::string> text = read_line(prompt);
  while (text && !text->empty() && text->back() == '\\') {
    text->back() = '\n';
    const std::optional<std::string> more = read_line(std::string(prompt.size() - 2, '.') + ". ");
    if (!more) break;
    *text += *more;
  }
  return text;
}

}  // namespace dsv4::cli
