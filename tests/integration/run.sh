#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/run.sh PART...: drover run and the commands on its state, with images in a
# folder (no server, no root). Parts: words moves interrupt cancel delete abandon kill wishes. BUILD=build
# folder.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

state=$work/state.db
images=$work/images

run() { "$drover" run --state "$state" "$@"; }
on() { local command=$1; shift; "$drover" "$command" --state "$state" "$@"; }
phase() { on get "vmm/$1" -o json | jq -r .status.phase; }
is_phase() { [ "$(phase "$1")" = "$2" ]; }
moved() { [ "$(on get "vmm/$1" -o json 2>/dev/null | jq -r '.status.progress.transferredBytes // 0')" -gt 0 ]; }

# An image of layout 1 with one disk of $1 MiB of random data.
make_image() {
  mkdir -p "$images/in"
  head -c "$(($1 << 20))" /dev/urandom >"$images/in/disk-0.raw"
  jq -n --argjson size "$(($1 << 20))" '{layoutVersion: 1,
    vm: {name: "web", cpus: 2, memoryBytes: 1073741824, firmware: "bios",
         disks: [{name: "vda", bus: "virtio", format: "raw", capacityBytes: $size}]},
    disks: [{name: "vda", object: "disk-0.raw", format: "raw", sizeBytes: $size}]}' \
    >"$images/in/vm.json"
}

store() {
  cat <<END
apiVersion: drover.dev/v1alpha1
kind: ImageStore
metadata: {name: here}
spec: {file: {path: $images}}
---
END
}

# migration NAME [MORE]: from images/in to images/NAME
migration() {
  cat <<END
apiVersion: drover.dev/v1alpha1
kind: VMMigration
metadata: {name: $1}
spec:
  source: {image: {storeRef: {name: here}, path: in}}
  target: {image: {storeRef: {name: here}, path: $1, format: qcow2}}
${2:-}
---
END
}

good_image() {
  is "$1: the image is whole" 0 qemu-img compare -q -f raw -F qcow2 "$images/in/disk-0.raw" \
    "$images/$2/disk-0.qcow2"
}

part_words() {
  make_image 1
  { store; migration one; } >"$work/m.yaml"
  is "no state yet" 1 on get vmm
  has "no state yet: what to do" "'drover run' makes one"
  is "no such file" 2 run -f "$work/absent.yaml"
  is "nothing in a folder" 2 run -f "$(mkdir "$work/empty" && echo "$work/empty")"
  is "unknown option" 2 run --stat x
  has "unknown option: a suggestion" "--state"
  echo "kind: [" >"$work/broken.yaml"
  is "broken YAML" 2 run -f "$work/broken.yaml"
  has "broken YAML: where" "broken.yaml:"
  migration bad "  colour: red" >"$work/bad.yaml"
  is "an unknown field" 2 run -f "$work/bad.yaml"
  has "an unknown field: which" "colour"
  absent "a wrong manifest makes no state" "$state"

  is "a good one" 0 run -f "$work/m.yaml"
  has "created" "vmmigration/one created"
  has "what was made" "one: Succeeded: image one/disk-0.qcow2"
  good_image "a good one" one
  migration zst | sed 's/format: qcow2/format: qcow2, compress: true/' >"$work/packed.yaml"
  is "a compressed one" 0 run -f "$work/packed.yaml"
  good_image "a compressed one" zst
  same "it is of zstd" zstd \
    "$(qemu-img info --output=json "$images/zst/disk-0.qcow2" | jq -r '."format-specific".data."compression-type"')"
  is "again" 0 run -f "$work/m.yaml"
  has "again: unchanged" "vmmigration/one unchanged"
  has "again: how it ended" "one: Succeeded"
  same "only the owner may read the state" 600 "$(stat -c %a "$state")"

  is "get" 0 on get vmm
  has "get: header" "NAME   SOURCE"
  has "get: row" "Succeeded   100%"
  is "get of another namespace" 0 on get vmm -n other
  has "get of another namespace: says so" "no vmmigrations in namespace other"
  is "get of all namespaces" 0 on get vmm -A
  has "get of all namespaces: column" "NAMESPACE"
  is "get what is not there" 1 on get vmm two
  is "get of an unknown kind" 2 on get vmmm
  has "get of an unknown kind: a suggestion" "did you mean vmm"
  is "get of secrets" 2 on get secrets
  is "get as JSON" 0 on get vmm one -o json
  same "JSON" one "$(jq -r .metadata.name <<<"$out")"
  is "get as YAML" 0 on get vmm -o yaml
  has "YAML is a list" "kind: List"
  is "describe" 0 on describe vmm one
  has "describe: result" "Result: images:"
  has "describe: events" "Transferring   1"
  is "describe what is not there" 1 on describe vmm two

  migration one "  via: {storeRef: {name: here}}" >"$work/changed.yaml"
  is "an immutable field" 2 run -f "$work/changed.yaml"
  has "an immutable field: which" "via"
}

