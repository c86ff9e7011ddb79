add_executable(storage_conformance
  ${CMAKE_CURRENT_LIST_DIR}/storage_bench.c ${CMAKE_CURRENT_LIST_DIR}/storage_conformance.c ${CMAKE_CURRENT_LIST_DIR}/storage_suite.c)
target_link_libraries(storage_conformance PRIVATE storage PkgConfig::CMOCKA)
foreach(kind IN ITEMS file http nfs minio radosgw)
  drover_script_test(storage-${kind} integration run-storage ${kind})
endforeach()
foreach(part IN ITEMS s3 http cancel)
  drover_script_test(faults-${part} integration faults ${part})
endforeach()
