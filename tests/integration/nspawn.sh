#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nspawn.sh btrfs|xfs|ext4|systemd|kill|refuse|image: the Nspawn provider on a file system of its own (in a loop file), with a real
# Debian as base: the conformance suite of clones, and kill -9 at random moments. BUILD is the build folder. Needs root
# and the packages of `hack/setup --tests`.
set -euo pipefail

# limit cpu|memory NAME: what the control group of a container that runs allows: CPUs, or bytes.
if [ "${1:-}" = limit ]; then
  group=$(ls -d "/sys/fs/cgroup/$2/drover/"*"-$3" "/sys/fs/cgroup/drover/"*"-$3" 2> /dev/null | head -n 1 || true)
  grep -q . "$group"/cgroup.procs "$group"/*/cgroup.procs 2> /dev/null || exit 1
  case $2 in
    cpu) cat "$group/cpu.max" "$group/cpu.cfs_quota_us" 2> /dev/null | awk '{ print $1 / 100000 }' ;;
    memory) cat "$group/memory.max" "$group/memory.limit_in_bytes" 2> /dev/null ;;
  esac || true
  exit 0
fi
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
conformance=$BUILD/tests/integration/clone_conformance
bridge=
folder=$work/machines

# file_system TYPE SIZE: mounts a new one at $folder.
file_system() {
  mkdir -p "$folder"
  truncate -s "$2" "$work/disk.$1"
  case $1 in
    btrfs) mkfs.btrfs -q "$work/disk.$1" > /dev/null ;;
    xfs) mkfs.xfs -q -m reflink=1 "$work/disk.$1" ;;
    ext4) mkfs.ext4 -q "$work/disk.$1" ;;
  esac
  mount -o loop "$work/disk.$1" "$folder"
  at_end "mountpoint -q '$folder' && { umount -R '$folder' || umount -l '$folder'; }"
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

uid() { printf '%08d-0000-4000-8000-%012d' "$1" "$1"; }

bridge() {
  bridge=drt$(($$ % 10000000))
  ip link add "$bridge" type bridge
  at_end "ip link delete $bridge"
  ip link set "$bridge" up
}

# describe NAME FILTER: $work/NAME.json
describe() {
  jq -n --arg folder "$folder" --arg bridge "$bridge" --arg self "$here/nspawn.sh" '{
    provider: {type: "Nspawn", endpoint: "local:\($folder)", network: $bridge},
    base: {vm: "debian"},
    modes: ["Linked", "Full"],
    refuses: ["disks", "userData"],
    runs: true,
    host: {
      foreignMake: ["mkdir", "-p", "\($folder)/{name}/etc"],
      foreignShow: ["find", "\($folder)/{name}", "-printf", "%p %i %C@ %s %m\n"],
      foreignRemove: ["rm", "-r", "\($folder)/{name}"],
      cpus: ["\($self)", "limit", "cpu", "{name}"], memory: ["\($self)", "limit", "memory", "{name}"],
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
  describe btrfs '.modes = ["Linked", "Reflink", "Full"] | .linkedBytes = 131072 |
    .host.baseChange[2] |= "btrfs property set -f $1 ro false && " + .'
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
  rmdir "$folder/lost+found"
  root_file_system debian
  bridge
  describe ext4 '.noSource = true'
  suite ext4
}

# ---- a host whose init is systemd

# inner PID: the init that systemd-nspawn PID runs.
inner() {
  host=
  read -r host _ < "/proc/$1/task/$1/children" || [ -n "$host" ] && [ "$(< "/proc/$host/comm")" = systemd ]
}

in_host() { nsenter --target "$host" --all --root --wd "$@"; }

# This system once more, as a container with a systemd of its own; what it writes vanishes, but in $work.
systemd_host() {
  local pid
  mkdir "$work/over" "$work/host"
  mount -t tmpfs tmpfs "$work/over"
  at_end "umount '$work/over'"
  mkdir "$work/over/upper" "$work/over/work"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$work/over/upper,workdir=$work/over/work" "$work/host"
  at_end "umount '$work/host'"
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_SECCOMP=0 setsid systemd-nspawn --quiet --register=no --keep-unit \
    --directory="$work/host" --machine="drover-$$" --private-network --capability=all --bind="$work" \
    --link-journal=no --console=read-only --boot systemd.unit=basic.target \
    < /dev/null > "$work/host.log" 2>&1 &
  pid=$!
  at_end "kill -9 \$(cat /proc/$pid/task/$pid/children 2> /dev/null) $pid 2> /dev/null; wait $pid 2> /dev/null"
  wait_for 20 inner "$pid" || { cat "$work/host.log"; return 1; }
  is "a host with systemd" 0 wait_for 60 in_host busctl status org.freedesktop.systemd1
  [ "$failed" = 0 ] || { tail -n 20 "$work/host.log"; exit 1; }
}

run_systemd() {
  file_system btrfs 6G
  root_file_system debian
  systemd_host
  describe systemd '.provider.network = null | .modes = ["Linked", "Reflink", "Full"] |
    .refuses += ["cpus", "memory"] | .host.baseChange[2] |= "btrfs property set -f $1 ro false && " + .'
  conformance="in_host env LSAN_OPTIONS=$LSAN_OPTIONS $conformance"
  registered
  is "the suite under systemd" 0 $conformance "$work/systemd.json" suite
  grep -aE '^\[ *(FAILED|SKIPPED)|ERROR|left behind' <<< "$out$errors" | sort -u | head -n 40 || true
  is "no service is left" 0 in_host systemctl --no-legend --all list-units 'drover-*'
  same "none at all" "$out" ""
}

# What runs is a service of systemd's and known to machined; it is found even if drover was killed before it noted the pid.
registered() {
  jq 'del(.base.vm) | .base.template = "debian"' "$work/systemd.json" > "$work/one.json"
  is "a clone" 0 $conformance "$work/one.json" make one "$(uid 1)"
  is "started" 0 $conformance "$work/one.json" power one on
  is "machined knows it" 0 wait_for 20 in_host machinectl show one
  is "its service runs" 0 in_host systemctl --no-legend list-units 'drover-*-one.service'
  has "its service is active" "running"
  is "machined's leader" 0 in_host machinectl show one --property=Leader --property=Unit
  has "its unit" "-one.service"
  : > "$folder/.drover/run/one.pid"
  is "the list" 0 $conformance "$work/one.json" list
  has "it runs although nobody noted its pid" "Clone one On "
  is "a second start does nothing" 0 $conformance "$work/one.json" power one on
  is "stopped" 0 $conformance "$work/one.json" power one off
  is "and gone from machined" 0 wait_for 10 eval '! in_host machinectl show one'
  is "removed" 0 $conformance "$work/one.json" drop one "$(uid 1)"
}

# ---- kill -9

# killed COMMAND NAME UID MS: the program is killed after a random time up to MS, unless it was faster.
killed() {
  local after
  after=$((RANDOM % $4))
  { # the shell would tell of each
    timeout -s KILL "$(printf '%d.%03d' $((after / 1000)) $((after % 1000)))" \
      "$conformance" "$work/kill.json" "$1" "$2" "$3" > /dev/null || kills=$((kills + 1))
  } 2> /dev/null
}

# kill_loop WHAT COUNT: clones killed while they are made, and while they are removed.
kill_loop() {
  local i start ms kills=0 failures=0
  start=$(now_ms)
  is "$1: one, undisturbed" 0 "$conformance" "$work/kill.json" make k0 "$(uid 1000)"
  ms=$(($(now_ms) - start + 20))
  for ((i = 1; i <= $2; i++)); do
    killed make "k$i" "$(uid "$i")" "$ms"
    killed make "k$i" "$(uid "$i")" "$ms"
    "$conformance" "$work/kill.json" make "k$i" "$(uid "$i")" > "$work/.said" 2>&1 ||
      { failures=$((failures + 1)); head -n 3 "$work/.said"; }
  done
  same "$1: every repetition succeeds" "$failures" 0
  is "$1: the list" 0 "$conformance" "$work/kill.json" list
  same "$1: exactly one of each" "$(grep -c '^Clone k[0-9]* Off conformance/' <<< "$out")" $(($2 + 1))
  same "$1: and nothing else" "$(wc -l <<< "$out")" $(($2 + 2))
  same "$1: nothing half-made" "$(find "$folder"/.drover/{parts,trash} -mindepth 1)" ""
  same "$1: no two with one machine-id" "$(identities | sort | uniq -d)" ""
  for ((i = 0; i <= $2; i++)); do
    killed drop "k$i" "$(uid $((i ? i : 1000)))" "$ms"
    "$conformance" "$work/kill.json" drop "k$i" "$(uid $((i ? i : 1000)))" > /dev/null || failures=$((failures + 1))
  done
  same "$1: all removed" "$failures $(ls "$folder") $(ls "$folder/.drover/records")" "0 debian "
  same "$1: nothing left" "$(find "$folder"/.drover/{parts,overlays,trash} -mindepth 1)" ""
  echo "# $1: $kills kills in $(($2 * 3 + 1)) runs of up to $ms ms"
}

identities() {
  local machine upper
  for machine in "$folder"/k*; do
    upper=$folder/.drover/overlays/${machine##*/}/upper
    if [ -d "$upper" ]; then cat "$upper/etc/machine-id"; else cat "$machine/etc/machine-id"; fi
  done
}

