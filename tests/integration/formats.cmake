foreach(part IN ITEMS local s3 http nfs doors holes device pipe)
  drover_script_test(formats-${part} integration formats.sh ${part})
endforeach()
