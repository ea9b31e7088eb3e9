#include "plan/embedded_data.h"

#include "base/check.h"

#include <algorithm>

namespace dsv4 {

std::string_view embedded_data(std::string_view path) {
  const auto files = embedded_data_files();
  const auto file = std::ranges::find(files, path, &EmbeddedFile::path);
  CHECK(file != files.end(), path);
  return file->bytes;
}

}  // namespace dsv4
