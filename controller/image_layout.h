// SPDX-License-Identifier: Apache-2.0
// Layout v1 of an image in a store, under PATH/:
//
//     disk-0.qcow2, disk-1.qcow2, ...   the disks, nvram.raw the UEFI variable store
//     disk-0.qcow2.manifest.json        digests and sizes (mover/mover.h), and .chunks beside it
//     vm.json                           what the machine is; written last, and so makes it complete
//
// Bare images from elsewhere have none of this but the disk.
#pragma once

#include "mover/mover.h"
#include "providers/vm.h"
#include "storage/storage.h"

#define IMAGE_VM_JSON "vm.json"

struct image_disk {
  char *name;   // of the VM's disk: "vda"
  char *object; // below PATH: "disk-0.qcow2"
  char *format;
  char *content_digest, *object_sha256;
  int64_t size_bytes;
};

struct image {
  int64_t layout_version; // 1
  char *owner;            // mark of the migration that made it
  struct vm vm;
  struct list disks; // of struct image_disk
};

extern const struct table image_table;
void image_release(struct image *i);
const struct image_disk *image_disk_named(const struct image *i, const char *name);

// ERR_NOT_FOUND: no vm.json there. ERR_CORRUPT: there, but not of layout 1.
int image_read(struct storage_lane *l, const char *path, struct image *ret, struct err *err);
// Writes vm.json; one of ours there already is replaced.
int image_write(struct storage_lane *l, const char *path, const struct image *i, struct err *err);
// "PATH/NAME", or NAME when path is empty. NULL: no memory.
char *image_key(const char *path, const char *name);
// Name of the object of disk number i: "disk-0.qcow2", "nvram.raw".
char *image_object_name(const struct vm_disk *d, size_t number, int format);

// Whether mark is of the same object (installation, namespace, name and uid agree; the hash may
// differ).
bool owner_same_object(const char *a, const char *b);
// Whether mark was made by the same manifest, perhaps in another cluster (namespace, name and
// hash).
bool owner_same_manifest(const char *a, const char *b);

enum image_holder { HELD_BY_NOBODY, HELD_BY_US, HELD_BY_DROVER, HELD_BY_OTHERS };
// Whose the object under that key is: nothing there (nobody), made for the object that the mark
// `owner` names, for another one of drover's, or not by drover at all.
int image_object_holder(struct storage_lane *l, const char *key, const char *owner,
                        enum image_holder *ret, struct err *err);
// Removes an object that `owner` made, whole or half: its parts, the object, its manifest and
// chunks. A foreign one is left alone: ERR_EXISTS says so. Nothing there: 0.
int image_object_remove(struct storage_lane *l, const char *key, const char *owner,
                        struct err *err);
