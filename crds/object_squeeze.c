// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "crds/object.h"
#include "crds/tables_internal.h"

#define SQUEEZED_MAX_BYTES (8u << 20) // the API server takes objects of 1.5 MiB

struct squeezed {
  uint32_t length, room;
  uint8_t kind;
  bool invalid; // its sentence stands behind the rest
  char bytes[];
};

static size_t aligned(size_t size)
{
  return (size + 7) / 8 * 8;
}

static size_t first_room(enum object_kind kind)
{
  const struct object_kind_info *info = object_kind_info(kind);
  return aligned(sizeof(struct object)) + aligned(info->spec->size) + aligned(info->status->size);
}

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory while keeping an object");
}

int object_squeeze(const struct object *o, struct squeezed **ret, struct err *err)
{
  const struct object_kind_info *kind = object_kind_info(o->kind);
  struct buf b CLEANUP(buf_release) = BUF_INIT(SQUEEZED_MAX_BYTES);
  struct squeezer s = {.to = &b, .room = first_room(o->kind)};
  table_squeeze(&object_meta_table, &o->meta, &s);
  table_squeeze(kind->spec, o->spec, &s);
  table_squeeze(kind->status, o->status, &s);
  if (o->invalid)
    squeeze_text(&s, o->invalid);
  struct squeezed *q = buf_ok(&b) ? malloc(sizeof(*q) + b.length) : NULL;
  if (!q)
    return no_memory(err);
  *q =
      (struct squeezed){(uint32_t)b.length, (uint32_t)s.room, (uint8_t)o->kind, o->invalid != NULL};
  memcpy(q->bytes, b.data, b.length);
  *ret = q;
  return 0;
}

int object_unsqueeze(const struct squeezed *q, struct object **ret, struct err *err)
{
  const struct object_kind_info *kind = object_kind_info(q->kind);
  char *room = malloc(q->room);
  if (!room)
    return no_memory(err);
  struct object *o = (struct object *)(void *)room;
  *o = (struct object){.kind = q->kind};
  o->spec = room + aligned(sizeof(*o));
  o->status = room + aligned(sizeof(*o)) + aligned(kind->spec->size);
  struct unsqueezer u = {q->bytes, q->bytes, room + first_room(q->kind)};
  table_unsqueeze(&object_meta_table, &o->meta, &u);
  table_unsqueeze(kind->spec, o->spec, &u);
  table_unsqueeze(kind->status, o->status, &u);
  if (q->invalid)
    o->invalid = unsqueeze_text(&u);
  *ret = o;
  return 0;
}

bool squeezed_mentions(const struct squeezed *q, const char *text)
{
  return memmem(q->bytes, q->length, text, strlen(text) + 1) != NULL;
}