part_moves() {
  make_image 8
  { store; migration one; migration two; migration three "  dryRun: true"; } >"$work/m.yaml"
  is "three at once, as JSON" 0 run -f "$work/m.yaml" -o json
  same "each line is JSON" ok "$(jq -e . <<<"$out" >/dev/null && echo ok)"
  same "three ends" 3 "$(jq -c 'select(.type == "end" and .phase == "Succeeded")' <<<"$out" | wc -l)"
  same "a dry run says so" DryRun "$(jq -r 'select(.type == "end" and .name == "three").reason' <<<"$out")"
  absent "and made nothing" "$images/three"
  good_image "one" one
  good_image "two" two

  migration four '' | sed 's/path: in/path: nowhere/' >"$work/four.yaml"
  is "one that fails" 3 run -f "$work/four.yaml"
  has "one that fails: why" "four: Failed: PreflightFailed"
  has "one that fails: the finding" "CHECK"
  has "one that fails: what next" "--retry"
  is "again without asking" 3 run -f "$work/four.yaml"
  cp -r "$images/in" "$images/nowhere"
  is "with --retry" 0 run -f "$work/four.yaml" --retry
  is "what is not named is left alone" 0 run -f <(store)
  is "all that is in the state" 0 run
  has "all that is in the state: counted" "4 succeeded, 0 failed"
  cat >"$work/secret.yaml" <<END
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: hunter2}
END
  is "a secret" 0 run -f "$work/secret.yaml" -f "$work/m.yaml" -v
  case "$out$errors" in *hunter2*) miss "a secret is not printed" "it is" ;; *) pass "a secret is not printed" ;; esac
  is "delete a secret" 0 on delete secret s
  is "delete it again" 1 on delete secret s
}

slow() { { store; migration slow "  transfer: {bytesPerSecond: 10M}"; } >"$work/slow.yaml"; }

# Starts a run in the background and waits until bytes have moved; its process id is in $pid.
start_slow() {
  "$drover" run --state "$state" -f "$work/slow.yaml" >"$work/run.out" 2>&1 &
  pid=$!
  at_end "kill -9 $pid 2>/dev/null"
  wait_for 20 moved slow || miss "the slow one has begun" "$(cat "$work/run.out")"
}


part_interrupt() {
  make_image 60
  slow
  start_slow
  is "a second run is refused" 3 run -f "$work/slow.yaml"
  has "a second run is told who" "in use by process $pid"
  is "others may read" 0 on get vmm slow
  has "others see the progress" "Transferring"
  kill -INT "$pid"
  wait "$pid"
  same "interrupted" 130 $?
  same "interrupted: what next" 1 "$(grep -c 'the same command goes on' "$work/run.out")"
  sed -i 's/10M/1G/' "$work/slow.yaml"
  is "the same command goes on" 0 run -f "$work/slow.yaml"
  good_image "the same command goes on" slow
}