run_kill() {
  file_system btrfs 6G
  root_file_system debian
  describe kill 'del(.base.vm) | .base.template = "debian"'
  kill_loop "btrfs snapshots" 25
  umount "$folder"
  file_system ext4 12G
  rmdir "$folder/lost+found"
  root_file_system debian
  kill_loop "overlays" 25
  describe kill 'del(.base.vm) | .base.template = "debian" | .modes = ["Full"]'
  kill_loop "copies" 6
}

# ---- what cannot be

run_refuse() {
  mkdir "$folder"
  describe good .
  local what endpoint kind text
  while IFS='|' read -r what endpoint kind text; do
    jq --arg e "$endpoint" '.provider.endpoint = $e' "$work/good.json" > "$work/bad.json"
    is "$what" 0 "$conformance" "$work/bad.json" refuse "$kind" "$text"
    echo "    $out"
  done <<END
a folder that is not there|local:$folder/none|NotFound|there is no folder
a file|local:$work/good.json|InvalidSpec|is not a folder
no scheme|$folder|InvalidSpec|must be local:/FOLDER
a relative folder|local:machines|InvalidSpec|must be local:/FOLDER
a way up|local:$folder/../x|InvalidSpec|must be local:/FOLDER
a comma, which would be a mount option|local:$folder/a,b|InvalidSpec|must be local:/FOLDER
END
  mkdir "$folder/theirs" "$folder/theirs/.drover"
  chown 65534 "$folder/theirs/.drover"
  jq --arg e "local:$folder/theirs" '.provider.endpoint = $e' "$work/good.json" > "$work/bad.json"
  is "somebody else's .drover" 0 "$conformance" "$work/bad.json" refuse PermissionDenied "is not drover's own"
  mkdir "$folder/tmpfs"
  mount -t tmpfs tmpfs "$folder/tmpfs"
  at_end "umount '$folder/tmpfs'"
  mount -o remount,ro "$folder/tmpfs"
  jq --arg e "local:$folder/tmpfs" '.provider.endpoint = $e' "$work/good.json" > "$work/bad.json"
  is "a read-only file system" 0 "$conformance" "$work/bad.json" refuse PermissionDenied "ead-only"
}

