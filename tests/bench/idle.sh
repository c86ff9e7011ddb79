# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# hack/bench clone, part idle: the controller with 10,000 idle CloneBases and CloneSets beside an operator on
# controller-runtime with the same objects (tests/bench/peer), one after the other on one API server. Sourced by hack/bench.
# OBJECTS=n (10000), CHANGES=n one after another (400), BURST=n at the same time (50).
#
# Memory is read when all objects have been seen and nothing is left to do; "after" is after the changes, and "most" is the
# most it ever was. Times are from the API server's having taken a change until the status that answers it has been stored
# and told to a client that watches (tests/bench/peer/probe).

memory() { awk -v key="$2:" '$1 == key { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
says() { grep -q "$1" "$2"; }

# measure NAME PID: a row of the table of memory, and two of that of times in $WORK/times
measure() {
  local before what n half most longest
  before=$(memory "$2" VmRSS)
  "$peer/probe" events "$changes" "$burst" > "$WORK/events"
  printf '| %s | %s | %s | %s |\n' "$1" "$before" "$(memory "$2" VmRSS)" "$(memory "$2" VmHWM)"
  while read -r what n half most longest; do
    printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "$([ "$what" = burst ] && echo "$burst at once" || echo "one after another")" \
      "$n" "$half" "$most" "$longest" >> "$WORK/times"
  done < "$WORK/events"
}

end() { kill "$1" && wait "$1" || true; }

start_drover() {
  "$DROVER" controller --allow-local / --checkpoints "$WORK/checkpoints" > "$WORK/controller.log" 2>&1 &
  pid=$!
}

# It has all to do at first: looks at each object, and writes its status.
first_drover() {
  local took
  start_drover
  took=$("$peer/probe" settled "$objects" 600) || { tail "$WORK/controller.log" >&2; end $pid; return 1; }
  printf '\ndrover has looked at %s new objects and written what it saw in %s s: %s MiB (most: %s)\n' "$objects" "$took" \
    "$(memory $pid VmRSS)" "$(memory $pid VmHWM)"
  end $pid
}

# Later it comes back to them. Keys are taken in the order in which they came: the one that is changed now comes last.
again_drover() {
  start_drover
  "$peer/probe" events 2 1 > /dev/null || { tail "$WORK/controller.log" >&2; end $pid; return 1; }
  measure drover $pid
  end $pid
}

the_peer() { # the_peer NAME [OPTION]
  "$peer/operator" --objects "$objects" "${@:2}" > "$WORK/operator.log" 2>&1 &
  pid=$!
  wait_for 120 says settled "$WORK/operator.log" || { tail "$WORK/operator.log" >&2; end $pid; return 1; }
  measure "$1" $pid
  end $pid
}

bench_clone_idle() {
  local objects=${OBJECTS:-10000} changes=${CHANGES:-400} burst=${BURST:-50} peer pid
  peer=$("$HOSTS/build-servers" peer)
  [ -d "$WORK/k8s" ] || server cluster k8s
  (
    set -a
    . "$WORK/k8s/env"
    set +a
    trap 'kill "${pid:-}" 2> /dev/null || true' EXIT
    : > "$WORK/times"
    "$KUBECTL" apply -f crds/ > /dev/null
    "$KUBECTL" wait --for=condition=Established crd --all --timeout=30s > /dev/null
    "$peer/probe" fill "$objects"
    first_drover
    printf '\n| %s idle CloneBases and CloneSets, MiB | resident | after | most |\n| --- | ---: | ---: | ---: |\n' "$objects"
    again_drover
    the_peer controller-runtime
    the_peer 'controller-runtime without managedFields' --strip-managed-fields
    printf '\n| from event to action, ms | changes | n | p50 | p99 | longest |\n| --- | --- | ---: | ---: | ---: | ---: |\n'
    cat "$WORK/times"
    printf '\nload of this machine: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
  )
}
