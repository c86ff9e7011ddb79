# SPDX-License-Identifier: Apache-2.0
# The world and the kinds of rows of tests/e2e/bad-input; sourced by it, after lib.sh.
#
# World: the hosts a (with machines to take) and b (with what stands in the way); a MinIO, one with TLS, an
# nginx with TLS, an NFS server, folders of images. `part NAME` keeps a manifest that rows may refer to; a row
# gets those whose names its own manifest holds as {name: NAME}.
#
# Each row has a state file and an object of its own, and ends with the world as it was before: the same files
# with the same content in pools and stores, machines in the same power state, no upload begun, no folder for
# temporary files, no process.
#
#   broken WHAT SENTENCE [YAML]               refused at once (exit 2), nothing stored; YAML or standard input
#   fails WHAT REASON SENTENCE FROM TO [MORE...]    fails (exit 3) with this reason and this in its message
#   works WHAT FROM TO [MORE...]              succeeds (exit 0); what it made is removed again
#   fits WHAT FUNCTION                        anything else; FUNCTION runs in a folder of its own, $ROW
. "$HOSTS/lib.sh"

TEMPORARY=$WORK/tmp PARTS=$WORK/parts ROWS=$WORK/rows VAULT=$WORK/vault
mkdir -p "$TEMPORARY" "$PARTS" "$ROWS" "$VAULT/bare"
# A name of its own for the program, so that its processes can be told from those of others.
cp "$DROVER" "$WORK/drover"
DROVER=$WORK/drover
export TMPDIR=$TEMPORARY XDG_RUNTIME_DIR=$TEMPORARY
row=0

# ---- the world ----

part() { cat > "$PARTS/$1.yaml"; }

disk() { # disk HOST FILE FORMAT MIB: with 1 MiB of data
  local to=$WORK/$1/pool/$2
  qemu-img create -q -f "$3" "$to" "$4M"
  qemu-io -f "$3" -c 'write -q -P 0x5a 1M 512k' -c 'write -q -P 0xa5 3M 512k' "$to"
}

disk_xml() { # disk_xml FILE FORMAT DEVICE [MORE]
  echo "<disk type='file' device='disk'><driver name='qemu' type='$2'/><source file='$1'/>
    <target dev='$3' bus='virtio'/>${4:-}</disk>"
}

machine() { # machine HOST NAME DISKS [NETWORK]: off; it has no system to boot, so it never hears a shutdown
  local name nic=''
  name=$(sed 's/&/\&amp;/g; s/</\&lt;/g' <<< "$2")
  [ -z "${4:-}" ] || nic="<interface type='network'><source network='$4'/><model type='virtio'/></interface>"
  at "$1" define /dev/stdin << X
<domain type='qemu'>
  <name>$name</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>$3$nic<memballoon model='none'/></devices>
</domain>
X
}

simple() { # simple HOST NAME FILE: a machine with one disk
  disk "$1" "$3" qcow2 8
  machine "$1" "$2" "$(disk_xml "$WORK/$1/pool/$3" qcow2 vda)"
}

pid_of() { head -n 1 "$1"; }

# ---- what there is ----

files() { # paths, sizes and digests
  find "$@" -type f ! -name 'format.json' -printf '%p\0' | sort -z | xargs -0r sha256sum
  find "$@" -mindepth 1 -type d | sort
}

machines() { # of a host: names, states, autostart
  at "$1" 'list --all --name; list --state-running --name; list --all --autostart --name; vol-list default' | sort
}

uploads() { find "$WORK/s3/data/.minio.sys/multipart" -mindepth 1 2> /dev/null | sort || true; }

# Processes of the program, and tools that were given a path of ours.
processes() {
  find /proc -maxdepth 2 -name exe -lname "$DROVER" 2> /dev/null || true
  grep -lzF "$WORK" /proc/[0-9]*/cmdline 2> /dev/null |
    xargs -r grep -lzE '(qemu-nbd|qemu-img|storage-daemon|ssh)$' 2> /dev/null || true
}

world() {
  files "$WORK/a/pool" "$WORK/b/pool" "$WORK/full" "$VAULT" "$WORK/nas/export" "$WORK/web/www" \
    "$WORK/s3/data/drover-test" "$WORK/s3tls/data/drover-test"
  "$HOSTS/nfs" exec "$WORK/nas" find "$WORK/nas/small" -mindepth 1
  machines a
  machines b
  uploads
  find "$TEMPORARY" | sort
  processes
}

# What is left behind is left once: it is not held against the rows that follow.
unchanged() {
  world > "$ROW/world"
  diff "$WORK/world" "$ROW/world" || { cp "$ROW/world" "$WORK/world"; return 1; }
}

# ---- rows ----

