// SPDX-License-Identifier: Apache-2.0
// From ends to sources and targets: the only place that knows which reader or writer fits what.
//
// Images are data from strangers. Before QEMU opens one, its header is read by ourselves and
// external data files, backing files and extents that the caller did not list are refused
// (ERR_CORRUPT); encrypted images are refused (ERR_UNSUPPORTED). QEMU is then given an explicit
// format and block graph. Where the map of QEMU shows plain clusters, lanes read them directly by
// offset; everything else (compressed clusters, other formats) is read through qemu-nbd.
#pragma once

#include "disk/object.h"
#include "disk/reach.h"
#include "disk/source.h"
#include "disk/target.h"

struct image_info {
  int format;            // enum disk_format
  uint64_t size_bytes;   // guest-visible
  uint64_t stored_bytes; // length of the image
  char *backing_path;    // as named in the header; NULL = none
  bool encrypted, compressed, has_data_file;
  uint32_t cluster_bytes; // qcow2; 0 = not known
};

void image_info_release(struct image_info *i);
// Reads the header alone. ERR_CORRUPT for a truncated or hostile one (every size field has a
// bound).
int image_probe(struct object_reader *r, int format, struct image_info *ret, struct err *err);

// Guest content of the image stored in `r` (which the source then owns, also after an error).
// format DISK_FORMAT_ANY looks at the content. backing: chain allowed, local files; may be NULL.
int source_open_image(struct object_reader *r, int format, const struct list *backing,
                      struct source **ret, struct err *err);
// reach FILE (images and block devices), NBD, SSH (a qemu-nbd there, tied to ssh's standard input).
int source_open_reach(const struct reach *reach, struct source **ret, struct err *err);
int source_open_null(struct source **ret, struct err *err);
// Reproducible data: the same size, seed and percent give the same bytes anywhere.
int source_open_pattern(uint64_t size_bytes, uint64_t seed, int data_percent, struct source **ret,
                        struct err *err);

// Fills exactly one of the two: a target to write guest bytes to, or a writer and the format to lay
// down. FILE with create: an object writer (qcow2, raw). owner: mark that temporary names carry.
int target_open_reach(const struct reach *reach, const char *owner, struct target **ret_target,
                      struct object_writer **ret_object, struct err *err);
int target_open_null(struct target **ret, struct err *err);
