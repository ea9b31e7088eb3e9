// The style sheet of `dsv4 plan --html` (page/style.css), which is part of the program.
#pragma once

#include "base/embedded_file.h"

#include <span>

namespace dsv4 {

// The files of page/: one.
std::span<const EmbeddedFile> page_style_files();

}  // namespace dsv4
