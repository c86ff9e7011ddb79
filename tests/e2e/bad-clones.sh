# SPDX-License-Identifier: Apache-2.0
# The world and the kinds of rows of tests/e2e/bad-clones; sourced by it, after lib.sh and bad-input.sh (whose parts,
# broken and fits it uses).
#
# World: the host a, with machines to clone; its pools default, small (an ext4 of 16 MiB, half full), asleep (not active);
# sockets that answer nonsense. A row ends with the world as it was before.
#
#   bad WHAT KIND/NAME REASON SENTENCE    standard input: a manifest, which names parts as {name: PART}. That object is
#       not ready, for this reason (an ERE) and with this in its message; `drover run` goes on, and nothing has been made.
#       all_bad runs these rows, all in one process, each in a namespace of its own (which SENTENCE calls default).
#   life WHAT FUNCTION    more than that: FUNCTION runs in a folder of its own, $ROW
STAYS=$WORK/small/stays
RUN_AS=()

# ---- what there is (see bad-input.sh)

world() {
  files "$WORK/a/pool" "$WORK/small"
  machines a
  for each in small asleep; do at a pool-info $each | grep State; done
  find "$TEMPORARY" | sort
  processes
}

# ---- drover run, in the background

start_run() { # start_run [ARGS...]
  "${RUN_AS[@]}" "$DROVER" run --state "$STATE" --watch "$@" > "$ROW/run" 2>&1 &
  pid=$!
  echo $pid > "$ROW/pid"
  [ $BASHPID = $$ ] || trap "kill -9 $pid 2> /dev/null || true" EXIT # of the subshell of this row
}
alive() { kill -0 "$pid" 2> /dev/null; }
end_run() { # a run that did not crash ends well when it is told to
  local status=0
  alive || { echo "the run is gone:"; cat "$ROW/run"; return 1; }
  kill -TERM "$pid"
  wait "$pid" || status=$?
  [ $status = 130 ] || [ $status = 143 ] || [ $status = 0 ] || { echo "ended with $status:"; cat "$ROW/run"; return 1; }
  no_crash "$ROW/run"
}
kill_runs() {
  local file
  for file in "$ROWS"/*/pid; do
    [ ! -e "$file" ] || kill -9 "$(< "$file")" 2> /dev/null || true
  done
}

see() { "$DROVER" get "$1" "$2" -n "${NAMESPACE:-default}" --state "$STATE" -o json > "$ROW/object" 2> "$ROW/get"; }
fact() { see "$1" "$2" && jq -r "$3" "$ROW/object"; }
not_ready() { # not_ready KIND NAME REASON SENTENCE
  see "$1" "$2" && jq -e --arg reason "$3" --arg text "$4" '.status.conditions[] | select(.type == "Ready")
      | .status == "False" and (.reason | test("^(" + $reason + ")$")) and (.message | contains($text))' "$ROW/object"
}
comes_to_say() { # comes_to_say KIND NAME REASON SENTENCE
  wait_for "${PATIENCE:-40}" not_ready "$@" && return
  echo "$1 $2 does not say $3 and '$4':"
  jq -c '.status.conditions[] | select(.type == "Ready")' "$ROW/object" || cat "$ROW/run"
  return 1
}
ready() { see "$1" "$2" && jq -e '.metadata.generation == .status.observedGeneration and
    (.status.conditions[] | select(.type == "Ready").status == "True")' "$ROW/object"; }
comes_up() { # comes_up KIND NAME
  wait_for 30 ready "$@" || { echo "$* is not ready:"; jq .status "$ROW/object"; tail "$ROW/run"; return 1; }
}

# All objects of this row away, those first that others are made of last.
forget_all() {
  local kind name
  for kind in cset dclone cbase vmm dprov; do
    for name in $("$DROVER" get $kind --state "$STATE" -o json | jq -r '.. | objects | select(.metadata and .kind? and .kind != "List").metadata.name'); do
      timeout -k 5 60 "$DROVER" delete $kind "$name" --state "$STATE" > "$ROW/output" 2>&1 || { cat "$ROW/output"; return 1; }
    done
  done
}

named_in() { grep -oE '[{]name: [a-z0-9.-]+' "$1" | sed 's/.*: //' | sort -u || true; }
whole_row() { # with the parts that it names, and those that these name
  local name
  cat > "$ROW/m.yaml"
  for name in $(named_in "$ROW/m.yaml"); do
    [ ! -e "$PARTS/$name.yaml" ] || { echo "$name" && named_in "$PARTS/$name.yaml"; }
  done | sort -u > "$ROW/parts"
  for name in $(< "$ROW/parts"); do [ ! -e "$PARTS/$name.yaml" ] || cat "$PARTS/$name.yaml"; done > "$ROW/all.yaml"
  cat "$ROW/m.yaml" >> "$ROW/all.yaml"
}

rows=0
bad() { # kept until all_bad; each row in a namespace of its own, with the parts that it names
  [[ $1 == *"${ONLY:-}"* ]] || return 0
  rows=$((rows + 1))
  ROW=$ROWS/bad-$rows
  mkdir "$ROW"
  whole_row
  sed -E "s/metadata: [{]name: ([^,}]*)[}]/metadata: {namespace: r$rows, name: \1}/" "$ROW/all.yaml" >> "$ROWS/bad.yaml"
  printf '%s\n' "$1" "${2%/*}" "${2#*/}" "$3" "${4//default\//r$rows/}" > "$ROW/row"
}
says_why() { # says_why ROW
  local what
  mapfile -t what < "$ROWS/bad-$1/row"
  NAMESPACE=r$1 comes_to_say "${what[@]:1}"
}
# What has failed is not looked at over and over.
does_not_spin() {
  [ "$(wc -l < "$ROW/run")" -lt $((rows * 12)) ] || { echo "it spins:"; tail -n 30 "$ROW/run"; return 1; }
}
as_before() { world | grep -v /proc/ | diff <(grep -v /proc/ "$WORK/world") -; }
all_bad() { # all of them at once, in one process
  local n what
  [ $rows -gt 0 ] || return 0
  begin
  start_run -f "$ROWS/bad.yaml"
  for ((n = 1; n <= rows; n++)); do
    mapfile -t what < "$ROWS/bad-$n/row"
    try "${what[0]}" says_why $n
  done
  try "nothing is half-made, nothing away" as_before
  try "what has failed is left alone" does_not_spin
  end_status=0
  end_run > "$ROW/end" 2>&1 || end_status=$?
  try "the process has gone on" ended_well
  try "nothing is left" unchanged
}
ended_well() { [ $end_status = 0 ] || { cat "$ROW/end"; return 1; }; }
life() {
  begin
  try "$1" "$2"
}

