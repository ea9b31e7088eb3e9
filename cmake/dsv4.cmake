# dsv4_library(NAME LINK libraries...): one folder of src = one library, plus the test program
# dsv4_NAME_test of the *_test.cc files beside the code. Linking only lower levels keeps the rule
# of inclusion (docs/architecture.md): a wrong dependency does not link.
function(dsv4_library name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS *.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  add_library(dsv4_${name} STATIC ${sources})
  target_include_directories(dsv4_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(dsv4_${name} PUBLIC fmt::fmt ${ARG_LINK})
  if(tests)
    dsv4_test(dsv4_${name}_test SOURCES ${tests} LINK dsv4_${name})
  endif()
endfunction()

# dsv4_test(NAME SOURCES files... LINK libraries...): a GoogleTest program known to ctest.
function(dsv4_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE DSV4_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  # Tests run for seconds and are compiled for minutes.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 1500)
endfunction()
