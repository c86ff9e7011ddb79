#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/repair.sh PART...: stored images that are damaged at rest, and `drover copy
# --repair`. In each format, on each store: one bit, a whole chunk, the end. drover verify names it, the
# repair sends that part again and nothing else, and the image is what a fresh copy is, byte for byte.
# Parts: file nfs s3 radosgw http refused. BUILD=build folder.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

MIB=$((1 << 20))
PART=$((13 * MIB)) # 8 MiB, and what one chunk or packed frame may be longer
SOURCE=pattern:100Mi,data=60,seed=11
quiet=(--progress none)

# damage HOW FILE: prints the offset. The bytes are never the old ones.
damage() {
  python3 - "$1" "$2" <<'END'
import os, sys
how, path = sys.argv[1:]
size = os.path.getsize(path)
at = {"bit": size // 2 + 4321, "chunk": size // 3, "end": size - 9 * (1 << 20) - 77}[how]
with open(path, "r+b") as f:
    if how == "end":
        f.truncate(at)
    else:
        n = 1 if how == "bit" else 4 << 20
        f.seek(at)
        old = f.read(n)
        f.seek(at)
        f.write(bytes(b ^ 1 for b in old))
print(at)
END
}

# round NAME FORMAT HOW URL FETCH STORE: FETCH prints the stored bytes, STORE FILE puts others there.
round() {
  local name="$1, $2, $3" url=$4 fetch=$5 store=$6 at parts=2 bytes=$((2 * PART))
  $fetch > "$work/now"
  at=$(damage "$3" "$work/now")
  $store "$work/now"
  if "$drover" verify "${quiet[@]}" "${options[@]}" "$SOURCE" "$url" > "$work/.out" 2>&1; then
    miss "$name: found" "the damage at $at is not seen"
  else
    grep -qE "(first at byte|offset|at byte) [0-9]+|truncated|cut short|beyond the end|Invalid footer" "$work/.out" && pass "$name: found, and where: $(tail -n 1 "$work/.out")" ||
      miss "$name: named" "$(cat "$work/.out")"
  fi
  [ "$3" = bit ] && parts=1 bytes=$PART
  # shellcheck disable=SC2046
  is "$name: repaired" 0 "$drover" copy --repair $(extra "$2") --output json "${quiet[@]}" "${options[@]}" "$SOURCE" "$url"
  json "$name: only what was damaged" ".repairedParts >= 1 and .repairedParts <= $parts and .parts > 5 and
    .resentBytes > 0 and .resentBytes <= $bytes"
  is "$name: equal again" 0 "$drover" verify "${quiet[@]}" "${options[@]}" "$SOURCE" "$url"
  $fetch > "$work/now"
  is "$name: as a fresh copy" 0 cmp "$work/now" "$work/good.$2"
  # shellcheck disable=SC2046
  is "$name: nothing to do now" 0 "$drover" copy --repair $(extra "$2") --output json "${quiet[@]}" "${options[@]}" "$SOURCE" "$url"
  json "$name: says so" '.repairedParts == 0 and .resentBytes == 0'
}

# packed.qcow2 is one whose clusters are compressed, and whose head was laid down last.
extra() { [ "$1" != packed.qcow2 ] || echo --format qcow2 --compress; }

# all NAME URL-PREFIX FETCH STORE: FETCH and STORE take the name first.
all() {
  local name=$1 prefix=$2 format how
  for format in ${FORMATS:-raw qcow2 packed.qcow2 raw.zst vmdk}; do
    # shellcheck disable=SC2046
    is "$name, $format" 0 "$drover" copy $(extra "$format") "${quiet[@]}" "${options[@]}" "$SOURCE" "$prefix/x.$format"
    $3 "x.$format" > "$work/good.$format"
    for how in bit chunk end; do round "$name" "$format" $how "$prefix/x.$format" "$3 x.$format" "$4 x.$format"; done
  done
}

fetch_file() { cat "$work/images/$1"; }
store_file() { cp --sparse=always "$2" "$work/images/$1"; }

part_file() {
  options=()
  mkdir "$work/images"
  all file "$work/images" fetch_file store_file
  # What was a hole is one again, whatever lay there.
  is "a sparse file" 0 "$drover" copy "${quiet[@]}" pattern:256Mi,data=3 "$work/images/s.raw"
  local before
  before=$(du -k "$work/images/s.raw" | cut -f1)
  dd if=/dev/urandom of="$work/images/s.raw" bs=1M count=8 seek=200 conv=notrunc status=none
  is "is repaired" 0 "$drover" copy --repair --verify readback "${quiet[@]}" pattern:256Mi,data=3 "$work/images/s.raw"
  same "and sparse again" yes "$([ "$(du -k "$work/images/s.raw" | cut -f1)" -le $((before + 256)) ] && echo yes)"
  printf 'more' >> "$work/images/s.raw"
  is "what is behind the end goes" 0 "$drover" copy --repair "${quiet[@]}" pattern:256Mi,data=3 "$work/images/s.raw"
  same "the length" $((256 * MIB)) "$(stat -c %s "$work/images/s.raw")"
}

fetch_nfs() { cat "$work/nfs/export/$1"; }

# Through the server, for it caches. What is written is any bytes: a raw image without a manifest.
store_nfs() {
  jq -n --arg server "$NFS_SERVER" --arg export "$NFS_EXPORT" --arg key "$1" --arg from "$2" '{version: 1,
    owner: "test", source: {reach: {kind: "file", path: $from, format: "raw"}}, target: {object: {
      store: {type: "nfs", server: $server, exportPath: $export, version: 3}, key: $key, format: "raw", overwrite: true}}}' \
    > "$work/store.json"
  "$drover" copy --spec "$work/store.json" < /dev/null > "$work/.store" || miss "storing $1" "$(cat "$work/.store")"
}