# ---- manifests

object() { printf -- '---\napiVersion: drover.dev/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n' "$@"; }
prov() { object Provider "$1" "{type: Libvirt, endpoint: \"unix://${3:-$SOCKET}\", ${2:-allow: [Clone]}}" | part "$1"; }
base() { object CloneBase "$1" "{providerRef: {name: ${3:-here}}, $2}"; }
clone() { object Clone "${2:-m}" "{baseRef: {name: good}, powerState: \"Off\"${1:+, $1}}"; }
set_of() { object CloneSet "${4:-web}" "{replicas: $1, baseRef: {name: good}, template: {powerState: \"Off\"${2:+, $2}}${3:+, $3}}"; }
secret() { printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {%s}\n' "$1" "$2" | part "$1"; }

# ---- the world: the small pool must be there before the host that is to see it

mkdir "$WORK/small"
truncate -s 16M "$WORK/small.img"
mkfs.ext4 -q -m 0 -O ^has_journal "$WORK/small.img"
mount -o loop "$WORK/small.img" "$WORK/small"
trap 'kill_runs; umount -l "$WORK/small"; finish || exit 1' EXIT
rmdir "$WORK/small/lost+found"
head -c 9M /dev/urandom > "$STAYS"
host a
SOCKET=$WORK/a/run/libvirt-sock
at a pool-define-as small dir --target "$WORK/small" > /dev/null
at a pool-start small > /dev/null
mkdir "$WORK/a/asleep"
at a pool-define-as asleep dir --target "$WORK/a/asleep" > /dev/null

nic="<interface type='network'><source network='default'/><model type='virtio'/></interface>"
disk a good.qcow2 qcow2 64
machine a good "$(disk_xml "$WORK/a/pool/good.qcow2" qcow2 vda)$nic"
simple a deaf deaf.qcow2
at a start deaf > /dev/null
machine a hollow "$(disk_xml "$WORK/a/pool/nothing.qcow2" qcow2 vda)"
machine a diskless ''
# Compressed: how much it takes as a copy shows only when it is written.
qemu-img create -q -f raw "$WORK/even.raw" 16M
qemu-io -f raw -c 'write -q -P 7 0 16M' "$WORK/even.raw"
qemu-img convert -q -c -O qcow2 "$WORK/even.raw" "$WORK/a/pool/packed.qcow2"
rm "$WORK/even.raw"
machine a packed "$(disk_xml "$WORK/a/pool/packed.qcow2" qcow2 vda)"
disk a big.qcow2 qcow2 64
qemu-io -c 'write -q -P 3 8M 24M' "$WORK/a/pool/big.qcow2"
machine a big "$(disk_xml "$WORK/a/pool/big.qcow2" qcow2 vda)"
echo "this is no image, though it is long enough to be one: $(seq 200)" > "$WORK/a/pool/text.qcow2"
machine a text "$(disk_xml "$WORK/a/pool/text.qcow2" qcow2 vda)"
simple a running-later later.qcow2
machine a shares "$(disk_xml "$WORK/a/pool/deaf.qcow2" qcow2 vda)"

# Sockets: one that hangs up, one that never says a word, one that talks nonsense.
cat > "$WORK/nonsense.py" << 'P'
import os, socket, sys, threading
def serve(path, answer):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(64)
    held = []
    while True:
        c = s.accept()[0]
        try:
            answer(c, held)
        except OSError:
            pass
def hang_up(c, held): c.close()
def silent(c, held): held.append(c)
def nonsense(c, held): c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(256)) * 16); held.append(c)
for name, answer in (("closes", hang_up), ("silent", silent), ("nonsense", nonsense)):
    os.makedirs(os.path.join(sys.argv[1], name))
    threading.Thread(target=serve, args=(os.path.join(sys.argv[1], name, "libvirt-sock"), answer)).start()
