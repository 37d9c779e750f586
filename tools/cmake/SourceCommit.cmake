# Script, run by every build: writes OUTPUT from INPUT with the commit of SOURCE_DIR, when that has changed. A package that is
# built without a checkout names the commit with -DEDGECOMPRESS_COMMIT=...
if(NOT EDGECOMPRESS_COMMIT)
  execute_process(COMMAND git rev-parse HEAD WORKING_DIRECTORY ${SOURCE_DIR}
    OUTPUT_VARIABLE EDGECOMPRESS_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EDGECOMPRESS_COMMIT)
  set(EDGECOMPRESS_COMMIT "unknown")
endif()
configure_file(${INPUT} ${OUTPUT} @ONLY)
