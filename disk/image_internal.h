// SPDX-License-Identifier: Apache-2.0
// Guest content of stored images. A chain is the image and what lies below it, top first; each
// member has a reader and an explicit format.
#pragma once

#include "disk/object.h"
#include "disk/open.h"

#define CHAIN_MAX 64

struct chain {
  struct object_reader *readers[CHAIN_MAX]; // owned
  int formats[CHAIN_MAX];                   // never ANY
  uint32_t cluster_bytes[CHAIN_MAX];
  size_t count;
  uint64_t size_bytes; // of the top
};

void chain_release(struct chain *c);
// ERR_CORRUPT or ERR_UNSUPPORTED for what the header shows and the caller did not allow. folder_of:
// path that a relative backing name starts from, or NULL. next: the file that the image may lead
// to, or NULL.
int image_allowed(const struct image_info *i, const char *folder_of,
                  const struct reach_backing *next, struct err *err);
// Whether a name that stands in the image folder_of means that file.
bool image_is_file(const char *name, const char *folder_of, const char *allowed);
// Bytes of a reader as guest bytes. Owns the reader, also after an error.
int source_open_raw(struct object_reader *r, struct source **ret, struct err *err);
// The same of raw.zst.
int source_open_raw_zst(struct object_reader *r, struct source **ret, struct err *err);
// Everything else. Owns the readers of the chain, also after an error.
int source_open_chain(struct chain *c, struct source **ret, struct err *err);
// A disk whose places are known already: only files. Owns both, also after an error.
struct places;
int source_open_places(struct chain *c, struct places *p, struct source **ret, struct err *err);
// Opens the chain from readers of its files, top first: probes each, checks what it leads to. Owns
// the readers from here on, also after an error. paths: names of the files on the host they lie on
// (for comparing backing names).
int chain_open(struct object_reader *const *readers, const int *formats, const char *const *paths,
               size_t count, struct chain *ret, struct err *err);
