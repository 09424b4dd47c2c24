# What every target of the project shares: the language, the warnings, the
# sanitizers and where programs land.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")

set(MILLRACE_SANITIZE "" CACHE STRING "Value of -fsanitize=, or empty")
find_package(Threads REQUIRED)

# A cache makes a second build quick; nothing depends on it, also not a folder that was configured
# while there was one.
if(MILLRACE_CCACHE AND NOT EXISTS "${MILLRACE_CCACHE}")
  unset(MILLRACE_CCACHE CACHE)
endif()
find_program(MILLRACE_CCACHE ccache)
if(MILLRACE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${MILLRACE_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${MILLRACE_CCACHE}")
endif()

add_library(millrace_options INTERFACE)
target_compile_options(millrace_options INTERFACE -Wall -Wextra -Werror)
# gcc 12 sees overlaps in std::string that are none (gcc bug 105651).
target_compile_options(millrace_options INTERFACE
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
target_include_directories(millrace_options INTERFACE "${CMAKE_SOURCE_DIR}")
target_link_libraries(millrace_options INTERFACE Threads::Threads)
if(MILLRACE_SANITIZE)
  add_compile_options(-fsanitize=${MILLRACE_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${MILLRACE_SANITIZE})
  # With its checks in between, gcc 12 loses track of what std::regex and others initialised.
  target_compile_options(millrace_options INTERFACE
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  if(MILLRACE_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

# millrace_library(NAME SOURCES... [LINK libs...])
function(millrace_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC $<BUILD_INTERFACE:millrace_options> ${ARG_LINK})
    # The code is position-independent for the shared libraries' sake; nobody replaces its functions
    # when it is loaded, so those of one file may be inlined into each other, as clang does anyway.
    target_compile_options(${name} PRIVATE
      $<$<AND:$<CXX_COMPILER_ID:GNU>,$<CONFIG:Release>>:-fno-semantic-interposition>)
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE $<BUILD_INTERFACE:millrace_options> ${ARG_LINK})
  endif()
endfunction()
