# A tree that can be moved: bin/edgecompress, and libexec/edgecompress with the engine and what it loads.
# LibTorch and ONNX Runtime are carried, because no distribution has them in the versions that are needed.
include(GNUInstallDirs)
option(EDGECOMPRESS_CARRY_LIBRARIES "install LibTorch and ONNX Runtime beside the engine" ON)
set(private_dir ${CMAKE_INSTALL_LIBEXECDIR}/edgecompress)

install(TARGETS edgecompress RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS edgecompress-engine RUNTIME DESTINATION ${private_dir})
install(TARGETS edgecompress_ops LIBRARY DESTINATION ${private_dir})
set_target_properties(edgecompress-engine PROPERTIES INSTALL_RPATH "$ORIGIN")

if(EDGECOMPRESS_CARRY_LIBRARIES)
  get_filename_component(torch_dir ${LibTorch_torch_cpu_LIBRARY} DIRECTORY)
  file(GLOB carried ${torch_dir}/libtorch_cpu.so ${torch_dir}/libc10.so ${torch_dir}/libgomp*.so*)
  install(FILES ${carried} ${EDGECOMPRESS_ONNXRUNTIME} DESTINATION ${private_dir})
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/recipes ${PROJECT_SOURCE_DIR}/calibration
  DESTINATION ${CMAKE_INSTALL_DATADIR}/edgecompress)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Completions and manual pages are what the program itself prints.
set(shell_dir ${PROJECT_BINARY_DIR}/shell)
install(CODE "
  file(MAKE_DIRECTORY \"${shell_dir}\")
  foreach(shell bash zsh fish)
    execute_process(COMMAND $<TARGET_FILE:edgecompress> completion \${shell}
      OUTPUT_FILE \"${shell_dir}/\${shell}\" COMMAND_ERROR_IS_FATAL ANY)
  endforeach()
  execute_process(COMMAND $<TARGET_FILE:edgecompress> man
    OUTPUT_FILE \"${shell_dir}/edgecompress.1\" COMMAND_ERROR_IS_FATAL ANY)
  foreach(command inspect plan prune quantize recover export eval run verify generate report diff recipe status limits)
    execute_process(COMMAND $<TARGET_FILE:edgecompress> man \${command}
      OUTPUT_FILE \"${shell_dir}/edgecompress-\${command}.1\" COMMAND_ERROR_IS_FATAL ANY)
  endforeach()")
install(FILES ${shell_dir}/bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME edgecompress)
install(FILES ${shell_dir}/zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions RENAME _edgecompress)
install(FILES ${shell_dir}/fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d RENAME edgecompress.fish)
install(DIRECTORY ${shell_dir}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")

set(CPACK_GENERATOR TGZ DEB)
set(CPACK_PACKAGE_CONTACT "edgecompress")
set(CPACK_PACKAGE_FILE_NAME edgecompress-${PROJECT_VERSION}-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6, libstdc++6, libyaml-cpp0.7, libprotobuf-lite32, libpcre2-8-0, libssl3")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
include(CPack)
