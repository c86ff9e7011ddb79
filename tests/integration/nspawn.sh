#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nspawn.sh btrfs|xfs|ext4|kill|refuse: the Nspawn provider on a file system of its own (in a loop file), with a real
# Debian as base: the conformance suite of clones, and kill -9 at random moments. BUILD is the build folder. Needs root
# and the packages of `hack/setup --tests`.
set -euo pipefail
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
conformance=$BUILD/tests/integration/clone_conformance
bridge=
folder=$work/machines

# file_system TYPE SIZE: mounts a new one at $folder.
file_system() {
  mkdir -p "$folder"
  truncate -s "$2" "$work/disk"
  case $1 in
    btrfs) mkfs.btrfs -q "$work/disk" ;;
    xfs) mkfs.xfs -q -m reflink=1 "$work/disk" ;;
    ext4) mkfs.ext4 -q "$work/disk" ;;
  esac
  mount -o loop "$work/disk" "$folder"
  at_end "umount -R '$folder' || umount -l '$folder'"
}

# What a failed test leaves running ends with the script: only what runs in our folder.
stop_all() {
  local pid
  for pid in "$folder"/.drover/run/*.pid; do
    [ -s "$pid" ] || continue
    pid=$(< "$pid")
    grep -qa -- "--directory=$folder/" "/proc/$pid/cmdline" 2> /dev/null || continue
    echo "left running: $(tr '\0' ' ' < "/proc/$pid/cmdline")"
    kill -9 "$pid"
  done
  for pid in "$folder"/.drover/records/*; do
    ip netns list | awk '{ print $1 }' | grep -- "-${pid##*/}\$" | xargs -r -n 1 ip netns delete || true
  done
}

# root_file_system NAME: a machine that is not drover's; a subvolume where there are such.
root_file_system() {
  [ "$(stat -f -c %T "$folder")" != btrfs ] || btrfs -q subvolume create "$folder/$1"
  "$hosts/container-root" "$folder/$1" > /dev/null
}

bridge() {
  bridge=drt$(($$ % 10000000))
  ip link add "$bridge" type bridge
  at_end "ip link delete $bridge"
  ip link set "$bridge" up
}

# describe NAME FILTER: $work/NAME.json
describe() {
  jq -n --arg folder "$folder" --arg bridge "$bridge" '{
    provider: {type: "Nspawn", endpoint: "local:\($folder)", network: $bridge},
    base: {vm: "debian"},
    modes: ["Linked", "Full"],
    refuses: ["disks", "userData"],
    runs: true,
    host: {
      foreignMake: ["mkdir", "-p", "\($folder)/{name}/etc"],
      foreignShow: ["find", "\($folder)/{name}", "-printf", "%p %i %C@ %s %m\n"],
      foreignRemove: ["rm", "-r", "\($folder)/{name}"],
      baseChange: ["sh", "-c", "echo changed > \"$1/etc/motd\"", "sh", "\($folder)/{name}"]
    },
    guest: {
      folder: "/var/tmp",
      hostname: ["hostname"], machineID: ["cat", "/etc/machine-id"],
      macs: ["sh", "-c", "ip -o link show dev host0 | grep -o ether.*brd"],
      hostKeys: ["cat", "/etc/ssh/ssh_host_ed25519_key.pub"],
      addresses: ["ip", "-o", "address", "show", "dev", "host0"],
      sshKeys: ["cat", "/root/.ssh/authorized_keys"]
    }
  } | '"$2" > "$work/$1.json"
}

suite() {
  is "the suite on $1" 0 timeout 800 "$conformance" "$work/$1.json" suite
  grep -aE '^\[ *(FAILED|SKIPPED)|ERROR|left behind' <<< "$out$errors" | sort -u | head -n 40 || true
  same "no container is left" "$(cat "$folder"/.drover/run/*.pid 2> /dev/null | wc -c)" 0
  same "no record is left" "$(ls "$folder/.drover/records")" ""
  same "nothing but the machine it began with" "$(ls "$folder")" debian
  same "nothing is left half-made" "$(find "$folder"/.drover/{parts,overlays,snapshots,trash} -mindepth 1)" ""
}

run_btrfs() {
  file_system btrfs 6G
  root_file_system debian
  bridge
  describe btrfs '.modes = ["Linked", "Reflink", "Full"]'
  suite btrfs
}

run_xfs() {
  file_system xfs 6G
  root_file_system debian
  bridge
  describe xfs '.modes = ["Linked", "Reflink", "Full"] | .noSource = true'
  suite xfs
}

run_ext4() {
  file_system ext4 6G
  root_file_system debian
  bridge
  describe ext4 '.noSource = true'
  suite ext4
}

at_end stop_all
"run_${1:?usage: nspawn.sh btrfs|xfs|ext4|kill|refuse}"
finish
