# Each folder of m2bert/ is a library m2bert_<folder>. `ops` is a shared library of its own (m2bert::ops). The others are static, and
# together they make the shared library m2bert::m2bert, which links m2bert::ops. The program and the tests link only the folders they use.
find_package(Threads REQUIRED)

add_library(m2bert_options INTERFACE)
target_include_directories(m2bert_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
target_compile_options(m2bert_options INTERFACE -Wall -Wextra -Wpedantic -Wno-missing-field-initializers $<$<BOOL:${M2BERT_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # false positives of g++ 12 in std::string and std::variant
  target_compile_options(m2bert_options INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds -Wno-maybe-uninitialized)
endif()
target_link_libraries(m2bert_options INTERFACE Threads::Threads)
if(M2BERT_SANITIZE)
  target_compile_options(m2bert_options INTERFACE -fsanitize=${M2BERT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(m2bert_options INTERFACE -fsanitize=${M2BERT_SANITIZE})
endif()

# The version that the program prints (#include "m2bert/version.h").
execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} rev-parse --short=12 HEAD
                OUTPUT_VARIABLE M2BERT_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} log -1 --format=%cs OUTPUT_VARIABLE M2BERT_DATE OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(failed)
  set(M2BERT_COMMIT "unknown")
endif()
configure_file(${PROJECT_SOURCE_DIR}/m2bert/version.h.in ${PROJECT_BINARY_DIR}/m2bert/version.h)

# A precompiled header requires the same options everywhere, so programs are compiled as position-independent code like libraries.
set(CMAKE_CXX_COMPILE_OPTIONS_PIE ${CMAKE_CXX_COMPILE_OPTIONS_PIC})

# MLX's headers take 3 s per file, so all targets that include them share one precompiled header.
add_library(m2bert_pch STATIC ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
target_link_libraries(m2bert_pch PUBLIC m2bert_options m2bert_mlx)
target_precompile_headers(m2bert_pch PRIVATE <mlx/mlx.h>)
target_compile_options(m2bert_pch PRIVATE -Winvalid-pch)

# The same for the standard library's headers, for folders without MLX.
add_library(m2bert_std_pch STATIC ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
target_link_libraries(m2bert_std_pch PUBLIC m2bert_options)
target_precompile_headers(m2bert_std_pch PRIVATE <algorithm> <filesystem> <fstream> <functional> <map> <memory> <mutex> <optional> <sstream>
                                                 <string> <thread> <unordered_map> <variant> <vector>)
target_compile_options(m2bert_std_pch PRIVATE -Winvalid-pch)

set_property(GLOBAL PROPERTY M2BERT_FOLDERS "")

# m2bert_folder(NAME SOURCES a.cpp ... [DEPENDS io ...] [LINK external ...] [MLX])
#   DEPENDS: other folders; LINK: third-party targets, private to the folder; MLX: the folder includes MLX's headers.
function(m2bert_folder name)
  cmake_parse_arguments(arg "MLX" "" "SOURCES;DEPENDS;LINK" ${ARGN})
  if(name STREQUAL "ops")
    add_library(m2bert_ops SHARED ${arg_SOURCES})
    m2bert_installed_library(m2bert_ops ops)
  else()
    add_library(m2bert_${name} STATIC ${arg_SOURCES})
    set_property(GLOBAL APPEND PROPERTY M2BERT_FOLDERS ${name})
  endif()
  target_link_libraries(m2bert_${name} PUBLIC $<BUILD_INTERFACE:m2bert_options> PRIVATE ${arg_LINK})
  foreach(other ${arg_DEPENDS})
    target_link_libraries(m2bert_${name} PUBLIC m2bert_${other})
  endforeach()
  list(LENGTH arg_SOURCES file_count)
  if(arg_MLX)
    target_link_libraries(m2bert_${name} PUBLIC $<BUILD_INTERFACE:m2bert_mlx> $<INSTALL_INTERFACE:m2bert::mlx>)
    if(name STREQUAL "ops")  # compiled with OpenMP, so it cannot use the shared precompiled header
      target_precompile_headers(m2bert_ops PRIVATE <mlx/mlx.h>)
    else()
      target_precompile_headers(m2bert_${name} REUSE_FROM m2bert_pch)
    endif()
  elseif(file_count GREATER 2 AND NOT name MATCHES "^(search|http)$")  # search is compiled with OpenMP; http has one of its own
    target_precompile_headers(m2bert_${name} REUSE_FROM m2bert_std_pch)
  endif()
endfunction()

# Sets what the two installed libraries share: exported name, version, and the C++ standard that users need.
function(m2bert_installed_library target name)
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} VERSION ${PROJECT_VERSION}
                        SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} DEFINE_SYMBOL "")
  target_compile_features(${target} PUBLIC cxx_std_20)
  add_library(m2bert::${name} ALIAS ${target})
  set_property(GLOBAL APPEND PROPERTY M2BERT_INSTALLED ${target})
endfunction()

# Call after all folders: combines the static ones into libm2bert.
function(m2bert_shared_library)
  get_property(folders GLOBAL PROPERTY M2BERT_FOLDERS)
  if(NOT folders)
    return()
  endif()
  list(TRANSFORM folders PREPEND m2bert_)
  list(TRANSFORM folders REPLACE "(.+)" "$<TARGET_OBJECTS:\\1>" OUTPUT_VARIABLE objects)
  add_library(m2bert_shared SHARED ${objects})
  set_target_properties(m2bert_shared PROPERTIES OUTPUT_NAME m2bert LINKER_LANGUAGE CXX)
  m2bert_installed_library(m2bert_shared m2bert)
  target_link_libraries(m2bert_shared PRIVATE ${folders})  # for their dependencies; all their objects are already in
  if(NOT APPLE)  # a program must not share symbols of Boost, spdlog and others, whose versions may be others
    target_link_options(m2bert_shared PRIVATE LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/exports.map)
  endif()
  if(TARGET m2bert_ops)
    target_link_libraries(m2bert_shared PUBLIC m2bert_ops)
  endif()
endfunction()
