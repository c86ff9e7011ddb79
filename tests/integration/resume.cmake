# Kills at random moments take their time.
foreach(part IN ITEMS file object nbd source s3 nfs)
  drover_script_test(resume-${part} "integration;slow" resume.sh ${part})
endforeach()
foreach(part IN ITEMS renamed ssh http store run)
  drover_script_test(resume-${part} integration resume.sh ${part})
endforeach()
