add_executable(crds_same crds_same.c)
target_link_libraries(crds_same PRIVATE crds)
drover_script_test(crds integration run-crds)
