# SPDX-License-Identifier: Apache-2.0
# tests/hosts/hostlib.sh: what the test hosts of this folder (libvirt, nginx, nfs) share. Source it.
#
# A test host lives in namespaces of its own: mounts, network, host name and process ids. So it has fixed paths
# and fixed ports and disturbs nobody, several run at once, and killing its first process ends all of it.
# A veth pair joins it to the machine: drvN outside, eth0 inside, N names a free /30 of 10.213.0.0/16. The hosts
# reach each other through the machine (forwarding is turned on for their own interfaces only).
#
# State of a host, all in its DIR: init.pid (first process, as seen from outside), link (N), env (shell
# assignments for the tests), and what its server needs. `ns_stop` and removing DIR leave nothing behind.

shopt -s inherit_errexit
HOSTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/hosts/lib.sh
. "$HOSTS/lib.sh"
LINK_COUNT=16384 # /30 networks in 10.213.0.0/16

# absolute DIR: prints the path without links; DIR need not exist yet.
absolute() { realpath -m -- "$1"; }

# gone PID: true when the process has ended (one that waits for its parent's attention has, too).
gone() {
  local state
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 0
  [ -z "$state" ] || [ "$state" = Z ] || [ "$state" = X ]
}

# open_path DIR: lets other users pass through DIR's parents. Only folders for temporary files are changed.
open_path() {
  local dir=$1
  while [ "$dir" != / ]; do
    if [ $((0$(stat -c %a "$dir") & 1)) -eq 0 ]; then
      case $dir in
        /tmp/* | "${TMPDIR:-/tmp}"/*) chmod o+x "$dir" ;;
        *) die "$dir must be passable for other users (chmod o+x), as QEMU runs as one" ;;
      esac
    fi
    dir=$(dirname "$dir")
  done
}

# env_put DIR KEY VALUE: adds an assignment to DIR/env.
env_put() { printf '%s=%q\n' "$2" "$3" >> "$1/env"; }

# ns_pid DIR: prints the first process of the host; false when it does not run. The folder is looked for in the
# command line, lest a pid that the kernel gave away again is taken for ours.
ns_pid() {
  local pid
  pid=$(cat "$1/init.pid" 2>/dev/null) && [ -n "$pid" ] && ! gone "$pid" || return 1
  tr '\0' '\n' < "/proc/$pid/cmdline" | grep -qxF -- "$1" || return 1
  echo "$pid"
}

# ns_start DIR NAME [SOURCE:TARGET...]: makes the namespaces; each SOURCE is seen at TARGET inside.
ns_start() {
  local dir=$1
  ! ns_pid "$dir" > /dev/null || die "a host runs already in $dir"
  rm -f "$dir/init.pid"
  : > "$dir/resolv.conf" # names are not for the machine's DNS: it cannot be reached, and the wait is long
  cp /etc/hosts "$dir/hosts"
  setsid unshare --mount --uts --net --pid --fork --propagation slave "$HOSTS/ns-init" "$@" \
    "$dir/hosts:/etc/hosts" "$dir/resolv.conf:/etc/resolv.conf" < /dev/null > "$dir/init.log" 2>&1 &
  wait_until 10 test -s "$dir/init.pid" || die "namespaces of $dir: $(cat "$dir/init.log")"
}

# ns_exec DIR COMMAND...: runs a command inside.
ns_exec() {
  local dir=$1 pid
  shift
  pid=$(ns_pid "$dir") || die "no host runs in $dir"
  nsenter --target "$pid" --mount --uts --net --pid -- "$@"
}

# ns_link DIR: joins the host to the machine; sets ADDRESS (the host) and GATEWAY (the machine as the host sees
# it). That an interface name can be taken only once makes the choice of N safe against others doing the same.
ns_link() {
  local dir=$1 pid n try net
  pid=$(ns_pid "$dir") || die "no host runs in $dir"
  for ((try = 0; try < 100; try++)); do
    n=$((SRANDOM % LINK_COUNT))
    ip link add "drv$n" type veth peer name eth0 netns "$pid" 2> "$dir/link.err" && break
  done
  [ "$try" -lt 100 ] || die "no interface for $dir: $(cat "$dir/link.err")"
  echo "$n" > "$dir/link"
  net=10.213.$((n >> 6)) n=$(((n & 63) << 2))
  GATEWAY=$net.$((n + 1)) ADDRESS=$net.$((n + 2))
  local outside
  outside=drv$(cat "$dir/link")
  ip address add "$GATEWAY/30" dev "$outside"
  ip link set "$outside" up
  echo 1 > "/proc/sys/net/ipv4/conf/$outside/forwarding"
  ns_exec "$dir" sh -ec "ip link set lo up; ip address add $ADDRESS/30 dev eth0; ip link set eth0 up
    ip route add default via $GATEWAY; echo $ADDRESS \$(hostname) >> /etc/hosts"
}

# ns_stop DIR: ends all processes of the host, and with them its namespaces and mounts.
ns_stop() {
  local dir=$1 pid
  [ ! -s "$dir/link" ] || ip link delete "drv$(cat "$dir/link")" 2>/dev/null || true
  if pid=$(ns_pid "$dir"); then
    kill -KILL "$pid"
    wait_until 30 gone "$pid" || die "process $pid of $dir does not end"
  fi
  rm -f "$dir/init.pid" "$dir/link"
}

# ns_guard DIR: from here on, a script that fails stops the host. DIR stays, for its logs; `down` removes it.
ns_guard() {
  # shellcheck disable=SC2064
  trap "[ \$? -eq 0 ] || ns_stop '$1'" EXIT
}

# ns_down DIR: ns_stop, and DIR is removed, if it is the folder of a host at all.
ns_down() {
  [ -e "$1" ] || return 0
  [ -e "$1/init.log" ] || die "$1 is not the folder of a test host"
  ns_stop "$1"
  rm -rf --one-file-system -- "$1"
}

# make_rsa_ca DIR: a certificate authority: DIR/ca.pem, DIR/ca.key. RSA, because libvirt refuses ECDSA certificates
# that do not claim key encipherment.
make_rsa_ca() {
  mkdir -p "$1"
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=drover test CA" -keyout "$1/ca.key" \
    -addext keyUsage=critical,keyCertSign,cRLSign -out "$1/ca.pem" 2> "$1/ca.log" || die "CA: $(cat "$1/ca.log")"
}

# make_rsa_cert DIR NAME ADDRESS|-: DIR/NAME.pem and .key, signed by the CA in DIR; for clients and servers.
make_rsa_cert() {
  local dir=$1 name=$2 address=$3
  {
    echo "keyUsage=critical,digitalSignature,keyEncipherment"
    echo "extendedKeyUsage=serverAuth,clientAuth"
    [ "$address" = - ] || echo "subjectAltName=IP:$address"
  } > "$dir/$name.ext"
  {
    openssl req -newkey rsa:2048 -nodes -subj "/O=drover/CN=$name" -keyout "$dir/$name.key" -out "$dir/$name.csr"
    openssl x509 -req -in "$dir/$name.csr" -days 30 -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
      -extfile "$dir/$name.ext" -out "$dir/$name.pem"
  } 2> "$dir/$name.log" || die "certificate $name: $(cat "$dir/$name.log")"
  rm -f "$dir/$name.csr" "$dir/$name.ext" "$dir/$name.log"
}
