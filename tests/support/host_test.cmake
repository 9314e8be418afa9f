include_guard(GLOBAL)

# nacelle_host_test(NAME SOURCES... [DEPENDS floors...] [LIBRARIES libs...] [LABEL root] [TIMEOUT s]
#                   [RUNTIME])
# A gtest executable whose main() runs every test in one private host (private_host.h). They run one
# at a time: some count what exists on the whole machine. RUNTIME: it calls oci(), so nacelle-oci is
# built before it.
function(nacelle_host_test name)
  cmake_parse_arguments(T "RUNTIME" "LABEL;TIMEOUT" "DEPENDS;LIBRARIES" ${ARGN})
  if(NOT T_LABEL)
    set(T_LABEL root)
  endif()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 300)
  endif()
  add_executable(${name} ${T_UNPARSED_ARGUMENTS} ${PROJECT_SOURCE_DIR}/tests/support/private_main.cc)
  foreach(lower ${T_DEPENDS})
    target_link_libraries(${name} PRIVATE nacelle_${lower})
  endforeach()
  target_link_libraries(${name} PRIVATE nacelle_test_support ${T_LIBRARIES})
  if(T_RUNTIME AND TARGET nacelle-oci)
    add_dependencies(${name} nacelle-oci)
  endif()
  nacelle_precompile(${name} FROM nacelle_test_support)
  nacelle_label_target(${name} "${T_LABEL}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${T_LABEL}" RUN_SERIAL ON TIMEOUT ${T_TIMEOUT})
endfunction()
