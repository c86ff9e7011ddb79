#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/resume.sh PART...: copies with --checkpoint that are killed at random moments and
# go on, against real ends. After each of them the content is compared, what was sent again is within
# its bound, and nothing is left. Parts: file object renamed nbd source s3 nfs ssh http store run. BUILD=build
# folder, KILLS=kills of each end (default 30).
set -uo pipefail
. "$(dirname "$0")/lib.sh"

MIB=$((1 << 20))
BOUND=$((64 * MIB)) # for each kill: max(64 MiB, connections x part size)
KILLS=${KILLS:-30}
kills=0 resumed=0 copies=0 before=0
formats=(qcow2 raw raw.zst packed.qcow2)
state=$work/state.db images=$work/images

pattern() { echo "pattern:120Mi,seed=$1,data=70"; }

is_packed() { [[ $1 = *.packed.qcow2 ]]; }

# One copy, killed up to four times: one SRC DST [OPTION...]. Its done line is in $done_line. $before:
# how often it was killed before.
one() {
  local source=$1 target=$2 here=$before status pid
  shift 2
  is_packed "$target" && set -- "$@" --compress
  while :; do
    "$drover" copy "$source" "$target" --checkpoint "$work/cp" --progress json --limit 80M "$@" \
      > "$work/.one" 2> "$work/.one.err" < /dev/null &
    pid=$!
    [ "$here" -ge 4 ] || { sleep "$((RANDOM % 2)).$((RANDOM % 900 + 100))" && kill -KILL $pid 2> /dev/null; } # any moment
    wait $pid 2> /dev/null
    status=$?
    [ $status = 137 ] || break
    here=$((here + 1)) kills=$((kills + 1))
    # Killed when all was said already.
    if grep -q '^{"type":"done"' "$work/.one"; then
      rm -f "$work/cp"
      status=0
      break
    fi
  done
  done_line=$(jq -c 'select(.type == "done")' "$work/.one" | tail -n 1)
  [ $status = 0 ] && [ -n "$done_line" ] || { miss "copy to $target" "$(tail -n 3 "$work/.one" "$work/.one.err")"; return 1; }
  copies=$((copies + 1))
  local again kept
  again=$(jq .resentBytes <<< "$done_line") kept=$(jq .resumedBytes <<< "$done_line")
  [ "$kept" = 0 ] || resumed=$((resumed + 1))
  [ "$again" -le $((here * BOUND)) ] || miss "sent again" "$again bytes after $here kills"
  [ ! -e "$work/cp" ] || miss "the checkpoint is gone" "$(ls -l "$work/cp")"
}

# Until the end at hand has had its kills: loop WHAT FUNCTION, which is given a number.
loop() {
  local what=$1 from=$kills n=0
  resumed=0 copies=0
  while [ $((kills - from)) -lt "$KILLS" ] && [ $n -lt $((KILLS * 3)) ]; do
    n=$((n + 1))
    "$2" $n || { nbd_down; return; }
  done
  pass "$what: $((kills - from)) kills, $copies copies, all as they should be"
  [ $resumed -gt 0 ] && pass "$what: $resumed copies went on" || miss "$what" "no copy went on with what was there"
}

equal() { "$drover" verify --progress none "$@" > "$work/.verify" 2>&1 || miss "content of $1" "$(cat "$work/.verify")"; }

whole_object() { # FILE NAME
  local sum
  if is_packed "$2"; then # its bytes do not come in order
    qemu-img check -q "$1" || miss "a good qcow2" "$2"
    return
  fi
  sum=$(sha256sum "$1" | cut -d' ' -f1)
  [ "$sum" = "$(jq -r .objectSha256 <<< "$done_line")" ] || miss "SHA-256 of $1" "$sum"
}

to_file() {
  truncate -s 130M "$work/t.raw"
  one "$(pattern "$1")" "$work/t.raw" --overwrite || return
  equal "$work/t.raw" "$(pattern "$1")"
}

# A device in place: its own path in the code.
to_device() {
  one "$(pattern "$1")" "$device" || return
  equal "$device" "$(pattern "$1")"
}

part_file() {
  truncate -s 130M "$work/device.img"
  if device=$(losetup --find --show "$work/device.img" 2> /dev/null); then
    at_end "losetup -d '$device'"
    loop "block device" to_device
  else
    echo "    no loop device here: block devices are left out"
  fi
}

