# The Nspawn provider on three file systems. The suite boots Debian some forty times.
foreach(part IN ITEMS btrfs xfs ext4 systemd kill refuse)
  drover_script_test(nspawn-${part} integration nspawn.sh ${part})
endforeach()
