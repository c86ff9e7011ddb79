# SPDX-License-Identifier: Apache-2.0
# The world of the end-to-end tests of clones: two bases, blue and green, on libvirt host a; sourced by them, after lib.sh
# and when that host is up. Who sources it has a function clones, which prints the names of the Clones of set web.
POOL=$WORK/a/pool

define() { # define NAME DISK
  at a define /dev/stdin << X
<domain type='qemu'><name>$1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$2'/><target dev='vda' bus='virtio'/></disk>
<interface type='network'><source network='default'/><model type='virtio'/></interface></devices></domain>
X
}
for b in blue green; do
  qemu-img create -q -f qcow2 "$POOL/$b.qcow2" 256M
  qemu-io -c 'write -q -P 7 0 1M' "$POOL/$b.qcow2"
  define $b "$POOL/$b.qcow2"
done
bases_before=$(sha256sum "$POOL"/*.qcow2)

head_of() { printf -- '---\napiVersion: drover.dev/v1alpha1\nkind: %s\nmetadata: {name: %s}\n' "$1" "$2"; }
world() {
  head_of Provider here
  echo "spec: {type: Libvirt, endpoint: 'unix://$WORK/a/run/libvirt-sock', allow: [Clone]}"
  for b in blue green; do
    head_of CloneBase $b
    echo "spec: {providerRef: {name: here}, template: {name: $b}}"
  done
}
machines() { at a list --all --name | grep -c '^web-' || true; }
files() { find "$POOL" -mindepth 1 -printf '%f\n' | sort | paste -sd' '; }
bases() { # the bases that the clones rest upon, one a line
  find "$POOL" -name 'web-*.qcow2' -exec qemu-img info -U --output=json {} ';' | jq -r '."backing-filename" | sub(".*/"; "") | rtrimstr(".qcow2")' | sort
}
same() { [ "$1" = "$2" ] || { echo "expected '$1', is '$2'"; return 1; }; }
names() { seq -f 'web-%.0f' 0 $(($1 - 1)) | sort | paste -sd' '; }
holds() { # holds N [BASE]: exactly N clones, N machines, all of that base
  same "$(names "$1")" "$(clones)"
  same "$1" "$(machines)"
  same "$1" "$(bases | wc -l)"
  [ $# = 1 ] || [ "$1" = 0 ] || same "$2" "$(bases | uniq)"
}
