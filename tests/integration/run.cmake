foreach(part IN ITEMS words moves interrupt cancel delete abandon kill wishes)
  drover_script_test(run-${part} integration run.sh ${part})
endforeach()