# ---- bases of archives

pattern_suite() { # WHAT PATTERN
  is "$1" 0 timeout 300 "$conformance" "$work/image.json" suite "$2"
  grep -aE '^\[ *FAILED|ERROR|left behind' <<< "$out$errors" | sort -u | head -n 20 || true
}

# As it lies in a store: a base of each kind of archive, clones that run, and what a base has to keep.
images() {
  local name
  describe image ".base = {image: \"$archives/root.tar\"} | .modes = $1 | .noSource = true | .host.baseChange[2] |= (\"$2\" + .)"
  for name in check of_nothing plan crash seen of_others cancelled in_use remove changed; do
    pattern_suite "$3, an image: base $name" "test_base_$name"
  done
  pattern_suite "$3, an image: a clone of it runs a command" test_exec
  same "$3, an image: nothing is left" "$(ls "$folder") $(ls "$folder/.drover/records")" " "
  same "$3, an image: nothing half-made" "$(find "$folder"/.drover/{parts,trash} -mindepth 1)" ""
}

base_of() { # base_of ARCHIVE [JQ]: with the tool's base and unbase
  describe image ".base = {image: \"$archives/$1\"} | ${2:-.}"
  "$conformance" "$work/image.json" base "${NAME:-b1}" "$(uid "${UID_:-1}")"
}
unbase() { "$conformance" "$work/image.json" unbase "${NAME:-b1}" "$(uid "${UID_:-1}")"; }

