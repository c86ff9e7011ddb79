#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/formats.sh PART...: each format that is read, from each kind of end; doors that a
# hostile image tries; holes that stay holes at each end. Parts: local s3 http nfs doors holes device
# pipe. BUILD=build folder. s3, http and nfs read the same images from a store without downloading them.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

quiet=(--progress none)
options=()

# Images of one disk, in every format: NAME in $images, and its content digest in $digest.
images() {
  cd "$work" || exit 1
  "$drover" copy "${quiet[@]}" pattern:96Mi,seed=21,data=40 d.raw > /dev/null
  digest=$("$drover" digest "${quiet[@]}" d.raw)
  [ "$(plain_digest d.raw)" = "$digest" ] || miss "the digest" "$digest"
  qemu-img convert -O qcow2 d.raw plain.qcow2
  qemu-img convert -c -O qcow2 d.raw zlib.qcow2
  qemu-img convert -c -O qcow2 -o compression_type=zstd d.raw zstd.qcow2
  qemu-img convert -O qcow2 -o extended_l2=on,cluster_size=128k d.raw extended.qcow2
  qemu-img convert -O qcow2 -o compat=0.10,cluster_size=4k d.raw old.qcow2
  qemu-img convert -O vmdk -o subformat=monolithicSparse d.raw sparse.vmdk
  qemu-img convert -O vmdk -o subformat=streamOptimized d.raw stream.vmdk
  qemu-img convert -O vhdx d.raw dynamic.vhdx
  qemu-img convert -O vhdx -o subformat=fixed d.raw fixed.vhdx
  qemu-img convert -O vdi d.raw dynamic.vdi
  qemu-img convert -O vdi -o static=on d.raw static.vdi
  "$drover" copy "${quiet[@]}" d.raw d.raw.zst > /dev/null
  # The guest wrote on after the snapshot, and it is the last state that counts.
  cp d.raw s.raw
  qemu-img convert -O qcow2 d.raw snapshot.qcow2
  qemu-img snapshot -c before snapshot.qcow2
  qemu-io -c 'write -P 3 5M 1M' snapshot.qcow2 > /dev/null
  qemu-io -f raw -c 'write -P 3 5M 1M' s.raw > /dev/null
  after=$(plain_digest s.raw)
  images="plain.qcow2 zlib.qcow2 zstd.qcow2 extended.qcow2 old.qcow2 sparse.vmdk stream.vmdk dynamic.vhdx fixed.vhdx
    dynamic.vdi static.vdi d.raw d.raw.zst snapshot.qcow2"
}

# each WHERE URL-PREFIX
each() {
  local name want
  for name in $images; do
    want=$digest
    [ "$name" != snapshot.qcow2 ] || want=$after
    is "$1: $name" 0 "$drover" digest "${quiet[@]}" "${options[@]}" "$2/$name"
    same "$1: $name holds the disk" "$want" "$out"
    is "$1: $name, info" 0 "$drover" info -o json "${quiet[@]}" "${options[@]}" "$2/$name"
    json "$1: $name, its size" ".sizeBytes == $(stat -c %s d.raw)"
  done
  is "$1: into a file" 0 "$drover" copy "${quiet[@]}" "${options[@]}" "$2/zstd.qcow2" "$work/out.raw"
  is "$1: byte for byte" 0 cmp "$work/out.raw" d.raw
  rm -f "$work/out.raw"
}

part_local() {
  images
  each local "$work"
  # Chains and split disks, of files that were allowed.
  qemu-img create -q -f qcow2 -b plain.qcow2 -F qcow2 middle.qcow2
  qemu-io -c 'write -P 3 5M 1M' middle.qcow2 > /dev/null
  qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2
  is "a chain" 0 "$drover" digest "${quiet[@]}" --backing middle.qcow2 --backing plain.qcow2 top.qcow2
  same "as the guest sees it" "$after" "$out"
  qemu-img convert -O vmdk -o subformat=twoGbMaxExtentSparse d.raw two.vmdk
  qemu-img convert -O vmdk -o subformat=twoGbMaxExtentFlat d.raw flat.vmdk
  qemu-img convert -O vmdk -o subformat=monolithicFlat d.raw mono.vmdk
  for name in two:s001 flat:f001 mono:flat; do
    is "a split vmdk, ${name%:*}" 0 "$drover" digest "${quiet[@]}" --backing "${name/:/-}.vmdk" "${name%:*}.vmdk"
    same "as it was" "$digest" "$out"
  done
}

