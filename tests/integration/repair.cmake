foreach(part IN ITEMS file nfs s3 radosgw http refused)
  drover_script_test(repair-${part} integration repair.sh ${part})
endforeach()