# A row by its number: what it runs sees $ROW, a folder of its own, and STATE.
begin() {
  row=$((row + 1))
  ROW=$ROWS/$row STATE=$ROWS/$row/state.db
  mkdir "$ROW"
}

# whole FILE: with the parts that it refers to, and those that these refer to
whole() {
  local name names
  names=$(grep -oE '[{]name: [a-z0-9.-]+' "$1" | sed 's/.*: //' | sort -u || true)
  for name in $names; do
    [ ! -e "$PARTS/$name.yaml" ] || cat "$PARTS/$name.yaml"
  done
  cat "$1"
}

# exits STATUS ARGS...: drover with the state of this row; what it prints goes to $ROW/output
exits() {
  local wanted=$1 status=0
  timeout -k 5 60 "$DROVER" "$2" --state "$STATE" "${@:3}" > "$ROW/output" 2>&1 || status=$?
  [ "$status" = "$wanted" ] || { echo "exit status $status, not $wanted:"; cat "$ROW/output"; return 1; }
  no_crash "$ROW/output"
}

says() { # says FILE SENTENCE
  grep -qF -- "$2" "$1" || { echo "'$2' is not in:"; cat "$1"; return 1; }
}

no_crash() { ! grep -E 'ERROR: AddressSanitizer|runtime error:|LeakSanitizer' "$@"; }

look() { get_json vmmigration m > "$ROW/object"; }

# condition TYPE STATUS REASON SENTENCE: of the object that was looked at last
condition() {
  jq -e --arg type "$1" --arg status "$2" --arg reason "$3" --arg text "$4" \
    '.status.conditions[] | select(.type == $type)
      | .status == $status and (.reason == $reason or $reason == "") and (.message | contains($text))' \
    "$ROW/object" > /dev/null ||
    { echo "not $1=$2, $3 with '$4':"; jq '.status' "$ROW/object"; return 1; }
}

forget() { # the object goes, and takes back what it made
  exits 0 delete vmmigration m
}

broken_row() {
  exits 2 run -f "$ROW/m.yaml"
  says "$ROW/output" "$1"
  [ ! -e "$STATE" ] || { refuse get_json vmmigration m > /dev/null 2>&1; unchanged; }
}
broken() {
  begin
  printf '%s\n' "${3-$(cat)}" > "$ROW/m.yaml"
  try "$1" broken_row "$2"
}

failed_as() { # failed_as REASON SENTENCE
  look
  condition Failed True "$1" "$2"
  condition Finished True "$1" "$2"
  condition Succeeded False "$1" "$2"
  jq -e '.status.phase == "Failed"' "$ROW/object" > /dev/null
}

owns_nothing() { jq -e '.status.owned // [] | length == 0' "$ROW/object" > /dev/null; }

# A ledger that is empty must be right; what stays for another try (onFailure.target: Keep) goes with the object.
fails_row() {
  exits 3 run -f "$ROW/all.yaml"
  says "$ROW/output" "$2"
  failed_as "$1" "$2"
  if ! owns_nothing; then
    refuse grep -qF "$REMOVE" "$ROW/m.yaml"
    forget
  fi
  unchanged
}
fails() {
  begin
  migration m "${@:4}" > "$ROW/m.yaml"
  whole "$ROW/m.yaml" > "$ROW/all.yaml"
  try "$1" fails_row "$2" "$3"
}

# What a migration made on b, in a store, and its object, all away.
remove_made() {
  local name path
  name=$(status_of m '.status.result.vm.name // empty')
  [ -z "$name" ] || at b destroy "$name" > /dev/null 2>&1 || true
  [ -z "$name" ] || at b undefine "$name" --remove-all-storage > /dev/null
  for path in $(status_of m '.status.result.images[]?.path'); do
    rm -rf "$VAULT/${path%/*}"
  done
  forget
}

works_row() {
  exits 0 run -f "$ROW/all.yaml"
  look
  condition Succeeded True "" ""
  remove_made
  unchanged
}
works() {
  begin
  migration m "${@:2}" > "$ROW/m.yaml"
  whole "$ROW/m.yaml" > "$ROW/all.yaml"
  try "$1" works_row
}

fits() {
  begin
  try "$1" "$2"
}
# ---- rows that are more than one line

# The manifest of this row, with its parts.
manifest() {
  migration m "$@" > "$ROW/m.yaml"
  whole "$ROW/m.yaml" > "$ROW/all.yaml"
}

aliases() { # each line ten times the one before
  local i
  echo 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]'
  for i in {1..8}; do
    echo "a$i: &a$i [*a$((i - 1)), *a$((i - 1)), *a$((i - 1)), *a$((i - 1)), *a$((i - 1)), *a$((i - 1)), *a$((i - 1))]"
  done
}

