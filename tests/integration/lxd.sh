#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/lxd.sh [incus] PART...: the clone verbs of LXD, or of Incus, against a real daemon. Needs root.
# BUILD=build folder. Parts: btrfs dir https template server debian cloud convert kill wrong differences image
set -uo pipefail
. "$(dirname "$0")/lib.sh"

daemon=lxd client=lxc again='lxc -q delete $1/drover && lxc -q snapshot $1 drover'
if [ "${1:-}" = incus ]; then
  daemon=incus client=incus again='incus -q snapshot delete $1 drover && incus -q snapshot create $1 drover'
  shift
fi
tool=$BUILD/tests/integration/clone_conformance
host=$work/$daemon
export DROVER_RUNTIME_DIR=$work/runtime

up() {
  "$hosts/$daemon" up "$host" lxdhost || { miss "$daemon starts"; finish; exit 1; }
  at_end "'$hosts/$daemon' down '$host'"
  . "$host/env"
}
at() { "$hosts/$daemon" exec "$host" "$@"; }
x() { at "$client" -q "$@"; }
query() { x query "$@"; }

# describe FILE [JQ]: what the suite is told; busybox in the pool bt by way of the socket, changed by JQ
describe() {
  jq -n --arg endpoint "$SOCKET" --arg host "$hosts/$daemon" --arg c "$client" --arg again "$again" --arg dir "$host" '
    def on_host($w): [$host, "exec", $dir] + $w;
    {provider: {type: "LXD", endpoint: $endpoint, storage: "bt", network: "lab"},
     base: {vm: "origin"}, modes: ["Linked"], runs: true, cpus: 1, memoryBytes: 67108864, diskBytes: 2147483648,
     refuses: ["addresses", "nameservers", "userData"],
     host: {foreignMake: on_host([$c, "-q", "init", "busybox", "{name}"]),
            foreignShow: on_host([$c, "-q", "config", "show", "{name}"]),
            foreignRemove: on_host([$c, "-q", "delete", "{name}"]),
            baseChange: on_host(["sh", "-c", $again, "sh", "{name}"])},
     guest: {hostname: ["hostname"], machineID: ["cat", "/etc/machine-id"],
             macs: ["sh", "-c", "ip link | grep ether"], hostKeys: ["sh", "-c", "cat /etc/ssh/ssh_host_*_key"],
             sshKeys: ["cat", "/root/.ssh/authorized_keys"], cpus: ["nproc"],
             memory: ["sh", "-c", "mkdir -p /tmp/m; mount -t cgroup -o memory none /tmp/m; cat /tmp/m/memory.limit_in_bytes"],
             folder: "/root"}}' |
    jq "${2:-.}" > "$1"
}

