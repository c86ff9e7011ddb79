#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/copy.sh PART...: drover copy, digest, verify and info against real files and
# servers. Parts: files hostile full stop nbd ssh s3 http nfs. BUILD=build folder.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

MIB=$((1 << 20))

# A disk with data in odd places, holes, and a size that is no multiple of anything.
make_disk() {
  python3 - "$1" <<'END'
import random, sys
r = random.Random(7)
with open(sys.argv[1], "wb") as f:
    size = 40 * (1 << 20) + 512 * 3
    f.truncate(size)
    for at in [0, 65536 - 512, 1 << 20, (4 << 20) - 4096, 17 << 20, (33 << 20) + 512, size - 1024]:
        f.seek(at)
        f.write(r.randbytes(min(random.Random(at).randrange(512, 3 << 20), size - at)))
END
}

part_files() {
  cd "$work" || exit 1
  make_disk d.raw
  local digest
  digest=$(plain_digest d.raw)

  is "raw to qcow2" 0 "$drover" copy --progress none d.raw d.qcow2
  is "qemu-img finds no fault" 0 qemu-img check -q d.qcow2
  is "qemu-img sees the same content" 0 qemu-img compare -q -f raw -F qcow2 d.raw d.qcow2
  is "qcow2 to raw" 0 "$drover" copy --progress none d.qcow2 back.raw
  is "the bytes are the same" 0 cmp d.raw back.raw
  is "raw to raw" 0 "$drover" copy --progress none d.raw again.raw
  is "the bytes are the same again" 0 cmp d.raw again.raw
  same "holes stay holes" yes "$([ "$(stat -c %b again.raw)" -le $(($(stat -c %b d.raw) + 1024)) ] && echo yes)"
  is "no-sparse writes zeros out" 0 "$drover" copy --progress none --no-sparse d.raw full.raw
  same "nothing is a hole" yes "$([ $(($(stat -c %b full.raw) * 512)) -ge $((40 * MIB)) ] && echo yes)"

  is "digest of raw" 0 "$drover" digest --progress none d.raw
  same "digest as recomputed" "$digest" "$out"
  is "digest of qcow2" 0 "$drover" digest --progress none d.qcow2
  same "the same in qcow2" "$digest" "$out"

  qemu-img convert -f raw -O qcow2 d.raw theirs.qcow2
  qemu-img convert -c -f raw -O qcow2 d.raw packed.qcow2
  qemu-img create -q -f qcow2 -o cluster_size=4096,compat=0.10 old.qcow2 8M
  qemu-io -c 'write -P 7 1M 300k' old.qcow2 > /dev/null
  is "digest of qemu's qcow2" 0 "$drover" digest --progress none theirs.qcow2
  same "same digest" "$digest" "$out"
  is "digest of a compressed qcow2" 0 "$drover" digest --progress none packed.qcow2
  same "same digest when compressed" "$digest" "$out"
  is "compressed qcow2 to raw" 0 "$drover" copy --progress none packed.qcow2 unpacked.raw
  is "its bytes" 0 cmp d.raw unpacked.raw
  is "small clusters, old version" 0 "$drover" copy --progress none old.qcow2 old.raw
  is "its content" 0 qemu-img compare -q -f qcow2 -F raw old.qcow2 old.raw

  is "raw to raw.zst" 0 "$drover" copy --progress none --verify readback d.raw d.raw.zst
  is "zstd reads it" 0 zstd -q -t d.raw.zst
  is "raw to vmdk" 0 "$drover" copy --progress none --verify readback --vmdk-adapter ide --vmdk-hardware 10 d.raw d.vmdk
  is "qemu-img finds no fault in it" 0 qemu-img check -q d.vmdk
  is "qemu-img sees the same disk" 0 qemu-img compare -q -f raw -F vmdk d.raw d.vmdk
  is "an importer reads it forward" 0 sh -c "cat d.vmdk | '$here/../unit/disk/vmdk_stream.py' stream.raw"
  json "and sees what was asked for" '.["ddb.adapterType"] == "ide" and .["ddb.virtualHWVersion"] == "10"'
  is "the importer's disk" 0 cmp d.raw stream.raw
  is "raw to compressed qcow2" 0 "$drover" copy --progress none --verify readback -o json --compress d.raw z.qcow2
  json "head last, without a SHA-256" ".contentDigest == \"$digest\" and .layout == \"head-last+zstd\" and .objectSha256 == \"\""
  is "qemu-img finds no fault in it either" 0 qemu-img check -q z.qcow2
  is "qemu-img sees the same disk in it" 0 qemu-img compare -q -f raw -F qcow2 d.raw z.qcow2
  same "it is of zstd" zstd "$(qemu-img info --output=json z.qcow2 | jq -r '."format-specific".data."compression-type"')"
  is "made again it is the same" 0 "$drover" copy --progress none --connections 1 --compress d.raw z2.qcow2
  is "byte by byte" 0 cmp z.qcow2 z2.qcow2
  is "compressing another format" 2 "$drover" copy --progress none --compress d.raw no.raw
  has "says which can be" "format qcow2"
  is "compressing a disk that is there" 2 "$drover" copy --progress none --compress --format qcow2 d.raw "nbd+unix:///disk?socket=nbd.sock"
  absent "nothing was written" no.raw
  is "options of vmdk on another format" 2 "$drover" copy --progress none --vmdk-adapter ide d.raw no.qcow2
  absent "nothing was written" no.qcow2

  is "verify: equal" 0 "$drover" verify --progress none d.raw theirs.qcow2
  has "says so" "equal"
  cp d.raw bit.raw
  python3 - <<'END'
with open("bit.raw", "r+b") as f:
    f.seek(17 * (1 << 20) + 12345)
    b = f.read(1)
    f.seek(-1, 1)
    f.write(bytes([b[0] ^ 4]))
END
  is "verify: one bit" 1 "$drover" verify --progress none d.qcow2 bit.raw
  has "names the byte" "first at byte $((17 * MIB + 12345))"
  is "verify as JSON" 1 "$drover" verify --progress none -o json d.qcow2 bit.raw
  json "offset in JSON" ".equal == false and .offset == $((17 * MIB + 12345))"

  is "info" 0 "$drover" info --progress none packed.qcow2
  has "format in info" "qcow2"
  is "info as JSON" 0 "$drover" info --progress none -o json theirs.qcow2
  json "sizes in info" ".format == \"qcow2\" and .sizeBytes == $(stat -c %s d.raw) and .storedBytes == $(stat -c %s theirs.qcow2) and .dataBytes > 0"

  is "an existing file is left alone" 3 "$drover" copy --progress none d.raw d.qcow2
  has "says how to replace it" "--overwrite"
  is "overwrite replaces it" 0 "$drover" copy --progress none --overwrite d.raw d.qcow2
  is "expected digest" 0 "$drover" copy --progress none --expect "$digest" d.raw e1.raw
  is "another digest" 3 "$drover" copy --progress none --expect "${digest%?}$([[ $digest = *0 ]] && echo 1 || echo 0)" d.raw e2.raw
  absent "nothing stays of it" e2.raw e2.raw.*
  local sum
  sum=$(sha256sum < d.raw)
  is "expected SHA-256" 0 "$drover" copy --progress none --source-sha256 "${sum%% *}" d.raw s1.raw
  is "another SHA-256" 3 "$drover" copy --progress none --source-sha256 "$(printf '0%.0s' {1..64})" d.raw s2.raw
  has "names both" "${sum%% *}"
  absent "nothing was written" s2.raw s2.raw.*

  is "readback to qcow2" 0 "$drover" copy --progress none --verify readback d.raw rb.qcow2
  is "readback to raw" 0 "$drover" copy --progress none --verify readback d.raw rb.raw
  is "no verification" 0 "$drover" copy --progress none --verify none --output json d.raw vn.qcow2
  json "then there is no digest" '.contentDigest == ""'
  is "compares" 0 qemu-img compare -q -f raw -F qcow2 d.raw vn.qcow2

  is "JSON lines" 0 "$drover" copy --progress json --limit 20M d.raw j.qcow2
  same "every line is JSON with a type" yes "$(jq -es 'length > 1 and all(.type)' <<< "$out" > /dev/null && echo yes)"
  same "the digest in done" "$digest" "$(line_of done | jq -r .contentDigest)"
  same "the object's SHA-256 in done" "$(sha256sum < j.qcow2 | cut -d' ' -f1)" "$(line_of done | jq -r .objectSha256)"
  same "bytes move" yes "$(jq -es 'map(select(.type == "progress") | .transferredBytes) | max > 0' <<< "$out" > /dev/null && echo yes)"

  is "without the SHA-256 of what is stored" 0 "$drover" copy --progress none --no-object-sha256 --output json d.raw ns.raw
  json "the digest alone" ".contentDigest == \"$digest\" and .objectSha256 == \"\""
  truncate -s 512G huge.raw
  is "half a TiB of holes" 0 timeout 60 "$drover" copy --progress none --no-object-sha256 huge.raw huge2.raw
  is "pattern to a file" 0 "$drover" copy --progress none pattern:24Mi,seed=3,data=40 p.qcow2
  is "pattern is reproducible" 0 "$drover" verify --progress none pattern:24Mi,seed=3,data=40 p.qcow2
  is "another seed differs" 1 "$drover" verify --progress none pattern:24Mi,seed=4,data=40 p.qcow2
  is "to nothing" 0 "$drover" copy --progress none --output json d.raw null:
  json "digest to nothing" ".contentDigest == \"$digest\""
  : > empty.raw
  is "an empty disk" 0 "$drover" copy --progress none empty.raw empty.qcow2
  is "is a good qcow2" 0 qemu-img check -q empty.qcow2
  printf 'seven\0!' > tiny.raw
  is "seven bytes" 0 "$drover" copy --progress none tiny.raw tiny2.raw
  is "digest of seven bytes" 0 "$drover" digest --progress none tiny.raw
  same "rounded up to a sector" "$(plain_digest tiny.raw)" "$out"

  is "no arguments" 2 "$drover" copy
  is "unknown option" 2 "$drover" copy --limt 3 a b
  has "suggests" "did you mean --limit"
  is "unknown command" 2 "$drover" cpoy
  has "suggests a command" "did you mean 'copy'"
  is "help" 0 "$drover" copy --help
  has "has examples" "Examples:"
  is "version" 0 "$drover" version
  is "no such source" 3 "$drover" copy --progress none nowhere.raw x.raw
  is "a folder" 2 "$drover" digest --progress none .
  is "plain progress" 0 "$drover" copy d.raw plain.raw
  absent "no unfinished files are left" ./*.part
}

part_hostile() {
  cd "$work" || exit 1
  make_disk base.raw
  qemu-img convert -f raw -O qcow2 base.raw good.qcow2
  qemu-img create -q -f qcow2 -b base.raw -F raw over.qcow2
  qemu-io -c 'write -P 9 2M 64k' over.qcow2 > /dev/null
  qemu-img convert -f qcow2 -O raw over.qcow2 over.raw

  is "backing that nobody allowed" 3 "$drover" copy --progress none over.qcow2 o1.raw
  has "names it" "base.raw"
  absent "nothing was written" o1.raw o1.raw.*
  is "another one allowed" 3 "$drover" copy --progress none --backing good.qcow2 over.qcow2 o1.raw
  is "the right one allowed" 0 "$drover" copy --progress none --backing base.raw,format=raw over.qcow2 o2.raw
  is "reads through" 0 cmp over.raw o2.raw
  is "info does not open it" 0 "$drover" info --progress none over.qcow2
  has "but names it" "base.raw"

  qemu-img create -q -f qcow2 -o data_file=secret.raw,data_file_raw=on external.qcow2 1M
  is "an external data file" 3 "$drover" copy --progress none external.qcow2 o3.raw
  is "whatever was allowed" 3 "$drover" copy --progress none --backing secret.raw external.qcow2 o3.raw
  qemu-img create -q -f qcow2 -u -b 'json:{"driver":"file","filename":"/etc/shadow"}' -F raw json.qcow2 1M
  is "a backing of json:" 3 "$drover" copy --progress none json.qcow2 o4.raw
  qemu-img create -q -f qcow2 -u -b 'nbd://127.0.0.1:1/x' -F raw nbd.qcow2 1M
  is "a backing of nbd:" 3 "$drover" copy --progress none nbd.qcow2 o5.raw
  qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 locked.qcow2 1M
  is "an encrypted image" 3 "$drover" copy --progress none --output json locked.qcow2 o6.raw
  json "is not supported" '.kind == "Unsupported"'

  local size
  size=$(stat -c %s good.qcow2)
  for cut in 3 100 65536 $((size / 2)) $((size - 65536)); do
    head -c "$cut" good.qcow2 > cut.qcow2
    is "cut after $cut bytes" 3 "$drover" copy --progress none --output json cut.qcow2 o7.raw
    json "is damaged" '.kind == "DataCorrupt" and .retryable == false'
  done
  # A guest that writes a qcow2 header into its raw disk must not be believed.
  cp over.qcow2 trap.raw
  is "raw is raw when it says so" 0 "$drover" copy --progress none trap.raw o8.raw
  is "byte for byte" 0 cmp trap.raw o8.raw
  absent "nothing else was written" o[1-7].raw.* o1.raw o3.raw o4.raw o5.raw o6.raw o7.raw ./*.part
}

# Runs in a mount namespace of its own, with a file system of 8 MiB.
part_full() {
  if [ "${IN_NAMESPACE:-}" != yes ]; then
    IN_NAMESPACE=yes unshare -m --propagation private "$here/copy.sh" full || failed=$((failed + 1))
    return
  fi
  mkdir "$work/small"
  mount -t tmpfs -o size=8m small "$work/small"
  at_end "cd / && umount '$work/small'"
  cd "$work/small" || exit 1
  for format in raw qcow2; do
    is "a full disk, $format" 3 "$drover" copy --progress none --output json pattern:64Mi "x.$format"
    json "is said, $format" '.kind == "InsufficientSpace"'
    absent "nothing stays, $format" ./x*
  done
}

spec() { jq -nc --arg s "$1" --arg t "$2" '{version: 1, owner: "test/ns/name/uid", attempt: 2, disk: "vda",
  source: {pattern: {sizeBytes: (4096 * 1048576), seed: 1, dataPercent: 100}}, bytesPerSecond: 20000000,
  target: {reach: {kind: "file", path: $t, format: "qcow2", create: true}}}'; }

part_stop() {
  cd "$work" || exit 1
  local pid start status

  for signal in TERM INT; do
    rm -f s.out
    # `setsid`: a background job of a script ignores SIGINT.
    python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])' \
      "$drover" copy --progress json --limit 10M pattern:4Gi "$work/s.qcow2" > s.out 2> s.err &
    pid=$!
    wait_for 20 grep -q '"transferredBytes":[1-9]' s.out || miss "bytes move before SIG$signal" "$(cat s.out s.err)"
    start=$(now_ms)
    kill -$signal $pid
    wait $pid
    status=$?
    same "SIG$signal ends it with status 3" 3 "$status"
    same "within 2 s (SIG$signal)" yes "$([ $(($(now_ms) - start)) -lt 2000 ] && echo yes)"
    out=$(< s.out)
    json "says so (SIG$signal)" '.type == "error" and .kind == "Cancelled"'
    absent "leaves nothing (SIG$signal)" s.qcow2 s.qcow2.*
  done

  "$drover" copy --progress json --limit 10M pattern:4Gi "$work/k.qcow2" > k.out 2> k.err &
  pid=$!
  wait_for 20 grep -q '"transferredBytes":[1-9]' k.out || miss "bytes move before SIGKILL" "$(cat k.out k.err)"
  kill -KILL $pid
  wait $pid
  absent "killed: nothing visible" k.qcow2
  same "killed: one unfinished file" 1 "$(ls k.qcow2.* | wc -l)"
  is "the next run replaces it" 0 "$drover" copy --progress none pattern:8Mi "$work/k.qcow2"
  absent "and clears it away" k.qcow2.*

  # Private folders: they go with their process, or with the next one.
  yes "what can be compressed" | head -c 64M > q.raw
  is "compressed: QEMU reads it" 0 qemu-img convert -c -O qcow2 q.raw q.qcow2
  "$drover" copy --progress json --limit 4M q.qcow2 "$work/p.raw" > p.out 2> p.err &
  pid=$!
  wait_for 20 grep -q '"transferredBytes":[1-9]' p.out || miss "bytes move from QEMU" "$(cat p.out p.err)"
  same "a private folder while it runs" 1 "$(ls -d r/process-* | wc -l)"
  is "another process" 0 "$drover" digest q.qcow2
  same "that of the living stays" 1 "$(ls -d r/process-* | wc -l)"
  kill -KILL $pid
  wait $pid
  is "the next process" 0 "$drover" digest q.qcow2
  absent "clears away that of the killed one" r/process-*

  # As a controller runs it.
  spec - "$work/c.qcow2" > c.json
  mkfifo c.in
  "$drover" copy --spec c.json < c.in > c.out 2> c.err &
  pid=$!
  exec 9> c.in
  local begun
  begun=$(now_ms)
  wait_for 20 grep -q '"transferredBytes":[1-9]' c.out || miss "bytes move under --spec" "$(cat c.out c.err)"
  same "the attempt is in every line" yes "$(jq -es 'all(.attempt == 2)' < c.out > /dev/null && echo yes)"
  local before
  before=$(tail -n 1 c.out | jq .transferredBytes)
  echo '{"bytesPerSecond":0}' >&9
  wait_for 20 bash -c "[ \$(tail -n 1 c.out | jq .transferredBytes) -gt $((before + 300000000)) ]" &&
    pass "the limit can be lifted" || miss "the limit can be lifted" "$(tail -n 1 c.out)"
  start=$(now_ms)
  echo '{"cancel":true}' >&9
  wait $pid
  same "cancel ends it with status 3" 3 "$?"
  same "within 2 s (cancel)" yes "$([ $(($(now_ms) - start)) -lt 2000 ] && echo yes)"
  exec 9>&-
  out=$(< c.out)
  json "cancelled" '.kind == "Cancelled" and (.message | startswith("disk vda: "))'
  absent "leaves nothing (cancel)" c.qcow2 c.qcow2.*
  same "a line at least every second" yes "$([ "$(grep -c progress c.out)" -ge $(((start - begun) / 1000)) ] && echo yes)"

  "$drover" copy --spec c.json < c.in > e.out 2> e.err &
  pid=$!
  exec 9> c.in
  wait_for 20 grep -q '"transferredBytes":[1-9]' e.out || miss "bytes move before the end of input" "$(cat e.out e.err)"
  exec 9>&-
  wait $pid
  same "the end of standard input ends it" 3 "$?"
  absent "leaves nothing (end of input)" c.qcow2 c.qcow2.*

  is "an option beside --spec is refused" 2 "$drover" copy --spec c.json --limit 3M
  echo '{"version":1}' > bad.json
  absent "no private folder is left" r/process-*
  is "a bad document is wrong use" 2 "$drover" copy --spec bad.json
  json "and says so in JSON" '.type == "error" and .kind == "InvalidSpec"'
}

nbd_up() { # FILE FORMAT
  rm -f "$work/nbd.sock"
  qemu-nbd -t -e 8 -k "$work/nbd.sock" -f "$2" -x disk "$1" 9>&- &
  nbd_pid=$!
  at_end "kill $nbd_pid 2>/dev/null"
  wait_for 10 nbdinfo --size "nbd+unix:///disk?socket=$work/nbd.sock"
}

nbd_down() {
  kill "$nbd_pid"
  wait "$nbd_pid" 2> /dev/null
}

part_nbd() {
  cd "$work" || exit 1
  make_disk d.raw
  qemu-img convert -f raw -O qcow2 d.raw d.qcow2
  local digest
  digest=$(plain_digest d.raw)
  nbd_up d.qcow2 qcow2
  is "digest over NBD" 0 "$drover" digest --progress none "nbd+unix:///disk?socket=nbd.sock"
  same "the digest" "$digest" "$out"
  is "from NBD" 0 "$drover" copy --progress none "nbd+unix:///disk?socket=nbd.sock" n.qcow2
  is "content" 0 qemu-img compare -q -f raw -F qcow2 d.raw n.qcow2
  is "info over NBD" 0 "$drover" info --progress none -o json "nbd+unix:///disk?socket=nbd.sock"
  json "its size" ".sizeBytes == $(stat -c %s d.raw)"
  is "no such export" 3 "$drover" digest --progress none "nbd+unix:///other?socket=nbd.sock"
  nbd_down
  qemu-img create -q -f qcow2 t.qcow2 "$(stat -c %s d.raw)"
  nbd_up t.qcow2 qcow2
  is "to NBD" 0 "$drover" copy --progress none --verify readback d.raw "nbd+unix:///disk?socket=nbd.sock"
  nbd_down
  is "content at NBD" 0 qemu-img compare -q -f raw -F qcow2 d.raw t.qcow2
  qemu-img create -q -f raw small.raw 1M
  nbd_up small.raw raw
  is "an export that is too small" 3 "$drover" copy --progress none d.raw "nbd+unix:///disk?socket=nbd.sock"
  nbd_down
  is "nobody there" 3 "$drover" digest --progress none --output json "nbd+unix:///disk?socket=nowhere.sock"
}

s3_ls() { (. "$hosts/lib.sh"; s3_request "$work/minio" GET "/$S3_BUCKET?list-type=2" | grep -o '<Key>[^<]*' | cut -c6-); }
s3_uploads() { (. "$hosts/lib.sh"; s3_request "$work/minio" GET "/$S3_BUCKET?uploads=" | grep -o '<UploadId>' | wc -l); }

# Of the upload that is under way.
s3_first_part() {
  (. "$hosts/lib.sh"
    upload=$(s3_request "$work/minio" GET "/$S3_BUCKET?uploads=" | grep -o '<UploadId>[^<]*' | cut -c11-)
    s3_request "$work/minio" GET "/$S3_BUCKET/c/large.raw.zst?uploadId=$upload" | grep -o '<Size>[^<]*' | head -n 1 | cut -c7-)
}

part_s3() {
  cd "$work" || exit 1
  "$hosts/minio" up "$work/minio" tls || exit 1
  at_end "'$hosts/minio' down '$work/minio'"
  # shellcheck disable=SC1091
  . "$work/minio/env"
  (umask 077 && printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" > keys)
  local to=(--s3-endpoint "$S3_ENDPOINT" --ca "$S3_CA_FILE" --credentials keys --progress none)
  local at=s3://$S3_BUCKET digest
  make_disk d.raw
  digest=$(plain_digest d.raw)

  is "to S3 as qcow2" 0 "$drover" copy "${to[@]}" --output json d.raw "$at/a/d.qcow2"
  json "the digest" ".contentDigest == \"$digest\""
  local sum
  sum=$(jq -r .objectSha256 <<< "$out")
  same "image, manifest and chunks" "a/d.qcow2 a/d.qcow2.chunks a/d.qcow2.manifest.json" "$(s3_ls | sort | xargs)"
  (. "$hosts/lib.sh"; s3_request "$work/minio" GET "/$S3_BUCKET/a/d.qcow2") > got.qcow2
  same "the object's SHA-256" "$sum" "$(sha256sum < got.qcow2 | cut -d' ' -f1)"
  is "a good qcow2" 0 qemu-img check -q got.qcow2
  is "the content" 0 qemu-img compare -q -f raw -F qcow2 d.raw got.qcow2
  (. "$hosts/lib.sh"; s3_request "$work/minio" GET "/$S3_BUCKET/a/d.qcow2.manifest.json") > got.json
  same "the digest in the manifest" "$digest" "$(jq -r .contentDigest got.json)"
  (. "$hosts/lib.sh"; s3_request "$work/minio" GET "/$S3_BUCKET/a/d.qcow2.chunks") > got.chunks
  is "the chunks file is as written down" 0 python3 - <<'END'
import hashlib, struct
b = open("got.chunks", "rb").read()
magic, version, chunk, size, n, data = struct.unpack("<8sIIQQQ", b[:40])
d = open("d.raw", "rb").read(); d += b"\0" * (-len(d) % 512)
parts = [d[i:i + chunk] for i in range(0, len(d), chunk)]
bits = b[40:40 + (n + 7) // 8]; hashes = b[40 + len(bits):]
assert (magic, version, chunk, size, n) == (b"DROVERCK", 1, 4 << 20, len(d), len(parts))
want = [hashlib.sha256(b"\0" + p).digest() for p in parts if any(p)]
assert [bits[i // 8] >> (i % 8) & 1 for i in range(n)] == [int(any(p)) for p in parts]
assert data == len(want) and hashes == b"".join(want)
END
  is "from S3" 0 "$drover" copy "${to[@]}" "$at/a/d.qcow2" back.raw
  is "the same bytes" 0 cmp d.raw back.raw
  is "digest in S3" 0 "$drover" digest "${to[@]}" "$at/a/d.qcow2"
  same "the same digest" "$digest" "$out"
  is "verify with S3" 0 "$drover" verify "${to[@]}" d.raw "$at/a/d.qcow2"
  is "info in S3" 0 "$drover" info "${to[@]}" "$at/a/d.qcow2"
  is "S3 to S3" 0 "$drover" copy "${to[@]}" --verify readback "$at/a/d.qcow2" "$at/b/d.raw"
  has "a raw object stores zeros" "warning"
  is "it is there already" 3 "$drover" copy "${to[@]}" --output json d.raw "$at/a/d.qcow2"
  json "says so" '.kind == "AlreadyExists"'
  is "overwrite" 0 "$drover" copy "${to[@]}" --overwrite d.raw "$at/a/d.qcow2"

  is "to S3 as vmdk" 0 "$drover" copy "${to[@]}" --output json --verify readback d.raw "$at/v/d.vmdk"
  json "the same digest in vmdk" ".contentDigest == \"$digest\" and .format == \"vmdk\" and .layout == \"packed\""
  sum=$(jq -r .objectSha256 <<< "$out")
  (. "$hosts/lib.sh"; s3_request "$work/minio" GET "/$S3_BUCKET/v/d.vmdk") > got.vmdk
  same "the vmdk's SHA-256" "$sum" "$(sha256sum < got.vmdk | cut -d' ' -f1)"
  is "a good vmdk" 0 qemu-img check -q got.vmdk
  is "the vmdk's content" 0 qemu-img compare -q -f raw -F vmdk d.raw got.vmdk
  is "vmdk in S3 to raw" 0 "$drover" copy "${to[@]}" --overwrite "$at/v/d.vmdk" back.raw
  is "the same bytes from vmdk" 0 cmp d.raw back.raw

  is "to S3 as compressed qcow2" 0 "$drover" copy "${to[@]}" --output json --verify readback --compress d.raw "$at/z/d.qcow2"
  json "the same digest in it" ".contentDigest == \"$digest\" and .layout == \"head-last+zstd\""
  (. "$hosts/lib.sh"; s3_request "$work/minio" GET "/$S3_BUCKET/z/d.qcow2") > got.z.qcow2
  is "a good compressed qcow2" 0 qemu-img check -q got.z.qcow2
  is "its content" 0 qemu-img compare -q -f raw -F qcow2 d.raw got.z.qcow2
  (. "$hosts/lib.sh"; s3_request "$work/minio" GET "/$S3_BUCKET/z/d.qcow2.manifest.json") > got.json
  same "the manifest says how it lies" head-last+zstd "$(jq -r .layout got.json)"
  is "where no map tells of zeros" 0 "$drover" copy "${to[@]}" --output json "$at/b/d.raw" "$at/h/d.qcow2"
  json "they are left out" ".contentDigest == \"$digest\" and .layout == \"head-last\" and .storedBytes < 9000000"
  (. "$hosts/lib.sh"; s3_request "$work/minio" GET "/$S3_BUCKET/h/d.qcow2") > got.h.qcow2
  is "a good qcow2 without them" 0 qemu-img check -q got.h.qcow2
  is "with the content" 0 qemu-img compare -q -f raw -F qcow2 d.raw got.h.qcow2

  head -c 1000000 got.qcow2 > cut.qcow2
  (. "$hosts/lib.sh"; s3_request "$work/minio" PUT "/$S3_BUCKET/a/d.qcow2" -T cut.qcow2)
  is "a truncated object" 3 "$drover" copy "${to[@]}" --output json "$at/a/d.qcow2" t.raw
  json "is found by its manifest" '.kind == "DataCorrupt"'
  python3 - <<'END'
b = bytearray(open("got.qcow2", "rb").read()); b[len(b) // 2] ^= 1; open("bad.qcow2", "wb").write(b)
END
  (. "$hosts/lib.sh"; s3_request "$work/minio" PUT "/$S3_BUCKET/a/d.qcow2" -T bad.qcow2)
  is "a changed object" 3 "$drover" copy "${to[@]}" --output json "$at/a/d.qcow2" t.raw
  json "is found by its digest" '.kind == "VerificationFailed"'
  absent "nothing was written" t.raw t.raw.*

  printf 'aws_access_key_id=%s\naws_secret_access_key=wrong\n' "$S3_ACCESS_KEY" > wrong
  is "a wrong secret" 3 "$drover" copy "${to[@]}" --credentials wrong --output json d.raw "$at/w.qcow2"
  json "is refused" '.kind == "AuthenticationFailed" and .retryable == false'
  is "no such bucket" 3 "$drover" copy "${to[@]}" --output json d.raw s3://no-such-bucket/w.qcow2
  json "is not found" '.kind == "NotFound"'
  is "a certificate that is not trusted" 3 "$drover" digest --s3-endpoint "$S3_ENDPOINT" --credentials keys --progress none --output json "$at/b/d.raw"
  json "is said" '.kind == "CertificateNotTrusted"'
  is "no such object" 3 "$drover" digest "${to[@]}" --output json "$at/none.raw"
  json "not found" '.kind == "NotFound"'
  same "no secret in argv or output" "" "$(grep -l "$S3_SECRET_KEY" .out .errors 2> /dev/null)"

  local pid start
  for signal in TERM KILL; do
    rm -f s.out
    "$drover" copy "${to[@]}" --progress json --limit 30M pattern:4Gi "$at/c/x.qcow2" > s.out 2> s.err &
    pid=$!
    wait_for 30 bash -c 'tail -n 1 s.out | jq -e ".transferredBytes > 30000000"' || miss "bytes move before SIG$signal" "$(cat s.out s.err)"
    start=$(now_ms)
    kill -$signal $pid
    wait $pid
    same "within 2 s (SIG$signal)" yes "$([ $(($(now_ms) - start)) -lt 2000 ] && echo yes)"
    same "nothing visible (SIG$signal)" "" "$(s3_ls | grep '^c/')"
    [ $signal = KILL ] || same "no upload left (SIG$signal)" 0 "$(s3_uploads)"
  done
  is "the next run" 0 "$drover" copy "${to[@]}" pattern:8Mi "$at/c/x.qcow2"
  same "clears what the killed one left" 0 "$(s3_uploads)"

  # It may come to 3 TiB, for which 10,000 parts of 64 MiB are too few; the first are small all the same.
  "$drover" copy "${to[@]}" --progress json --limit 30M pattern:3Ti "$at/c/large.raw.zst" > s.out 2> s.err &
  pid=$!
  wait_for 30 s3_first_part || miss "parts of 3 TiB are sent" "$(tail -n 3 s.out s.err)"
  same "parts of 3 TiB begin with 8 MiB" 8388608 "$(s3_first_part)"
  kill -TERM $pid
  wait $pid
  same "no upload of 3 TiB left" 0 "$(s3_uploads)"
}

part_http() {
  cd "$work" || exit 1
  "$hosts/nginx" up "$work/nginx" tls || exit 1
  at_end "'$hosts/nginx' down '$work/nginx'"
  # shellcheck disable=SC1091
  . "$work/nginx/env"
  make_disk d.raw
  local digest to=(--ca "$HTTP_CA" --progress none)
  digest=$(plain_digest d.raw)
  is "PUT" 0 "$drover" copy "${to[@]}" d.raw "$HTTP_URL/open/d.qcow2"
  is "stored well" 0 qemu-img compare -q -f raw -F qcow2 d.raw "$work/nginx/www/open/d.qcow2"
  is "manifest beside it" 0 jq -e ".contentDigest == \"$digest\"" "$work/nginx/www/open/d.qcow2.manifest.json"
  is "GET" 0 "$drover" copy "${to[@]}" "$HTTP_URL/open/d.qcow2" h.raw
  is "the same bytes" 0 cmp d.raw h.raw
  is "raw over HTTP" 0 "$drover" copy "${to[@]}" --verify readback d.raw "$HTTP_URL/open/d.raw"
  is "digest over HTTP" 0 "$drover" digest "${to[@]}" "$HTTP_PLAIN_URL/open/d.raw"
  same "the same digest" "$digest" "$out"
  printf 'username=%s\npassword=%s\n' "$HTTP_USER" "$HTTP_PASSWORD" > basic
  printf 'token=%s\n' "$HTTP_TOKEN" > bearer
  is "basic authentication" 0 "$drover" copy "${to[@]}" --credentials basic d.raw "$HTTP_URL/basic/d.qcow2"
  is "bearer token" 0 "$drover" copy "${to[@]}" --credentials bearer d.raw "$HTTP_URL/bearer/d.qcow2"
  is "no password" 3 "$drover" copy "${to[@]}" --output json d.raw "$HTTP_URL/basic/e.qcow2"
  json "is refused" '.kind == "AuthenticationFailed"'
  is "not trusted" 3 "$drover" digest --progress none --output json "$HTTP_URL/open/d.raw"
  json "is said" '.kind == "CertificateNotTrusted"'
  is "no such file" 3 "$drover" digest "${to[@]}" --output json "$HTTP_URL/open/none.raw"
  json "not found" '.kind == "NotFound"'
  is "a compressed qcow2, whose head comes last" 3 "$drover" copy "${to[@]}" --output json --compress d.raw "$HTTP_URL/open/z.qcow2"
  json "is refused" '.kind == "Unsupported" and (.message | contains("use qcow2, not compressed"))'
  local format sum
  for format in vmdk raw.zst; do
    is "$format, whose length is not known before" 0 "$drover" copy "${to[@]}" --output json --verify readback d.raw \
      "$HTTP_URL/open/new folder/d.$format"
    sum=$(jq -r .objectSha256 <<< "$out")
    same "its SHA-256" "$sum" "$(sha256sum < "$work/nginx/www/open/new folder/d.$format" | cut -d' ' -f1)"
    is "the same disk comes back" 0 "$drover" verify "${to[@]}" d.raw "$HTTP_URL/open/new folder/d.$format"
  done
  is "qemu-img finds no fault in the vmdk" 0 qemu-img check -q "$work/nginx/www/open/new folder/d.vmdk"
  is "zstd reads the other" 0 zstd -q -t "$work/nginx/www/open/new folder/d.raw.zst"
  is "one that is larger than what is held" 0 "$drover" copy "${to[@]}" --verify readback pattern:160Mi \
    "$HTTP_URL/plain/big.raw.zst"
  is "a full server" 3 "$drover" copy "${to[@]}" --output json pattern:64Mi "$HTTP_URL/full/x.raw"
  is "a server without ranges" 3 "$drover" digest "${to[@]}" "$HTTP_URL/noranges/d.raw"
  local pid start
  "$drover" copy "${to[@]}" --progress json --limit 10M pattern:1Gi "$HTTP_URL/open/x.qcow2" > s.out 2> s.err &
  pid=$!
  wait_for 30 grep -q '"transferredBytes":[1-9]' s.out || miss "bytes move" "$(cat s.out s.err)"
  start=$(now_ms)
  kill -TERM $pid
  wait $pid
  same "within 2 s" yes "$([ $(($(now_ms) - start)) -lt 2000 ] && echo yes)"
  absent "nothing visible" "$work"/nginx/www/open/x*
}

part_nfs() {
  cd "$work" || exit 1
  "$hosts/nfs" up "$work/nfs" || exit 1
  at_end "'$hosts/nfs' down '$work/nfs'"
  # shellcheck disable=SC1091
  . "$work/nfs/env"
  make_disk d.raw
  local digest to=(--progress none)
  digest=$(plain_digest d.raw)
  is "to NFS" 0 "$drover" copy "${to[@]}" d.raw "$NFS_URL//a/d.qcow2"
  is "stored well" 0 qemu-img compare -q -U -f raw -F qcow2 d.raw "$work/nfs/export/a/d.qcow2"
  is "from NFS" 0 "$drover" copy "${to[@]}" "$NFS_URL//a/d.qcow2" n.raw
  is "the same bytes" 0 cmp d.raw n.raw
  is "raw with readback" 0 "$drover" copy "${to[@]}" --verify readback d.raw "$NFS_URL/d.raw"
  is "digest over NFS" 0 "$drover" digest "${to[@]}" "$NFS_URL/d.raw"
  same "the same digest" "$digest" "$out"
  is "a full server" 3 "$drover" copy "${to[@]}" --output json pattern:64Mi "nfs://$NFS_SERVER$NFS_SMALL_EXPORT/x.raw"
  json "is said" '.kind == "InsufficientSpace"'
  same "nothing stays there" "" "$("$hosts/nfs" exec "$work/nfs" ls "$work/nfs/small")"
  is "no such file" 3 "$drover" digest "${to[@]}" --output json "$NFS_URL/none.raw"
  json "not found" '.kind == "NotFound"'
  local pid
  "$drover" copy "${to[@]}" --progress json --limit 10M pattern:1Gi "$NFS_URL/x.qcow2" > s.out 2> s.err &
  pid=$!
  wait_for 30 grep -q '"transferredBytes":[1-9]' s.out || miss "bytes move" "$(cat s.out s.err)"
  kill -TERM $pid
  wait $pid
  same "nothing visible" "" "$(find "$work/nfs/export" -name 'x*')"
}

ssh_spec() { # SOURCE-REACH TARGET-REACH
  jq -nc --argjson s "$1" --argjson t "$2" '{version: 1, owner: "test/ns/name/uid", verify: "ReadBack",
    source: {reach: $s}, target: {reach: $t}}'
}

part_ssh() {
  cd "$work" || exit 1
  make_disk d.raw
  qemu-img convert -f raw -O qcow2 d.raw d.qcow2
  ssh-keygen -q -t ed25519 -N '' -f host
  ssh-keygen -q -t ed25519 -N '' -f key
  mkdir -p /run/sshd
  (. "$hosts/lib.sh"; free_port port; echo "$port" > port)
  local port
  port=$(< port)
  /usr/sbin/sshd -f /dev/null -h "$work/host" -p "$port" -o ListenAddress=127.0.0.1 -o StrictModes=no \
    -o UsePAM=no -o AuthorizedKeysFile="$work/key.pub" -o PidFile="$work/sshd.pid" -E "$work/sshd.log"
  at_end "kill \$(cat '$work/sshd.pid')"
  wait_for 10 test -s sshd.pid || miss "sshd" "$(cat sshd.log)"
  jq -nc --rawfile k key '{source: {sshKey: $k}}' > from.secrets
  jq -nc --rawfile k key '{target: {sshKey: $k}}' > to.secrets
  local known there
  known="[127.0.0.1]:$port $(cut -d' ' -f1,2 host.pub)"
  there=$(jq -nc --arg k "$known" --argjson p "$port" --arg f "$work/d.qcow2" '{kind: "ssh", host: "127.0.0.1",
    port: $p, user: "root", path: $f, format: "qcow2", knownHosts: ($k + "\n")}')

  ssh_spec "$there" "{\"kind\":\"file\",\"path\":\"$work/s.raw\",\"format\":\"raw\",\"create\":true}" > from.json
  is "from another host" 0 "$drover" copy --spec from.json --secrets from.secrets
  is "the same bytes" 0 cmp d.raw s.raw
  same "the key is in no output" "" "$(grep -l "$(sed -n 2p key)" .out .errors)"
  qemu-img create -q -f qcow2 t.qcow2 "$(stat -c %s d.raw)"
  ssh_spec "{\"kind\":\"file\",\"path\":\"$work/d.raw\",\"format\":\"raw\"}" \
    "$(jq -c --arg f "$work/t.qcow2" '.path = $f' <<< "$there")" > to.json
  is "to another host" 0 "$drover" copy --spec to.json --secrets to.secrets
  is "the content there" 0 qemu-img compare -q -f raw -F qcow2 d.raw t.qcow2
  ssh-keygen -q -t ed25519 -N '' -f other
  jq -nc --rawfile k other '{source: {sshKey: $k}}' > wrong.secrets
  is "another key" 3 "$drover" copy --spec from.json --secrets wrong.secrets
  json "is refused" '.type == "error" and .kind == "AuthenticationFailed"'
  jq --arg k "[127.0.0.1]:$port $(cut -d' ' -f1,2 other.pub)" '.source.reach.knownHosts = $k' from.json > changed.json
  is "another host key" 3 "$drover" copy --spec changed.json --secrets from.secrets
  json "is not trusted" '.type == "error" and .retryable == false'

  jq '.bytesPerSecond = 2000000 | .target.reach.path += ".2"' from.json > slow.json
  "$drover" copy --spec slow.json --secrets from.secrets < /dev/null > s.out 2> s.err &
  local pid=$! start
  wait_for 30 grep -q '"transferredBytes":[1-9]' s.out || miss "bytes move" "$(cat s.out s.err)"
  start=$(now_ms)
  kill -TERM $pid
  wait $pid
  same "within 2 s" yes "$([ $(($(now_ms) - start)) -lt 2000 ] && echo yes)"
  absent "nothing stays here" s.raw.2 s.raw.2.*
  wait_for 5 bash -c "! pgrep -f '[q]emu-nbd.*$work/'" && pass "nothing runs there" || miss "nothing runs there" "$(pgrep -af "$work")"
}

[ $# -gt 0 ] || set -- files hostile full stop nbd ssh s3 http nfs
for part in "$@"; do "part_$part"; done
finish
