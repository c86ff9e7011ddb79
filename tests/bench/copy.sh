# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# hack/bench copy: `drover copy` beside the tool that a user would otherwise take. Sourced by hack/bench, which has the
# helpers. Both write to the same disk and are timed until what they wrote is on it (drover syncs by itself, the others
# with sync FILE); they take turns, and the median of each counts.

BIG=$WORK/big.qcow2 # 2 GiB of data like that of an operating system, in 6 GiB
OUT=$WORK/out

# once FILE COMMAND...: appends "wall user+sys rss" (seconds, seconds, KiB of the largest process) to FILE
once() {
  local into=$1
  shift
  rm -rf "$OUT" "$OUT".*
  python3 - "$into" "$@" << 'P' || return 1
import os, resource, subprocess, sys, time
start = time.monotonic()
done = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
wall = time.monotonic() - start
if done.returncode:
    sys.exit(done.stdout.decode()[-2000:])
u = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "a") as f:
    f.write("%.2f %.2f %d\n" % (wall, u.ru_utime + u.ru_stime, u.ru_maxrss))
P
}

column() { cut -d' ' -f"$1" "$2" | median; }

# beside WHAT TO-REACH THEIRS OURS: two functions, run in turn
beside() {
  local i a=$WORK/theirs b=$WORK/ours
  : > "$a"
  : > "$b"
  for i in $(seq "$rounds"); do
    once "$a" bash -c "set -euo pipefail; $3"
    their_bytes=$(stat -c %s "$OUT" 2> /dev/null || echo 0)
    once "$b" bash -c "set -euo pipefail; $4"
    our_bytes=$(stat -c %s "$OUT" 2> /dev/null || echo 0)
  done
  awk -v what="$1" -v reach="$2" -v t="$(column 1 "$a")" -v o="$(column 1 "$b")" -v tc="$(column 2 "$a")" \
    -v oc="$(column 2 "$b")" -v rss="$(column 3 "$b")" \
    'BEGIN { printf "| %s | %.2f | %.2f | %.2f x | %s | %.1f | %.1f | %d MiB |\n", what, t, o, t / o, reach, tc, oc, rss / 1024 }'
}

local_rows() {
  local drover="'$DROVER' copy --progress none" img="qemu-img convert -W -m16 -f qcow2"
  beside "qcow2 to qcow2, no digest; qemu-img convert" "0.9 x" "$img -O qcow2 '$BIG' '$OUT'; sync '$OUT'" \
    "$drover --verify none --format qcow2 '$BIG' '$OUT'"
  beside "qcow2 to raw, no digest; qemu-img convert" "0.9 x" "$img -O raw '$BIG' '$OUT'; sync '$OUT'" \
    "$drover --verify none --format raw '$BIG' '$OUT'"
  beside "qcow2 to qcow2 with digest; qemu-img convert, openssl of both" "3 x" \
    "$img -O qcow2 '$BIG' '$OUT'; sync '$OUT'; openssl dgst -sha256 '$BIG' '$OUT'" "$drover --format qcow2 '$BIG' '$OUT'"
  beside "qcow2 to raw.zst with digest; qemu-img convert -c zstd" "1 x" \
    "$img -c -O qcow2 -o compression_type=zstd '$BIG' '$OUT'; sync '$OUT'" "$drover --format raw.zst '$BIG' '$OUT'"
  printf '|   stored: %s MB, %s MB | | | | | | | |\n' $((their_bytes / 1000000)) $((our_bytes / 1000000))
  beside "qcow2 to compressed qcow2 with digest; qemu-img convert -c zstd" "1 x" \
    "qemu-img convert -W -m2 -f qcow2 -c -O qcow2 -o compression_type=zstd '$BIG' '$OUT'; sync '$OUT'" \
    "$drover --format qcow2 --compress '$BIG' '$OUT'"
  printf '|   stored: %s MB, %s MB | | | | | | | |\n' $((their_bytes / 1000000)) $((our_bytes / 1000000))
  beside "raw to raw.zst with digest; zstd -1 -T2" "1 x" "zstd -q -1 -T2 '$WORK/big.raw' -o '$OUT'; sync '$OUT'" \
    "$drover --format raw.zst '$WORK/big.raw' '$OUT'"
  printf '|   stored: %s MB, %s MB | | | | | | | |\n' $((their_bytes / 1000000)) $((our_bytes / 1000000))
  beside "qcow2 to vmdk with digest; qemu-img streamOptimized" "1.8 x" \
    "qemu-img convert -f qcow2 -O vmdk -o subformat=streamOptimized '$BIG' '$OUT'; sync '$OUT'" \
    "$drover --format vmdk '$BIG' '$OUT'"
  printf '|   stored: %s MB, %s MB | | | | | | | |\n' $((their_bytes / 1000000)) $((our_bytes / 1000000))
}