suite() { # WHAT FILE [PATTERN]
  "$tool" "$2" suite ${3:+"$3"} > "$work/suite.out" 2>&1 && grep -q '       OK' "$work/suite.out" && pass "$1: $(grep -c '       OK' "$work/suite.out") checks" ||
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

# No pool here knows the exact cost of a copy, nor a size of the root.
part_dir() {
  up
  origin dr
  describe "$work/dr.json" '.provider.storage = "dr" | .modes = ["Full"] | .refuses += ["disks"]'
  suite "dir" "$work/dr.json"
}

part_https() {
  up
  origin bt
  local https='.provider += {endpoint: "'$HTTPS'", clientCertFile: "'$CERT'", clientKeyFile: "'$KEY'", caFile: "'$CA'"}'
  describe "$work/https.json" "$https"
  suite "https: clones" "$work/https.json" 'test_clone*'
  suite "https: commands" "$work/https.json" 'test_exec*'
  suite "https: files" "$work/https.json" 'test_files*'
  suite "https: the end" "$work/https.json" 'test_base_remove'
  describe "$work/pin.json" "$https | del(.provider.caFile) | .provider.fingerprint = \"$FINGERPRINT\""
  is "https: a pinned certificate" 0 "$tool" "$work/pin.json" list
  has "https: lists" "Container origin Off -"
  refused "a pin that is another's" CertificateNotTrusted "is not the one" "$https | .provider.fingerprint = (\"ab\" * 32)"
  refused "a CA that is another's" CertificateNotTrusted "not trusted" "$https | .provider.caFile = \"$CERT\""
  refused "no CA" CertificateNotTrusted "not trusted" "$https | del(.provider.caFile)"
  refused "a stranger's certificate" AuthenticationFailed "does not trust" \
    "$https | .provider += {clientCertFile: \"$STRANGER_CERT\", clientKeyFile: \"$STRANGER_KEY\"}"
  refused "no certificate" AuthenticationFailed "needs a client certificate" "$https | del(.provider.clientCertFile)"
  refused "a port where nobody listens" Unreachable "no connection" "$https | .provider.endpoint |= sub(\"8443\"; \"8444\")"
  local endpoint
  for endpoint in http://h https://h/path https://u@h https://h:99999 https://h:x unix://relative unix:/x https:// \
    "https://h?x=1" "unix:///x?y" "unix:///$(printf 'x%.0s' {1..120})"; do
    refused "endpoint '${endpoint:0:40}'" InvalidSpec endpoint ".provider.endpoint = \"$endpoint\""
  done
  refused "no socket" Unreachable "is the daemon running" '.provider.endpoint = "unix:///nonexistent/unix.socket"'
  describe "$work/nobody.json"
  local key="$work/nobody"
  install -d -m 755 "$key" && install -m 644 "$work/nobody.json" "$key/d.json" && install -m 755 "$tool" "$key/tool"
  chmod 755 "$work"
  is "a socket without permission" 0 setpriv --reuid nobody --regid nogroup --clear-groups "$key/tool" "$key/d.json" refuse PermissionDenied "no permission"
}

refused() { # WHAT KIND TEXT JQ
  describe "$work/refused.json" "$4"
  is "$1" 0 "$tool" "$work/refused.json" refuse "$2" "$3"
}

part_template() {
  up
  describe "$work/t.json" '.base = {template: "busybox"} | del(.host.baseChange) | del(.guest.macs)' # no profile has a card
  suite "an image as it is, btrfs" "$work/t.json"
}

# An image that the daemon downloads.
part_server() {
  SERVER=1 up
  describe "$work/s.json" ".base = {server: \"$IMAGES\", alias: \"busybox/1\"} | del(.host.baseChange)"
  local name
  for name in check plan crash seen of_others; do
    suite "an image server: base $name" "$work/s.json" "test_base_$name"
  done
  suite "an image server: clones" "$work/s.json" 'test_clone*'
  suite "an image server: commands" "$work/s.json" 'test_exec'
  describe "$work/s.json" ".base = {server: \"$IMAGES\", alias: \"busybox/1\", fingerprint: \"$IMAGES_FINGERPRINT\"}"
  suite "a pinned image" "$work/s.json" 'test_clone_made'
  missing "an alias that is not there" NotFound ".base = {server: \"$IMAGES\", alias: \"nope\"}"
  missing "a fingerprint that is not there" NotFound \
    ".base = {server: \"$IMAGES\", alias: \"busybox/1\", fingerprint: (\"ab\" * 32)}"
  missing "a server that is not there" ProtocolError ".base = {server: \"https://$ADDRESS:8445\", alias: \"busybox/1\"}"
  same "nothing is left" 0 "$(instances)"
}

missing() { # WHAT KIND JQ: no base can be made
  describe "$work/missing.json" "$3"
  "$tool" "$work/missing.json" make nobody 33330000-0000-4000-8000-000000000001 > "$work/missing.out" 2>&1
  grep -q ": $2: " "$work/missing.out" && pass "$1" || miss "$1" "$(head -n 5 "$work/missing.out")"
}

# A system that boots, with systemd, sshd's keys and a machine-id of its own.
part_debian() {
  DEBIAN=1 up
  origin bt debian
  describe "$work/d.json" '.guest.hostKeys = ["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"] | .linkedBytes = 4194304
    | .guest.memory = [] | .noShutdown = true' # it is asked at once, when systemd does not listen yet
  suite "debian" "$work/d.json"
  x delete origin
  half_made
}

# A system with cloud-init: user data, addresses and keys act by way of that.
part_cloud() {
  CLOUD=1 up
  origin bt cloud
  describe "$work/cloud.json" '.refuses = [] | .bootMs = 120000 | .address = "10.214.7.50/24" | .gateway = "10.214.7.1"
    | .linkedBytes = 4194304 | .noShutdown = true | .diskBytes = 3221225472
    | .guest += {memory: [], addresses: ["ip", "-4", "addr", "show", "eth0"], sshKeys: ["cat", "/home/debian/.ssh/authorized_keys"],
        userData: ["cat", "/var/lib/cloud/instance/user-data.txt"], hostKeys: ["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"]}'
  suite "cloud-init: templates" "$work/cloud.json" 'test_template'
  suite "cloud-init: identity" "$work/cloud.json" 'test_identity*'
}

# The daemon is killed while it copies a whole system into a folder: what it left is made anew.
half_made() {
  local id
  origin dr debian
  describe "$work/half.json" '.base = {template: "debian"} | .provider.storage = "dr" | .modes = ["Full"]'
  x profile device set default root pool dr
  "$tool" "$work/half.json" make half 11110000-0000-4000-8000-000000000001 > "$work/half.out" 2>&1 &
  local pid=$!
  wait_for 20 test -d "$host/$daemon/storage-pools/dr/containers/half/rootfs/usr" && pass "it copies" || miss "it copies"
  kill -KILL $pid
  is "the daemon is killed" 0 "$hosts/$daemon" restart "$host"
  is "and starts again: the clone is made" 0 "$tool" "$work/half.json" make half 11110000-0000-4000-8000-000000000001
  same "whole" "$(find "$host/$daemon/storage-pools/dr/containers/origin/rootfs/usr" | wc -l)" \
    "$(find "$host/$daemon/storage-pools/dr/containers/half/rootfs/usr" | wc -l)"
  is "and it can be dropped" 0 "$tool" "$work/half.json" drop half 11110000-0000-4000-8000-000000000001
}

# An instance becomes a base in its place, and gets back what it was.
part_convert() {
  up
  origin bt
  x config set origin user.note kept
  describe "$work/c.json" '.base = {vm: "origin", convert: true} | .release = true | del(.host.baseChange)'
  local t # not those that need it to be another instance than the one it is made of
  for t in check seen in_use remove; do suite "converted: base, $t" "$work/c.json" "test_base_$t"; done
  suite "converted: clones" "$work/c.json" 'test_clone_made'
  is "it is still there" 0 x config show origin
  has "with its own config" "user.note: kept"
  same "and none of ours" "" "$(grep -E 'user.drover|protection' <<< "$out")"
  same "and no snapshot" 0 "$(query /1.0/instances/origin/snapshots | jq length)"
}

instances() { query /1.0/instances | jq 'length'; }

part_kill() {
  up
  describe "$work/k.json" '.base = {template: "busybox"}'
  local i pid uid name made=0 late=0
  for ((i = 0; i < ${KILLS:-40}; i++)); do
    name=kl-$i uid=$(printf '%08d-0000-4000-8000-000000000000' "$i")
    "$tool" "$work/k.json" make "$name" "$uid" > "$work/k.out" 2>&1 &
    pid=$!
    read -rt "0.$(printf '%03d' $((RANDOM % 700)))" <> <(:) || true
    if kill -KILL $pid 2> /dev/null; then made=$((made + 1)); else late=$((late + 1)); fi
    wait $pid 2> /dev/null
    "$tool" "$work/k.json" make "$name" "$uid" > "$work/k.out" 2>&1 || { miss "made after kill $i" "$(tail -n 3 "$work/k.out")"; break; }
  done
  echo "# $made killed at work, $late after its end"
  same "as many as were asked for" "$i" "$(instances)"
  same "all of them complete" "$i" "$(query '/1.0/instances?recursion=1' | jq '[.[] | select(.config["user.drover.state"] == "made")] | length')"
  same "no two with one identity" "$i" "$(at sh -c "sort -u $host/btrfs/containers/kl-*/rootfs/etc/machine-id" | wc -l)"
  for ((i = 0; i < ${KILLS:-40}; i++)); do
    uid=$(printf '%08d-0000-4000-8000-000000000000' "$i")
    "$tool" "$work/k.json" drop "kl-$i" "$uid" > "$work/k.out" 2>&1 &
    pid=$!
    if ((i % 2)); then
      read -rt "0.$(printf '%03d' $((RANDOM % 500)))" <> <(:) || true
      kill -KILL $pid 2> /dev/null
      wait $pid 2> /dev/null
      "$tool" "$work/k.json" drop "kl-$i" "$uid" > "$work/k.out" 2>&1 || miss "dropped after kill $i" "$(cat "$work/k.out")"
    else
      wait $pid || miss "drop $i" "$(cat "$work/k.out")"
    fi
  done
  same "nothing is left" 0 "$(instances)"
}

# Where Incus is not like LXD. What a name that is taken and an operation that fails look like the suite sees.
part_differences() {
  SERVER=1 up
  same "it says who it is" incus "$(query /1.0 | jq -r .environment.server)"
  jq -n --arg e "$SOCKET" '{apiVersion: "drover.dev/v1alpha1", kind: "Provider", metadata: {name: "here"},
    spec: {type: "LXD", endpoint: $e}}' > "$work/provider.json"
  is "the provider LXD takes it" 0 "$drover" run -f "$work/provider.json" --state "$work/state.db"
  is "and its status" 0 "$drover" get provider here -o json --state "$work/state.db"
  has "names it" '"Incus 6.'
  is "there are no containers beside the instances" 1 x query /1.0/containers
  has "but nothing" "not found"
  is "its client takes the socket of a console" 0 at env -u INCUS_DIR "INCUS_SOCKET=${SOCKET#unix://}" incus -q list -f csv
  local https='.provider += {endpoint: "'$HTTPS'", clientCertFile: "'$CERT'", clientKeyFile: "'$KEY'", fingerprint: "'$FINGERPRINT'"}'
  describe "$work/https.json" "$https"
  is "https: a certificate that was added" 0 "$tool" "$work/https.json" list
  refused "https: a stranger's certificate" AuthenticationFailed "incus config trust add-certificate" \
    "$https | .provider += {clientCertFile: \"$STRANGER_CERT\", clientKeyFile: \"$STRANGER_KEY\"}"
  describe "$work/d.json" '.base = {template: "busybox"}'
  is "a clone of an image" 0 "$tool" "$work/d.json" make dif 44440000-0000-4000-8000-000000000001
  # A file that nobody had before is of the mode that the header says, not of the daemon's umask.
  same "headers of its own" "600 644" "$(at sh -c "cd $host/btrfs/containers/dif/rootfs/etc/ssh &&
    stat -c %a ssh_host_ed25519_key ssh_host_ed25519_key.pub" | xargs)"
  is "it goes" 0 "$tool" "$work/d.json" drop dif 44440000-0000-4000-8000-000000000001
  describe "$work/s.json" ".base = {server: \"$IMAGES\", alias: \"busybox/1\"} | del(.host.baseChange)"
  suite "an image server of its own files" "$work/s.json" 'test_clone_made'
  same "nothing is left" 0 "$(instances)"
}

