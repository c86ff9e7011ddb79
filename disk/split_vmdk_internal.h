// SPDX-License-Identifier: Apache-2.0
// VMDK disks that consist of a descriptor and extents in other files: twoGbMaxExtentSparse,
// twoGbMaxExtentFlat, monolithicFlat (VMware, Virtual Disk Format 5.0). Read by ourselves: QEMU
// would open whatever the descriptor names. Each extent must be the next one of the files that the
// caller allowed, or nothing is opened.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "disk/source.h"

struct object_reader;

// Whether the file begins as a descriptor does; false when it cannot be read, too.
bool split_vmdk_is_descriptor(struct object_reader *r);
// The descriptor and the files allowed, in the order in which it names them; paths: what they are
// called where they lie. Owns the readers from here on, also after an error.
int source_open_split_vmdk(struct object_reader *const *readers, const char *const *paths,
                           size_t count, struct source **ret, struct err *err);
