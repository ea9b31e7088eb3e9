# Files of a folder as a part of the program.
#
# With include(): dsv4_embed(TARGET FOLDER HEADER FUNCTION) makes FUNCTION() of HEADER a part of the
# target.
#
# As a script, which is what that runs:
#   cmake -DFOLDER=dir -DHEADER=x.h -DFUNCTION=name -DOUTPUT=file.cc [-DLIST=any] -P embed_files.cmake
# writes the files that pages and tables are made of as the function that the header declares, a
# span of base/embedded_file.h: path, bytes and SHA-256, sorted by path.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  function(dsv4_embed target folder header function)
    set(script ${PROJECT_SOURCE_DIR}/cmake/embed_files.cmake)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/${function}.cc)
    file(GLOB_RECURSE files CONFIGURE_DEPENDS ${folder}/*)
    # Part of the command, so that it runs again when a file has gone.
    string(SHA256 list "${files}")
    add_custom_command(
      OUTPUT ${source}
      COMMAND ${CMAKE_COMMAND} -DFOLDER=${folder} -DHEADER=${header} -DFUNCTION=${function}
              -DOUTPUT=${source} -DLIST=${list} -P ${script}
      DEPENDS ${files} ${script}
      VERBATIM)
    target_sources(${target} PRIVATE ${source})
  endfunction()
  return()
endif()

set(types html css js json svg png ico woff2 webmanifest)
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
#include \"${HEADER}\"

namespace dsv4 {
namespace {

${arrays}
}  // namespace

std::span<const EmbeddedFile> ${FUNCTION}() {
${body}}

}  // namespace dsv4
")
file(WRITE ${OUTPUT} "${text}")