# ---- an image of a store, as `lxc image export` writes it

pack() { # pack ARCHIVE FOLDER
  tar -C "$2" --numeric-owner -caf "$work/archives/$1" metadata.yaml rootfs
}
base_of() { # base_of ARCHIVE [JQ]
  describe "$work/i.json" ".base = {image: \"$work/archives/$1\"} | del(.host.baseChange) | ${2:-.}"
  "$tool" "$work/i.json" base "${NAME:-b1}" "44440000-0000-4000-8000-0000000000${UID_:-01}"
}
unbase() { "$tool" "$work/i.json" unbase "${NAME:-b1}" "44440000-0000-4000-8000-0000000000${UID_:-01}"; }
images() { query /1.0/images | jq 'length'; }
rests() { same "$1: no instance, no image but those of before" "0 1" "$(instances) $(images)"; }

bad() { # bad ARCHIVE REASON TEXT: no base, and nothing of it
  is "$1" 1 base_of "$1"
  has "$1: why" ": $2: "
  has "$1: in words" "$3"
  unbase > /dev/null
  rests "$1"
}

part_image() {
  up
  local each tree=$work/archives/tree i pid kills=0
  mkdir -p "$tree"
  tar -C "$tree" -xzf "$DROVER_CACHE/lxd-busybox.tar.gz"
  echo "of the store" > "$tree/rootfs/etc/issue"
  for each in tar tar.gz tar.xz tar.zst; do
    pack "small.$each" "$tree"
    is "$each" 0 base_of "small.$each"
    has "its revision begins with the digest of the archive" " $(sha256sum "$work/archives/small.$each" | cut -d' ' -f1)/"
    same "$each: as it was" "of the store" "$(at cat "$host/btrfs/containers/b1/rootfs/etc/issue")"
    same "$each: one instance, with a snapshot; the image has gone" "1 1 1" "$(instances) $(query /1.0/instances/b1/snapshots | jq length) $(images)"
    is "$each: it is the base a second time" 0 base_of "small.$each"
    is "$each: removed" 0 unbase
    rests "$each"
  done
  cp "$DROVER_CACHE/lxd-busybox.tar.gz" "$work/archives/there.tar.gz"
  is "an image that is there already" 0 base_of there.tar.gz
  is "removed" 0 unbase
  rests "it stays"
  for each in check of_nothing plan crash seen of_others cancelled in_use remove; do
    describe "$work/i.json" ".base = {image: \"$work/archives/small.tar\"} | del(.host.baseChange)"
    suite "an image: base $each" "$work/i.json" "test_base_$each"
  done
  suite "an image: a clone of it runs a command" "$work/i.json" test_exec
  rests "the suite"
  wrong_images
  image_kills
}