P
mkdir "$WORK/socks"
start_daemon nonsense "$WORK/nonsense.pid" "$WORK/nonsense.log" python3 "$WORK/nonsense.py" "$WORK/socks"
trap 'kill_runs; kill "$(pid_of "$WORK/nonsense.pid")" 2> /dev/null; umount -l "$WORK/small"; finish || exit 1' EXIT
wait_for 10 test -S "$WORK/socks/nonsense/libvirt-sock"

prov here 'allow: [Clone, Import]'
prov no-clone 'allow: [Export, Import]'
prov scoped 'allow: [Clone], scope: {vmNames: ["web-*"], storages: [default], networks: [lab]}'
prov nowhere 'allow: [Clone]' "$WORK/socks/nothing/libvirt-sock"
for each in closes silent nonsense; do prov $each 'allow: [Clone]' "$WORK/socks/$each/libvirt-sock"; done
printf -- '---\napiVersion: drover.dev/v1alpha1\nkind: Provider\nmetadata: {name: far, namespace: other}\nspec: %s\n' \
  "{type: Libvirt, endpoint: \"unix://$SOCKET\", allow: [Clone]}" | part far
base good 'template: {name: good}' | part good
secret empty-keys 'a: "# no key in here"'
secret no-userdata 'user-data: "#cloud-config"'
mkdir "$VAULT/images"
cp "$WORK/a/pool/text.qcow2" "$VAULT/images/text.qcow2"
object ImageStore vault "{file: {path: $VAULT}}" | part vault
for each in default small; do at a pool-refresh $each > /dev/null; done
world > "$WORK/world"
