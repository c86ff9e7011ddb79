# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts of this folder; sourced, never run: . "$(dirname "$0")/lib.sh"
#
# free_port VAR                         a TCP port nobody uses, stored in VAR (never the same twice in one process)
# wait_until SECONDS CMD [ARG...]       run CMD until it succeeds; 1 when SECONDS have passed
# start_daemon NAME PIDFILE LOG CMD...  run CMD in a session of its own; PIDFILE exists before CMD does
# run_step PIDFILE SECONDS CMD...       a command that ends by itself, but must not outlive state_close
# wait_daemon PIDFILE SECONDS CMD...    wait_until, but gives up at once when the daemon has died
# alive PIDFILE                         whether that very process (not a later one with its number) runs
# stop_daemon PIDFILE                   SIGTERM, wait until gone, SIGKILL after 10 s, remove PIDFILE
# state_open DIR KIND                   a private folder for what this script starts (an old one of KIND goes first)
# state_close DIR KIND                  stop every DIR/*.pid, latest first, and remove DIR; nothing there: nothing done
# make_ca DIR / make_cert DIR NAME SUBJECT EXTENSIONS    DIR/ca.{crt,key}; DIR/NAME.{crt,key} signed by it
#
# A PIDFILE holds the process id in line 1 and its start time (field 22 of /proc/PID/stat) in line 2. Files that
# daemons wrote themselves, without line 2, are understood as well.

DROVER_CACHE=${DROVER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/drover}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

declare -A _ports_given=()

# Outside the range from which the kernel picks ports for outgoing connections, so that none of those takes it
# between the look and the use. The local names begin with _ so as not to hide the caller's variable.
free_port() {
  local _low _high _port _hex _tries
  read -r _low _high < /proc/sys/net/ipv4/ip_local_port_range
  [ "$_low" -gt 12000 ] || _low=32768
  for _tries in {1..200}; do
    _port=$((10000 + (RANDOM * 32768 + RANDOM) % (_low - 10000)))
    [ -z "${_ports_given[$_port]:-}" ] || continue
    printf -v _hex '%04X' "$_port"
    grep -qE "^ *[0-9]+: [0-9A-F]+:$_hex " /proc/net/tcp /proc/net/tcp6 2>/dev/null && continue
    _ports_given[$_port]=1
    printf -v "$1" '%d' "$_port"
    return 0
  done
  die "no free TCP port found"
}

wait_until() {
  local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# Prints the start time; fails for no process and for a zombie, which has ended and waits for its parent only.
_start_time() {
  local stat
  { read -r stat < "/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${stat##*) } # from field 3 on; the name before may hold blanks
  [ "$1" != Z ] && [ "$1" != X ] && echo "${20}"
}

_same_process() {
  local now
  now=$(_start_time "$1") && { [ -z "$2" ] || [ "$now" = "$2" ]; }
}

_read_pidfile() {
  pid='' started=''
  { read -r pid; read -r started; } 2>/dev/null < "$1" || true
  [[ $pid =~ ^[0-9]+$ ]]
}

alive() {
  local pid started
  _read_pidfile "$1" && _same_process "$pid" "$started"
}

write_own_pidfile() {
  local pid=${2:-$BASHPID}
  printf '%s\n%s\n' "$pid" "$(_start_time "$pid")" > "$1.new" && mv "$1.new" "$1"
}

# The child writes the file itself before it becomes the program: whoever kills this script at any moment, nothing runs
# that no file names; and where state_close is at work or has removed the folder meanwhile, the child ends instead.
_become() { # PIDFILE CMD...
  local pidfile=$1 fd
  shift
  trap - EXIT
  for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
  done
  write_own_pidfile "$pidfile" 2>/dev/null || exit 1
  [ ! -e "${pidfile%/*}/.closing" ] && [ -e "$pidfile" ] || exit 1
  exec "$@"
}

start_daemon() {
  local name=$1 pidfile=$2 log=$3
  shift 3
  (exec </dev/null >>"$log" 2>&1 && _become "$pidfile" setsid "$@") &
  disown
  wait_until 5 test -s "$pidfile" || die "$name did not start; see $log"
}

run_step() {
  local pidfile=$1 seconds=$2 status=0
  shift 2
  (_become "$pidfile" timeout -k 5 "$seconds" "$@") || status=$?
  rm -f "$pidfile"
  return $status
}

_ended() { ! alive "$1"; }

_ready_or_ended() {
  local pidfile=$1
  shift
  "$@" || _ended "$pidfile"
}

wait_daemon() {
  local pidfile=$1 seconds=$2
  shift 2
  wait_until "$seconds" _ready_or_ended "$pidfile" "$@" && alive "$pidfile"
}

stop_daemon() {
  local pid started
  [ -e "$1" ] || return 0
  if alive "$1"; then
    _read_pidfile "$1"
    kill -TERM "$pid" 2>/dev/null || true
    wait_until 10 _ended "$1" || {
      kill -KILL "$pid" 2>/dev/null || true
      wait_until 10 _ended "$1" || die "process $pid ($1) does not end"
    }
  fi
  rm -f "$1"
}

# `.closing` tells a daemon that is just being started (see start_daemon) to give up. It goes last, so that its absence
# with the PIDFILE still there means that nobody is closing.
state_close() {
  local dir=$1 kind=$2 pidfile
  [ -e "$dir/.kind" ] || { [ ! -e "$dir/.closing" ] || rm -rf "$dir"; return 0; }
  [ "$(cat "$dir/.kind")" = "$kind" ] || die "$dir is not the folder of a $kind"
  : > "$dir/.closing"
  alive "$dir/up.pid" && [ "$(head -n 1 "$dir/up.pid")" != "$$" ] && stop_daemon "$dir/up.pid"
  rm -f "$dir/up.pid"
  while pidfile=$(ls -t "$dir"/*.pid 2>/dev/null | head -n 1) && [ -n "$pidfile" ]; do
    stop_daemon "$pidfile"
  done
  find "$dir" -mindepth 1 ! -name .closing ! -name .kind -delete
  rm -f "$dir/.kind"
  rm -rf "$dir"
}

state_open() {
  local dir=$1 kind=$2
  state_close "$dir" "$kind"
  [ ! -e "$dir" ] || rmdir "$dir" 2>/dev/null || die "$dir is there and not empty"
  umask 077
  mkdir -p "$dir"
  echo "$kind" > "$dir/.kind"
  write_own_pidfile "$dir/up.pid" $$
}

make_ca() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=drover test CA" \
    -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$1/ca.key" -out "$1/ca.crt" 2>/dev/null
}

make_cert() {
  local path=$1/$2
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$3" -keyout "$path.key" -out "$path.csr" \
    2>/dev/null
  openssl x509 -req -in "$path.csr" -CA "$1/ca.crt" -CAkey "$1/ca.key" -CAcreateserial -days 30 -out "$path.crt" \
    -extfile <(printf '%s\n' "$4") 2>/dev/null
  rm "$path.csr"
}

# s3_request DIR METHOD PATH [CURL-ARG...]: a signed request with what DIR/env says. The secret goes in by stdin, never
# through argv. The body is not part of the signature.
s3_request() (
  . "$1/env"
  method=$2 path=$3
  shift 3
  printf 'user = "%s:%s"\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" |
    curl -sf --noproxy '*' -K - --aws-sigv4 aws:amz:us-east-1:s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
      ${S3_CA_FILE:+--cacert "$S3_CA_FILE"} -X "$method" "$@" "$S3_ENDPOINT$path"
)
