#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What one copy takes of memory, in every format that is written, in the build that people install (ASan's memory says
# nothing): to a file; and to a store that is so far away that as many parts as may be are on their way. BUILD=build folder.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

LIMIT_KIB=$((128 << 10))
drover=$("$here/../hosts/release-build") || exit 1

# Prints the most that the process had, in KiB.
most_kib() {
  python3 - "$@" << 'P'
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
if done.returncode:
    sys.exit(done.stdout.decode()[-2000:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
P
}

disk=pattern:2Gi,data=8
stays_small() { # WHAT TARGET OPTION...
  is "$1" 0 most_kib "$drover" copy --progress none --overwrite "${@:3}" "$disk" "$2"
  same "$1: $((${out:-0} / 1024)) MiB, less than 128" yes "$([ "${out:-$LIMIT_KIB}" -lt $LIMIT_KIB ] && echo yes)"
}

FORMATS=("raw" "qcow2" "qcow2 --compress" "raw.zst" "vmdk")

for format in "${FORMATS[@]}"; do
  # shellcheck disable=SC2086
  stays_small "$format to a file" "$work/disk" --format $format
  rm -f "$work/disk"
done

"$hosts/minio" up "$work/minio" || exit 1
at_end "'$hosts/minio' down '$work/minio'"
. "$work/minio/env"
(umask 077 && printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" > "$work/keys")
cc -std=gnu11 -O2 -o "$work/delay_proxy" "$here/../bench/delay_proxy.c" || exit 1
port=$(. "$hosts/lib.sh"; free_port port; echo "$port")
"$work/delay_proxy" "$port" "${S3_ENDPOINT#*://}" 30 8000 &
at_end "kill $!"

for format in "${FORMATS[@]:1}"; do # raw: not so large, the object holds all zeros, too
  # shellcheck disable=SC2086
  stays_small "$format to S3, far away" "s3://$S3_BUCKET/disk" --format $format --s3-endpoint "http://127.0.0.1:$port" \
    --credentials "$work/keys"
done
disk=pattern:160Mi
stays_small "raw to S3, far away" "s3://$S3_BUCKET/disk" --format raw --s3-endpoint "http://127.0.0.1:$port" \
  --credentials "$work/keys"

finish
