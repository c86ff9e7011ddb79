# One verb of a provider, for libvirt.sh.
add_executable(provider_tool provider_tool.c)
target_link_libraries(provider_tool PRIVATE providers)
foreach(part IN ITEMS describe move marks remote block)
  drover_script_test(libvirt-${part} integration libvirt.sh ${part})
endforeach()
