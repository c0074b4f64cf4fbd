# Compiler and linker options of every target. Nothing here is global: targets link berth_options.
add_library(berth_options INTERFACE)
target_compile_options(berth_options INTERFACE
  # Designated initialisers leave the rest at its default on purpose.
  -Wall -Wextra -Wshadow -Wno-missing-field-initializers -Werror $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
  # At -O2 GCC 12 takes moved short strings for uninitialised; at -O1, where tests are built, it does not.
  $<$<AND:$<CONFIG:Release>,$<CXX_COMPILER_ID:GNU>>:-Wno-error=maybe-uninitialized>
  -fstack-protector-strong)
target_include_directories(berth_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(berth_options INTERFACE BERTH_VERSION="${PROJECT_VERSION}"
  $<$<BOOL:${BERTH_FAILPOINTS}>:BERTH_FAILPOINTS>)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_definitions(berth_options INTERFACE _FORTIFY_SOURCE=2)
endif()
set(BERTH_SANITIZE "" CACHE STRING "Sanitizers for everything but the monitor and the pause program")
if(BERTH_SANITIZE)
  target_compile_options(berth_options INTERFACE -fsanitize=${BERTH_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(berth_options INTERFACE -fsanitize=${BERTH_SANITIZE})
  if(BERTH_SANITIZE MATCHES thread)
    # Boost.Asio has a fence, which the sanitizer does not follow and the compiler warns of.
    target_compile_options(berth_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
  endif()
endif()
