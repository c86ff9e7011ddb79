# SPDX-License-Identifier: Apache-2.0
# Shared by the end-to-end tests; sourced. A test starts real hosts and servers under $WORK, moves real
# guests with the drover in $BUILD, and leaves nothing. It prints `ok`/`NO` lines and `N passed, N failed`.
#
# try WHAT COMMAND...          counts; a test that fails shows what it printed. ONLY=TEXT: only those with TEXT in WHAT
# host NAME                    a libvirt host in $WORK/NAME; at NAME ARGS... is virsh there
# guest HOST NAME FLAVOUR ...  a guest defined there (tests/hosts/guest define)
# boots HOST NAME [ARGS...]    the guest NAME on HOST boots and sees what $WORK/sums1 and sums2 say
# provider NAME HOST, store_file|store_s3|store_http|store_nfs NAME    manifests on standard output
# run ARGS...                  drover run, with the state of this test (or of $STATE)
# define_data_vm NAME FILE...  a VM on host a that is never started, with these qcow2 files of its pool as vda, vdb, ...
# controller NAME, operator NAME, kill_controller NAME SIGNAL, stop_controllers    drover controller on the cluster in $WORK/k8s
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$HERE/../.." && pwd)
HOSTS=$TOP/tests/hosts
BUILD=${BUILD:-$TOP/build-dev}
DROVER=$BUILD/drover
WORK=$(mktemp -d "${TMPDIR:-/tmp}/drover-e2e.XXXXXX")
chmod 755 "$WORK"
passed=0 failed=0 started=()
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1} no_proxy='*'

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

try() {
  local what=$1 start result=passed
  [[ $what == *"${ONLY:-}"* ]] || return 0
  start=$(now_ms)
  shift
  # Not in a condition: set -e must hold inside of what is tried.
  (set -e; "$@") > "$WORK/output" 2>&1 &
  wait $! || result=failed
  printf '%s %6d ms  %s\n' "$([ $result = passed ] && echo ok || echo NO)" $(($(now_ms) - start)) "$what"
  [ $result = passed ] || tail -n 60 "$WORK/output" | sed 's/^/      /'
  declare -gi "$result+=1"
}
refuse() { ! "$@"; }

# wait_for SECONDS COMMAND...
wait_for() {
  local end=$(($(now_ms) + $1 * 1000))
  shift
  until "$@" > /dev/null 2>&1; do
    [ "$(now_ms)" -lt $end ] || return 1
    sleep 0.05
  done
}

value() { (. "$1/env" && printf '%s\n' "${!2}"); }

server() { # server KIND NAME [ARGS...]: tests/hosts/KIND up $WORK/NAME
  local kind=$1 name=$2
  shift 2
  "$HOSTS/$kind" up "$WORK/$name" "$@"
  started+=("$kind $name")
}
host() { server libvirt "$1" "$1" "${@:2}"; }

at() { virsh -q -c "qemu+unix:///system?socket=$WORK/$1/run/libvirt-sock" "${@:2}"; }

finish() {
  local entry
  trap - EXIT
  for entry in "${started[@]}"; do
    "$HOSTS/${entry% *}" down "$WORK/${entry#* }" > /dev/null 2>&1 || true
  done
  rm -rf "$WORK"
  echo "$passed passed, $failed failed"
  [ $failed = 0 ] && [ $passed -gt 0 ]
}
trap 'finish || exit 1' EXIT

guest() { # the console of a guest is HOST/log/qemu/NAME-serial.log
  "$HOSTS/guest" define "$WORK/$1" "$2" "${@:3}" > /dev/null
  cp "$WORK/$1/guests/$2.sums1" "$WORK/$2.sums1"
  cp "$WORK/$1/guests/$2.sums2" "$WORK/$2.sums2"
}

state_is() { [ "$(at "$1" domstate "$2")" = "$3" ]; }

# boots HOST NAME ORIGINAL [check options]: as the guest ORIGINAL was built. It is running already, or started.
boots() {
  local where=$1 name=$2 original=$3
  shift 3
  state_is "$where" "$name" running || at "$where" start "$name"
  "$HOSTS/guest" check "$WORK/$where/log/qemu/$name-serial.log" "$WORK/$original.sums1" "$WORK/$original.sums2" "$@"
}

discard() { # discard HOST NAME: away with a guest and its disks
  at "$1" destroy "$2" > /dev/null 2>&1 || true
  at "$1" undefine "$2" --nvram > /dev/null
  rm -f "$WORK/$1/pool/$2-"*
}

# ---- manifests

