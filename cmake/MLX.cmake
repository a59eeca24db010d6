# Finds MLX (MLX_ROOT, then the Python wheel of M2BERT_PYTHON, of the Python that builds m2bert's wheel or of .venv, then Homebrew) and defines the target m2bert_mlx.
# The wheel's own CMake package is not used, because the CUDA wheel's requires the CUDA toolkit, which a build does not need.
set(MLX_ROOT "" CACHE PATH "Folder that holds MLX's include/ and lib/")
set(M2BERT_PYTHON "" CACHE FILEPATH "Python that has the mlx wheel installed")

if(NOT MLX_ROOT)
  set(candidates ${M2BERT_PYTHON} ${PROJECT_SOURCE_DIR}/.venv/bin/python $ENV{VIRTUAL_ENV}/bin/python python3)
  if(SKBUILD)
    list(PREPEND candidates ${Python_EXECUTABLE})
  endif()
  foreach(python ${candidates})
    execute_process(COMMAND ${python} -c "import importlib.util as u; print(u.find_spec('mlx').submodule_search_locations[0])"
                    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed AND EXISTS ${found}/include/mlx/mlx.h)
      set(MLX_ROOT ${found} CACHE PATH "" FORCE)
      break()
    endif()
  endforeach()
endif()
if(NOT MLX_ROOT AND APPLE)
  execute_process(COMMAND brew --prefix mlx OUTPUT_VARIABLE MLX_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EXISTS ${MLX_ROOT}/include/mlx/mlx.h)
  message(FATAL_ERROR "MLX was not found. Run script/bootstrap, or pass -DMLX_ROOT=<folder with include/ and lib/>.")
endif()

find_library(MLX_LIBRARY mlx PATHS ${MLX_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
file(STRINGS ${MLX_ROOT}/include/mlx/version.h version_lines REGEX "define MLX_VERSION_(MAJOR|MINOR|PATCH)")
string(REGEX REPLACE "[^0-9]*([0-9]+)[^0-9]+([0-9]+)[^0-9]+([0-9]+).*" "\\1.\\2.\\3" M2BERT_MLX_VERSION "${version_lines}")
message(STATUS "MLX ${M2BERT_MLX_VERSION}: ${MLX_ROOT}")
if(NOT M2BERT_MLX_VERSION VERSION_EQUAL 0.32.4)
  message(WARNING "m2bert is written for and tested with MLX 0.32.4; this is ${M2BERT_MLX_VERSION}.")
endif()
# The wheel's library is copied into an installed tree, a package manager's is not.
if(MLX_ROOT MATCHES "/mlx$" AND NOT MLX_ROOT MATCHES "/opt/mlx$")
  set(M2BERT_BUNDLE_MLX ON)
else()
  set(M2BERT_BUNDLE_MLX OFF)
endif()

add_library(mlx SHARED IMPORTED GLOBAL)
set_target_properties(mlx PROPERTIES IMPORTED_LOCATION ${MLX_LIBRARY})
target_include_directories(mlx SYSTEM INTERFACE ${MLX_ROOT}/include)

option(M2BERT_OPENBLAS "Put OpenBLAS in front of the BLAS of MLX's Linux wheel" ON)

add_library(m2bert_mlx INTERFACE)
set(M2BERT_BLAS_RPATH "")
if(M2BERT_OPENBLAS AND NOT APPLE)
  # The Linux wheel contains netlib's slow reference BLAS. A library linked before libmlx overrides its cblas symbols.
  # The OpenMP build of OpenBLAS shares one thread pool with oneDNN and our kernels.
  find_library(OPENBLAS_LIBRARY NAMES openblas PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp NO_DEFAULT_PATH)
  find_library(OPENBLAS_LIBRARY NAMES openblas REQUIRED)
  # If several builds of OpenBLAS are installed, the loader's default may be another one.
  cmake_path(GET OPENBLAS_LIBRARY PARENT_PATH M2BERT_BLAS_RPATH)
  if(M2BERT_BLAS_RPATH MATCHES "openblas-openmp$")
    set(CMAKE_BUILD_RPATH ${M2BERT_BLAS_RPATH})
  else()
    set(M2BERT_BLAS_RPATH "")
  endif()
  target_link_options(m2bert_mlx INTERFACE LINKER:--push-state,--no-as-needed ${OPENBLAS_LIBRARY} LINKER:--pop-state)
endif()
target_link_libraries(m2bert_mlx INTERFACE mlx)
