# `cmake --install`: a self-contained, relocatable tree, in the components program, library and dev, which are packages (cmake/Package.cmake).
#   bin/m2bert  share/man  lib/libm2bert*.so  lib/cmake/m2bert  include/m2bert
#   lib/m2bert/mlx/{lib,include}  lib/m2bert/mlx_cpu.libs      MLX, laid out as in its wheel: libmlx needs ../../mlx_cpu.libs
#   lib/m2bert/cuda/{mlx,nvidia}                               with M2BERT_CUDA: MLX's CUDA wheel and NVIDIA's (script/bootstrap --cuda)
# Homebrew's MLX is not copied: the package config finds it where this build did.
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/m2bert)
set(M2BERT_PRIVATE_DIR ${CMAKE_INSTALL_LIBDIR}/m2bert)

get_property(installed GLOBAL PROPERTY M2BERT_INSTALLED)
set(program "")  # the executable of cli/
if(M2BERT_CLI AND EXISTS ${PROJECT_SOURCE_DIR}/cli/CMakeLists.txt)
  get_property(targets DIRECTORY ${PROJECT_SOURCE_DIR}/cli PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "EXECUTABLE")
      set(program ${target})
    endif()
  endforeach()
endif()
if(NOT installed)
  return()
endif()

# Where the libraries look for MLX, OpenBLAS and each other: relative to the file, so that the tree can be moved. A tree below /usr, which
# packages install, has absolute paths, and only to its own folder: there a link selects the build of OpenBLAS.
file(RELATIVE_PATH bin_to_lib /x/${CMAKE_INSTALL_BINDIR} /x/${CMAKE_INSTALL_LIBDIR})
set(blas_rpath ${M2BERT_BLAS_RPATH})
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  set(library_rpath "")
  set(program_rpath "")
  set(library_private /usr/${M2BERT_PRIVATE_DIR})
  set(program_private /usr/${M2BERT_PRIVATE_DIR})
  if(blas_rpath)
    set(blas_rpath /usr/${M2BERT_PRIVATE_DIR})
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/blas)
    file(CREATE_LINK ../openblas-openmp/libopenblas.so.0 ${PROJECT_BINARY_DIR}/blas/libopenblas.so.0 SYMBOLIC)
    install(FILES ${PROJECT_BINARY_DIR}/blas/libopenblas.so.0 DESTINATION ${M2BERT_PRIVATE_DIR} COMPONENT library)
  endif()
else()
  set(library_rpath $ORIGIN)
  if(APPLE)
    set(library_rpath @loader_path)
  endif()
  set(program_rpath ${library_rpath}/${bin_to_lib})
  set(library_private ${library_rpath}/m2bert)
  set(program_private ${program_rpath}/m2bert)
endif()
if(M2BERT_BUNDLE_MLX)
  list(APPEND library_rpath ${library_private}/mlx/lib)
  list(APPEND program_rpath ${program_private}/mlx/lib)
endif()
foreach(target ${installed})
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "${library_rpath};${blas_rpath}")
endforeach()
if(program)
  set_target_properties(${program} PROPERTIES INSTALL_RPATH "${program_rpath};${blas_rpath}")
endif()

# What is installed. `cmake --build DIR --target product` builds it without tests and benchmarks.
add_custom_target(product DEPENDS ${program} ${installed})

if(program)
  install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
endif()
if(TARGET man_pages)
  add_dependencies(product man_pages)
  install(DIRECTORY ${PROJECT_BINARY_DIR}/cli/share/ DESTINATION ${CMAKE_INSTALL_DATADIR} COMPONENT program)
endif()
install(TARGETS ${installed} EXPORT m2bert LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library NAMELINK_COMPONENT dev
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/m2bert DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev FILES_MATCHING PATTERN "*.h"
        PATTERN backend EXCLUDE PATTERN net EXCLUDE)  # ops/backend/, http/net/ and io/net/ are internal
install(FILES ${PROJECT_BINARY_DIR}/m2bert/version.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/m2bert COMPONENT dev)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT library)

if(M2BERT_BUNDLE_MLX)
  cmake_path(GET MLX_ROOT PARENT_PATH site_packages)
  file(GLOB beside LIST_DIRECTORIES true ${site_packages}/mlx_*.libs)
  install(DIRECTORY ${MLX_ROOT}/lib DESTINATION ${M2BERT_PRIVATE_DIR}/mlx COMPONENT library)
  install(DIRECTORY ${MLX_ROOT}/include DESTINATION ${M2BERT_PRIVATE_DIR}/mlx COMPONENT dev)
  install(DIRECTORY ${beside} DESTINATION ${M2BERT_PRIVATE_DIR} COMPONENT library OPTIONAL)
  file(GLOB licences ${site_packages}/mlx-*.dist-info/licenses/LICENSE)
  install(FILES ${licences} DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME LICENSE.MLX COMPONENT library OPTIONAL)
  set(M2BERT_MLX_FROM ${CMAKE_INSTALL_PREFIX}/${M2BERT_PRIVATE_DIR}/mlx)
else()
  set(M2BERT_MLX_FROM ${MLX_ROOT})
endif()

# MLX's CUDA library and NVIDIA's, if script/bootstrap --cuda has installed them: 3 GB.
if(M2BERT_CUDA)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/.mlx-cuda/ DESTINATION ${M2BERT_PRIVATE_DIR}/cuda COMPONENT library OPTIONAL USE_SOURCE_PERMISSIONS
          PATTERN "*.a" EXCLUDE PATTERN "*.py" EXCLUDE PATTERN "__pycache__" EXCLUDE PATTERN "*.dist-info" EXCLUDE)
endif()

cmake_path(GET MLX_LIBRARY FILENAME M2BERT_MLX_FILE)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/m2bertConfig.cmake.in ${PROJECT_BINARY_DIR}/m2bertConfig.cmake
                              INSTALL_DESTINATION ${config_dir} PATH_VARS M2BERT_MLX_FROM)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/m2bertConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/m2bertConfig.cmake ${PROJECT_BINARY_DIR}/m2bertConfigVersion.cmake DESTINATION ${config_dir}
        COMPONENT dev)
install(EXPORT m2bert FILE m2bertTargets.cmake NAMESPACE m2bert:: DESTINATION ${config_dir} COMPONENT dev)