wrong_images() {
  head -c 300000 "$work/archives/small.tar.gz" > "$work/archives/cut.tar.gz"
  head -c 300032 "$work/archives/small.tar" > "$work/archives/cut.tar"
  echo "this is no archive" > "$work/archives/text.tar"
  echo "this is no archive" | gzip > "$work/archives/text.tar.gz"
  tar -C "$tree/rootfs" -czf "$work/archives/root.tar.gz" .
  qemu-img create -q -f qcow2 "$work/archives/disk.qcow2" 1M
  bad none.tar NotFound "none.tar"
  bad cut.tar.gz DataCorrupt "LXD cannot read the image"
  bad cut.tar DataCorrupt "truncated"
  bad text.tar DataCorrupt "no image that LXD takes"
  bad text.tar.gz DataCorrupt "LXD cannot read the image"
  bad root.tar.gz DataCorrupt "LXD cannot read the image"
  bad disk.qcow2 DataCorrupt "(disk image)"
}

# Killed on its way, or while the daemon looks at it: the next call makes it anew, or takes it away.
image_kills() {
  head -c 48M /dev/urandom > "$tree/rootfs/ballast"
  pack large.tar "$tree"
  for ((i = 10; i < 22; i++)); do
    NAME=b$i UID_=$i
    base_of large.tar '.imageDelayMs = 30' > "$work/k.out" 2>&1 &
    pid=$!
    read -rt "$((RANDOM % 3)).$(printf '%03d' $((RANDOM % 999)))" <> <(:) || true
    pkill -KILL -P $pid 2> /dev/null && kills=$((kills + 1))
    wait $pid 2> /dev/null
    if ((i % 2)); then
      is "after kill $i: made" 0 base_of large.tar
      same "after kill $i: whole" "$(sha256sum < "$tree/rootfs/ballast")" "$(at cat "$host/btrfs/containers/$NAME/rootfs/ballast" | sha256sum)"
    fi
    is "after kill $i: taken away" 0 unbase
    rests "after kill $i"
  done
  NAME='' UID_=''
  echo "# $kills kills"
}

