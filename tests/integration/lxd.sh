#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/lxd.sh PART...: the clone verbs of LXD against a real daemon. Needs root. BUILD=build folder.
# Parts: btrfs dir https template debian convert kill wrong
set -uo pipefail
. "$(dirname "$0")/lib.sh"

tool=$BUILD/tests/integration/clone_conformance
host=$work/lxd
export DROVER_RUNTIME_DIR=$work/runtime

up() {
  "$hosts/lxd" up "$host" lxdhost || { miss "LXD starts"; finish; exit 1; }
  at_end "'$hosts/lxd' down '$host'"
  . "$host/env"
}
at() { "$hosts/lxd" exec "$host" "$@"; }
x() { at lxc -q "$@"; }
query() { x query "$@"; }

# describe FILE [JQ]: what the suite is told; busybox in the pool bt by way of the socket, changed by JQ
describe() {
  jq -n --arg endpoint "$SOCKET" --arg lxd "$hosts/lxd" --arg dir "$host" '
    def on_host($w): [$lxd, "exec", $dir] + $w;
    {provider: {type: "LXD", endpoint: $endpoint, storage: "bt", network: "lab"},
     base: {vm: "origin"}, modes: ["Linked"], runs: true, cpus: 1, memoryBytes: 67108864, diskBytes: 2147483648,
     refuses: ["addresses", "nameservers", "userData"],
     host: {foreignMake: on_host(["lxc", "-q", "init", "busybox", "{name}"]),
            foreignShow: on_host(["lxc", "-q", "config", "show", "{name}"]),
            foreignRemove: on_host(["lxc", "-q", "delete", "{name}"]),
            baseChange: on_host(["sh", "-c", "lxc -q delete $1/drover && lxc -q snapshot $1 drover", "sh", "{name}"])},
     guest: {hostname: ["hostname"], machineID: ["cat", "/etc/machine-id"],
             macs: ["sh", "-c", "ip link | grep ether"], hostKeys: ["sh", "-c", "cat /etc/ssh/ssh_host_*_key"],
             sshKeys: ["cat", "/root/.ssh/authorized_keys"], cpus: ["nproc"],
             memory: ["sh", "-c", "mkdir -p /tmp/m; mount -t cgroup -o memory none /tmp/m; cat /tmp/m/memory.limit_in_bytes"],
             folder: "/root"}}' |
    jq "${2:-.}" > "$1"
}

suite() { # WHAT FILE [PATTERN]
  "$tool" "$2" suite ${3:+"$3"} > "$work/suite.out" 2>&1 && pass "$1: $(grep -c '       OK' "$work/suite.out") checks" ||
    { miss "$1"; grep -vE '^\[ (RUN|      OK)' "$work/suite.out" | head -n 60; }
}

origin() { # POOL [IMAGE]
  x init "${2:-busybox}" origin --storage "$1" --network lab > /dev/null
}

part_btrfs() {
  up
  origin bt
  describe "$work/bt.json"
  suite "btrfs" "$work/bt.json"
}

case "${1:-}" in
  '') echo "usage: lxd.sh PART..." >&2; exit 2 ;;
esac
for part; do "part_$part"; done
finish
