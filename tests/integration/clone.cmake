# The clone verbs of every backend, for the scripts that set one up.
add_executable(clone_conformance
  ${CMAKE_CURRENT_LIST_DIR}/clone_bench.c ${CMAKE_CURRENT_LIST_DIR}/clone_conformance.c ${CMAKE_CURRENT_LIST_DIR}/clone_guest.c
  ${CMAKE_CURRENT_LIST_DIR}/clone_image.c
  ${CMAKE_CURRENT_LIST_DIR}/clone_order.c ${CMAKE_CURRENT_LIST_DIR}/clone_suite.c)
target_link_libraries(clone_conformance PRIVATE providers PkgConfig::CMOCKA)