part_wrong() {
  local row verb kind text
  mkdir "$work/fake"
  mkfifo "$work/fake.in"
  "$here/lxd_fake.py" "$work/fake" < "$work/fake.in" > "$work/rows" &
  exec 8> "$work/fake.in"
  wait_for 10 grep -q '^ready$' "$work/rows" || miss "the fake starts"
  while read -r row verb kind text; do
    [ "$row" != ready ] || continue
    jq -n --arg e "unix://$work/fake/$row" '{provider: {type: "LXD", endpoint: $e, storage: "bt", deadlineMs: 2000},
      base: {template: "base"}, modes: ["Linked"]}' > "$work/row.json"
    if [ "$row" = rootless ]; then
      jq 'del(.provider.storage)' "$work/row.json" > "$work/row2.json" && mv "$work/row2.json" "$work/row.json"
    fi
    case $verb in
      refuse) is "$row" 0 "$tool" "$work/row.json" refuse "$kind" "$text" ;;
      make)
        "$tool" "$work/row.json" make fk 22220000-0000-4000-8000-000000000001 > "$work/row.out" 2>&1
        grep -q "$kind: .*$text" "$work/row.out" && pass "$row" || miss "$row" "$(tail -n 5 "$work/row.out")"
        ;;
    esac
  done < "$work/rows"
  exec 8>&-
}

[ $# -gt 0 ] || { echo "usage: lxd.sh [incus] PART..." >&2; exit 2; }
for part; do "part_$part"; done
finish
