// SPDX-License-Identifier: Apache-2.0
// Reading ahead from images that are far away. A guest's data lies in many small extents, but in an
// image that was written in order those stand side by side in the file, so that one request can
// fetch all that a chunk needs, instead of one for each extent (measured on a 2 GiB image in S3
// with scattered data: 10,000 requests become 1,600). One struct for each lane.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/object.h"
#include "disk/places_internal.h"

#define AHEAD_BYTES (5u << 20) // of memory, once it is used

struct ahead {
  uint8_t *bytes; // of the file at `depth`, from offset; NULL = nothing yet
  uint64_t offset;
  size_t length;
  uint16_t depth;
};

void ahead_release(struct ahead *a);
// Where the run of file bytes ends that begins at guest offset `from`, in the place number i, and
// that the rest of from's chunk needs too: places in rising order with small gaps between them.
uint64_t ahead_run_end(const struct places *l, size_t i, uint64_t from);
// As object_read() of [at, at + length), which lies in a run up to run_end: what is not at hand is
// fetched with the rest of the run.
int ahead_read(struct ahead *a, struct object_reader *r, void *lane, uint16_t depth, void *into,
               size_t length, uint64_t at, uint64_t run_end, struct err *err);
