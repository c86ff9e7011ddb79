# The clone verbs of LXD; debian needs a Debian mirror once, for the image that is kept in the cache folder.
foreach(part IN ITEMS btrfs dir https template debian convert kill wrong)
  drover_script_test(lxd-${part} integration lxd.sh ${part})
endforeach()
