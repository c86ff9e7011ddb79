// SPDX-License-Identifier: Apache-2.0
// A table's object as: number of a field (from 1), its value, ..., 0. Numbers are in base 128, the
// lowest digits first; a text is 0 and its bytes with the NUL, or where it stood before, plus 1.
#include <string.h>

#include "base/buf.h"
#include "base/field_internal.h"

#define ALIGN 8 // of all that a struct of a table may hold

static size_t aligned(size_t size)
{
  return (size + ALIGN - 1) / ALIGN * ALIGN;
}

// ---- numbers and texts ----------------------------------------------------------------------

static void add_number(struct squeezer *s, uint64_t n)
{
  for (; n >= 128; n >>= 7)
    buf_addc(s->to, (char)(n | 128));
  buf_addc(s->to, (char)n);
}

static uint64_t take_number(struct unsqueezer *u)
{
  uint64_t n = 0;
  for (int shift = 0;; shift += 7) {
    uint64_t digit = (unsigned char)*u->at++;
    n |= (digit & 127) << shift;
    if (digit < 128)
      return n;
  }
}

// Where an equal text stands already, plus 1; 0: nowhere that was noted.
static size_t seen_at(const struct squeezer *s, const char *text)
{
  for (size_t i = 0; buf_ok(s->to) && i < s->seen_count; i++)
    if (strcmp(s->to->data + s->seen[i], text) == 0)
      return s->seen[i] + 1;
  return 0;
}

void squeeze_text(struct squeezer *s, const char *text)
{
  size_t at = seen_at(s, text);
  add_number(s, at);
  if (at)
    return;
  if (s->seen_count < SQUEEZE_SEEN)
    s->seen[s->seen_count++] = (uint32_t)s->to->length;
  buf_add(s->to, text, strlen(text) + 1);
}

char *unsqueeze_text(struct unsqueezer *u)
{
  size_t at = take_number(u);
  const char *text = at ? u->bytes + at - 1 : u->at;
  if (!at)
    u->at += strlen(text) + 1;
  return (char *)(uintptr_t)text;
}

static void *take_room(struct unsqueezer *u, size_t size)
{
  void *room = u->room;
  u->room += aligned(size);
  return room;
}

// ---- values ---------------------------------------------------------------------------------

static int64_t number_at(const struct field *f, const void *at)
{
  if (f->type == FIELD_BOOL)
    return *(const bool *)at;
  return f->type == FIELD_ENUM ? *(const int *)at : *(const int64_t *)at;
}

static void write_number(const struct field *f, const void *at, struct squeezer *s)
{
  int64_t n = number_at(f, at);
  add_number(s, (uint64_t)n << 1 ^ (uint64_t)(n >> 63)); // small negative ones are short, too
}

static void read_number(const struct field *f, void *at, struct unsqueezer *u)
{
  uint64_t z = take_number(u);
  int64_t n = (int64_t)(z >> 1 ^ (0 - (z & 1)));
  if (f->type == FIELD_BOOL)
    *(bool *)at = n != 0;
  else if (f->type == FIELD_ENUM)
    *(int *)at = (int)n;
  else
    *(int64_t *)at = n;
}

static void write_string(const struct field *f, const void *at, struct squeezer *s)
{
  (void)f;
  squeeze_text(s, *(char *const *)at);
}

static void read_string(const struct field *f, void *at, struct unsqueezer *u)
{
  (void)f;
  *(char **)at = unsqueeze_text(u);
}

static void write_object(const struct field *f, const void *at, struct squeezer *s)
{
  table_squeeze(f->table, at, s);
}

static void read_object(const struct field *f, void *at, struct unsqueezer *u)
{
  table_unsqueeze(f->table, at, u);
}

static void write_pointer(const struct field *f, const void *at, struct squeezer *s)
{
  s->room += aligned(f->table->size);
  table_squeeze(f->table, *(void *const *)at, s);
}

static void read_pointer(const struct field *f, void *at, struct unsqueezer *u)
{
  void *object = take_room(u, f->table->size);
  table_unsqueeze(f->table, object, u);
  *(void **)at = object;
}

static void write_list(const struct field *f, const void *at, struct squeezer *s)
{
  const struct list *list = at;
  s->room += aligned(list->count * f->table->size);
  add_number(s, list->count);
  for (size_t i = 0; i < list->count; i++)
    table_squeeze(f->table, list_item(list, f->table->size, i), s);
}

static void read_list(const struct field *f, void *at, struct unsqueezer *u)
{
  struct list *list = at;
  list->count = take_number(u);
  list->items = take_room(u, list->count * f->table->size);
  for (size_t i = 0; i < list->count; i++)
    table_unsqueeze(f->table, list_item(list, f->table->size, i), u);
}

static void write_strings(const struct field *f, const void *at, struct squeezer *s)
{
  (void)f;
  const struct strings *strings = at;
  s->room += aligned(strings->count * sizeof(char *));
  add_number(s, strings->count);
  for (size_t i = 0; i < strings->count; i++)
    squeeze_text(s, strings->items[i]);
}

static void read_strings(const struct field *f, void *at, struct unsqueezer *u)
{
  (void)f;
  struct strings *strings = at;
  strings->count = take_number(u);
  strings->items = take_room(u, strings->count * sizeof(char *));
  for (size_t i = 0; i < strings->count; i++)
    strings->items[i] = unsqueeze_text(u);
}

static bool no_number(const struct field *f, const void *at)
{
  return number_at(f, at) == 0;
}

static bool no_pointer(const struct field *f, const void *at)
{
  (void)f;
  return !*(void *const *)at;
}

static bool no_object(const struct field *f, const void *at)
{
  (void)f;
  (void)at;
  return false;
}

static bool no_list(const struct field *f, const void *at)
{
  (void)f;
  return ((const struct list *)at)->count == 0;
}

static bool no_strings(const struct field *f, const void *at)
{
  (void)f;
  return ((const struct strings *)at)->count == 0;
}

static const struct {
  bool (*is_absent)(const struct field *f, const void *at); // all zero: not written
  void (*write)(const struct field *f, const void *at, struct squeezer *s);
  void (*read)(const struct field *f, void *at, struct unsqueezer *u);
} types[] = {
    [FIELD_STRING] = {no_pointer, write_string, read_string},
    [FIELD_BOOL] = {no_number, write_number, read_number},
    [FIELD_INT] = {no_number, write_number, read_number},
    [FIELD_ENUM] = {no_number, write_number, read_number},
    [FIELD_DURATION] = {no_number, write_number, read_number},
    [FIELD_BYTES] = {no_number, write_number, read_number},
    [FIELD_OBJECT] = {no_object, write_object, read_object},
    [FIELD_POINTER] = {no_pointer, write_pointer, read_pointer},
    [FIELD_LIST] = {no_list, write_list, read_list},
    [FIELD_STRINGS] = {no_strings, write_strings, read_strings},
    [FIELD_MAP] = {no_strings, write_strings, read_strings},
};

void table_squeeze(const struct table *t, const void *from, struct squeezer *s)
{
  for (size_t i = 0; i < t->field_count; i++) {
    const struct field *f = &t->fields[i];
    if (types[f->type].is_absent(f, field_at(f, from)))
      continue;
    add_number(s, i + 1);
    types[f->type].write(f, field_at(f, from), s);
  }
  add_number(s, 0);
}

void table_unsqueeze(const struct table *t, void *to, struct unsqueezer *u)
{
  memset(to, 0, t->size);
  for (uint64_t i; (i = take_number(u)) > 0;) {
    const struct field *f = &t->fields[i - 1];
    types[f->type].read(f, field_at(f, to), u);
  }
}
