// The files of the built-in chat page, which are part of the program.
#pragma once

#include "base/embedded_file.h"
#include "server/http_message.h"

#include <optional>
#include <span>

namespace dsv4 {

// What src/server/page held when the program was built.
std::span<const EmbeddedFile> embedded_page_files();

// The answer to GET or HEAD of a file of the page ("/" is "/index.html"), with the headers that
// keep foreign code out of it; 304 when the browser has the file already. Nothing for other paths
// and methods.
std::optional<HttpReply> page_reply(const HttpRequest& request);

}  // namespace dsv4
