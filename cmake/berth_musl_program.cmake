# berth_musl_program(NAME SRCS ...): a small static program against musl (package musl-tools), for what runs once per pod or
# container: no C++ library, no exceptions, no run-time type information, one page of data or two. Not built with the daemon's options
# or sanitizers.
find_path(BERTH_MUSL_INCLUDE stdio.h NO_DEFAULT_PATH
  PATHS /usr/include/${CMAKE_SYSTEM_PROCESSOR}-linux-musl)
find_path(BERTH_MUSL_LIB libc.a NO_DEFAULT_PATH
  PATHS /usr/lib/${CMAKE_SYSTEM_PROCESSOR}-linux-musl)
if(NOT BERTH_MUSL_INCLUDE OR NOT BERTH_MUSL_LIB)
  message(FATAL_ERROR "no musl for ${CMAKE_SYSTEM_PROCESSOR}: install the package musl-tools (berth-monitor and berth-pause need it)")
endif()
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=include
  OUTPUT_VARIABLE BERTH_CC_INCLUDE OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-libgcc-file-name
  OUTPUT_VARIABLE BERTH_LIBGCC OUTPUT_STRIP_TRAILING_WHITESPACE)

function(berth_musl_program name)
  cmake_parse_arguments(P "" "" "SRCS" ${ARGN})
  add_executable(${name} ${P_SRCS})
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_options(${name} PRIVATE
    -nostdinc "SHELL:-isystem ${BERTH_MUSL_INCLUDE}" "SHELL:-isystem ${BERTH_CC_INCLUDE}"
    -Os -Wall -Wextra -Wshadow -Werror -fstack-protector-strong -U_FORTIFY_SOURCE
    -fno-pie -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections
    $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions -fno-rtti -fno-threadsafe-statics>)
  # Pages are what it costs: no separate code pages, no relocations, nothing that is not called.
  target_link_options(${name} PRIVATE
    -nostdlib -static -no-pie -Wl,--gc-sections -Wl,-z,norelro -Wl,-z,noseparate-code -Wl,--build-id=none)
  target_link_libraries(${name} PRIVATE
    ${BERTH_MUSL_LIB}/crt1.o ${BERTH_MUSL_LIB}/crti.o ${BERTH_MUSL_LIB}/libc.a ${BERTH_LIBGCC} ${BERTH_MUSL_LIB}/libc.a
    ${BERTH_MUSL_LIB}/crtn.o)
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/berth)
endfunction()
