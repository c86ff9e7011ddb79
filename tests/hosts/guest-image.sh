# SPDX-License-Identifier: Apache-2.0
# tests/hosts/guest-image.sh: builds the disks of the test guests. Source it after hostlib.sh.
#
# Everything is made with plain tools from files: no root, no loop device, no mount. Results stay in the cache:
#   CACHE/guest/kernel-PACKAGE-VERSION/   vmlinuz and the modules of Debian's cloud kernel
#   CACHE/guest/images-KEY/               bios.img uefi.img uefi.nvram data.img, and *.img.sums
#   CACHE/guest/data-KEY-MIB/             data.img with MIB MiB more of data
#   CACHE/guest/agent-KEY/                agent.img data.img: a guest with the QEMU guest agent, for clones
# KEY names the kernel and the content of the scripts. A folder appears under its name only when it is whole.

GUEST_CACHE=$DROVER_CACHE/guest
GUEST_MODULES="virtio_pci virtio_blk virtio_scsi virtio_net sd_mod ata_piix vmw_pvscsi vmxnet3 efivarfs button evdev"
GUEST_AGENT_MODULES="$GUEST_MODULES virtio_console isofs"
GUEST_COMMAND_LINE="console=ttyS0 quiet panic=5"
ESP_GUID=7467e5d0-0001-4000-8000-000000000001
ESP_FIRST_LBA=2048 ESP_LBAS=79872
ESP_LOADER='\EFI\TG\TG.EFI' # not the fallback path: only a boot entry leads here

# ---- kernel and initramfs

