# The table of system call numbers, written by a program that asks the build machine's libseccomp.
find_library(SECCOMP_LIBRARY seccomp REQUIRED)
add_executable(nacelle_seccomp_table EXCLUDE_FROM_ALL seccomp_table/generate.cc)
target_include_directories(nacelle_seccomp_table PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(nacelle_seccomp_table PRIVATE ${SECCOMP_LIBRARY})
set(seccomp_table ${PROJECT_BINARY_DIR}/generated/container/seccomp_table.inc)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/generated/container)
add_custom_command(OUTPUT ${seccomp_table}
  COMMAND nacelle_seccomp_table > ${seccomp_table}
  DEPENDS nacelle_seccomp_table VERBATIM)
target_sources(nacelle_container PRIVATE ${seccomp_table})
target_include_directories(nacelle_container PRIVATE ${PROJECT_BINARY_DIR}/generated)
