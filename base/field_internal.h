// SPDX-License-Identifier: Apache-2.0
// What the parts of the field code share: where a field lies, and the spot in a document that is
// being read, as a chain on the stack that becomes text only when a message needs it.
#pragma once

#include "base/field.h"

// A struct is reached through void * and an offset, so a const object must be cast once, here.
static inline void *field_at(const struct field *f, const void *object)
{
  return (char *)object + f->offset;
}

static inline void *list_item(const struct list *l, size_t size, size_t i)
{
  return (char *)l->items + i * size;
}

struct spot {
  const struct spot *outer;
  const char *name; // "" at the outermost when there is nothing to say; NULL: an index
  size_t index;
};

#define SPOT_MAX_BYTES 384

const char *spot_text(const struct spot *spot, char b[SPOT_MAX_BYTES]);
int spot_err(const struct spot *spot, struct err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// field_check.c: is a value that has the right type one that the field allows?
int field_check_string(const struct field *f, const char *text, int64_t max,
                       const struct spot *spot, struct err *err);
// Has text this form, and is it of a length that is worth reading?
bool field_check_form(const char *text, const char *form);
int field_check_number(const struct field *f, int64_t value, const struct spot *spot,
                       struct err *err);
int field_check_count(const struct field *f, size_t count, const struct spot *spot,
                      struct err *err);
// Fills ret_index with the place of text in f->names.
int field_check_word(const struct field *f, const char *text, int *ret_index,
                     const struct spot *spot, struct err *err);
// Is every member of the object a field of t?
int field_check_known(const struct table *t, struct json_object *json, const struct spot *spot,
                      struct err *err);