provider() {
  cat << Y
---
apiVersion: drover.dev/v1alpha1
kind: Provider
metadata: {name: $1}
spec:
  type: Libvirt
  endpoint: unix://$WORK/$2/run/libvirt-sock
  defaults: {storage: default}
  allow: [Export, Import, DeleteSource]
Y
}

store_file() {
  mkdir -p "$WORK/store-file"
  cat << Y
---
apiVersion: drover.dev/v1alpha1
kind: ImageStore
metadata: {name: $1}
spec: {file: {path: $WORK/store-file}}
Y
}

store_s3() { # store_s3 NAME [SERVER]
  local dir=$WORK/${2:-s3}
  cat << Y
---
apiVersion: v1
kind: Secret
metadata: {name: $1-keys}
stringData: {accessKeyID: "$(value "$dir" S3_ACCESS_KEY)", secretAccessKey: "$(value "$dir" S3_SECRET_KEY)"}
---
apiVersion: drover.dev/v1alpha1
kind: ImageStore
metadata: {name: $1}
spec:
  s3: {endpoint: "$(value "$dir" S3_ENDPOINT)", bucket: $(value "$dir" S3_BUCKET), region: us-east-1, pathStyle: true}
  credentialsSecretRef: {name: $1-keys}
Y
}

store_http() { # store_http NAME: nginx in $WORK/web, with basic authorization
  cat << Y
---
apiVersion: v1
kind: Secret
metadata: {name: $1-login}
stringData: {username: "$(value "$WORK/web" HTTP_USER)", password: "$(value "$WORK/web" HTTP_PASSWORD)"}
---
apiVersion: drover.dev/v1alpha1
kind: ImageStore
metadata: {name: $1}
spec:
  http: {url: "$(value "$WORK/web" HTTP_PLAIN_URL)/basic"}
  credentialsSecretRef: {name: $1-login}
Y
}

store_nfs() { # store_nfs NAME: ganesha in $WORK/nas
  cat << Y
---
apiVersion: drover.dev/v1alpha1
kind: ImageStore
metadata: {name: $1}
spec: {nfs: {server: "$(value "$WORK/nas" NFS_SERVER)", export: $(value "$WORK/nas" NFS_EXPORT)}}
Y
}

# migration NAME SOURCE TARGET [MORE]: the two ends and further fields of spec as flow mappings
migration() {
  cat << Y
---
apiVersion: drover.dev/v1alpha1
kind: VMMigration
metadata: {name: $1}
spec:
  source: $2
  target: $3
$(for more in "${@:4}"; do echo "  $more"; done)
Y
}
vm() { echo "{vm: {providerRef: {name: $1}, name: $2${3:+, $3}}}"; }
image() { echo "{image: {storeRef: {name: $1}, path: $2${3:+, $3}}}"; }

run() { "$DROVER" run --state "${STATE:-$WORK/state.db}" "$@"; }
get_json() { "$DROVER" get "$1" "$2" --state "${STATE:-$WORK/state.db}" -o json; }
status_of() { get_json vmmigration "$1" | jq -r "$2"; }

# ---- VMs of data only

define_data_vm() {
  local name=$1 file letters=abcdefgh
  shift
  {
    echo "<domain type='qemu'><name>$name</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>"
    echo "<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>"
    for file; do
      echo "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
      echo "<source file='$WORK/a/pool/$file'/><target dev='vd${letters:0:1}' bus='virtio'/></disk>"
      letters=${letters:1}
    done
    echo "</devices></domain>"
  } > "$WORK/$name.xml"
  at a define "$WORK/$name.xml" > /dev/null
}

# ---- the operator on a cluster; KUBECONFIG and KUBECTL are those of $WORK/k8s/env

k() { "$KUBECTL" "$@"; }
gone() { ! kill -0 "$1" 2> /dev/null || grep -q '^State:.Z' "/proc/$1/status"; }

operator() { # operator NAME [OPTIONS]: drover controller, log in $WORK/NAME.log
  local name=$1
  shift
  "$DROVER" controller "$@" > "$WORK/$name.log" 2>&1 &
  echo $! > "$WORK/$name.controller"
}
controller() { operator "$1" --allow-local "$WORK" "${@:2}"; } # controller NAME [OPTIONS]: one that may name what is here
kill_controller() { # kill_controller NAME SIGNAL
  local pid
  pid=$(< "$WORK/$1.controller")
  kill "-$2" "$pid" 2> /dev/null || true
  wait_for 10 gone "$pid"
}
stop_controllers() {
  local file
  for file in "$WORK"/*.controller; do [ ! -e "$file" ] || kill -9 "$(< "$file")" 2> /dev/null || true; done
}
