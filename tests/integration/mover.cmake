drover_script_test(copy-nbds integration nbds.sh)
foreach(part IN ITEMS files hostile full stop nbd ssh s3 http nfs)
  drover_script_test(copy-${part} integration copy.sh ${part})
endforeach()
drover_script_test(copy-memory "integration;slow" memory.sh) # makes a release build when there is none
