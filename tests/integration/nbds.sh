#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/nbds.sh: drover copy over NBD with TLS, against real qemu-nbd and nbdkit with certificates made
# here. BUILD=build folder.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
. "$hosts/lib.sh"

# certificate DIR NAME PURPOSE SUBJECT_ALT_NAME: NAME-cert.pem and NAME-key.pem, signed by the CA in DIR.
certificate() {
  certtool --generate-privkey --key-type ecdsa --no-text --outfile "$1/$2-key.pem" 2> /dev/null
  printf 'cn = %s\n%s_key\n%s\nsigning_key\nexpiration_days = 2\n' "$2" "$3" "$4" > "$1/$2.info"
  certtool --generate-certificate --no-text --load-privkey "$1/$2-key.pem" --load-ca-certificate "$1/ca-cert.pem" \
    --load-ca-privkey "$1/ca-key.pem" --template "$1/$2.info" --outfile "$1/$2-cert.pem" 2> /dev/null
}

authority() { # DIR
  mkdir -p "$1"
  certtool --generate-privkey --key-type ecdsa --no-text --outfile "$1/ca-key.pem" 2> /dev/null
  printf 'cn = test CA\nca\ncert_signing_key\nexpiration_days = 2\n' > "$1/ca.info"
  certtool --generate-self-signed --no-text --load-privkey "$1/ca-key.pem" --template "$1/ca.info" \
    --outfile "$1/ca-cert.pem" 2> /dev/null
  certificate "$1" server tls_www_server $'dns_name = localhost\nip_address = 127.0.0.1'
  certificate "$1" client tls_www_client ''
}

listens() { grep -q ":$(printf '%04X' "$1") 00000000:0000 0A" /proc/net/tcp; }

# serve CMD...: a server on $port.
serve() {
  free_port port
  "${@//PORT/$port}" 9>&- 2> server.err &
  server=$!
  at_end "kill $server 2>/dev/null"
  wait_for 10 listens "$port" || miss "the server starts" "$(cat server.err)"
}

unserve() {
  kill "$server"
  wait "$server" 2> /dev/null
}

qemu_server() { # FILE FORMAT [yes: clients show a certificate]
  serve qemu-nbd -t -e 8 -b 127.0.0.1 -p PORT -f "$2" -x disk --tls-creds t \
    --object "tls-creds-x509,id=t,endpoint=server,dir=$work/pki,verify-peer=${3:-no}" "$1"
}

cd "$work" || exit 1
authority pki
authority other
dd if=/dev/urandom of=d.raw bs=1M count=9 status=none
truncate -s 40000512 d.raw
qemu-img convert -f raw -O qcow2 d.raw d.qcow2
digest=$(plain_digest d.raw)
with=(--ca pki/ca-cert.pem --progress none)

qemu_server d.qcow2 qcow2
is "digest over TLS" 0 "$drover" digest "${with[@]}" "nbds://localhost:$port/disk"
same "the digest" "$digest" "$out"
is "from TLS, four connections" 0 "$drover" copy "${with[@]}" --connections 4 "nbds://localhost:$port/disk" n.raw
is "the same bytes" 0 cmp d.raw n.raw
same "holes stay holes" yes "$([ "$(stat -c %b n.raw)" -lt 30000 ] && echo yes)"
is "by address" 0 "$drover" info "${with[@]}" "nbds://127.0.0.1:$port/disk"
is "a name that is not in the certificate" 3 "$drover" digest "${with[@]}" -o json "nbds://$(hostname):$port/disk"
is "another name of this host" 3 "$drover" digest "${with[@]}" -o json "nbds://127.0.0.2:$port/disk"
is "another CA" 3 "$drover" digest --ca other/ca-cert.pem --progress none -o json "nbds://localhost:$port/disk"
json "is refused" '.kind == "CertificateNotTrusted" and .retryable == false'
has "and says what to do" "--ca"
is "the system's CAs" 3 "$drover" digest --progress none -o json "nbds://localhost:$port/disk"
json "do not know it" '.kind == "CertificateNotTrusted"'
is "the system's CAs with ours among them" 0 env SSL_CERT_FILE=pki/ca-cert.pem "$drover" digest --progress none "nbds://localhost:$port/disk"
is "unless told so" 0 "$drover" digest --insecure --progress none "nbds://localhost:$port/disk"
same "the same digest" "$digest" "$out"
is "without TLS" 3 "$drover" digest --progress none -o json "nbd://localhost:$port/disk"
json "the server refuses" '.retryable == false'
has "and nbds:// is named" "it takes only TLS: nbds:"
is "no such export" 3 "$drover" digest "${with[@]}" -o json "nbds://localhost:$port/none"
unserve

