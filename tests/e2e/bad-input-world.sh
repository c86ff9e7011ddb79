# SPDX-License-Identifier: Apache-2.0
# Builds the world of tests/e2e/bad-input; sourced by it, after bad-input.sh.

# ---- servers; the tmpfs must be there before the host that is to see it

mkdir "$WORK/full"
mount -t tmpfs -o size=8m,mode=755 full "$WORK/full"
trap 'umount -l "$WORK/full"; finish || exit 1' EXIT
host a
host b
server minio s3
server minio s3tls tls
server nginx web tls
server nfs nas
free_port nobody # a port where nothing answers

# ---- machines on a

disk a plain.qcow2 qcow2 8
machine a plain "$(disk_xml "$WORK/a/pool/plain.qcow2" qcow2 vda)" default
at a autostart plain > /dev/null
machine a diskless ''
simple a deaf deaf.qcow2
at a start deaf > /dev/null
machine a shares "$(disk_xml "$WORK/a/pool/deaf.qcow2" qcow2 vda)"
machine a hollow "$(disk_xml "$WORK/a/pool/nothing.qcow2" qcow2 vda)"

simple a locked locked.qcow2
start_daemon qemu-nbd "$WORK/holder.pid" "$WORK/holder.log" qemu-nbd -t -f qcow2 -k "$WORK/holder.sock" \
  "$WORK/a/pool/locked.qcow2"

simple a cut cut.qcow2
truncate -s 1M "$WORK/a/pool/cut.qcow2"

qemu-img create -q -f qcow2 -u -b "$WORK/a/pool/gone.raw" -F raw "$WORK/a/pool/orphan.qcow2" 8M
machine a orphan "$(disk_xml "$WORK/a/pool/orphan.qcow2" qcow2 vda)"

# The name is put in afterwards: qemu-img would write to the file.
with_data_file() { # with_data_file FOLDER FILE
  (cd "$1" && qemu-img create -q -f qcow2 -o data_file=xetcxpasswd "$2" 8M && rm xetcxpasswd)
  LC_ALL=C sed -i 's,xetcxpasswd,/etc/passwd,' "$1/$2"
}
with_data_file "$WORK/a/pool" elsewhere.qcow2
machine a elsewhere "$(disk_xml "$WORK/a/pool/elsewhere.qcow2" qcow2 vda)"

# Neither beside it nor in a pool.
qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw "$WORK/a/pool/outside.qcow2" 8M
machine a outside "$(disk_xml "$WORK/a/pool/outside.qcow2" qcow2 vda)"

# What the definition says is the end of the chain is not.
qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw "$WORK/a/pool/astray.qcow2" 8M
machine a astray "$(disk_xml "$WORK/a/pool/astray.qcow2" qcow2 vda '<backingStore/>')"

qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw "$WORK/a/pool/cunning.raw" 8M
truncate -s 8M "$WORK/a/pool/cunning.raw"
machine a cunning "$(disk_xml "$WORK/a/pool/cunning.raw" raw vda)"

# More than the small places hold; and the same, compressed, which shows only when it is written.
"$DROVER" copy pattern:12M,seed=7 "$WORK/a/pool/big.qcow2" --progress none > /dev/null
machine a big "$(disk_xml "$WORK/a/pool/big.qcow2" qcow2 vda)"
qemu-img create -q -f raw "$WORK/even.raw" 16M
qemu-io -f raw -c 'write -q -P 7 0 16M' "$WORK/even.raw"
qemu-img convert -q -c -O qcow2 "$WORK/even.raw" "$WORK/a/pool/packed.qcow2"
rm "$WORK/even.raw"
machine a packed "$(disk_xml "$WORK/a/pool/packed.qcow2" qcow2 vda)"
cp "$WORK/a/pool/packed.qcow2" "$WORK/a/pool/awake.qcow2"
machine a awake "$(disk_xml "$WORK/a/pool/awake.qcow2" qcow2 vda)"
at a start awake > /dev/null

ODD_NAME="it's \"a\" VM & <größer> 日本"
ODD_NAME_YAML=\"${ODD_NAME//\"/\\\"}\"
simple a "$ODD_NAME" odd.qcow2

# ---- what stands in the way on b

