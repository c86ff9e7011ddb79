drover_script_test(clones-libvirt-refused integration clones-libvirt.sh refused)
foreach(part IN ITEMS inside suite reflink remote)
  drover_script_test(clones-libvirt-${part} "integration;slow" clones-libvirt.sh ${part})
endforeach()
foreach(part IN ITEMS kills many)
  drover_script_test(clones-libvirt-${part} "integration;long" clones-libvirt.sh ${part})
endforeach()
set_tests_properties(clones-libvirt-suite PROPERTIES TIMEOUT 1800) # some twenty boots, emulated
