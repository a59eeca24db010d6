# Debian packages of an installed tree below /usr, by CPack: m2bert, libm2bertX.Y and libm2bert-dev. script/package builds and tests them.
if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr" OR APPLE OR NOT program)
  return()
endif()
set(debian ${PROJECT_SOURCE_DIR}/packaging/debian)
set(library_package libm2bert${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
set(M2BERT_MAINTAINER "m2bert maintainers <m2bert@users.noreply.github.com>" CACHE STRING "Maintainer of the packages")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME m2bert)
set(CPACK_PACKAGE_CONTACT ${M2BERT_MAINTAINER})
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/deb)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL program library dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/PackageFiles.cmake)  # what Debian wants beside the installed files

# The libraries that the packages depend on differ between releases: 1~debian12, 1~ubuntu24.04.
cmake_host_system_information(RESULT distribution QUERY DISTRIB_INFO)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1~${distribution_ID}${distribution_VERSION_ID})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SOURCE m2bert)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(version "(= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
set(for_downloads "ca-certificates, libcurl4 | libcurl3-gnutls")  # libcurl is loaded when a download begins
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")  # CPack would put it before the descriptions
set(about "
Monarch Mixer BERT (M2-BERT) is a text encoder like BERT, but with long
convolutions in place of attention: its cost grows with L log L in the
sequence length L, not with L squared. m2bert runs and trains these models,
and attention models with BERT's architecture.
.
")

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME m2bert)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_DESCRIPTION "text embeddings with Monarch Mixer BERT${about}The program embeds, classifies, compares and searches texts,
serves models over HTTP, pretrains, fine-tunes and evaluates models, and
inspects and converts checkpoints.")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_DEPENDS "${library_package} ${version}")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "${for_downloads}")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS "openmpi-bin")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME ${library_package})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_RECOMMENDS "${for_downloads}")
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION "Monarch Mixer BERT, shared libraries${about}These are the libraries, with a copy of MLX that only they use.")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SHLIBDEPS ON)
if(M2BERT_BLAS_RPATH)  # dpkg-shlibdeps only knows libopenblas0, which any build of OpenBLAS satisfies
  set(CPACK_DEBIAN_LIBRARY_PACKAGE_DEPENDS libopenblas0-openmp)
endif()
file(WRITE ${PROJECT_BINARY_DIR}/debian/triggers "activate-noawait ldconfig\n")
string(CONCAT shlibs "libm2bert ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} ${library_package} (>= ${PROJECT_VERSION})\n"
                     "libm2bert_ops ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} ${library_package} (>= ${PROJECT_VERSION})\n")
file(WRITE ${PROJECT_BINARY_DIR}/debian/shlibs "${shlibs}")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/debian/triggers ${PROJECT_BINARY_DIR}/debian/shlibs)

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libm2bert-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_DESCRIPTION "Monarch Mixer BERT, headers${about}These are the headers, those of MLX among them, and what CMake's
find_package(m2bert) reads.")
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "${library_package} ${version}")

# Where dpkg-shlibdeps finds the libraries that no package holds.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR} ${PROJECT_BINARY_DIR}/m2bert/ops)
if(M2BERT_BUNDLE_MLX)
  list(APPEND CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${MLX_ROOT}/lib ${beside})
endif()

# For PackageFiles.cmake.
set(CPACK_M2BERT_DEBIAN ${debian})
set(CPACK_M2BERT_PACKAGES program=m2bert library=${library_package} dev=libm2bert-dev)
set(CPACK_M2BERT_VERSION ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
set(CPACK_M2BERT_CHANGES ${PROJECT_SOURCE_DIR}/CHANGELOG.md)
set(CPACK_M2BERT_MLX_LICENCE ${licences})
include(CPack)
