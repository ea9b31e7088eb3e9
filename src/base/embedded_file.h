// A file that is part of the program (cmake/embed_files.cmake).
#pragma once

#include <string_view>

namespace dsv4 {

struct EmbeddedFile {
  std::string_view path;  // "/index.html"
  std::string_view bytes;
  std::string_view sha256;  // in hexadecimal
};

}  // namespace dsv4
