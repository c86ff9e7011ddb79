foreach(part IN ITEMS suite reflink refused kills many inside remote)
  drover_script_test(clones-libvirt-${part} integration clones-libvirt.sh ${part})
endforeach()