simple b taken taken.qcow2
mkdir "$WORK/b/asleep"
at b pool-define-as asleep dir --target "$WORK/b/asleep" > /dev/null
at b pool-define-as full dir --target "$WORK/full" > /dev/null
at b pool-start full > /dev/null
for each in a b; do at $each pool-refresh default > /dev/null; done

# ---- providers

# reach NAME HOST [SPEC...] [namespace=NS]
reach() {
  local name=$1 socket=$WORK/$2/run/libvirt-sock ns='' line
  shift 2
  if [[ ${1:-} == namespace=* ]]; then ns=", $1"; ns=${ns/=/: }; shift; fi
  {
    printf -- '---\n%s\nkind: Provider\nmetadata: {name: %s%s}\nspec:\n' 'apiVersion: drover.dev/v1alpha1' "$name" "$ns"
    printf '  type: Libvirt\n  endpoint: unix://%s\n  defaults: {storage: default}\n' "$socket"
    for line; do printf '  %s\n' "$line"; done
  } | part "$name"
}
reach a a 'allow: [Export, Import, DeleteSource]'
reach b b
reach a-import a 'allow: [Import]'
reach a-keep a 'allow: [Export]'
reach b-export b 'allow: [Export]'
reach a-web a 'scope: {vmNames: ["web-*"]}'
reach a-any a 'scope: {vmNames: ["*-*"]}'
reach b-web b 'scope: {vmNames: ["web-*"]}'
reach b-pool b 'scope: {storages: [default], networks: [default]}'
reach far a namespace=other
reach labelled a namespace=other 'allowedNamespaces: {from: Selector, matchLabels: {team: blue}}'
reach open a namespace=other 'allowedNamespaces: {from: All}'

# ---- stores

