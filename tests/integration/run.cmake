foreach(part IN ITEMS words moves interrupt cancel delete kill wishes)
  drover_script_test(run-${part} integration run.sh ${part})
endforeach()
