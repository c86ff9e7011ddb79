// SPDX-License-Identifier: Apache-2.0
// What a domain has and a migration does not bring along: one row each, reported by a sentence.
#include <string.h>

#include "base/str.h"
#include "providers/libvirt/domain_internal.h"

#define DETAIL_MAX 200

struct row {
  const char *path;           // each node found gives one sentence
  const char *detail;         // from that node; may be missing in it
  const char *with, *without; // sentence with the detail as %s, and without
};

static const struct row rows[] = {
    {"/domain/devices/disk[@device='cdrom']", "source/@file | source/@dev | source/@volume",
     "The CD-ROM drive with '%s' stays behind.", "The empty CD-ROM drive stays behind."},
    {"/domain/devices/disk[@device='floppy']", "source/@file | source/@dev | source/@volume",
     "The floppy drive with '%s' stays behind.", "The empty floppy drive stays behind."},
    {"/domain/devices/disk[@device='lun']", "target/@dev",
     "The SCSI device '%s' that is passed through stays behind.",
     "A SCSI device that is passed through stays behind."},
    {"/domain/devices/hostdev", "@type", "A host device (%s) stays behind.",
     "A host device stays behind."},
    {"/domain/devices/interface[@type='hostdev']", "mac/@address",
     "The network card %s is a device of the host and stays behind.",
     "A network card that is a device of the host stays behind."},
    {"/domain/devices/filesystem", "target/@dir", "The shared folder '%s' stays behind.",
     "A shared folder stays behind."},
    {"/domain/devices/tpm/backend[@type='emulator']", "@version",
     "The state of the TPM (%s) does not move: keys sealed to it are lost, so have recovery keys "
     "at hand.",
     "The state of the TPM does not move: keys sealed to it are lost, so have recovery keys at "
     "hand."},
    {"/domain/devices/tpm/backend[@type!='emulator']", "@type",
     "The TPM of the host (%s) stays behind.", "The TPM of the host stays behind."},
    {"/domain/os/kernel", ".",
     "The VM boots the kernel '%s' that lies on its host; it will boot from its disks instead.",
     "The VM boots a kernel that lies on its host; it will boot from its disks instead."},
    {"/domain/os/loader[@type='rom']", ".",
     "The firmware ROM '%s' stays behind; the target's BIOS is used.",
     "A firmware ROM stays behind; the target's BIOS is used."},
    {"/domain/devices/shmem", "@name", "The shared memory '%s' stays behind.",
     "Shared memory stays behind."},
    {"/domain/devices/vsock", "cid/@address", "The vsock device (address %s) stays behind.",
     "The vsock device stays behind."},
    {"/domain/devices/watchdog", "@model", "The watchdog (%s) stays behind.",
     "The watchdog stays behind."},
    {"/domain/devices/sound", "@model", "The sound card (%s) stays behind.",
     "The sound card stays behind."},
    {"/domain/devices/parallel", "@type", "A parallel port (%s) stays behind.",
     "A parallel port stays behind."},
    {"/domain/devices/serial[position()>1]", "target/@port",
     "Serial port %s stays behind: only the first one moves.",
     "A serial port stays behind: only the first one moves."},
    {"/domain/devices/smartcard | /domain/devices/redirdev", "@type",
     "A smart card or USB redirection (%s) stays behind.",
     "A smart card or USB redirection stays behind."},
    {"/domain/features/hyperv", "@mode",
     "The Hyper-V enlightenments (%s) are not carried over; Windows runs without them.",
     "The Hyper-V enlightenments are not carried over; Windows runs without them."},
    {"/domain/cpu[feature]", "model",
     "Single CPU features that were turned on or off beside the model %s are not carried over.",
     "Single CPU features that were turned on or off are not carried over."},
    {"/domain/vcpu[@current and @current != .]", ".",
     "Room for up to %s CPUs is not carried over, only the present number.",
     "Room for more CPUs is not carried over, only the present number."},
    {"/domain/*[namespace-uri()='http://libvirt.org/schemas/domain/qemu/1.0']", "@none",
     "Extra QEMU arguments (%s) stay behind.", "Extra QEMU arguments stay behind."},
};

// Texts come from a domain that its owner wrote: shortened, and without control characters.
static void make_printable(char *text)
{
  if (strlen(text) > DETAIL_MAX) {
    size_t end = DETAIL_MAX;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80) // within a character of UTF-8
      end--;
    text[end] = '\0';
  }
  for (char *c = text; *c; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f)
      *c = '?';
}

static int add_sentence(const struct row *row, char *detail, struct strings *ret)
{
  const char *hole = detail ? strstr(row->with, "%s") : NULL;
  if (!hole)
    return strings_add(ret, row->without);
  make_printable(detail);
  cleanup_free char *sentence =
      str_printf("%.*s%s%s", (int)(hole - row->with), row->with, detail, hole + 2);
  return sentence ? strings_add(ret, sentence) : -1;
}

int domain_left_behind(const struct xml *x, struct strings *ret, struct err *err)
{
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    cleanup_nodes xmlXPathObjectPtr found = xml_find(x, NULL, rows[i].path);
    for (size_t n = 0; n < xml_count(found) && ret->count < 200; n++) {
      cleanup_free char *detail = xml_get(x, xml_node(found, n), rows[i].detail);
      if (add_sentence(&rows[i], detail, ret) != 0)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    }
  }
  return 0;
}