# What is the same in the archive and in the base: kinds, owners, permissions, sizes, links, attributes.
listing() { (cd "$1" && find . -mindepth 1 '(' -type d -printf 'd %m %U %G %p\n' -o -printf '%y %m %U %G %n %p %l\n' ')' | sort && getcap -r . 2> /dev/null | sort); }

formats() {
  local each
  listing "$archives/tree" > "$work/tree"
  for each in tar tar.gz tar.xz tar.zst; do
    is "$each" 0 base_of "small.$each"
    has "its revision begins with the digest of the archive" " $(sha256sum "$archives/small.$each" | cut -d' ' -f1):"
    same "$each: all as it was" "$(listing "$folder/b1" | diff - "$work/tree" | head -n 5)" ""
    is "$each: it is the base a second time" 0 base_of "small.$each"
    is "$each: removed" 0 unbase
  done
}

# bad ARCHIVE REASON TEXT: no base, no folder, no record
bad() {
  is "$1" 1 base_of "$1"
  has "$1: why" ": $2: "
  has "$1: in words" "$3"
  same "$1: nothing half-made" "$(find "$folder" -mindepth 1 -path "$folder/.drover" -prune -o -print)$(ls "$folder/.drover/records")$(find "$folder"/.drover/{parts,trash} -mindepth 1)" ""
}

