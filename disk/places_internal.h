// SPDX-License-Identifier: Apache-2.0
// Where the guest's bytes lie: a list of places in order and without gaps over a disk. One image
// has places of its own; a chain's are those of the top where it has any, and below that those of
// the next one.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum place_kind {
  PLACE_ZERO,  // reads as zeros
  PLACE_FILE,  // plain bytes at `offset` of the file at `depth` of the chain
  PLACE_QEMU,  // only QEMU can read it, from the image at `depth`
  PLACE_BELOW, // this image has nothing here
};

struct place {
  uint64_t start, length; // guest-visible
  uint64_t offset;
  uint16_t depth;
  uint16_t kind; // enum place_kind
};

struct places {
  struct place *items;
  size_t count, capacity;
  uint64_t size_bytes; // covered
};

// Appends at the end (p->start is set here); what continues the last place is merged with it.
// ERR_LIMIT for an image that is more fragmented than memory allows.
int places_add(struct places *l, const struct place *p, struct err *err);
// The place that holds an offset below size_bytes.
size_t places_find(const struct places *l, uint64_t offset);
// `top` over `below` (empty: nothing is below): what is in neither reads as zeros.
int places_join(const struct places *top, const struct places *below, struct places *ret,
                struct err *err);
void places_release(struct places *l);
