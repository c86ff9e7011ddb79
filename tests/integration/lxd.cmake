# The clone verbs of LXD; debian and cloud need a Debian mirror once, for the images that are kept in the cache folder.
foreach(part IN ITEMS btrfs dir https template server debian cloud convert kill wrong)
  drover_script_test(lxd-${part} integration lxd.sh ${part})
endforeach()