part_nfs() {
  options=()
  "$hosts/nfs" up "$work/nfs" || exit 1
  at_end "'$hosts/nfs' down '$work/nfs'"
  # shellcheck disable=SC1091
  . "$work/nfs/env"
  all nfs "$NFS_URL" fetch_nfs store_nfs
  beside "$NFS_URL" fetch_nfs store_nfs
}

s3() { (. "$hosts/lib.sh"; s3_request "$server" "$@"); }
fetch_s3() { s3 GET "/$S3_BUCKET/$1"; }
store_s3() { s3 PUT "/$S3_BUCKET/$1" -T "$2"; }

s3_up() {
  server=$work/$1
  "$hosts/$1" up "$server" || exit 1
  at_end "'$hosts/$1' down '$server'"
  # shellcheck disable=SC1091
  . "$server/env"
  (umask 077 && printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" \
    > "$work/keys")
  options=(--s3-endpoint "$S3_ENDPOINT" --credentials "$work/keys")
}

part_s3() {
  s3_up minio
  all s3 "s3://$S3_BUCKET" fetch_s3 store_s3
  s3 POST "/$S3_BUCKET/x.raw?uploads=" > /dev/null # as a killed one leaves it
  same "an unfinished upload" 1 "$(s3 GET "/$S3_BUCKET?uploads=" | grep -o '<UploadId>' | wc -l)"
  beside "s3://$S3_BUCKET" fetch_s3 store_s3
  same "is cleared away" 0 "$(s3 GET "/$S3_BUCKET?uploads=" | grep -o '<UploadId>' | wc -l)"
  # A small object is one PUT, whatever of it is damaged.
  is "a small object" 0 "$drover" copy "${quiet[@]}" "${options[@]}" pattern:3Mi "s3://$S3_BUCKET/small.raw"
  fetch_s3 small.raw > "$work/small"
  cp "$work/small" "$work/small.bad"
  damage bit "$work/small.bad" > /dev/null
  store_s3 small.raw "$work/small.bad"
  is "is repaired" 0 "$drover" copy --repair --verify readback "${quiet[@]}" "${options[@]}" pattern:3Mi "s3://$S3_BUCKET/small.raw"
  cat "$work/small" > "$work/small.bad" && echo more >> "$work/small.bad"
  store_s3 small.raw "$work/small.bad"
  is "what is behind its end goes" 0 "$drover" copy --repair "${quiet[@]}" "${options[@]}" pattern:3Mi "s3://$S3_BUCKET/small.raw"
  fetch_s3 small.raw > "$work/small.bad"
  is "byte for byte" 0 cmp "$work/small" "$work/small.bad"
}

part_radosgw() {
  s3_up radosgw
  FORMATS="qcow2 packed.qcow2"
  all ceph "s3://$S3_BUCKET" fetch_s3 store_s3
}

# beside URL-PREFIX FETCH STORE: what lies beside an image is mended, too, and what it says is obeyed.
beside() {
  local url=$1/x.raw before after
  before=$($2 x.raw.manifest.json)
  printf 'no hashes' > "$work/bad"
  $3 x.raw.chunks "$work/bad"
  is "damaged chunk hashes" 0 "$drover" copy --repair "${quiet[@]}" "${options[@]}" "$SOURCE" "$url"
  same "are written again" "DROVERCK" "$($2 x.raw.chunks | head -c 8)"
  after=$($2 x.raw.manifest.json)
  for name in contentDigest objectSha256 storedBytes owner format; do
    same "the manifest's $name" "$(jq ".$name" <<< "$before")" "$(jq ".$name" <<< "$after")"
  done
  printf '{"broken' > "$work/bad"
  $3 x.raw.manifest.json "$work/bad"
  is "a damaged manifest" 0 "$drover" copy --repair "${quiet[@]}" "${options[@]}" "$SOURCE" "$url"
  same "is written again" "$(jq .objectSha256 <<< "$before")" "$($2 x.raw.manifest.json | jq .objectSha256)"

  $2 x.raw > "$work/now"
  damage bit "$work/now" > /dev/null
  $3 x.raw "$work/now"
  is "another source" 3 "$drover" copy --repair --output json "${quiet[@]}" "${options[@]}" "$SOURCE,seed=12" "$url"
  json "is no way to repair it" '.kind == "VerificationFailed" and (.message | contains("other content"))'
  is "another format" 3 "$drover" copy --repair --format qcow2 --output json "${quiet[@]}" "${options[@]}" "$SOURCE" "$url"
  json "is refused" '(.message | contains("is raw"))'
  $2 x.raw > "$work/then"
  is "and nothing was written" 0 cmp "$work/now" "$work/then"
}

part_http() {
  "$hosts/nginx" up "$work/nginx" || exit 1
  at_end "'$hosts/nginx' down '$work/nginx'"
  # shellcheck disable=SC1091
  . "$work/nginx/env"
  is "to HTTP" 0 "$drover" copy "${quiet[@]}" pattern:16Mi "$HTTP_PLAIN_URL/open/x.raw"
  is "cannot be repaired there" 3 "$drover" copy --repair --output json "${quiet[@]}" pattern:16Mi "$HTTP_PLAIN_URL/open/x.raw"
  json "and it says what to do" '.kind == "Unsupported" and (.message | contains("--overwrite"))'
}

part_refused() {
  cd "$work" || exit 1
  is "an image" 0 "$drover" copy "${quiet[@]}" "$SOURCE" a.raw
  cp a.raw before.raw
  is "another disk" 3 "$drover" copy --repair --output json "${quiet[@]}" pattern:100Mi,data=60,seed=12 a.raw
  json "is told by how much differs" '.kind == "VerificationFailed" and (.message | contains("more than half"))'
  is "nothing was written" 0 cmp a.raw before.raw
  is "what should come out can be said" 0 "$drover" digest "${quiet[@]}" pattern:100Mi,data=60,seed=12
  is "then it is done" 0 "$drover" copy --repair --expect "$out" "${quiet[@]}" pattern:100Mi,data=60,seed=12 a.raw
  is "and is that disk" 0 "$drover" verify "${quiet[@]}" pattern:100Mi,data=60,seed=12 a.raw
  is "its digest" 0 "$drover" digest "${quiet[@]}" a.raw
  is "a wrong digest" 3 "$drover" copy --repair --expect "$out" "${quiet[@]}" "$SOURCE" a.raw
  is "with --overwrite" 2 "$drover" copy --repair --overwrite "${quiet[@]}" "$SOURCE" a.raw
  is "with a checkpoint" 2 "$drover" copy --repair --checkpoint cp "${quiet[@]}" "$SOURCE" a.raw
  is "without a digest" 2 "$drover" copy --repair --verify none "${quiet[@]}" "$SOURCE" a.raw
  is "of nothing" 2 "$drover" copy --repair "${quiet[@]}" "$SOURCE" null:
  is "what is not there" 3 "$drover" copy --repair --output json "${quiet[@]}" "$SOURCE" none.raw
  json "is not found" '.kind == "NotFound"'
  absent "and not made" none.raw none.raw.*
  qemu-img convert -O qcow2 before.raw held.qcow2
  is "a copy of it" 0 "$drover" copy "${quiet[@]}" before.raw good.qcow2
  damage bit good.qcow2 > /dev/null
  qemu-io -r -c 'sleep 6000' good.qcow2 > /dev/null &
  local pid=$!
  wait_for 5 bash -c "! python3 -c 'import fcntl,struct,sys
f = open(\"good.qcow2\", \"r+b\")
l = fcntl.fcntl(f, 36, struct.pack(\"hhqqi4x\", fcntl.F_WRLCK, 0, 100, 1, 0))
sys.exit(0 if struct.unpack(\"hhqqi4x\", l)[0] == fcntl.F_UNLCK else 1)'" || miss "QEMU holds it" ""
  is "while a machine has it open" 3 "$drover" copy --repair --output json "${quiet[@]}" before.raw good.qcow2
  json "is busy" '.kind == "ResourceBusy"'
  kill $pid
  wait $pid 2> /dev/null
  # Killed in the middle: still damaged, and the same command goes through.
  is "in a document" 0 "$drover" copy --spec <(jq -nc --arg p "$work/good.qcow2" --arg s "$work/before.raw" '{version: 1,
    owner: "a/b/c/d", repair: true, verify: "ReadBack", source: {reach: {kind: "file", path: $s, format: "raw"}},
    target: {reach: {kind: "file", path: $p, format: "qcow2", create: true}}}')
  json "the parts are counted" '.repairedParts == 1'
}

[ $# -gt 0 ] || set -- file nfs s3 radosgw http refused
for part in "$@"; do "part_$part"; done
finish