# A name that leads here and is not in the certificate.
certificate pki wrong tls_www_server 'dns_name = elsewhere.example'
mkdir wrong && cp pki/ca-cert.pem wrong/ && cp pki/wrong-cert.pem wrong/server-cert.pem && cp pki/wrong-key.pem wrong/server-key.pem
serve qemu-nbd -t -b 127.0.0.1 -p PORT -f raw -x disk --tls-creds t \
  --object "tls-creds-x509,id=t,endpoint=server,dir=$work/wrong,verify-peer=no" d.raw
is "a certificate for another host" 3 "$drover" digest "${with[@]}" -o json "nbds://localhost:$port/disk"
json "is not trusted" '.kind == "CertificateNotTrusted" and .retryable == false'
unserve

qemu-img create -q -f qcow2 t.qcow2 "$(stat -c %s d.raw)"
qemu_server t.qcow2 qcow2 yes
mine=(--client-cert pki/client-cert.pem --client-key pki/client-key.pem)
is "no client certificate" 3 "$drover" copy "${with[@]}" -o json d.raw "nbds://localhost:$port/disk"
json "is refused by the server" '.kind == "CertificateNotTrusted"'
is "one of another CA" 3 "$drover" copy "${with[@]}" -o json --client-cert other/client-cert.pem \
  --client-key other/client-key.pem d.raw "nbds://localhost:$port/disk"
is "to TLS with a client certificate" 0 "$drover" copy "${with[@]}" "${mine[@]}" --verify readback d.raw \
  "nbds://localhost:$port/disk"
same "the key is in no output" "" "$(grep -l "$(sed -n 2p pki/client-key.pem)" .out .errors)"
unserve
is "the content there" 0 qemu-img compare -q -f raw -F qcow2 d.raw t.qcow2

truncate -s "$(stat -c %s d.raw)" k.raw
serve nbdkit -f -i 127.0.0.1 -p PORT -e disk --tls=require --tls-certificates="$work/pki" file k.raw
is "to nbdkit over TLS" 0 "$drover" copy "${with[@]}" --connections 4 --verify readback d.raw "nbds://localhost:$port/disk"
unserve
is "the bytes there" 0 cmp d.raw k.raw

serve qemu-nbd -t -e 8 -b 127.0.0.1 -p PORT -f raw -x disk d.raw
is "a server without TLS" 3 "$drover" digest "${with[@]}" -o json "nbds://localhost:$port/disk"
json "is refused here" '.kind == "CertificateNotTrusted" and .retryable == false'
is "even with --insecure" 3 "$drover" digest --insecure --progress none "nbds://localhost:$port/disk"
unserve

is "a client certificate without TLS" 2 "$drover" digest --progress none --client-cert pki/client-cert.pem --client-key pki/client-key.pem d.raw
has "certificates are for TLS" "nbds://"
is "half a client" 2 "$drover" digest "${with[@]}" --client-cert pki/client-cert.pem nbds://localhost/disk
is "no PEM" 2 "$drover" digest --ca d.qcow2 --progress none nbds://localhost/disk
absent "nothing is left" "$DROVER_RUNTIME_DIR"/*/*/*
finish