# What is read of a store is what was asked for: no temporary copy is made.
part_s3() {
  images
  "$hosts/minio" up "$work/minio" || exit 1
  at_end "'$hosts/minio' down '$work/minio'"
  # shellcheck disable=SC1091
  . "$work/minio/env"
  (umask 077 && printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" > keys)
  options=(--s3-endpoint "$S3_ENDPOINT" --credentials keys)
  for name in $images; do (. "$hosts/lib.sh"; s3_request "$work/minio" PUT "/$S3_BUCKET/$name" -T "$name"); done
  each s3 "s3://$S3_BUCKET"
  # A file system without room: what is written there is nothing.
  mkdir full
  mount -t tmpfs -o size=1m full full || return
  at_end "umount '$work/full'"
  is "no room for a copy is needed" 0 env TMPDIR="$work/full" DROVER_RUNTIME_DIR="$work/full/r" \
    "$drover" digest "${quiet[@]}" "${options[@]}" "s3://$S3_BUCKET/dynamic.vhdx"
  same "and it is the disk" "$digest" "$out"
}

part_http() {
  images
  "$hosts/nginx" up "$work/nginx" || exit 1
  at_end "'$hosts/nginx' down '$work/nginx'"
  # shellcheck disable=SC1091
  . "$work/nginx/env"
  for name in $images; do cp "$name" "$work/nginx/www/open/"; done
  chmod -R a+rX "$work/nginx/www/open"
  each http "$HTTP_PLAIN_URL/open"
}

part_nfs() {
  images
  "$hosts/nfs" up "$work/nfs" || exit 1
  at_end "'$hosts/nfs' down '$work/nfs'"
  # shellcheck disable=SC1091
  . "$work/nfs/env"
  for name in $images; do cp "$name" "$work/nfs/export/"; done
  each nfs "$NFS_URL"
}

# Images that name a file or an address of somebody else, in each place where a format has one.
part_doors() {
  cd "$work" || exit 1
  echo 'top secret' > secret
  head -c 1M /dev/urandom >> secret
  # strace, where there is one: what was opened, or connected to. (It and LeakSanitizer do not go together.)
  local lines='' door trace=()
  [ -z "$(command -v strace)" ] || trace=(env ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e trace=openat,open,connect -o opened)
  : > opened
  for door in "$work/secret" /etc/passwd http://127.0.0.1:1/x nbd://127.0.0.1:1/x 'json:{"driver":"file","filename":"/etc/passwd"}'; do
    qemu-img create -q -f qcow2 -u -b "$door" -F raw backing.qcow2 1M
    qemu-img create -q -f qcow2 -o data_file=placeholder,data_file_raw=on data.qcow2 1M
    printf '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 64 FLAT "%s" 0\n' "$door" > flat.vmdk
    printf '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=1\nparentFileNameHint="%s"\ncreateType="monolithicFlat"\nRW 64 ZERO\n' "$door" > child.vmdk
    printf '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="twoGbMaxExtentSparse"\nRW 64 SPARSE "%s"\n' "$door" > split.vmdk
    for image in backing.qcow2 data.qcow2 flat.vmdk child.vmdk split.vmdk; do
      is "$image, $door" 3 "${trace[@]}" "$drover" copy "${quiet[@]}" --output json "$image" out.raw
      json "is refused" '.kind == "DataCorrupt" and .retryable == false'
      lines=$(grep -cE "\"($work/secret|/etc/passwd|.*placeholder)\"|htons\(1\)" opened)
      same "and nothing of it was opened" 0 "$lines"
    done
  done
  absent "nothing was written" out.raw out.raw.*
  # Sizes that would take memory or time without end.
  qemu-img create -q -f qcow2 good.qcow2 1M
  python3 - <<'END'
import struct
good = open("good.qcow2", "rb").read()
def make(name, at, value):
    b = bytearray(good); b[at:at + len(value)] = value; open(name, "wb").write(b)
make("big-disk.qcow2", 24, struct.pack(">Q", 1 << 62))
make("big-l1.qcow2", 36, struct.pack(">I", 0x7fffffff))
make("big-cluster.qcow2", 20, struct.pack(">I", 40))
make("big-refcount.qcow2", 56, struct.pack(">I", 0x7fffffff))
make("many-snapshots.qcow2", 60, struct.pack(">I", 0xffffffff))
make("long-header.qcow2", 100, struct.pack(">I", 0x7fffffff))
make("long-backing.qcow2", 8, struct.pack(">QI", 512, 0x7fffffff))
make("far-l1.qcow2", 40, struct.pack(">Q", 1 << 60))
END
  for image in big-disk big-l1 big-cluster big-refcount many-snapshots long-header long-backing far-l1; do
    is "$image" 3 timeout 20 "$drover" copy "${quiet[@]}" --output json "$image.qcow2" out.raw
    json "is refused at once" '.kind == "DataCorrupt" or .kind == "Unsupported" or .kind == "LimitExceeded"'
  done
}

kib() { du -k "$1" | cut -f1; }
# The data extents of an image, whatever lies between them.
holes() { qemu-img map --output=json -f "$1" "$2" | jq -c '[.[] | select(.data and (.zero | not)) | [.start, .length]]'; }

# Holes cost nothing and stay holes: 2 GiB with 3 MiB of data, to every end.
part_holes() {
  cd "$work" || exit 1
  truncate -s 2G h.raw
  dd if=/dev/urandom of=h.raw bs=64k count=1 conv=notrunc status=none
  dd if=/dev/urandom of=h.raw bs=1M seek=1000 count=2 conv=notrunc status=none
  dd if=/dev/urandom of=h.raw bs=64k seek=32767 count=1 conv=notrunc status=none
  qemu-img convert -O qcow2 h.raw h.qcow2
  local most=$((3 * 1024 + 512)) start
  for pair in raw:raw raw:qcow2 qcow2:raw qcow2:qcow2 raw:raw.zst raw:vmdk; do
    start=$(now_ms)
    is "$pair" 0 "$drover" copy --output json "${quiet[@]}" "h.${pair%:*}" "o.${pair#*:}" --overwrite --format "${pair#*:}"
    json "$pair: only data was moved" '.dataBytes <= 3500000'
    same "$pair: at most $most KiB on disk" yes "$([ "$(kib "o.${pair#*:}")" -le $((most + 4096)) ] && echo yes || kib "o.${pair#*:}")"
    echo "    $(($(now_ms) - start)) ms"
  done
  same "the same holes, raw" "$(holes raw h.raw)" "$(holes raw o.raw)"
  is "the same disk" 0 "$drover" verify "${quiet[@]}" h.raw o.qcow2
  same "raw: no more on disk than before" yes "$([ "$(kib o.raw)" -le $(($(kib h.raw) + 256)) ] && echo yes || kib o.raw)"

  # A raw file and a qcow2 in place, full of something else before.
  truncate -s 256M small.raw
  dd if=/dev/urandom of=small.raw bs=1M seek=100 count=3 conv=notrunc status=none
  for format in raw qcow2; do
    "$drover" copy "${quiet[@]}" pattern:256Mi,data=100 "in.$format" > /dev/null
    jq -nc --arg s "$work/small.raw" --arg t "$work/in.$format" --arg f $format '{version: 1, owner: "a/b/c/d",
      source: {reach: {kind: "file", path: $s, format: "raw"}}, target: {reach: {kind: "file", path: $t, format: $f}}}' > in.json
    is "in place, $format" 0 "$drover" copy --spec in.json < /dev/null
    is "in place, $format: the disk" 0 "$drover" verify "${quiet[@]}" small.raw "in.$format"
    same "in place, $format: what was there is a hole now" yes "$([ "$(kib "in.$format")" -le 5120 ] && echo yes || kib "in.$format")"
  done

  # Over NBD, to a file on the other side that was full before.
  cp --sparse=never in.raw n.raw && "$drover" copy "${quiet[@]}" pattern:256Mi,data=100 n.raw --overwrite > /dev/null
  qemu-nbd -t -e 8 --discard=unmap --detect-zeroes=off -k "$work/nbd.sock" -f raw -x disk n.raw &
  local pid=$!
  at_end "kill $pid 2> /dev/null"
  wait_for 10 nbdinfo --size "nbd+unix:///disk?socket=$work/nbd.sock"
  is "over NBD" 0 "$drover" copy "${quiet[@]}" small.raw "nbd+unix:///disk?socket=nbd.sock"
  is "its holes are known over NBD" 0 "$drover" copy --output json "${quiet[@]}" "nbd+unix:///disk?socket=nbd.sock" null:
  json "and cost nothing" '.dataBytes <= 3500000'
  kill $pid
  wait $pid 2> /dev/null
  same "NBD: holes over there" yes "$([ "$(kib n.raw)" -le 5120 ] && echo yes || kib n.raw)"
  is "NBD: the disk" 0 cmp small.raw n.raw

  "$hosts/nfs" up "$work/nfs" || exit 1
  at_end "'$hosts/nfs' down '$work/nfs'"
  # shellcheck disable=SC1091
  . "$work/nfs/env"
  is "NFS, raw" 0 "$drover" copy "${quiet[@]}" h.raw "$NFS_URL/h.raw"
  same "NFS: holes over there" yes "$([ "$(kib nfs/export/h.raw)" -le $((most + 512)) ] && echo yes || kib nfs/export/h.raw)"
  "$hosts/minio" up "$work/minio" || exit 1
  at_end "'$hosts/minio' down '$work/minio'"
  # shellcheck disable=SC1091
  . "$work/minio/env"
  (umask 077 && printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" > keys)
  options=(--s3-endpoint "$S3_ENDPOINT" --credentials keys)
  for format in qcow2 raw.zst vmdk; do
    is "S3, $format" 0 "$drover" copy --output json "${quiet[@]}" "${options[@]}" h.raw "s3://$S3_BUCKET/h.$format"
    json "S3, $format: its object is small" '.storedBytes <= 4000000'
    is "S3, $format, back" 0 "$drover" copy --output json "${quiet[@]}" "${options[@]}" "s3://$S3_BUCKET/h.$format" back.raw --overwrite
    json "S3, $format, back: only data was moved" '.dataBytes <= 3500000'
    same "S3, $format, back: holes" yes "$([ "$(kib back.raw)" -le $((most + 512)) ] && echo yes || kib back.raw)"
    same "S3, $format, back: the same holes" "$(holes raw h.raw)" "$(holes raw back.raw)"
  done
}

part_device() {
  cd "$work" || exit 1
  truncate -s 256M under.img small.raw
  dd if=/dev/urandom of=small.raw bs=1M seek=100 count=3 conv=notrunc status=none
  local device
  device=$(losetup --find --show "$work/under.img" 2> /dev/null) || { echo "    no loop device here: left out"; return; }
  at_end "losetup -d '$device'"
  is "onto a device" 0 "$drover" copy "${quiet[@]}" --verify readback pattern:256Mi,data=100 "$device"
  is "with holes over it" 0 "$drover" copy --output json "${quiet[@]}" --verify readback small.raw "$device"
  json "only data was moved" '.dataBytes <= 3500000'
  sync "$work/under.img"
  same "what was there is a hole below it" yes "$([ "$(kib under.img)" -le 5120 ] && echo yes || kib under.img)"
  is "from the device" 0 "$drover" copy "${quiet[@]}" "$device" back.qcow2
  is "is the disk" 0 qemu-img compare -q -f raw -F qcow2 small.raw back.qcow2
  same "zeros of a device are left out" yes "$([ "$(kib back.qcow2)" -le 6144 ] && echo yes || kib back.qcow2)"
  truncate -s 300M large.raw
  is "a disk that is larger than the device" 3 "$drover" copy --output json "${quiet[@]}" large.raw "$device"
  json "is refused before a byte is written" '.kind == "InsufficientSpace" or .kind == "InvalidSpec"'
}

# Nobody reads what drover says, and it says a lot: it still ends when it is told to.
part_pipe() {
  cd "$work" || exit 1
  jq -nc --arg t "$work/p.qcow2" '{version: 1, owner: "a/b/c/d", source: {pattern: {sizeBytes: 4294967296, dataPercent: 100}},
    bytesPerSecond: 20000000, target: {reach: {kind: "file", path: $t, format: "qcow2", create: true}}}' > p.json
  cat > p.py <<'END'
import fcntl, os, signal, subprocess, sys, time
how, drover = sys.argv[1:]
r, w = os.pipe()
fcntl.fcntl(w, 1031, 4096)  # F_SETPIPE_SZ
os.set_blocking(w, False)
try:
    while True:
        os.write(w, b"#" * 64 + b"\n")  # full from the start
except BlockingIOError:
    pass
os.set_blocking(w, True)
p = subprocess.Popen([drover, "copy", "--spec", "p.json"], stdout=w, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
os.close(w)
deadline = time.monotonic() + 20
while not any(n.startswith("p.qcow2") for n in os.listdir(".")) and time.monotonic() < deadline:
    time.sleep(0.02)
time.sleep(1.5)  # into a line that nobody reads
began = time.monotonic()
if how == "TERM":
    p.send_signal(signal.SIGTERM)
elif how == "cancel":
    p.stdin.write(b'{"cancel":true}\n'); p.stdin.flush()
else:
    p.stdin.close()
try:
    status = p.wait(20)
except subprocess.TimeoutExpired:
    p.kill(); p.wait(); status = "killed"
print("%s after %.1f s" % (status, time.monotonic() - began))
sys.exit(0 if status == 3 and time.monotonic() - began < 2.5 else 1)
END
  for how in TERM cancel end; do
    is "a full pipe, $how" 0 python3 p.py $how "$drover"
    echo "    $out"
    absent "nothing is left ($how)" p.qcow2 p.qcow2.*
  done
}

[ $# -gt 0 ] || set -- local s3 http nfs doors holes device pipe
for part in "$@"; do "part_$part"; done
finish
