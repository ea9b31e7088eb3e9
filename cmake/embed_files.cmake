# cmake -DFOLDER=dir -DOUTPUT=file.cc [-DLIST=any] -P embed_files.cmake
# Writes the files of a folder that pages are made of as the table embedded_page_files() of
# server/page.h: path, bytes and SHA-256, sorted by path.
set(types html css js svg png ico woff2 webmanifest)
set(patterns "")
foreach(type IN LISTS types)
  list(APPEND patterns ${FOLDER}/*.${type})
endforeach()
file(GLOB_RECURSE files RELATIVE ${FOLDER} ${patterns})
list(SORT files)
set(arrays "")
set(rows "")
set(i 0)
foreach(path IN LISTS files)
  file(READ ${FOLDER}/${path} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
  file(SHA256 ${FOLDER}/${path} hash)
  file(SIZE ${FOLDER}/${path} size)
  # The last byte is there so that an empty file has an array too.
  string(APPEND arrays "constexpr unsigned char kFile${i}[] = {\n${bytes}0};\n")
  string(APPEND rows "    {\"/${path}\", {reinterpret_cast<const char*>(kFile${i}), ${size}}, \"${hash}\"},\n")
  math(EXPR i "${i} + 1")
endforeach()
if(i EQUAL 0)
  set(body "  return {};\n")
else()
  set(body "  static const EmbeddedFile files[] = {\n${rows}  };\n  return files;\n")
endif()
set(text "// Made by cmake/embed_files.cmake.
#include \"server/page.h\"

namespace dsv4 {
namespace {

${arrays}
}  // namespace

std::span<const EmbeddedFile> embedded_page_files() {
${body}}

}  // namespace dsv4
")
file(WRITE ${OUTPUT} "${text}")