# kernel_name: prints PACKAGE-VERSION: the newest in the cache, else what apt offers. (To get a newer one, remove that
# folder of the cache.)
kernel_name() {
  local cached package version
  mkdir -p "$GUEST_CACHE"
  cached=$(find "$GUEST_CACHE" -maxdepth 1 -name 'kernel-*' -printf '%T@ %f\n' | sort -n | tail -n 1)
  if [ -n "$cached" ]; then
    echo "${cached#* kernel-}"
    return
  fi
  package=$(kernel_package)
  [ -n "$package" ] || die "apt knows no kernel: run apt-get update"
  version=$(apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p')
  echo "$package-$version"
}

kernel_package() { apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }'; }

# fetch_kernel NAME OUT
fetch_kernel() {
  local name=$1 out=$2 package
  package=$(kernel_package)
  (
    cd "$out"
    apt-get -q download "$package" > download.log 2>&1 || die "kernel $name: $(tail -3 download.log)"
    dpkg-deb -x ./*.deb unpacked
    mv unpacked/boot/vmlinuz-* vmlinuz
    mkdir modules
    find unpacked -name '*.ko' -exec mv -t modules {} +
    rm -rf unpacked ./*.deb download.log
  )
}

# module_with_needs KERNEL NAME: prints the module's file name after those it needs; nothing if it is built in.
module_with_needs() {
  local kernel=$1 file need
  file=$(find "$kernel/modules" -name "${2//[-_]/[-_]}.ko" -print -quit)
  [ -n "$file" ] || return 0
  for need in $(tr '\0' '\n' < "$file" | sed -n 's/^depends=//p' | tr ',' ' '); do
    module_with_needs "$kernel" "$need"
  done
  basename "$file"
}

# add_agent ROOT: the guest agent with its libraries, and what it runs for a shutdown.
add_agent() {
  local root=$1 file
  for file in /usr/sbin/qemu-ga $(ldd /usr/sbin/qemu-ga | grep -o '/[^ ]*'); do
    mkdir -p "$root/$(dirname "$file")"
    cp -L "$file" "$root/$file"
  done
  mkdir -p "$root/var/run"
  printf '#!/bin/sh\nsync\nexec poweroff -f\n' > "$root/sbin/shutdown"
  chmod +x "$root/sbin/shutdown"
}

# make_initramfs KERNEL OUT WORK [MODULES]
make_initramfs() {
  local kernel=$1 out=$2 root=$3/initramfs-root name
  mkdir -p "$root"/{bin,sbin,modules,tmp,etc/acpi/PWRF}
  cp /bin/busybox "$root/bin/"
  cp "$HOSTS/guest-init" "$root/init"
  for name in ${4:-$GUEST_MODULES}; do
    module_with_needs "$kernel" "$name"
  done | awk '!seen[$0]++' > "$root/modules/order"
  while read -r name; do
    cp "$kernel/modules/$name" "$root/modules/"
  done < "$root/modules/order"
  cat > "$root/etc/acpi/PWRF/00000080" <<'END'
#!/bin/sh
echo "TG poweroff by=acpi" > /dev/console
sync
umount /disk1 /disk2 2>/dev/null
poweroff -f
END
  chmod +x "$root/init" "$root/etc/acpi/PWRF/00000080"
  [ $# -lt 4 ] || add_agent "$root"
  (cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet | gzip -1) > "$out"
}

# ---- disks

# make_known DIR TEXT SUMS: files with known content and the list of their SHA-256 sums.
make_known() {
  local known=$1/known text=$2 sums=$3
  mkdir -p "$known"
  head -c 1000003 <(yes "drover test guest $text") > "$known/text"
  head -c 3000000 /dev/urandom > "$known/rand"
  truncate -s 8M "$known/sparse"
  printf '%s' "$text" | dd of="$known/sparse" bs=1 seek=5000000 conv=notrunc status=none
  (cd "$known" && sha256sum ./* | sed 's# \./# #') > "$sums"
}

# make_ext4 OUT MIB LABEL FOLDER
make_ext4() {
  truncate -s "$2M" "$1"
  mke2fs -q -F -t ext4 -L "$3" -E root_owner=0:0 -d "$4" "$1"
}

# put PART DISK OFFSET_MIB
put() { dd if="$1" of="$2" bs=1M seek="$3" conv=notrunc,sparse status=none; }

# make_data OUT WORK [MIB]: the second disk: a file system without a partition table, and MIB MiB of data behind its end
# (in it they would come to lie in one piece).
make_data() {
  local out=$1 folder=$2/data extra_mib=${3:-0}
  make_known "$folder" disk2 "$out.sums"
  make_ext4 "$out" 64 tgdata "$folder"
  [ "$extra_mib" -eq 0 ] || "$HOSTS/guest-bytes" spread "$out" "$extra_mib"
}

# make_bios OUT KERNEL INITRAMFS WORK: MBR, GRUB in the gap behind it, one ext4 partition with /boot. Without the gap's
# bytes it does not boot, so a move that loses them is noticed.
make_bios() {
  local out=$1 kernel=$2 initramfs=$3 work=$4/bios
  mkdir -p "$work/root/boot"
  make_known "$work/root" disk1-bios "$out.sums"
  cp "$kernel/vmlinuz" "$work/root/boot/vmlinuz"
  cp "$initramfs" "$work/root/boot/initrd"
  cat > "$work/root/boot/grub.cfg" <<END
serial --unit=0 --speed=115200
terminal_output serial
linux /boot/vmlinuz $GUEST_COMMAND_LINE
initrd /boot/initrd
boot
END
  printf 'search --label --set=root tgroot\nconfigfile /boot/grub.cfg\n' > "$work/early.cfg"
  grub-mkimage -O i386-pc -p /boot -c "$work/early.cfg" -o "$work/core.img" \
    biosdisk part_msdos ext2 search search_label configfile normal linux serial terminal boot
  make_ext4 "$work/part" 95 tgroot "$work/root"
  truncate -s 96M "$out"
  echo '1MiB,,83,*' | sfdisk -q "$out"
  put "$work/part" "$out" 1
  # The defaults of grub-mkimage fit this place: the boot sector loads the core from sector 1.
  dd if=/usr/lib/grub/i386-pc/boot.img of="$out" bs=440 count=1 conv=notrunc status=none
  dd if="$work/core.img" of="$out" bs=512 seek=1 conv=notrunc status=none
}

# make_kernel_image OUT KERNEL INITRAMFS WORK: kernel, command line and initramfs as one EFI program.
make_kernel_image() {
  local out=$1 kernel=$2 initramfs=$3 work=$4
  printf '%s' "$GUEST_COMMAND_LINE" > "$work/cmdline"
  printf 'ID=drover-test\nVERSION_ID=1\n' > "$work/osrel"
  objcopy --add-section .osrel="$work/osrel" --change-section-vma .osrel=0x20000 \
    --add-section .cmdline="$work/cmdline" --change-section-vma .cmdline=0x30000 \
    --add-section .linux="$kernel/vmlinuz" --change-section-vma .linux=0x2000000 \
    --add-section .initrd="$initramfs" --change-section-vma .initrd=0x3000000 \
    /usr/lib/systemd/boot/efi/linuxx64.efi.stub "$out"
}

# make_uefi OUT KERNEL INITRAMFS WORK: GPT, EFI system partition, ext4; boots by its NVRAM entry only.
make_uefi() {
  local out=$1 kernel=$2 initramfs=$3 work=$4/uefi
  mkdir -p "$work"
  make_known "$work/root" disk1-uefi "$out.sums"
  make_kernel_image "$work/tg.efi" "$kernel" "$initramfs" "$work"
  truncate -s $((ESP_LBAS * 512)) "$work/esp"
  mkfs.vfat -F 16 -n TGESP -h "$ESP_FIRST_LBA" "$work/esp" > /dev/null
  mmd -i "$work/esp" ::/EFI ::/EFI/TG
  mcopy -i "$work/esp" "$work/tg.efi" ::/EFI/TG/TG.EFI
  make_ext4 "$work/part" 55 tgroot "$work/root"
  truncate -s 96M "$out"
  sfdisk -q "$out" <<END
label: gpt
start=$ESP_FIRST_LBA, size=$ESP_LBAS, type=U, uuid=$ESP_GUID
start=40MiB, size=55MiB, type=L
END
  put "$work/esp" "$out" 1
  put "$work/part" "$out" 40
}

# ---- cache

# fill FOLDER MAKER ARGUMENTS...: not a condition (`if`, `||`), for there the shell would go on after a failed step.
fill() {
  local status
  set +e
  (set -e; "$2" "$1" "${@:3}") >&2
  status=$?
  set -e
  [ "$status" -eq 0 ] || { rm -rf "$1"; die "$2: cannot build test guests"; }
}

# cached NAME MAKER ARGUMENTS...: prints CACHE/guest/NAME; if it is not there, `MAKER FOLDER ARGUMENTS...` makes it.
cached() {
  local place=$GUEST_CACHE/$1 new
  shift
  exec {lock}> "$GUEST_CACHE/lock"
  flock "$lock"
  if [ ! -d "$place" ]; then
    new=$(mktemp -d "$GUEST_CACHE/new.XXXXXX")
    fill "$new" "$@"
    chmod 755 "$new"
    mv -T "$new" "$place"
  fi
  exec {lock}>&-
  echo "$place"
}

fill_kernel() { fetch_kernel "$2" "$1"; }

fill_images() {
  local out=$1 kernel=$2 work
  work=$(mktemp -d "$GUEST_CACHE/new.XXXXXX")
  make_initramfs "$kernel" "$work/initramfs" "$work"
  make_bios "$out/bios.img" "$kernel" "$work/initramfs" "$work"
  make_uefi "$out/uefi.img" "$kernel" "$work/initramfs" "$work"
  "$HOSTS/guest-bytes" nvram "$out/uefi.nvram" /usr/share/OVMF/OVMF_VARS_4M.fd \
    "$ESP_GUID" "$ESP_FIRST_LBA" "$ESP_LBAS" "$ESP_LOADER"
  make_data "$out/data.img" "$work"
  rm -rf "$work"
}

fill_agent() {
  local out=$1 kernel=$2 work
  work=$(mktemp -d "$GUEST_CACHE/new.XXXXXX")
  make_initramfs "$kernel" "$work/initramfs" "$work" "$GUEST_AGENT_MODULES"
  make_bios "$out/agent.img" "$kernel" "$work/initramfs" "$work"
  make_data "$out/data.img" "$work"
  rm -rf "$work"
}

fill_data() {
  local out=$1 work
  work=$(mktemp -d "$GUEST_CACHE/new.XXXXXX")
  make_data "$out/data.img" "$work" "$2"
  rm -rf "$work"
}

# guest_images: prints the folder with the images, builds them first if needed; guest_data MIB the same for big data.
guest_images() {
  local name kernel key
  name=$(kernel_name)
  key=$(cat "$HOSTS"/guest-{image.sh,init,bytes} <(echo "$name") | sha256sum | cut -c1-16)
  kernel=$(cached "kernel-$name" fill_kernel "$name")
  cached "images-$key" fill_images "$kernel"
}

# guest_agent: prints the folder with agent.img and data.img.
guest_agent() {
  local name kernel key
  name=$(kernel_name)
  key=$(cat "$HOSTS"/guest-{image.sh,init,bytes} <(echo "$name") | sha256sum | cut -c1-16)
  kernel=$(cached "kernel-$name" fill_kernel "$name")
  cached "agent-$key" fill_agent "$kernel"
}

guest_data() {
  local key
  mkdir -p "$GUEST_CACHE"
  key=$(cat "$HOSTS"/guest-{image.sh,bytes} | sha256sum | cut -c1-16)
  cached "data-$key-$1" fill_data "$1"
}
