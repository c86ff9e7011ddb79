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
five_clones() { # five_clones SPEC: the median of a whole command for each
  local i
  for i in $(seq 5); do
    doc Clone "one-$i" "$1" > "$WORK/clones.yaml"
    seconds apply_clones
    echo
  done | median
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
  local hand ours all
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
  hand=$(for _ in $(seq 5); do seconds hand_domain hand-1; echo; drop_domains hand-; done | median)
  ours=$(five_clones '{baseRef: {name: golden}, powerState: "Off"}')
  clone_row "one (the whole command)" "$hand s" "$ours s" "$(ratio "$ours" "$hand")"
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
hand_copy() { lxc copy origin/s hand-1; }

bench_clone_lxd() {
  local hand ours
  server lxd lxd lxd
  lxc init busybox origin --storage bt --network lab > /dev/null
  lxc snapshot origin s
  printf '\n| LXD: containers on btrfs | by hand | drover | |\n| --- | --- | --- | --- |\n'
  {
    doc Provider here "{type: LXD, endpoint: '$(value "$WORK/lxd" SOCKET)', defaults: {storage: bt}}"
    doc CloneBase origin '{providerRef: {name: here}, vm: {name: origin}}'
  } > "$WORK/clones.yaml"
  apply_clones > /dev/null
  hand=$(for _ in $(seq 5); do seconds hand_copy; echo; drop_containers 1; done | median)
  ours=$(five_clones '{baseRef: {name: origin}, powerState: "Off"}')
  clone_row "one created (the whole command)" "$hand s" "$ours s" "$(ratio "$ours" "$hand")"
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
  local dir=$WORK/disk/machines hand ours tool
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
  hand=$(for i in $(seq 5); do seconds hand_nspawn "$dir" "hand-$i"; echo; done | median)
  ours=$(five_clones '{baseRef: {name: golden}, readiness: {type: Exec, exec: [/bin/true]}}')
  clone_row "one, until a command in it answers" "$hand s" "$ours s" "$(ratio "$ours" "$hand")"
  drop_five
  forget_clones
  umount "$WORK/disk"
}
hand_nspawn() { # a snapshot, a start, a command
  btrfs -q subvolume snapshot "$1/golden" "$1/$2"
  systemd-nspawn -q --register=no --keep-unit -D "$1/$2" -M "$2" --private-network /bin/true
}

bench_clone() {
  local part
  for part in $clone_parts; do "bench_clone_$part"; done
}
