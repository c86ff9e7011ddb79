// SPDX-License-Identifier: Apache-2.0
// For the fuzz targets: one small file each, fuzz_NAME.c, which feeds the bytes it is given to one
// parser of ours and checks what must hold of the result. libFuzzer calls the entry point from one
// thread, many thousand times in one process, with ASan, UBSan and LSan watching.
//
// Seeds: seeds/NAME/ (texts) and what make-seeds makes (images, requests). tests/fuzz/run runs
// them.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// What must hold. Stays when assert() is compiled out.
#define MUST(condition)                                                                            \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);               \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)

// A NUL-terminated copy, yours; its end is the end of the allocation, so that reads beyond it show.
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
  char *text = malloc(size + 1);
  MUST(text);
  memcpy(text, data, size);
  text[size] = '\0';
  return text;
}

// The bytes as a stored image. Borrowed; nothing to free.
struct fuzz_reader {
  struct object_reader base;
  const uint8_t *data;
};

static inline int fuzz_reader_read(struct object_reader *r, void *lane, void *into, size_t length,
                                   uint64_t offset, struct err *err)
{
  (void)lane, (void)err;
  MUST(offset <= r->size_bytes && length <= r->size_bytes - offset);
  memcpy(into, ((struct fuzz_reader *)r)->data + offset, length);
  return 0;
}

static inline void fuzz_reader_free(struct object_reader *r)
{
  (void)r;
}

static inline struct fuzz_reader fuzz_reader(const uint8_t *data, size_t size)
{
  static const struct object_reader_ops ops = {
      .name = "fuzz", .read = fuzz_reader_read, .free = fuzz_reader_free};
  return (struct fuzz_reader){.base = {.ops = &ops, .size_bytes = size}, .data = data};
}
