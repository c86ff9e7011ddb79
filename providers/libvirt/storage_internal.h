// SPDX-License-Identifier: Apache-2.0
// Where disks of a new VM go: a storage pool of libvirt's, or a folder on the host.
#pragma once

#include "providers/libvirt/host_internal.h"

int pool_facts(virStoragePoolPtr pool, struct provider_storage *ret, struct err *err);

struct place {
  char *name;             // as people wrote it
  virStoragePoolPtr pool; // NULL: a folder
  char *path;             // the pool's target, or the folder
  bool folder;            // holds files: dir, fs, netfs; false: block devices (logical)
  bool active;
  int64_t free_bytes; // -1 = unknown, and until place_measure()
};
void place_release(struct place *p);
// ERR_NOT_FOUND for a pool that is not there, ERR_UNSUPPORTED for kinds that hold no disks of ours.
int place_find(struct host *h, const char *storage, struct place *ret, struct err *err);
void place_measure(struct host *h, struct place *p);
// The storage of disk i: its own, the provider's default, or the pool "default".
const char *place_name(const struct host *h, const struct vm_target *t, size_t i);
// A VM that uses the file and does not bear our mark; *ret_name is yours, NULL = none.
// *ret_ours_runs: one of ours does, and runs.
int path_user(struct host *h, const char *path, const char *owner, char **ret_name,
              bool *ret_ours_runs, struct err *err);
// The same for any VM but the one with that UUID.
int path_user_but(struct host *h, const char *path, const char *uuid, char **ret_name,
                  struct err *err);
// Removes a volume, or a file that is none. Gone already: 0. A block device that is no volume:
// ERR_UNSUPPORTED.
int path_remove(struct host *h, const char *path, struct err *err);
int path_removable(struct host *h, const char *path, struct err *err); // would it: 0
int host_undefine(virDomainPtr domain, bool with_nvram, struct err *err);
