# SPDX-License-Identifier: Apache-2.0
# Shared by the integration tests; sourced, never run. BUILD is the build folder, $work a private
# folder that vanishes at the end. Every check prints one line, and finish() makes the exit status.
#
# is WHAT STATUS CMD...       CMD ends with STATUS; its output is in $out, its errors in $errors
# has WHAT TEXT               $out or $errors of the last `is` contain TEXT
# same WHAT A B               two strings are equal
# absent WHAT PATH...         nothing is there (globs allowed)
# json WHAT FILTER            the last line of $out as JSON makes the jq filter true
# wait_for SECONDS CMD...     polls; 1 when the time is over

: "${BUILD:?set BUILD to the build folder}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hosts=$here/../hosts
drover=$BUILD/drover
work=$(mktemp -d /tmp/drover-test.XXXXXX)
failed=0 passed=0
undo=()

export LSAN_OPTIONS=suppressions=$here/lsan.supp:print_suppressions=0
unset AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION \
  AWS_DEFAULT_REGION AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_SHARED_CREDENTIALS_FILE
export DROVER_CACHE=${DROVER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/drover}
unset XDG_RUNTIME_DIR
export HOME=$work TMPDIR=$work DROVER_RUNTIME_DIR=$work/r

at_end() { undo=("$*" "${undo[@]}"); }

clean_up() {
  local step
  for step in "${undo[@]}"; do eval "$step" || true; done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

pass() { passed=$((passed + 1)); echo "ok - $1"; }

miss() {
  failed=$((failed + 1))
  echo "NOT OK - $1: ${*:2}"
}

is() {
  local what=$1 want=$2 status=0
  shift 2
  "$@" > "$work/.out" 2> "$work/.errors" || status=$?
  out=$(< "$work/.out") errors=$(< "$work/.errors")
  if [ "$status" = "$want" ]; then
    pass "$what"
  else
    miss "$what" "status $status, not $want"
    printf '    %s\n' "$*" "${out:0:2000}" "${errors:0:4000}"
  fi
}

has() {
  case "$out$errors" in
    *"$2"*) pass "$1" ;;
    *) miss "$1" "no '$2' in: ${out:0:1000} ${errors:0:2000}" ;;
  esac
}

same() { if [ "$2" = "$3" ]; then pass "$1"; else miss "$1" "'$2' is not '$3'"; fi; }

absent() {
  local path found=()
  for path in "${@:2}"; do [ ! -e "$path" ] || found+=("$path"); done
  if [ ${#found[@]} = 0 ]; then pass "$1"; else miss "$1" "still there: ${found[*]}"; fi
}

json() {
  if tail -n 1 <<< "$out" | jq -e "$2" > /dev/null; then
    pass "$1"
  else
    miss "$1" "not $2: $(tail -n 1 <<< "$out")"
  fi
}

wait_for() {
  local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
  shift
  until "$@" > /dev/null 2>&1; do
    [ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
    sleep 0.05
  done
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# The last JSON line of a type in $out.
line_of() { jq -c "select(.type == \"$1\")" <<< "$out" | tail -n 1; }

# The content digest, recomputed from a raw file by the rule of RFC 9162.
plain_digest() {
  python3 - "$1" <<'END'
import hashlib, sys
leaf = lambda d: hashlib.sha256(b"\0" + d).digest()
def root(l):
    if len(l) == 1: return l[0]
    k = 1
    while k * 2 < len(l): k *= 2
    return hashlib.sha256(b"\1" + root(l[:k]) + root(l[k:])).digest()
data = open(sys.argv[1], "rb").read()
data += b"\0" * (-len(data) % 512)
leaves = [leaf(data[i:i + (4 << 20)]) for i in range(0, len(data), 4 << 20)]
print("merkle-sha256-4m:%d:%s" % (len(data), root(leaves).hex() if leaves else hashlib.sha256().hexdigest()))
END
}

finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}