s3_rows() {
  local s3 drover="'$DROVER' copy --progress none --overwrite" rclone
  s3=s3://$(value "$WORK/s3" S3_BUCKET)
  # A CA bundle or a proxy of this machine is not for a server of our own, and rclone 1.60 stumbles over the first.
  rclone="env -u AWS_CA_BUNDLE no_proxy='*' NO_PROXY='*' rclone --config '$WORK/rclone.conf' --ignore-times --s3-upload-concurrency 4"
  (umask 077 && printf '[m]\ntype=s3\nprovider=Minio\nendpoint=%s\naccess_key_id=%s\nsecret_access_key=%s\n' \
    "$(value "$WORK/s3" S3_ENDPOINT)" "$(value "$WORK/s3" S3_ACCESS_KEY)" "$(value "$WORK/s3" S3_SECRET_KEY)" \
    > "$WORK/rclone.conf"
    printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$(value "$WORK/s3" S3_ACCESS_KEY)" \
      "$(value "$WORK/s3" S3_SECRET_KEY)" > "$WORK/keys")
  drover="$drover --s3-endpoint $(value "$WORK/s3" S3_ENDPOINT) --credentials '$WORK/keys'"
  local remote
  remote=m:$(value "$WORK/s3" S3_BUCKET)
  beside "qcow2 to S3, the same bytes, with digest; rclone copy" "1 x" "$rclone copyto '$BIG' $remote/r.qcow2" \
    "$drover '$BIG' $s3/d.qcow2"
  beside "qcow2 to S3 as raw.zst, with digest; rclone copy of the qcow2" "-" "$rclone copyto '$BIG' $remote/r.qcow2" \
    "$drover '$BIG' $s3/d.raw.zst"
  beside "qcow2 in S3 to a raw disk; rclone copy, qemu-img convert" "1.5 x" \
    "$rclone copyto $remote/r.qcow2 '$OUT.q'; qemu-img convert -W -m16 -f qcow2 -O raw '$OUT.q' '$OUT'; sync '$OUT'" \
    "$drover --format raw $s3/d.qcow2 '$OUT'"
}

# Disks that are nearly nothing but holes: time and memory must not grow with them.
size_rows() {
  local format size f=$WORK/one
  truncate -s 1T "$WORK/empty.raw"
  printf '\n| copy | seconds | RSS |\n| --- | ---: | ---: |\n'
  # The SHA-256 of a raw file is that of all its zeros, 12 minutes of them: there without.
  for format in "raw --verify none" qcow2 "qcow2 --compress" raw.zst vmdk; do
    : > "$f"
    # shellcheck disable=SC2086
    once "$f" "$DROVER" copy --progress none --format $format "$WORK/empty.raw" "$OUT"
    printf '| empty disk of 1 TiB to %s | %s | %s MiB |\n' "$format" "$(column 1 "$f")" $(($(column 3 "$f") / 1024))
  done
  for size in 10 100; do
    : > "$f"
    once "$f" "$DROVER" copy --progress none --format qcow2 "pattern:${size}Gi,data=10" "$OUT"
    printf '| pattern of %s GiB, a tenth of it data, to qcow2 | %s | %s MiB |\n' $size "$(column 1 "$f")" \
      $(($(column 3 "$f") / 1024))
  done
}

bench_copy() { # PARTS: which of local, s3, size
  local part
  dpkg-query -W rclone > /dev/null 2>&1 || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq rclone > /dev/null
  server minio s3
  os_disk "$BIG"
  qemu-img convert -f qcow2 -O raw "$BIG" "$WORK/big.raw"
  printf '\n%s rounds, median; 2 GiB of data in 6 GiB. CPU: of the tool itself\n\n' "$rounds"
  printf '| copy; beside | its seconds | drover | speed | to reach | its CPU s | CPU s | RSS |\n'
  printf '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n'
  for part in ${PARTS:-local s3 size}; do "${part}_rows"; done
}
