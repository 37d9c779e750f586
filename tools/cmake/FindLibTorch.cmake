# Finds LibTorch in a folder laid out as in PyTorch's wheel or zip (include/, lib/). Makes LibTorch::LibTorch.
#
# PyTorch's own TorchConfig.cmake is not used: with a CUDA build it stops unless the whole CUDA toolkit is installed,
# and it makes an empty stand-in for protobuf::libprotobuf.
#
#   LibTorch_ROOT   the folder
#   LibTorch_CUDA   ON also links the CUDA backend of a CUDA build
find_path(LibTorch_INCLUDE_DIR ATen/ATen.h PATHS "${LibTorch_ROOT}/include" NO_DEFAULT_PATH)
set(LibTorch_names c10 torch_cpu)
if(LibTorch_CUDA)
  list(APPEND LibTorch_names c10_cuda torch_cuda)
endif()
set(LibTorch_required LibTorch_INCLUDE_DIR)
foreach(name IN LISTS LibTorch_names)
  find_library(LibTorch_${name}_LIBRARY ${name} PATHS "${LibTorch_ROOT}/lib" NO_DEFAULT_PATH)
  list(APPEND LibTorch_required LibTorch_${name}_LIBRARY)
  mark_as_advanced(LibTorch_${name}_LIBRARY)
endforeach()
mark_as_advanced(LibTorch_INCLUDE_DIR)

foreach(header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)  # since 2.9, before
  if(NOT LibTorch_VERSION AND EXISTS "${LibTorch_INCLUDE_DIR}/${header}")
    file(STRINGS "${LibTorch_INCLUDE_DIR}/${header}" numbers REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
    string(REGEX REPLACE "[^0-9;]" "" numbers "${numbers}")
    string(REPLACE ";" "." LibTorch_VERSION "${numbers}")
  endif()
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS ${LibTorch_required} VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run tools/setup.sh, or set LibTorch_ROOT to a LibTorch folder")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_c10_LIBRARY}")
  add_library(LibTorch::LibTorch SHARED IMPORTED)
  set_target_properties(LibTorch::LibTorch PROPERTIES
    IMPORTED_LOCATION "${LibTorch_torch_cpu_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES LibTorch::c10)
  if(LibTorch_CUDA)  # nothing refers to these by symbol: the backend registers itself when it is loaded
    set_property(TARGET LibTorch::LibTorch APPEND PROPERTY INTERFACE_LINK_LIBRARIES
      -Wl,--no-as-needed "${LibTorch_torch_cuda_LIBRARY}" "${LibTorch_c10_cuda_LIBRARY}" -Wl,--as-needed)
  endif()
  # at::parallel_for is a template: a source that is compiled without OpenMP runs it on one thread
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  target_compile_options(LibTorch::LibTorch INTERFACE ${OpenMP_CXX_FLAGS})
  target_link_options(LibTorch::LibTorch INTERFACE
    ${OpenMP_CXX_FLAGS}  # by flag: LibTorch carries the library too
    -Wl,--allow-shlib-undefined)  # CUDA's libraries may be absent here
endif()