moves_as_raw() {
  manifest "$(vm a cunning)" "$(image file cunning 'format: raw')"
  exits 0 run -f "$ROW/all.yaml"
  cmp "$WORK/a/pool/cunning.raw" "$VAULT/cunning/disk-0.raw"
  remove_made
  unchanged
}

upload_has_begun() { uploads | grep .; }

in_background() { # in_background ARGS...: drover run; $! is its process
  timeout -k 5 60 "$DROVER" run --state "$STATE" "$@" > "$ROW/output" 2>&1 &
}

server_comes_back() {
  local status=0
  manifest "$(vm a big)" "$(image s3 back 'format: raw')" 'transfer: {bytesPerSecond: 1M}' \
    'retry: {limit: 1, initialDelay: 100ms, maxDelay: 100ms}'
  in_background -f "$ROW/all.yaml"
  wait_for 30 upload_has_begun
  "$HOSTS/minio" stop "$WORK/s3"
  wait $! || status=$?
  "$HOSTS/minio" start "$WORK/s3"
  [ $status = 3 ] || { echo "exit status $status:"; cat "$ROW/output"; return 1; }
  failed_as Unreachable "disk vda"
  sed -i 's/limit: 1/limit: 5/; s/bytesPerSecond: 1M//' "$ROW/all.yaml"
  exits 3 run -f "$ROW/all.yaml" # what is finished is not begun again by a larger limit alone
  exits 0 run -f "$ROW/all.yaml" --retry
  look
  condition Succeeded True "" ""
  stored_as_at_source s3 back/disk-0.raw "$WORK/a/pool/big.qcow2"
  s3_empty back
  forget
  unchanged
}

stored_as_at_source() { # stored_as_at_source PART KEY DISK
  s3_request "$WORK/$1" GET "/drover-test/$2" -o "$ROW/stored"
  qemu-img compare -q -f raw -F qcow2 "$ROW/stored" "$3"
}
s3_empty() { # away with what is below a folder
  local key
  for key in $(s3_request "$WORK/s3" GET "/drover-test?list-type=2&prefix=$1" | grep -oP '(?<=<Key>)[^<]*'); do
    s3_request "$WORK/s3" DELETE "/drover-test/$key"
  done
}

blocked() { [ "$(status_of m '.status.conditions[] | select(.type == "Progressing").reason')" = CleanupBlocked ]; }

disk_is() { [ "$(status_of m '.status.disks[0].phase')" = "$1" ]; }

staged_server_goes_away() { # in the second leg, when it is read
  local status=0
  manifest "$(vm a big)" "$TO" 'via: {storeRef: {name: s3}}' 'transfer: {bytesPerSecond: 2M}' "$ONCE" "$REMOVE"
  in_background -f "$ROW/all.yaml"
  wait_for 30 disk_is Restoring
  "$HOSTS/minio" stop "$WORK/s3"
  wait_for 40 blocked # it cannot take back what it staged, says so, and goes on trying
  "$HOSTS/minio" start "$WORK/s3"
  wait $! || status=$?
  [ $status = 3 ] || { echo "exit status $status:"; cat "$ROW/output"; return 1; }
  failed_as Unreachable "disk vda"
  unchanged
  forget
  unchanged
}

# No request that changes anything but the probe of the ImageStore itself; the VM goes on running.
dry_run() {
  local log=$WORK/web/access.log before
  before=$(wc -l < "$log")
  manifest "$(vm a deaf)" "$TO" 'via: {storeRef: {name: https}}' 'dryRun: true' 'sourceAfter: {action: Delete}'
  exits 0 run -f "$ROW/all.yaml"
  look
  look
  condition Succeeded True DryRun "nothing was changed"
  tail -n +$((before + 1)) "$log" > "$ROW/requests"
  grep -q . "$ROW/requests"
  [ "$(grep -c '^PUT' "$ROW/requests")" = 1 ]
  refuse grep -vE '^(GET|HEAD|OPTIONS|PROPFIND) |^(PUT|MOVE|DELETE) /open/[.]*drover-probe-' "$ROW/requests"
  [ "$(status_of m '.status.preflight | map(select(.severity == "Error")) | length')" = 0 ]
  unchanged
  forget
  unchanged
}

immutable() {
  manifest "$(vm a plain)" "$TO" 'dryRun: true'
  exits 0 run -f "$ROW/all.yaml"
  sed -i 's/name: plain/name: big/' "$ROW/all.yaml"
  exits 2 run -f "$ROW/all.yaml"
  says "$ROW/output" "source cannot be changed"
  [ "$(status_of m .spec.source.vm.name)" = plain ]
  forget
  unchanged
}

no_manifest() {
  exits 2 run -f "$ROW/nothing.yaml"
  says "$ROW/output" "nothing.yaml"
  mkdir "$ROW/empty"
  exits 2 run -f "$ROW/empty"
  says "$ROW/output" "holds no"
  unchanged
}