keys() { # keys NAME KEY=VALUE...: a Secret
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData:\n' "$1"
  for entry in "${@:2}"; do printf '  %s: "%s"\n' "${entry%%=*}" "${entry#*=}"; done
}
store() { # store NAME SPEC [SECRET KEY=VALUE...]
  {
    [ $# -lt 3 ] || keys "${@:3}"
    printf -- '---\n%s\nkind: ImageStore\nmetadata: {name: %s}\nspec: %s\n' 'apiVersion: drover.dev/v1alpha1' "$1" "$2"
  } | part "${1%%,*}"
}
bucket() { # bucket NAME SERVER BUCKET ID SECRET [ENDPOINT]
  local endpoint=${6:-$(value "$WORK/$2" S3_ENDPOINT)}
  store "$1" "{s3: {endpoint: \"$endpoint\", bucket: $3}, credentialsSecretRef: {name: $1-keys}}" \
    "$1-keys" "accessKeyID=$4" "secretAccessKey=$5"
}
web() { # web NAME URL [MORE] [SECRET KEY=VALUE...]
  store "$1" "{http: {url: \"$2\"}${3:+, $3}}" "${@:4}"
}
id=$(value "$WORK/s3" S3_ACCESS_KEY) secret=$(value "$WORK/s3" S3_SECRET_KEY)
bucket s3 s3 drover-test "$id" "$secret"
bucket s3-wrong s3 drover-test "$id" "${secret}x"
bucket s3-nobody s3 drover-test nobody "$secret"
bucket s3-bucket s3 no-such-bucket "$id" "$secret"
bucket s3-refused s3 drover-test "$id" "$secret" "http://127.0.0.1:$nobody"
bucket s3-unresolved s3 drover-test "$id" "$secret" http://no-such-host.invalid:9000
bucket s3-untrusted s3tls drover-test "$(value "$WORK/s3tls" S3_ACCESS_KEY)" "$(value "$WORK/s3tls" S3_SECRET_KEY)"
s3_spec="s3: {endpoint: \"$(value "$WORK/s3" S3_ENDPOINT)\", bucket: drover-test}"
store no-secret "{$s3_spec, credentialsSecretRef: {name: gone}}"
store half-secret "{$s3_spec, credentialsSecretRef: {name: half}}" half "accessKeyID=$id"

https=$(value "$WORK/web" HTTP_URL) http=$(value "$WORK/web" HTTP_PLAIN_URL)
web https "$https/open" 'tls: {caSecretRef: {name: web-ca}}'
{ keys web-ca; printf '  ca.crt: |\n'; sed 's/^/    /' "$(value "$WORK/web" HTTP_CA)"; } >> "$PARTS/https.yaml"
web https-untrusted "$https/open"
web https-finger "$https/open" "tls: {fingerprintSHA256: $(printf '0%.0s' {1..64})}"
web http-wrong "$http/basic" 'credentialsSecretRef: {name: wrong}' wrong \
  "username=$(value "$WORK/web" HTTP_USER)" password=no
web http-readonly "$http/readonly"
web http-full "$http/full"

nfs=$(value "$WORK/nas" NFS_SERVER)
store nfs-missing "{nfs: {server: \"$nfs\", export: /nowhere}}"
store nfs-nobody "{nfs: {server: 127.0.0.1, export: /exp, port: $nobody, mountPort: $nobody}}"
store nfs-small "{nfs: {server: \"$nfs\", export: $(value "$WORK/nas" NFS_SMALL_EXPORT)}}"
store file "{file: {path: $VAULT}}"
store frozen "{file: {path: $VAULT}, access: ReadOnly}"
store file-missing "{file: {path: $WORK/no-such-folder}}"
store "far-store, namespace: other" "{file: {path: $VAULT}}"

# ---- images

poke() { # poke FILE OFFSET BYTES: as printf writes them
  printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
cd "$VAULT/bare"
qemu-img convert -q -O qcow2 "$WORK/a/pool/plain.qcow2" good.qcow2
cp good.qcow2 disk-0.qcow2 # also the name that an export would take
head -c 40000 good.qcow2 > cut.qcow2
cp good.qcow2 features.qcow2 && poke features.qcow2 72 '\x10'
cp good.qcow2 huge.qcow2 && poke huge.qcow2 24 '\x7f\xff\xff\xff'
qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw backing.qcow2 8M
with_data_file . data-file.qcow2
qemu-img create -q -f qcow2 --object secret,id=s,data=abc \
  -o encrypt.format=aes,encrypt.key-secret=s encrypted.qcow2 8M
printf '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n%s\n' \
  'RW 4 FLAT "/etc/passwd" 0' > flat.vmdk
: > empty.qcow2
echo "this is no image" > text.qcow2
cd - > /dev/null

# What drover exports, and what may become of it.
{
  migration m "$(vm a plain)" "$(image file exported)"
  migration other "$(vm a cunning)" "$(image file other)"
} > "$ROWS/m.yaml"
whole "$ROWS/m.yaml" > "$ROWS/all.yaml"
STATE=$ROWS/state.db run -f "$ROWS/all.yaml" > "$ROWS/output" 2>&1 || { cat "$ROWS/output"; exit 1; }
at a autostart plain > /dev/null # the export took it away
for each in foreign damaged leads-out tomorrow flipped shortened exchanged replaced; do
  cp -r "$VAULT/exported" "$VAULT/$each"
done
jq 'del(.owner)' "$VAULT/exported/vm.json" > "$VAULT/foreign/vm.json"
head -c 100 "$VAULT/exported/vm.json" > "$VAULT/damaged/vm.json"
jq '.disks[0].object = "../bare/good.qcow2"' "$VAULT/exported/vm.json" > "$VAULT/leads-out/vm.json"
jq '.layoutVersion = 2' "$VAULT/exported/vm.json" > "$VAULT/tomorrow/vm.json"
stored=$(cd "$VAULT/exported" && echo disk-*.qcow2)
flip_at=$(LC_ALL=C grep -obaP '\xa5{64}' "$VAULT/flipped/$stored" | tail -n 1 | cut -d: -f1)
poke "$VAULT/flipped/$stored" "$flip_at" '\xa4'
truncate -s -65536 "$VAULT/shortened/$stored"

# Another disk of that size with the manifest that belongs to it; and other content with the old one.
cp "$VAULT/other/disk-0"* "$VAULT/replaced/"
qemu-io -f qcow2 -c 'write -q -P 0x11 1M 512k' "$VAULT/exchanged/$stored"

for each in a b; do at $each pool-refresh default > /dev/null; done
world > "$WORK/world"
