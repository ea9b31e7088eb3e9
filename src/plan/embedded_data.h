// The files of data/, which are part of the program.
#pragma once

#include "base/embedded_file.h"

#include <span>
#include <string_view>

namespace dsv4 {

// What the folder held when the program was built.
std::span<const EmbeddedFile> embedded_data_files();

// One of them, "/machines.json". CHECKs that it is there.
std::string_view embedded_data(std::string_view path);

}  // namespace dsv4