hostile() { # archives that want out of the folder they are unpacked in
  python3 - "$archives" "$work" << 'P'
import io, sys, tarfile
archives, work = sys.argv[1:]
def archive(name, members):
    with tarfile.open(f"{archives}/{name}", "w") as t:
        for path, kind, target in [("etc", tarfile.DIRTYPE, ""), ("usr", tarfile.DIRTYPE, "")] + members:
            m = tarfile.TarInfo(path)
            m.type, m.linkname, m.mode = kind, target, 0o755
            body = b"evil" if kind == tarfile.REGTYPE else b""
            m.size = len(body)
            t.addfile(m, io.BytesIO(body))
F, S, L = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
archive("up.tar", [("../../../escaped", F, "")])
archive("absolute.tar", [(f"{work}/escaped", F, "")])
archive("link.tar", [("out", S, work), ("out/escaped", F, "")])
archive("chain.tar", [("usr/a", S, ".."), ("usr/b", S, "a/../../../../.."), ("usr/b/escaped", F, "")])
archive("hard.tar", [("usr/h", L, f"{work}/secret"), ("usr/h", F, "")])
archive("self.tar", [("etc/passwd", S, "/etc/passwd"), ("etc/passwd", F, "")])
P
  echo secret > "$work/secret"
  local each before
  before=$(sha256sum /etc/passwd)
  for each in up absolute link chain hard self; do
    base_of "$each.tar" > "$work/.said" 2>&1 || true
    same "$each.tar: nothing got out" "$(find "$work" "$folder" -name escaped -not -path "$folder/b1/*") $(< "$work/secret") $(sha256sum /etc/passwd)" " secret $before"
    unbase > /dev/null
  done
  same "all of them are gone" "$(ls "$folder" "$folder/.drover/records" | tr -d '\n')" "$folder:$folder/.drover/records:"
}

wrong_images() {
  head -c 300000 "$archives/root.tar.gz" > "$archives/cut.tar.gz"
  head -c 300000 "$archives/root.tar.xz" > "$archives/cut.tar.xz"
  head -c 300032 "$archives/root.tar" > "$archives/cut.tar"
  head -c 1024000 "$archives/root.tar" > "$archives/blocks.tar"
  echo "this is no archive" > "$archives/text.tar"
  : > "$archives/empty.tar"
  echo "this is no archive" | gzip > "$archives/text.tar.gz"
  tar -C "$archives/tree/etc" -cf "$archives/part.tar" .
  tar -C "$archives" --transform 's/^tree/rootfs/' -cf "$archives/lxd.tar" tree/etc
  qemu-img create -q -f qcow2 "$archives/disk.qcow2" 1M
  { head -c 2000000 "$archives/root.tar.gz" && head -c 100000 /dev/zero && tail -c +2100001 "$archives/root.tar.gz"; } > "$archives/bits.tar.gz"
  bad none.tar NotFound "none.tar"
  bad cut.tar.gz DataCorrupt "unexpected end of file"
  bad cut.tar.xz DataCorrupt "Unexpected end of input"
  bad cut.tar DataCorrupt "truncated"
  bad blocks.tar DataCorrupt "its end is missing"
  bad text.tar DataCorrupt "no such archive"
  bad empty.tar DataCorrupt "no such archive"
  bad text.tar.gz DataCorrupt "no root file system"
  bad bits.tar.gz DataCorrupt "cannot be unpacked"
  bad part.tar DataCorrupt "no root file system"
  bad lxd.tar DataCorrupt "an image of LXD"
  bad disk.qcow2 DataCorrupt "(disk image)"
}

# Killed while it is unpacked: the next call makes it anew. It can be taken away at any time, too.
image_kills() {
  local i start ms kills=0 failures=0
  start=$(now_ms)
  is "an image, undisturbed" 0 base_of root.tar.gz
  ms=$(($(now_ms) - start + 50))
  is "removed" 0 unbase
  listing "$archives/whole" > "$work/whole"
  for ((i = 2; i <= 7; i++)); do
    NAME=k$i UID_=$i
    describe image ".base = {image: \"$archives/root.tar.gz\"}"
    { timeout -s KILL "$(printf '0.%03d' $((RANDOM % 900 + 50)))" "$conformance" "$work/image.json" base "$NAME" "$(uid "$i")" > /dev/null || kills=$((kills + 1)); } 2> /dev/null
    if ((i % 2)); then
      base_of root.tar.gz > "$work/.said" 2>&1 || { failures=$((failures + 1)); cat "$work/.said"; }
      same "after kill $i: whole" "$(listing "$folder/$NAME" | diff - "$work/whole" | head -n 5)" ""
    fi
    unbase > "$work/.said" 2>&1 || { failures=$((failures + 1)); cat "$work/.said"; }
  done
  NAME='' UID_=''
  echo "# $kills kills in 6 runs of $ms ms"
  same "every repetition succeeds" "$failures" 0
  same "no orphan" "$(ls "$folder" "$folder/.drover/records" | tr -d '\n')$(find "$folder"/.drover/{parts,trash} -mindepth 1)" "$folder:$folder/.drover/records:"
  same "no tar" "$(ps -eo args | grep -c "^tar --extract.*$folder" || true)" 0
}

# Too little room: said, and nothing of it stays; with room it goes on.
image_full() {
  umount "$folder"
  rm -f "$work"/disk.*
  file_system ext4 64M
  rmdir "$folder/lost+found"
  bad root.tar.xz InsufficientSpace "o space"
}

run_image() {
  archives=$work/archives
  mkdir -p "$archives/whole" "$archives/tree"/{etc,usr/bin,dev,root}
  cp "$("$hosts/container-root" "$archives/whole")" "$archives/root.tar"
  gzip -1 -k "$archives/root.tar"
  xz -0 -T2 -k "$archives/root.tar"
  mknod "$archives/tree/dev/null" c 1 3
  install -m 4755 /bin/true "$archives/tree/usr/bin/su"
  setcap cap_net_raw+ep "$archives/tree/usr/bin/su" && chmod 4755 "$archives/tree/usr/bin/su"
  ln -s /etc/x "$archives/tree/etc/y" && ln "$archives/tree/usr/bin/su" "$archives/tree/usr/bin/two"
  chown 1234:5678 "$archives/tree/root" && chmod 1777 "$archives/tree/root"
  tar -C "$archives/tree" --numeric-owner --xattrs --xattrs-include='*' -cf "$archives/small.tar" .
  gzip -k "$archives/small.tar" && xz -k "$archives/small.tar" && zstd -q "$archives/small.tar"
  file_system btrfs 6G
  bridge
  formats
  hostile
  wrong_images
  image_kills
  images '["Linked", "Reflink", "Full"]' 'btrfs property set -f $1 ro false && ' btrfs
  umount "$folder"
  rm "$work/disk.btrfs"
  file_system ext4 4G
  rmdir "$folder/lost+found"
  images '["Linked", "Full"]' '' ext4
  image_full
}

# A systemd takes five inotify instances, of 128 that root has by default; other tests boot containers as well.
instances=$(< /proc/sys/fs/inotify/max_user_instances)
if [ "$instances" -lt 1024 ]; then
  echo 1024 > /proc/sys/fs/inotify/max_user_instances
  at_end "echo $instances > /proc/sys/fs/inotify/max_user_instances"
fi
at_end stop_all
"run_${1:?usage: nspawn.sh btrfs|xfs|ext4|systemd|kill|refuse|image}"
finish
