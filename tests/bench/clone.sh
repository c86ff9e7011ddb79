# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# hack/bench clone: clones by drover beside the same by hand, on libvirt, LXD and systemd-nspawn. Sourced by hack/bench.
# PARTS="libvirt lxd nspawn idle" (default: all); CLONES=n of the large libvirt row (1000); CONTAINERS=n of LXD (50).
# The part `idle` is in idle.sh.

clone_parts=${PARTS:-libvirt lxd nspawn idle}
clones=${CLONES:-1000}
containers=${CONTAINERS:-50}

doc() { printf -- '---\napiVersion: drover.dev/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n' "$@"; }
# The state is new for each, so that nothing is left of the run before.
apply_clones() { "$DROVER" run -f "$WORK/clones.yaml" --state "$WORK/clones.db"; }
# five_in_turns SPEC COMMAND [ARGS...]: COMMAND ARGS hand-I and a Clone one-I by a whole command, in turns, so that what
# else the machine does burdens both alike. Medians go to hand, ours, and itself: what the clones say that they took.
five_in_turns() {
  local i spec=$1
  shift
  : > "$WORK/hand.times"
  : > "$WORK/ours.times"
  : > "$WORK/itself.times"
  for i in $(seq 5); do
    echo "$(seconds "$@" "hand-$i")" >> "$WORK/hand.times"
    doc Clone "one-$i" "$spec" > "$WORK/clones.yaml"
    echo "$(seconds apply_clones)" >> "$WORK/ours.times"
    clone_took "one-$i" >> "$WORK/itself.times"
  done
  hand=$(median < "$WORK/hand.times")
  ours=$(median < "$WORK/ours.times")
  itself=$(median < "$WORK/itself.times")
}
# What a running controller needs for it: from the note in the ledger until it is defined, or until it is ready.
clone_took() {
  "$DROVER" get dclone "$1" -o json --state "$WORK/clones.db" | jq -r --arg what "$took" '
    (.items[0] // .).status[$what] | . / 1000'
}
drop_five() { "$DROVER" delete dclone one-1 one-2 one-3 one-4 one-5 --state "$WORK/clones.db" > /dev/null; }
forget_clones() { rm -f "$WORK"/clones.db*; }
clone_row() { printf '| %s | %s | %s | %s |\n' "$@"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f x", b ? a / b : 0 }'; }

# ---- libvirt

hand_domain() { # hand_domain NAME: as drover does it: an overlay and a definition
  qemu-img create -q -f qcow2 -F qcow2 -b "$WORK/a/pool/golden.qcow2" "$WORK/a/pool/$1.qcow2"
  sed "s|golden.qcow2|$1.qcow2|; s|<name>golden</name>|<name>$1</name>|" "$WORK/golden.xml" > "$WORK/one.xml"
  at a define "$WORK/one.xml"
}
hand_domains() { local i; for i in $(seq "$1"); do hand_domain "hand-$i"; done; }
drop_domains() { # drop_domains PATTERN
  local name
  for name in $(at a list --all --name | grep "^$1"); do at a undefine "$name" > /dev/null; done
  rm -f "$WORK/a/pool/$1"*
}
libvirt_world() {
  doc Provider here "{type: Libvirt, endpoint: 'unix://$WORK/a/run/libvirt-sock', limits: {clones: 64}}"
  doc CloneBase golden '{providerRef: {name: here}, template: {name: golden}}'
}

bench_clone_libvirt() {
  local hand ours itself took all
  host a
  qemu-img create -q -f qcow2 "$WORK/a/pool/golden.qcow2" 20G
  qemu-io -c 'write -q -P 7 0 256M' "$WORK/a/pool/golden.qcow2"
  cat > "$WORK/golden.xml" << X
<domain type='qemu'><name>golden</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$WORK/a/pool/golden.qcow2'/><target dev='vda' bus='virtio'/></disk>
<interface type='network'><source network='default'/><model type='virtio'/></interface></devices></domain>
X
  at a define "$WORK/golden.xml"
  printf '\n| libvirt: overlays, defined, not started | by hand | drover | |\n| --- | --- | --- | --- |\n'
  libvirt_world > "$WORK/clones.yaml"
  apply_clones > /dev/null
  took=cloneMillis
  five_in_turns '{baseRef: {name: golden}, powerState: "Off"}' hand_domain
  clone_row "one (the whole command)" "$hand s" "$ours s" "$(ratio "$ours" "$hand")"
  clone_row "one (the clone itself, cloneMillis)" "$hand s" "$itself s" "$(ratio "$itself" "$hand")"
  drop_domains hand-
  drop_five
  all=$(seconds hand_domains "$clones")
  drop_domains hand-
  doc CloneSet many "{replicas: $clones, baseRef: {name: golden}, template: {powerState: \"Off\"}}" > "$WORK/clones.yaml"
  ours=$(seconds apply_clones)
  clone_row "$clones" "$all s" "$ours s" "$(ratio "$ours" "$all")"
  clone_row "disk of one of them" "" "$(find "$WORK/a/pool" -name 'many-*' -printf '%k\n' | sort -n | tail -n 1) KiB" ""
  "$DROVER" delete cset many --state "$WORK/clones.db" > /dev/null
  forget_clones
}

# ---- LXD

lxc() { "$HOSTS/lxd" exec "$WORK/lxd" lxc -q "$@"; }
hand_containers() { # hand_containers N: four at a time
  "$HOSTS/lxd" exec "$WORK/lxd" sh -c "seq $1 | xargs -P 4 -I{} sh -c 'lxc -q copy origin/s hand-{} && lxc -q start hand-{}'"
}
drop_containers() { "$HOSTS/lxd" exec "$WORK/lxd" sh -c "seq $1 | xargs -P 4 -I{} lxc -q delete -f hand-{}"; }
hand_copy() { lxc copy origin/s "$1"; }

bench_clone_lxd() {
  local hand ours itself took
  server lxd lxd lxd
  lxc init busybox origin --storage bt --network lab > /dev/null
  lxc snapshot origin s
  printf '\n| LXD: containers on btrfs | by hand | drover | |\n| --- | --- | --- | --- |\n'
  {
    doc Provider here "{type: LXD, endpoint: '$(value "$WORK/lxd" SOCKET)', defaults: {storage: bt}}"
    doc CloneBase origin '{providerRef: {name: here}, vm: {name: origin}}'
  } > "$WORK/clones.yaml"
  apply_clones > /dev/null
  took=cloneMillis
  five_in_turns '{baseRef: {name: origin}, powerState: "Off"}' hand_copy
  clone_row "one created (the whole command)" "$hand s" "$ours s" "$(ratio "$ours" "$hand")"
  clone_row "one created (the clone itself, cloneMillis)" "$hand s" "$itself s" "$(ratio "$itself" "$hand")"
  drop_containers 5
  drop_five
  hand=$(seconds hand_containers "$containers")
  drop_containers "$containers"
  doc CloneSet many "{replicas: $containers, baseRef: {name: origin}}" > "$WORK/clones.yaml"
  ours=$(seconds apply_clones)
  clone_row "$containers created and started" "$hand s (xargs -P 4)" "$ours s" "$(ratio "$ours" "$hand")"
  "$DROVER" delete cset many --state "$WORK/clones.db" > /dev/null
  forget_clones
}

# ---- systemd-nspawn

bench_clone_nspawn() {
  local dir=$WORK/disk/machines hand ours itself took tool
  mkdir "$WORK/disk"
  truncate -s 2G "$WORK/btrfs.img"
  mkfs.btrfs -q "$WORK/btrfs.img"
  mount -o loop "$WORK/btrfs.img" "$WORK/disk"
  mkdir "$dir"
  btrfs -q subvolume create "$dir/golden"
  mkdir -p "$dir/golden"/{bin,sbin,etc,usr,proc,sys,dev,run,tmp,var,root}
  cp /bin/busybox "$dir/golden/bin/"
  for tool in sh sleep cat hostname true; do ln -s busybox "$dir/golden/bin/$tool"; done
  ln -s ../bin/busybox "$dir/golden/sbin/init"
  echo ID=golden > "$dir/golden/etc/os-release"
  printf '::respawn:/bin/sleep 100000\n' > "$dir/golden/etc/inittab"
  {
    doc Provider here "{type: Nspawn, endpoint: 'local:$dir'}"
    doc CloneBase golden '{providerRef: {name: here}, template: {name: golden}}'
  } > "$WORK/clones.yaml"
  apply_clones > /dev/null
  printf '\n| systemd-nspawn on btrfs | by hand | drover | |\n| --- | --- | --- | --- |\n'
  took=readyMillis
  five_in_turns '{baseRef: {name: golden}, readiness: {type: Exec, exec: [/bin/true]}}' hand_nspawn "$dir"
  clone_row "one, until a command in it answers" "$hand s" "$ours s" "$(ratio "$ours" "$hand")"
  clone_row "the same, the clone itself (readyMillis)" "$hand s" "$itself s" "$(ratio "$itself" "$hand")"
  drop_five
  forget_clones
  umount "$WORK/disk"
}
hand_nspawn() { # a snapshot, a start, a command
  btrfs -q subvolume snapshot "$1/golden" "$1/$2"
  systemd-nspawn -q --register=no --keep-unit -D "$1/$2" -M "$2" --private-network /bin/true
}

bench_clone() {
  local part digits=3
  for part in $clone_parts; do "bench_clone_$part"; done
}
