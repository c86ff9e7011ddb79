foreach(part IN ITEMS suite reflink refused kills many inside remote)
  drover_script_test(clones-libvirt-${part} integration clones-libvirt.sh ${part})
endforeach()
set_tests_properties(clones-libvirt-suite PROPERTIES TIMEOUT 1800) # some twenty boots, emulated