part_cancel() {
  make_image 60
  slow
  start_slow
  local before=$SECONDS
  is "cancel while it runs" 0 on cancel slow
  same "cancel is quick" yes "$([ $((SECONDS - before)) -le 5 ] && echo yes)"
  wait "$pid"
  same "the run ends" 3 $?
  same "it says so" 1 "$(grep -c '^slow: Cancelled' "$work/run.out")"
  absent "nothing is left" "$images"/slow/*
  is "cancel again" 0 on cancel slow
  is "a cancelled one is not retried" 1 on retry slow
  is "cancel what is not there" 1 on cancel nothing
  is "delete it" 0 on delete vmm slow

  start_slow
  kill -INT "$pid"
  wait "$pid"
  is "cancel while nobody runs" 0 on cancel slow
  same "cancel while nobody runs" Cancelled "$(phase slow)"
  absent "nothing is left by that" "$images"/slow/*
}

part_delete() {
  make_image 60
  slow
  start_slow
  is "delete while it runs" 0 on delete vmm slow
  has "delete while it runs: done" "vmmigration/slow deleted"
  wait "$pid"
  same "the run ends" 3 $?
  absent "nothing is left" "$images"/slow/*
  is "it is gone" 1 on get vmm slow

  start_slow
  kill -9 "$pid"
  wait "$pid" 2>/dev/null
  is "a store in use waits for who needs it" 0 on delete istore here --wait=false
  is "delete while nobody runs" 0 on delete vmmigration/slow imagestore/here
  absent "nothing is left by that" "$images"/slow/*
  is "all is gone" 0 on get istore
  has "all is gone" "no imagestores"
  is "the source is untouched" 0 test -s "$images/in/disk-0.raw"

  { store; migration done; } >"$work/done.yaml"
  is "one that succeeds" 0 run -f "$work/done.yaml"
  is "is deleted" 0 on delete vmm done
  good_image "and leaves what it made" done
}

# What cannot be reached holds a deletion up, and says so; --abandon lets go.
part_abandon() {
  make_image 60
  slow
  start_slow
  kill -9 "$pid"
  wait "$pid" 2>/dev/null
  mv "$images" "$work/away"
  is "it waits for what is out of reach" 124 timeout -s INT 6 "$drover" delete --state "$state" vmm slow
  has "it says for what" "vmmigration/slow waits: "
  is "it is still there" 0 on get vmm slow
  is "abandon" 0 on delete vmm slow --abandon
  is "it is gone" 1 on get vmm slow
  mv "$work/away" "$images"
}

# kill -9 at any moment, again and again; at the end all is as if nothing had happened.
part_kill() {
  make_image 20
  cp "$drover" "$work/drover" # so that its movers can be told from those of other tests
  drover=$work/drover
  { store; for i in 1 2 3; do migration "m$i" "  transfer: {bytesPerSecond: 20M}"; done; } >"$work/m.yaml"
  local i status=1
  for i in $(seq 12); do
    timeout -s KILL "0.$((RANDOM % 9 + 1))" "$drover" run --state "$state" -f "$work/m.yaml" \
      >"$work/run.out" 2>&1
    [ -e "$state" ] || continue
    same "kill $i: the state is whole" ok "$(sqlite3 "$state" 'PRAGMA integrity_check')"
  done
  is "it ends well all the same" 0 run -f "$work/m.yaml"
  for i in 1 2 3; do good_image "m$i" "m$i"; done
  same "no mover is left" 0 "$(pgrep -fc "$drover copy --spec" || true)"
}

part_wishes() {
  make_image 60
  slow
  start_slow
  is "suspend" 0 on suspend slow
  stopped() { on get vmm slow -o json | jq -e '.status.conditions[] | select(.reason == "Suspended")' >/dev/null; }
  is "it stops" 0 wait_for 10 stopped
  is "go on" 0 on suspend slow --off
  "$drover" watch --state "$state" slow >"$work/watch.out" 2>&1 &
  local watcher=$!
  wait "$pid"
  same "it ends well" 0 $?
  wait "$watcher"
  same "watch ends with it" 0 $?
  same "watch has seen it" 1 "$(grep -c '^slow: Succeeded' "$work/watch.out")"
  is "retry what has not failed" 1 on retry slow
  has "retry what has not failed: says so" "has not failed"
  is "watch nothing" 1 on watch nothing
  is "cancel what has ended" 1 on cancel slow
  has "cancel what has ended: says so" "has ended already"
}

for part in "$@"; do "part_$part"; done
finish