to_object() {
  local name=o.${formats[$1 % ${#formats[@]}]}
  one "$(pattern "$1")" "$work/$name" --connections $((1 + $1 % 6)) || return
  whole_object "$work/$name" "$name"
  equal "$work/$name" "$(pattern "$1")"
  rm "$work/$name"
  [ -z "$(ls "$work" | grep 'part$')" ] || miss "nothing beside it" "$(ls "$work")"
}

part_object() { loop "file" to_object; }

# Killed when the file has its name, and nobody was told: standard output is a pipe that is full.
killed_when_renamed() { # SOURCE TARGET [OPTION...]
  local source=$1 target=$2 pid
  shift 2
  mkfifo "$work/full"
  exec 9<> "$work/full"
  dd if=/dev/zero of="$work/full" bs=4096 oflag=nonblock 2> /dev/null
  "$drover" copy "$source" "$target" --checkpoint "$work/cp" --progress none -o json "$@" \
    > "$work/full" 2> "$work/.one.err" 9>&- < /dev/null &
  pid=$!
  wait_for 60 test -e "$target" || miss "$target gets its name" "$(cat "$work/.one.err")"
  kill -KILL $pid
  wait $pid 2> /dev/null
  same "killed before it could say so" 137 $?
  exec 9>&-
  rm "$work/full"
}

result_of() { jq -c '[.contentDigest, .objectSha256, .storedBytes, .format]' <<< "$1"; }

part_renamed() {
  local name options first data
  for name in "${formats[@]}"; do
    options=()
    is_packed "x.$name" && options=(--compress)
    is "$name: a copy that nobody kills" 0 "$drover" copy "$(pattern 4)" "$work/whole.$name" --progress none -o json "${options[@]}"
    first=$(result_of "$out") data=$(jq .dataBytes <<< "$out")
    killed_when_renamed "$(pattern 4)" "$work/r.$name" "${options[@]}"
    is "$name: the next one sees that it is done" 0 "$drover" copy "$(pattern 4)" "$work/r.$name" \
      --checkpoint "$work/cp" --progress none -o json "${options[@]}"
    same "$name: and says the same" "$first" "$(result_of "$out")"
    same "$name: nothing was sent" "0 $data" \
      "$(jq -r '"\(.resentBytes) \(.resumedBytes)"' <<< "$out")"
    is "$name: byte for byte" 0 cmp "$work/whole.$name" "$work/r.$name"
    absent "$name: its checkpoint is gone" "$work/cp"
    killed_when_renamed "$(pattern 4)" "$work/s.$name" "${options[@]}"
    cp "$work/s.$name" "$work/other" && mv "$work/other" "$work/s.$name"
    is "$name: another file of that name is left alone" 3 "$drover" copy "$(pattern 4)" "$work/s.$name" \
      --checkpoint "$work/cp" --progress none -o json "${options[@]}"
    has "$name: and why" "exists already"
    is "$name: it is as it was" 0 cmp "$work/whole.$name" "$work/s.$name"
    rm "$work"/*."$name"
  done
}

nbd_up() { # FORMAT FILE
  qemu-nbd --fork --persistent --shared=40 --cache=writeback --format="$1" --pid-file="$work/nbd.pid" \
    --socket="$work/nbd.sock" --export-name=disk "$2" || miss "qemu-nbd" "$2"
}
nbd_down() {
  local pid
  pid=$(cat "$work/nbd.pid" 2> /dev/null) || return 0
  kill "$pid"
  wait_for 10 bash -c "! kill -0 $pid"
  rm -f "$work/nbd.pid"
}

# The server is killed as well, now and then: what it had not flushed is lost with it.
to_nbd() {
  rm -f "$work/n.qcow2"
  qemu-img create -q -f qcow2 "$work/n.qcow2" 130M
  nbd_up qcow2 "$work/n.qcow2"
  one "$(pattern "$1")" "nbd+unix:///disk?socket=$work/nbd.sock" --connections $((1 + $1 % 4)) || return
  nbd_down
  equal "$work/n.qcow2" "$(pattern "$1")"
}

part_nbd() {
  at_end nbd_down
  loop "NBD" to_nbd
}

# A source that does not tell when it changes, and does change between two lives.
from_nbd() {
  local target=$work/w.qcow2 pid
  "$drover" copy --progress none -o json "$(pattern "$1")" "$work/w.raw" --overwrite > /dev/null || return
  nbd_up raw "$work/w.raw"
  "$drover" copy "nbd+unix:///disk?socket=$work/nbd.sock" "$target" --checkpoint "$work/cp" --progress none --limit 60M &
  pid=$!
  sleep "0.$((RANDOM % 900 + 100))" # any moment
  kill -KILL $pid 2> /dev/null
  wait $pid 2> /dev/null
  [ $? = 137 ] && kills=$((kills + 1))
  before=1
  printf 'changed' | dd of="$work/w.raw" bs=1 seek=$((RANDOM * 3000)) conv=notrunc status=none
  [ -e "$target" ] || one "nbd+unix:///disk?socket=$work/nbd.sock" "$target" || return
  nbd_down
  qemu-img check -q "$target" || miss "a good qcow2" "$target"
  [ ! -s "$work/.one" ] || equal "$target" "$work/w.raw"
  rm -f "$target" "$work/.one"
  before=0
}

part_source() {
  at_end nbd_down
  loop "a source that does not tell" from_nbd
}

s3() { (. "$hosts/lib.sh"; s3_request "$work/minio" "$@"); }

minio_up() {
  "$hosts/minio" up "$work/minio" || exit 1
  at_end "'$hosts/minio' down '$work/minio'"
  # shellcheck disable=SC1091
  . "$work/minio/env"
  (umask 077 && printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" \
    > "$work/keys")
  s3_options=(--s3-endpoint "$S3_ENDPOINT" --credentials "$work/keys")
}

nothing_unfinished() {
  [ -z "$(s3 GET "/$S3_BUCKET?uploads=" | grep -o '<UploadId>')" ] || miss "no unfinished upload" "$(s3 GET "/$S3_BUCKET?uploads=")"
}

to_s3() {
  local name=x.${formats[$1 % ${#formats[@]}]}
  one "$(pattern "$1")" "s3://$S3_BUCKET/$name" "${s3_options[@]}" --overwrite || return
  s3 GET "/$S3_BUCKET/$name" > "$work/got" && whole_object "$work/got" "$name"
  equal "s3://$S3_BUCKET/$name" "$(pattern "$1")" "${s3_options[@]}"
  nothing_unfinished
}

part_s3() {
  minio_up
  loop "S3" to_s3
}

to_nfs() {
  local name=y.${formats[$1 % ${#formats[@]}]}
  one "$(pattern "$1")" "$NFS_URL/$name" || return
  whole_object "$work/nfs/export/$name" "$name"
  equal "$NFS_URL/$name" "$(pattern "$1")"
  rm -f "$work/nfs/export/"*
  [ -z "$(ls -A "$work/nfs/export")" ] || miss "nothing beside it" "$(ls -A "$work/nfs/export")"
}

part_nfs() {
  "$hosts/nfs" up "$work/nfs" || exit 1
  at_end "'$hosts/nfs' down '$work/nfs'"
  # shellcheck disable=SC1091
  . "$work/nfs/env"
  loop "NFS" to_nfs
}

# A mover with a document, as the controller starts it: its checkpoint stays in the end.
ssh_mover() { # SOURCE TARGET SECRETS LIMIT
  jq -nc --argjson s "$1" --argjson t "$2" --arg c "$work/cp" --argjson l "$4" '{version: 1, owner: "a/b/c/d",
    source: $s, target: $t, checkpoint: $c, bytesPerSecond: $l}' > "$work/spec.json"
  "$drover" copy --spec "$work/spec.json" --secrets "$3" > "$work/.one" 2>&1 < /dev/null
}

ssh_twice() { # WHAT SOURCE TARGET SECRETS
  rm -f "$work/.one"
  ssh_mover "$2" "$3" "$4" 20000000 &
  local pid=$!
  wait_for 60 bash -c "grep -q '\"transferredBytes\":[4-9][0-9]\{7\}' '$work/.one'" || miss "bytes move" "$(cat "$work/.one")"
  pkill -KILL -P $pid
  wait $pid 2> /dev/null
  wait_for 20 bash -c "! pgrep -f '[q]emu-nbd.*$work/'" || miss "qemu-nbd over there ends" "$(pgrep -af "$work")"
  ssh_mover "$2" "$3" "$4" 0 || miss "$1" "$(cat "$work/.one")"
  out=$(line_of_file done)
  [ "$(jq .resumedBytes <<< "$out")" -gt 0 ] && pass "$1: $(jq .resumedBytes <<< "$out") bytes were there" || miss "$1" "$out"
  same "$1: sent again is within its bound" yes "$([ "$(jq .resentBytes <<< "$out")" -le $BOUND ] && echo yes)"
  [ -e "$work/cp" ] && pass "$1: the checkpoint stays for who gave it" && rm "$work/cp"
}

line_of_file() { jq -c "select(.type == \"$1\")" "$work/.one" | tail -n 1; }

part_ssh() {
  ssh-keygen -q -t ed25519 -N '' -f "$work/host"
  ssh-keygen -q -t ed25519 -N '' -f "$work/key"
  mkdir -p /run/sshd
  (. "$hosts/lib.sh"; free_port port; echo "$port" > "$work/port")
  local port there file known
  port=$(< "$work/port")
  /usr/sbin/sshd -f /dev/null -h "$work/host" -p "$port" -o ListenAddress=127.0.0.1 -o StrictModes=no \
    -o UsePAM=no -o AuthorizedKeysFile="$work/key.pub" -o PidFile="$work/sshd.pid" -E "$work/sshd.log"
  at_end "kill \$(cat '$work/sshd.pid')"
  wait_for 10 test -s "$work/sshd.pid" || miss "sshd" "$(cat "$work/sshd.log")"
  (umask 077
    jq -nc --rawfile k "$work/key" '{source: {sshKey: $k}}' > "$work/from.secrets"
    jq -nc --rawfile k "$work/key" '{target: {sshKey: $k}}' > "$work/to.secrets")
  known="[127.0.0.1]:$port $(cut -d' ' -f1,2 "$work/host.pub")"
  there=$(jq -nc --arg k "$known" --argjson p "$port" '{kind: "ssh", host: "127.0.0.1", port: $p, user: "root",
    knownHosts: ($k + "\n"), format: "raw"}')
  "$drover" copy --progress none "$(pattern 9)" "$work/there.raw" > /dev/null
  file="{\"reach\":{\"kind\":\"file\",\"path\":\"$work/here.qcow2\",\"format\":\"qcow2\",\"create\":true}}"
  ssh_twice "from another host" "{\"reach\":$(jq -c --arg p "$work/there.raw" '.path = $p' <<< "$there")}" "$file" \
    "$work/from.secrets"
  equal "$work/here.qcow2" "$(pattern 9)"
  truncate -s 130M "$work/to.raw"
  file="{\"reach\":{\"kind\":\"file\",\"path\":\"$work/here.qcow2\",\"format\":\"qcow2\"}}"
  ssh_twice "to another host" "$file" "{\"reach\":$(jq -c --arg p "$work/to.raw" '.path = $p' <<< "$there")}" \
    "$work/to.secrets"
  equal "$work/to.raw" "$(pattern 9)"
}

# Plain HTTP takes one body, from its start: said, and done.
part_http() {
  "$hosts/nginx" up "$work/nginx" || exit 1
  at_end "'$hosts/nginx' down '$work/nginx'"
  # shellcheck disable=SC1091
  . "$work/nginx/env"
  one "$(pattern 1)" "$HTTP_PLAIN_URL/open/h.raw"
  grep -q "starts over" "$work/.one" && pass "HTTP: that it starts over is said" || miss "HTTP" "$(cat "$work/.one")"
  equal "$HTTP_PLAIN_URL/open/h.raw" "$(pattern 1)"
}

# The store goes away in the middle, and comes back.
part_store() {
  minio_up
  local target=s3://$S3_BUCKET/store.qcow2 pid kept
  "$drover" copy "$(pattern 3)" "$target" "${s3_options[@]}" --checkpoint "$work/cp" --progress json --limit 20M \
    > "$work/.one" 2>&1 &
  pid=$!
  wait_for 60 bash -c "grep -q '\"transferredBytes\":[2-9][0-9]\{7\}' '$work/.one'" || miss "bytes move" "$(cat "$work/.one")"
  "$hosts/minio" stop "$work/minio"
  wait $pid
  same "without its store the copy fails" 3 $?
  "$hosts/minio" start "$work/minio"
  is "the next one goes on" 0 "$drover" copy "$(pattern 3)" "$target" "${s3_options[@]}" --checkpoint "$work/cp" --progress json
  out=$(line_of done)
  kept=$(jq .resumedBytes <<< "$out")
  [ "$kept" -gt 0 ] && pass "with $kept bytes that were there" || miss "with what was there" "$out"
  same "sent again is within its bound" yes "$([ "$(jq .resentBytes <<< "$out")" -le $BOUND ] && echo yes)"
  equal "$target" "$(pattern 3)" "${s3_options[@]}"
  nothing_unfinished
}

# ---- drover run: the controller, and its movers, are killed together -----------------------------

manifest() { # NAME
  cat << END
apiVersion: drover.dev/v1alpha1
kind: ImageStore
metadata: {name: here}
spec: {file: {path: $images}}
---
apiVersion: drover.dev/v1alpha1
kind: VMMigration
metadata: {name: $1}
spec:
  source: {image: {storeRef: {name: here}, path: in}}
  target: {image: {storeRef: {name: here}, path: $1, format: qcow2}}
  transfer: {bytesPerSecond: 30M}
END
}

status_of() { "$drover" get "vmm/$1" --state "$state" -o json 2> /dev/null | jq -r "$2"; }
moved_more() { [ "$(status_of "$1" '.status.progress.transferredBytes // 0')" -gt "$2" ]; }
part_of() { find "$images/$1" -name '*.part' -printf '%i\n' 2> /dev/null; }
unlocked() { flock -n "$1" true; }

# Waits until the mover of the killed process has ended as well: it holds the lock of its checkpoint.
killed() { # PID
  kill -KILL "$1"
  wait "$1" 2> /dev/null
  local file
  for file in "$state.checkpoints"/*; do wait_for 10 unlocked "$file" || miss "the mover ends" "$file"; done
}

part_run() {
  mkdir -p "$images/in"
  "$drover" copy --progress none "$(pattern 5)" "$images/in/disk-0.raw" > /dev/null
  jq -n --argjson size "$(stat -c %s "$images/in/disk-0.raw")" '{layoutVersion: 1,
    vm: {name: "web", cpus: 2, memoryBytes: 1073741824, firmware: "bios",
         disks: [{name: "vda", bus: "virtio", format: "raw", capacityBytes: $size}]},
    disks: [{name: "vda", object: "disk-0.raw", format: "raw", sizeBytes: $size}]}' > "$images/in/vm.json"
  manifest one > "$work/one.yaml"
  local pid inode round
  for round in 1 2; do
    "$drover" run -f "$work/one.yaml" --state "$state" > "$work/run.out" 2>&1 &
    pid=$!
    wait_for 60 moved_more one $((round * 25 * MIB)) || miss "bytes move" "$(cat "$work/run.out")"
    killed $pid
    [ "$round" = 1 ] && inode=$(part_of one)
    same "round $round: the unfinished file stays" "$inode" "$(part_of one)"
    same "round $round: so does its checkpoint" 1 "$(find "$state.checkpoints" -type f | wc -l)"
  done
  is "the third life ends it" 0 "$drover" run -f "$work/one.yaml" --state "$state"
  same "with the same file" "$inode" "$(stat -c %i "$images/one/disk-0.qcow2")"
  same "sent again is within its bound" yes \
    "$([ "$(status_of one '.status.progress.resentBytes // 0')" -le $((2 * BOUND)) ] && echo yes)"
  equal "$images/one/disk-0.qcow2" "$(pattern 5)"
  absent "nothing is left" "$state.checkpoints" "$images"/one/*.part

  manifest two > "$work/two.yaml"
  "$drover" run -f "$work/two.yaml" --state "$state" > "$work/run.out" 2>&1 &
  pid=$!
  wait_for 60 moved_more two $((20 * MIB)) || miss "bytes move" "$(cat "$work/run.out")"
  killed $pid
  is "deleted while it is unfinished" 0 "$drover" delete vmm two --state "$state"
  absent "nothing of it is left" "$state.checkpoints" "$images/two"
}

[ $# -gt 0 ] || set -- file object renamed nbd source s3 nfs ssh http store run
for part in "$@"; do "part_$part"; done
echo "$kills kills"
finish
