#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/libvirt.sh PART...: the libvirt provider against real hosts. Needs root.
# Parts: describe move marks remote block. BUILD=build folder.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

tool=$BUILD/tests/integration/provider_tool
uid=0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0
owner=install/ns/move/$uid/0123
export DROVER_RUNTIME_DIR=$work/runtime

# up NAME [ssh] [tls]: a host in $work/NAME
up() {
  "$hosts/libvirt" up "$work/$1" "host$1" "${@:2}" || { miss "host $1 starts"; finish; exit 1; }
  at_end "'$hosts/libvirt' down '$work/$1'"
}
at() { echo "unix://$work/$1/run/libvirt-sock"; }
v() { virsh -q -c "qemu+unix:///system?socket=$work/$1/run/libvirt-sock" "${@:2}"; }
guest() { "$hosts/guest" "$@"; }
is_off() { [ "$("$tool" "$(at "$1")" state "$2")" = Off ]; }

# target VM-JSON NAME [JQ]: a document for the target verbs: every disk in pool default, as it was
target() {
  jq --arg u $uid --arg o $owner --arg n "$2" "
    {vm: (del(.id, .power, .owner) | .name = \$n), owner: \$o, uid: \$u,
     disks: [.disks[] | {storage: \"default\", format}]} | ${3:-.}" "$1"
}

# define HOST XML: by way of a file
define() { v "$1" define /dev/stdin <<< "$2"; }

# plain HOST NAME DISKS [MORE]: a small machine that never runs
plain_xml() {
  cat <<END
<domain type='qemu'><name>$1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='${machine:-q35}'>hvm</type><boot dev='hd'/></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>$2</devices></domain>
END
}
file_disk() { echo "<disk type='file' device='disk'><driver name='qemu' type='$2'/><source file='$1'/><target dev='$3' bus='${4:-virtio}'/>${5:-}</disk>"; }

part_describe() {
  up a
  local p=$work/a/pool xml
  is "probe" 0 "$tool" "$(at a)" probe
  has "version" "version QEMU 7"
  has "pool" "storage default dir $p active=1"
  has "network" "network lab"

  guest define "$work/a" boot uefi --format qcow2 > /dev/null 2>&1
  is "a UEFI guest" 0 "$tool" "$(at a)" find boot
  same "its disks" "vda:1 vdb:0 nvram:0" "$(jq -r '[.disks[] | "\(.name):\(.bootOrder // 0)"] | join(" ")' <<< "$out")"
  same "its NVRAM is a small raw disk" "nvram raw 540672" "$(jq -r '.disks[2] | "\(.role) \(.format) \(.capacityBytes)"' <<< "$out")"
  same "its firmware" uefi "$(jq -r .firmware <<< "$out")"
  is "nothing against it" 0 "$tool" "$(at a)" check-source boot
  same "no warning" "" "$(grep -v ^OK <<< "$out")"
  is "the same by UUID" 0 "$tool" "$(at a)" find "$(v a domuuid boot)"
  is "vm.json has no paths" 0 "$tool" "$(at a)" describe boot
  same "no path, no id" false "$(jq '[paths | map(tostring) | join(".")] | any(test("path|^id$|power|owner|storage"))' <<< "$out")"
  is "none of that name" 1 "$tool" "$(at a)" find nobody
  has "says so" "error NotFound"

  # Chains: relative and absolute, through a pool volume; and those that must not be followed.
  qemu-img create -q -f raw "$p/base.raw" 8M
  qemu-img create -q -f qcow2 -b base.raw -F raw "$p/mid.qcow2"
  qemu-img create -q -f qcow2 -b "$p/mid.qcow2" -F qcow2 "$p/top.qcow2" 16M
  v a pool-refresh default
  define a "$(plain_xml chain "$(file_disk "$p/top.qcow2" qcow2 vda virtio '<serial>S1</serial><readonly/>')
    <disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='default' volume='mid.qcow2'/><target dev='sda' bus='scsi'/></disk>
    <disk type='file' device='cdrom'><target dev='sdb' bus='sata'/></disk>
    <disk type='file' device='cdrom'><source file='/srv/x&amp;y.iso'/><target dev='sdc' bus='sata'/></disk>
    <hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>
    <interface type='bridge'><source bridge='br-lab'/><model type='e1000'/></interface>
    <interface type='user'><mac address='52:54:00:00:00:07'/></interface>")"
  is "a chain" 0 "$tool" "$(at a)" find chain
  same "in order" "$p/mid.qcow2 qcow2 $p/base.raw raw" "$(jq -r '[.disks[0].backing[] | "\(.path) \(.format)"] | join(" ")' <<< "$out")"
  same "size, serial, read-only" "16777216 S1 true" "$(jq -r '.disks[0] | "\(.capacityBytes) \(.serial) \(.readOnly)"' <<< "$out")"
  same "the volume's path" "$p/mid.qcow2 default scsi" "$(jq -r '.disks[1] | "\(.path) \(.storage) \(.bus)"' <<< "$out")"
  same "first disk boots" 1 "$(jq -r '.disks[0].bootOrder' <<< "$out")"
  same "networks" "bridge:br-lab user" "$(jq -r '[.nics[].network] | join(" ")' <<< "$out")"
  has "empty CD-ROM" "The empty CD-ROM drive stays behind."
  has "CD-ROM" "The CD-ROM drive with '/srv/x&y.iso' stays behind."
  has "host device" "A host device (usb) stays behind."
  is "open a disk" 0 "$tool" "$(at a)" source-open chain vda
  has "chain in the reach" '"path":"'"$p/base.raw"
  is "no such disk" 1 "$tool" "$(at a)" source-open chain vdz

  bad() { # NAME DISK-XML WORDS
    define a "$(plain_xml "$1" "$2")" > /dev/null
    is "$1 is described" 0 "$tool" "$(at a)" find "$1"
    is "$1 is looked at" 0 "$tool" "$(at a)" check-source "$1"
    has "$1: error" "Error SourceDisk"
    has "$1: words" "$3"
    v a undefine "$1" > /dev/null
  }
  mkdir "$work/elsewhere"
  qemu-img create -q -f raw "$work/elsewhere/secret" 1M
  qemu-img create -q -f qcow2 -b "$work/elsewhere/secret" -F raw "$p/leak.qcow2"
  bad leads-away "$(file_disk "$p/leak.qcow2" qcow2 vda)" "neither in its folder nor in a storage pool"
  qemu-img create -q -f qcow2 -u -b ../../../../../../../etc/shadow -F raw "$p/up.qcow2" 1M
  bad leads-up "$(file_disk "$p/up.qcow2" qcow2 vda)" "leads to /etc/shadow"
  qemu-img create -q -f qcow2 -u -b nbd://127.0.0.1:1/x -F raw "$p/nbd.qcow2" 1M
  bad leads-to-nbd "$(file_disk "$p/nbd.qcow2" qcow2 vda)" "not a file"
  qemu-img create -q -f qcow2 -u -b base.raw "$p/noformat.qcow2" 1M 2>/dev/null ||
    python3 - "$p" <<'END'
import struct, sys
p = sys.argv[1]
b = bytearray(104); struct.pack_into(">4sIQIIQ", b, 0, b"QFI\xfb", 3, 112, 8, 16, 1 << 20); struct.pack_into(">I", b, 100, 104)
open(p + "/noformat.qcow2", "wb").write(bytes(b) + bytes(8) + b"base.raw" + bytes(65536))
END
  bad no-format "$(file_disk "$p/noformat.qcow2" qcow2 vda)" "does not say which format"
  qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 "$p/locked.qcow2" 1M
  bad encrypted "$(file_disk "$p/locked.qcow2" qcow2 vda)" "is encrypted"
  qemu-img create -q -f qcow2 -o data_file="$work/elsewhere/secret",data_file_raw=on "$p/external.qcow2" 1M
  bad external-data "$(file_disk "$p/external.qcow2" qcow2 vda)" "keeps its data in another file"
  head -c 50 "$p/top.qcow2" > "$p/cut.qcow2"
  bad truncated "$(file_disk "$p/cut.qcow2" qcow2 vda)" "not a qcow2 image"
  bad missing "$(file_disk "$p/gone.raw" raw vda)" "does not exist"
  bad rbd "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='pool/x'><host name='ceph' port='6789'/></source><target dev='vda' bus='virtio'/></disk>" "of type network, rbd"

  define a "$(plain_xml shared "$(file_disk "$p/base.raw" raw vda virtio '<shareable/>')")"
  is "shared" 0 "$tool" "$(at a)" check-source shared
  has "shared: error" "Error SourceDiskShared"
  define a "$(plain_xml bare "")"
  is "no disks" 0 "$tool" "$(at a)" check-source bare
  has "no disks: error" "Error SourceDisks"

  is "power on" 0 "$tool" "$(at a)" power boot on
  is "power on again" 0 "$tool" "$(at a)" power boot on
  is "running is said" 0 "$tool" "$(at a)" check-source boot
  has "running" "Warning SourcePower: VM 'boot' is running"
  is "no disk of a running VM" 1 "$tool" "$(at a)" source-open boot vda
  has "busy" "error ResourceBusy"
  define a "$(plain_xml rival "$(file_disk "$p/boot-1.qcow2" qcow2 vda)")"
  is "in use by another VM" 0 "$tool" "$(at a)" check-source rival
  has "in use" "in use by VM 'boot'"
  wait_for 60 grep -aq 'TG READY' "$work/a/log/qemu/boot-serial.log" || miss "the guest is ready"
  is "guest shutdown" 0 "$tool" "$(at a)" power boot shutdown
  wait_for 30 is_off a boot && pass "the guest shuts down" || miss "the guest shuts down"
  is "shutdown of what is off" 0 "$tool" "$(at a)" power boot shutdown
  is "autostart" 0 "$tool" "$(at a)" autostart boot on
  same "autostart is on" true "$("$tool" "$(at a)" find boot | jq .autostart)"
  is "autostart off" 0 "$tool" "$(at a)" autostart boot off

  is "power on to save" 0 "$tool" "$(at a)" power boot on
  v a managedsave boot > /dev/null
  is "saved" 0 "$tool" "$(at a)" check-source boot
  has "saved: error" "Error SourceSaved"
  v a managedsave-remove boot > /dev/null
  v a undefine rival > /dev/null
  v a snapshot-create-as boot s1 > /dev/null 2>&1 || v a snapshot-create-as boot s1 --disk-only > /dev/null 2>&1

  # Deleting a source: not while another VM uses its disks, nor when it is not what was moved.
  define a "$(plain_xml twin "$(file_disk "$p/base.raw" raw vda)")"
  is "disks of others are kept" 1 "$tool" "$(at a)" delete shared
  has "names the other" "is used by VM"
  v a undefine twin > /dev/null
  v a undefine chain > /dev/null
  is "delete" 0 "$tool" "$(at a)" delete shared
  absent "its disk is gone" "$p/base.raw"
  is "and the VM" 1 "$tool" "$(at a)" find shared
}

# move_disks FROM-JSON DOC TO: what a mover does
move_disks() {
  local i n path source
  n=$(jq '.disks | length' "$2")
  for ((i = 0; i < n; i++)); do
    is "prepare disk $i" 0 "$tool" "$(at "$3")" prepare "$2" "$i"
    path=$("$tool" "$(at "$3")" plan "$2" "$i" | sed -n 2p)
    source=$(jq -r ".disks[$i].path" "$1")
    qemu-img convert -f "$(jq -r ".disks[$i].format" "$1")" -O "$(jq -r ".disks[$i].format" "$2")" "$source" "$path"
    is "disk $i is done" 0 "$tool" "$(at "$3")" done "$2" "$i"
  done
}

part_move() {
  up a
  up b
  local flavour mac
  for flavour in bios uefi; do
    guest define "$work/a" "m-$flavour" $flavour --format qcow2 --cpus 2 --memory 256 > /dev/null 2>&1
    "$tool" "$(at a)" find "m-$flavour" > "$work/vm.json"
    mac=$(jq -r '.nics[0].mac' "$work/vm.json")
    uid=$(cat /proc/sys/kernel/random/uuid)
    owner=install/ns/move/$uid/0123
    target "$work/vm.json" "m-$flavour" '.vm.nics[0].network = "lab" | .disks[1].format = "raw"' > "$work/t.json"
    is "$flavour: check" 0 "$tool" "$(at b)" check-target "$work/t.json"
    same "$flavour: no error" "" "$(grep ^Error <<< "$out")"
    move_disks "$work/vm.json" "$work/t.json" b
    is "$flavour: define" 0 "$tool" "$(at b)" finish "$work/t.json"
    has "$flavour: id as planned" "$("$tool" "$(at b)" plan-vm "$work/t.json" | sed -n 2p)"
    is "$flavour: define again" 0 "$tool" "$(at b)" finish "$work/t.json"
    is "$flavour: start" 0 "$tool" "$(at b)" power "m-$flavour" on
    is "$flavour: define while it runs" 0 "$tool" "$(at b)" finish "$work/t.json"
    is "$flavour: boots with the same content" 0 guest check "$work/b/log/qemu/m-$flavour-serial.log" \
      "$work/a/guests/m-$flavour.sums1" "$work/a/guests/m-$flavour.sums2" --mac "$mac" --cpus 2 \
      --firmware $flavour --min-memory-kb 180000
    is "$flavour: nothing against moving on" 0 "$tool" "$(at b)" check-source "m-$flavour"
    is "$flavour: off" 0 "$tool" "$(at b)" power "m-$flavour" off
    same "$flavour: the mark" "$owner" "$("$tool" "$(at b)" find "m-$flavour" | jq -r .owner)"
    # Described on the target it is what it was, but for what the target chose.
    diff <(jq -S 'del(.id,.uuid,.disks[].path,.disks[].allocatedBytes,.disks[].format,.nics[].network)' "$work/vm.json") \
      <("$tool" "$(at b)" find "m-$flavour" | jq -S 'del(.id,.uuid,.owner,.disks[].path,.disks[].allocatedBytes,.disks[].format,.nics[].network)') > "$work/diff" &&
      pass "$flavour: described as before" || miss "$flavour: described as before" "$(cat "$work/diff")"
  done
}

# remove_all HOST DOC: the VM, then its disks; sets $out of the last
remove_all() {
  local i
  is "remove the VM" 0 "$tool" "$(at "$1")" remove VM "$("$tool" "$(at "$1")" plan-vm "$2" | sed -n 2p)" x "$owner"
  for ((i = 0; i < $(jq '.disks | length' "$2"); i++)); do
    mapfile -t plan < <("$tool" "$(at "$1")" plan "$2" "$i")
    is "remove disk $i" 0 "$tool" "$(at "$1")" remove "${plan[0]}" "${plan[1]}" "${plan[2]}" "$owner"
    absent "disk $i is gone" "${plan[1]}" "${plan[1]}".*
  done
}

part_marks() {
  up a
  up b
  guest define "$work/a" m uefi --format qcow2 > /dev/null 2>&1
  "$tool" "$(at a)" find m > "$work/vm.json"
  local doc=$work/t.json id before plan
  target "$work/vm.json" m > "$doc"

  # An impostor with the name we want.
  qemu-img create -q -f raw "$work/b/pool/theirs.raw" 1M
  define b "$(plain_xml m "$(file_disk "$work/b/pool/theirs.raw" raw vda)")"
  before=$(v b dumpxml m --inactive)
  is "preflight sees the other VM" 0 "$tool" "$(at b)" check-target "$doc"
  has "name taken" "Error TargetName: there is a VM 'm'"
  move_disks "$work/vm.json" "$doc" b
  is "a foreign VM is not replaced" 1 "$tool" "$(at b)" finish "$doc"
  has "as already existing" "error AlreadyExists"
  id=$(v b domuuid m)
  is "nor removed by its id" 1 "$tool" "$(at b)" remove VM "$id" x "$owner"
  has "for lack of a mark" "does not bear the mark"
  is "nor its disk" 1 "$tool" "$(at b)" remove Volume "$work/b/pool/theirs.raw" default "$owner"
  has "not a name of ours" "left alone"
  same "the foreign VM is as it was" "$before" "$(v b dumpxml m --inactive)"

  # One that uses a file of ours.
  mapfile -t plan < <("$tool" "$(at b)" plan "$doc" 0)
  define b "$(plain_xml thief "$(file_disk "${plan[1]}" qcow2 vda)")"
  is "a disk that others use stays" 1 "$tool" "$(at b)" remove "${plan[@]}" "$owner"
  has "and the user is named" "used by VM 'thief'"
  is "nor is it written to" 1 "$tool" "$(at b)" prepare "$doc" 0
  has "already exists" "error AlreadyExists"
  v b undefine thief > /dev/null
  define b "$(plain_xml thief "<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='default' volume='$(basename "${plan[1]}")'/><target dev='vda' bus='virtio'/></disk>")"
  is "nor when it is used as a volume" 1 "$tool" "$(at b)" remove "${plan[@]}" "$owner"
  has "named again" "used by VM 'thief'"
  v b undefine thief > /dev/null

  v b undefine m > /dev/null
  is "with the name free" 0 "$tool" "$(at b)" finish "$doc"
  is "another object's mark removes nothing" 1 "$tool" "$(at b)" remove VM "$("$tool" "$(at b)" plan-vm "$doc" | sed -n 2p)" x "install/ns/other/$uid/0123"
  is "another object's uid neither" 1 "$tool" "$(at b)" remove "${plan[@]}" "install/ns/move/ffffffff-4b5a-6978-8796-a5b4c3d2e1f0/0123"
  is "paths outside are refused" 1 "$tool" "$(at b)" remove Volume "/etc/passwd-${uid:0:8}" default "$owner"
  is "paths with .. too" 1 "$tool" "$(at b)" remove Volume "$work/b/pool/../x-vda-${uid:0:8}.raw" default "$owner"
  is "start" 0 "$tool" "$(at b)" power m on
  is "a running VM is busy" 1 "$tool" "$(at b)" remove VM "$("$tool" "$(at b)" plan-vm "$doc" | sed -n 2p)" x "$owner"
  has "busy" "error ResourceBusy"
  is "so are its disks" 1 "$tool" "$(at b)" remove "${plan[@]}" "$owner"
  has "busy too" "error ResourceBusy"
  is "off" 0 "$tool" "$(at b)" power m off
  owner=install/ns/move/$uid/other-hash
  : > "${plan[1]}.install_ns_move.part"
  remove_all b "$doc"
  remove_all b "$doc" # again: all gone already
  same "nothing of ours is left" theirs.raw "$(ls "$work/b/pool")"

  # Odd names: made safe in paths, kept in the definition.
  local name
  for name in "O'Brien \"x\" & <y>" "Grüße 虚拟机" 'a$(touch x);b`c' '...' '-rf'; do
    uid=$(cat /proc/sys/kernel/random/uuid)
    owner=install/ns/move/$uid/0123
    target "$work/vm.json" "$name" > "$doc"
    is "'$name': check" 0 "$tool" "$(at b)" check-target "$doc"
    same "'$name': no error" "" "$(grep ^Error <<< "$out")"
    move_disks "$work/vm.json" "$doc" b
    is "'$name': define" 0 "$tool" "$(at b)" finish "$doc"
    same "'$name': found" "$name" "$("$tool" "$(at b)" find "$name" | jq -r .name)"
    remove_all b "$doc"
  done
  for name in 'a/b' $'two\nlines' ' ' '..'; do
    target "$work/vm.json" "$name" > "$doc"
    is "'$name' is refused" 1 "$tool" "$(at b)" plan "$doc" 0
    has "'$name': invalid" "error InvalidSpec"
  done
  same "nothing is left" theirs.raw "$(ls "$work/b/pool")"

  # What a target lacks.
  check() { # WHAT JQ WORDS
    target "$work/vm.json" new "$2" > "$doc"
    is "$1: check" 0 "$tool" "$(at b)" check-target "$doc"
    has "$1" "$3"
  }
  check "no pool" '.disks[0].storage = "nowhere"' "Error TargetStorage: there is no storage pool 'nowhere'"
  check "no folder" '.disks[0].storage = "/no/where"' "there is no folder /no/where"
  check "no network" '.vm.nics[0].network = "nowhere"' "Error TargetNetwork: there is no network 'nowhere'"
  check "no space" '.vm.disks[0].capacityBytes = 60000000000000 | .disks[0].thick = true' "Error TargetSpace"
  check "thin may grow" '.vm.disks[0].capacityBytes = 60000000000000' "Warning TargetSpace"
  check "another format" '.disks[0].format = "vmdk"' "raw or qcow2"
  check "another machine" '.vm.machine = "nonsense" | .vm.firmware = "bios" | del(.vm.disks[2], .disks[2])' "because the target has no 'nonsense'"
  check "another CPU" '.vm.cpuModel = "Nonsense"' "does not offer 'Nonsense'"
  check "another architecture" '.vm.arch = "aarch64"' "Error TargetMachine"
  check "too many CPUs" '.vm.cpus = 4000' "Error TargetCPU"
  check "IDE on q35" '.vm.disks[0].bus = "ide"' "on the bus sata"
  check "secure boot with another NVRAM" '.vm.secureBoot = true | .vm.disks[2].capacityBytes = 131072' "no UEFI firmware with Secure Boot"
  v b net-destroy lab > /dev/null
  check "network off" '.vm.nics[0].network = "lab"' "'lab' is not active"
  v b pool-destroy default > /dev/null
  check "pool off" . "'default' is not active"
}

part_remote() {
  up a ssh tls
  up b ssh tls
  # shellcheck disable=SC1091
  . "$work/b/env"
  local ssh=("--ssh-key" "$SSH_KEY" --known-hosts "$KNOWN_HOSTS")
  local url=qemu+ssh://root@$SSH_ADDRESS:$SSH_PORT/system tls=qemu+tls://$ADDRESS/system
  local pki=(--ca "$TLS_CA" --cert "$TLS_PKI/clientcert.pem" --key "$TLS_PKI/clientkey.pem")
  guest define "$work/b" m uefi --format qcow2 > /dev/null 2>&1
  qemu-img create -q -f qcow2 -b m-1.qcow2 -F qcow2 "$work/b/pool/over.qcow2"

  is "ssh: probe" 0 "$tool" "${ssh[@]}" "$url" probe
  is "ssh: find" 0 "$tool" "${ssh[@]}" "$url" find m
  same "ssh: NVRAM has its size" 540672 "$(jq '.disks[2].capacityBytes' <<< "$out")"
  cp "$work/.out" "$work/vm.json"
  is "ssh: disk" 0 "$tool" "${ssh[@]}" "$url" source-open m vda
  has "ssh: a reach by ssh" '"kind":"ssh"'
  has "ssh: with the key" "key=yes"
  same "ssh: port and user" "$SSH_PORT root" "$(sed 1d <<< "$out" | jq -r '"\(.port) \(.user)"')"
  define b "$(plain_xml over "$(file_disk "$work/b/pool/over.qcow2" qcow2 vda)")"
  is "ssh: a chain" 0 "$tool" "${ssh[@]}" "$url" source-open over vda
  has "ssh: is followed" "$work/b/pool/m-1.qcow2"
  v b undefine over > /dev/null

  # Making disks on another host: in a pool, and in a folder with an odd name.
  local doc=$work/t.json path storage
  mkdir -p "$work/b/pool/it's a \$folder"
  for storage in default "$work/b/pool/it's a \$folder"; do
    uid=$(cat /proc/sys/kernel/random/uuid)
    owner=install/ns/move/$uid/0123
    target_in "$storage" "$work/vm.json" > "$doc"
    is "ssh: check $storage" 0 "$tool" "${ssh[@]}" "$url" check-target "$doc"
    same "ssh: no error" "" "$(grep ^Error <<< "$out")"
    for i in 0 1 2; do
      is "ssh: prepare $i" 0 "$tool" "${ssh[@]}" "$url" prepare "$doc" $i
      is "ssh: prepare $i again" 0 "$tool" "${ssh[@]}" "$url" prepare "$doc" $i
      path=$("$tool" "${ssh[@]}" "$url" plan "$doc" $i | sed -n 2p)
      same "ssh: size of $i" "$(jq ".vm.disks[$i].capacityBytes" "$doc")" "$(qemu-img info --output json "$path" | jq '.["virtual-size"]')"
      is "ssh: $i done" 0 "$tool" "${ssh[@]}" "$url" done "$doc" $i
    done
    is "ssh: define" 0 "$tool" "${ssh[@]}" "$url" finish "$doc"
    is "ssh: remove the VM" 0 "$tool" "${ssh[@]}" "$url" remove VM "$("$tool" "${ssh[@]}" "$url" plan-vm "$doc" | sed -n 2p)" x "$owner"
    for i in 0 1 2; do
      mapfile -t plan < <("$tool" "${ssh[@]}" "$url" plan "$doc" $i)
      is "ssh: remove $i" 0 "$tool" "${ssh[@]}" "$url" remove "${plan[@]}" "$owner"
      absent "ssh: $i is gone" "${plan[1]}"
      is "ssh: remove $i again" 0 "$tool" "${ssh[@]}" "$url" remove "${plan[@]}" "$owner"
    done
  done

  is "ssh: wrong key" 1 "$tool" --ssh-key "$work/a/id_ed25519" --known-hosts "$KNOWN_HOSTS" "$url" probe
  has "ssh: wrong key is said" "error AuthenticationFailed"
  is "ssh: unknown host key" 1 "$tool" --ssh-key "$SSH_KEY" --known-hosts "$work/a/known_hosts" "$url" probe
  has "ssh: unknown host key is said" "error CertificateNotTrusted: connect to $url: the host's key is not in known_hosts"
  sed "s/^[^ ]*/[$SSH_ADDRESS]:$SSH_PORT/" "$work/a/known_hosts" > "$work/changed"
  is "ssh: changed host key" 1 "$tool" --ssh-key "$SSH_KEY" --known-hosts "$work/changed" "$url" probe
  has "ssh: changed host key is said" "differs from the one in known_hosts"
  is "ssh: no host key" 1 "$tool" --ssh-key "$SSH_KEY" "$url" probe
  has "ssh: no host key is said" "needs the host's key"
  is "ssh: any host key" 0 "$tool" --ssh-key "$SSH_KEY" --any-host-key "$url" probe
  is "ssh: no key" 1 "$tool" "$url" probe
  has "ssh: no key is said" "needs a private key"
  is "ssh: no such user" 1 "$tool" "${ssh[@]}" "qemu+ssh://nobody-here@$SSH_ADDRESS:$SSH_PORT/system" probe
  has "ssh: no such user is said" "error AuthenticationFailed"

  is "tls: probe" 0 "$tool" "${pki[@]}" "$tls" probe
  is "tls: no way to the disks" 0 "$tool" "${pki[@]}" "$tls" check-source m
  has "tls: is said" "Error SourceDataPath"
  is "tls: nor is one opened" 1 "$tool" "${pki[@]}" "$tls" source-open m vda
  is "tls with ssh" 0 "$tool" "${pki[@]}" "${ssh[@]}" --ssh-host "$SSH_ADDRESS" --ssh-port "$SSH_PORT" "$tls" source-open m vda
  has "tls with ssh: a reach" '"kind":"ssh"'
  is "tls: another CA" 1 "$tool" --ca "$work/a/pki/ca.pem" --cert "$work/a/pki/client.pem" --key "$work/a/pki/client.key" "$tls" probe
  has "tls: not trusted" "error CertificateNotTrusted"
  is "tls: no client certificate" 1 "$tool" --ca "$TLS_CA" "$tls" probe
  has "tls: refused" "error AuthenticationFailed"
  is "tls: no CA" 1 "$tool" "$tls" probe
  has "tls: CA is asked for" "error InvalidSpec"

  is "an address that is allowed" 0 "$tool" "${ssh[@]}" --allowed 10.213.0.0/16 "$url" probe
  is "one that is not" 1 "$tool" "${ssh[@]}" --allowed 192.0.2.0/24 "$url" probe
  has "denied" "error PermissionDenied"
  is "tls: one that is not" 1 "$tool" "${pki[@]}" --allowed 192.0.2.0/24 "$tls" probe
  has "tls: denied" "error PermissionDenied"
  is "a name, where addresses count" 1 "$tool" "${pki[@]}" --allowed 127.0.0.0/8 qemu+tls://localhost:1/system probe

  local bad
  for bad in 'qemu+ssh://h/system?command=/bin/sh' 'qemu+tls://h/system?no_verify=1' 'qemu:///session' 'test:///default' \
    'qemu+ext:///system' 'unix:///x?y=z' 'unix://relative' 'qemu+ssh://-oProxyCommand=x/system' 'qemu+ssh://a b/system' \
    'qemu+ssh://u:p@h/system' 'qemu+ssh://h:99999/system' 'qemu+tls://u@h/system' 'qemu+ssh://h/system/../x' ''; do
    is "endpoint '$bad' is refused" 1 "$tool" "${ssh[@]}" "$bad" probe
    has "endpoint '$bad': invalid" "error InvalidSpec"
  done
  is "nobody listens" 1 "$tool" "${ssh[@]}" "qemu+ssh://$SSH_ADDRESS:1/system" probe
  has "unreachable" "error Unreachable"
  is "no such socket" 1 "$tool" "unix://$work/no-socket" probe
  has "unreachable socket" "error Unreachable"

  # A black hole: the host drops everything.
  "$hosts/libvirt" exec "$work/b" ip link set eth0 down
  local start
  start=$(now_ms)
  is "a dead host" 1 "$tool" "${ssh[@]}" --deadline-ms 3000 "$url" probe
  has "timed out or unreachable" "error "
  same "within its deadline" yes "$([ $(($(now_ms) - start)) -lt 8000 ] && echo yes)"
  same "no keys are left" "" "$(find "$DROVER_RUNTIME_DIR" -type f)"
}

target_in() { # STORAGE VM-JSON
  jq --arg u "$uid" --arg o "$owner" --arg s "$1" '{vm: (del(.id, .power, .owner) | .name = "copy"), owner: $o, uid: $u,
    disks: [.disks[] | {storage: $s, format}]}' "$2"
}

# Block devices: a loop device as a source.
part_block() {
  up a
  local loop
  truncate -s 8M "$work/disk.img"
  loop=$(losetup -f --show "$work/disk.img") || { miss "a loop device"; return; }
  at_end "losetup -d $loop"
  define a "$(plain_xml blocky "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='$loop'/><target dev='sda' bus='sata'/></disk>")"
  is "a block device" 0 "$tool" "$(at a)" find blocky
  same "its size" "$loop 8388608 sata" "$(jq -r '.disks[0] | "\(.path) \(.capacityBytes) \(.bus)"' <<< "$out")"
  is "can be read" 0 "$tool" "$(at a)" source-open blocky sda
  same "as a file" "file $loop" "$(sed 1d <<< "$out" | jq -r '"\(.kind) \(.path)"')"
  is "is never deleted as a file" 1 "$tool" "$(at a)" delete blocky
  has "because it is no volume" "is a block device and no volume"
  is "and the VM stays" 0 "$tool" "$(at a)" find blocky
  [ -b "$loop" ] && pass "the device is there" || miss "the device is there"
}

[ $# -gt 0 ] || set -- describe move marks remote block
for part in "$@"; do "part_$part"; done
finish
