# Every third-party package, found or refused with the command that installs it. LibTorch's folder must never be on
# CMAKE_PREFIX_PATH: it carries an old protobuf of its own.
macro(edgecompress_require package variable)
  find_package(${package} QUIET ${ARGN})
  if(NOT ${variable})
    message(FATAL_ERROR "${package} was not found: run tools/setup.sh, which installs it")
  endif()
endmacro()

set(LibTorch_ROOT "${EDGECOMPRESS_DEPS}/torch" CACHE PATH "a LibTorch folder: include/, lib/")
set(LibTorch_CUDA ${EDGECOMPRESS_CUDA})
edgecompress_require(Protobuf Protobuf_FOUND)
edgecompress_require(LibTorch LibTorch_FOUND 2.9)
edgecompress_require(CLI11 CLI11_FOUND)
edgecompress_require(nlohmann_json nlohmann_json_FOUND 3.11)
edgecompress_require(Eigen3 Eigen3_FOUND 3.4)
edgecompress_require(yaml-cpp yaml-cpp_FOUND)
edgecompress_require(OpenSSL OPENSSL_FOUND 3.0)
find_package(Threads REQUIRED)
if(NOT TARGET yaml-cpp::yaml-cpp)  # yaml-cpp before 0.8
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()

find_path(PCRE2_INCLUDE_DIR pcre2.h)
find_library(PCRE2_LIBRARY pcre2-8)
if(NOT PCRE2_INCLUDE_DIR OR NOT PCRE2_LIBRARY)
  message(FATAL_ERROR "PCRE2 was not found: run tools/setup.sh, which installs it")
endif()
add_library(PCRE2::pcre2 UNKNOWN IMPORTED)
set_target_properties(PCRE2::pcre2 PROPERTIES
  IMPORTED_LOCATION "${PCRE2_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${PCRE2_INCLUDE_DIR}")

file(GLOB onnxruntime_library "${EDGECOMPRESS_DEPS}/onnxruntime/capi/libonnxruntime.so.*")
set(EDGECOMPRESS_ONNXRUNTIME "${onnxruntime_library}" CACHE FILEPATH
  "the ONNX Runtime library to load when neither --onnxruntime nor EDGECOMPRESS_ONNXRUNTIME names one")
