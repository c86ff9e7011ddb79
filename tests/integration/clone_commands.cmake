drover_script_test(clone-commands integration clone-commands.sh)
