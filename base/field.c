// SPDX-License-Identifier: Apache-2.0
#include "base/field.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/field_internal.h"
#include "base/secret.h"
#include "base/str.h"

// What the types do beside being read and written. Without functions it is plain memory.
struct behaviour {
  size_t size; // of plain memory
  void (*release)(const struct field *f, void *at);
  int (*copy)(const struct field *f, const void *from, void *to); // to is zeroed
  bool (*equal)(const struct field *f, const void *a, const void *b);
};

static int copy_table(const struct table *t, const void *from, void *to);

static void release_string(const struct field *f, void *at)
{
  if (f->secret)
    secret_free_string(*(char **)at);
  else
    free(*(char **)at);
}

static int copy_string(const struct field *f, const void *from, void *to)
{
  (void)f;
  const char *text = *(char *const *)from;
  char *copy = str_dup(text);
  *(char **)to = copy;
  return text && !copy ? -1 : 0;
}

static bool equal_string(const struct field *f, const void *a, const void *b)
{
  (void)f;
  return str_eq(*(char *const *)a, *(char *const *)b);
}

static void release_object(const struct field *f, void *at)
{
  table_release(f->table, at);
}

static int copy_object(const struct field *f, const void *from, void *to)
{
  return copy_table(f->table, from, to);
}

static bool equal_object(const struct field *f, const void *a, const void *b)
{
  return table_equal(f->table, a, b);
}

static void release_pointer(const struct field *f, void *at)
{
  void *object = *(void **)at;
  if (object)
    table_release(f->table, object);
  free(object);
}

static int copy_pointer(const struct field *f, const void *from, void *to)
{
  const void *object = *(void *const *)from;
  if (!object)
    return 0;
  void *copy = calloc(1, f->table->size);
  *(void **)to = copy;
  return copy ? copy_table(f->table, object, copy) : -1;
}

static bool equal_pointer(const struct field *f, const void *a, const void *b)
{
  const void *x = *(void *const *)a;
  const void *y = *(void *const *)b;
  return x && y ? table_equal(f->table, x, y) : x == y;
}

static void release_list(const struct field *f, void *at)
{
  struct list *list = at;
  for (size_t i = 0; i < list->count; i++)
    table_release(f->table, list_item(list, f->table->size, i));
  free(list->items);
}

static int copy_list(const struct field *f, const void *from, void *to)
{
  const struct list *list = from;
  for (size_t i = 0; i < list->count; i++) {
    void *item = list_add(to, f->table->size, 0);
    if (!item || copy_table(f->table, list_item(list, f->table->size, i), item))
      return -1;
  }
  return 0;
}

static bool equal_list(const struct field *f, const void *a, const void *b)
{
  const struct list *x = a;
  const struct list *y = b;
  if (x->count != y->count)
    return false;
  for (size_t i = 0; i < x->count; i++)
    if (!table_equal(f->table, list_item(x, f->table->size, i), list_item(y, f->table->size, i)))
      return false;
  return true;
}

static void release_strings(const struct field *f, void *at)
{
  (void)f;
  strings_release(at);
}

static int copy_strings(const struct field *f, const void *from, void *to)
{
  (void)f;
  const struct strings *strings = from;
  for (size_t i = 0; i < strings->count; i++)
    if (strings_add(to, strings->items[i]))
      return -1;
  return 0;
}

static bool equal_strings(const struct field *f, const void *a, const void *b)
{
  (void)f;
  const struct strings *x = a;
  const struct strings *y = b;
  if (x->count != y->count)
    return false;
  for (size_t i = 0; i < x->count; i++)
    if (strcmp(x->items[i], y->items[i]) != 0)
      return false;
  return true;
}

static const struct behaviour behaviours[] = {
    [FIELD_STRING] = {0, release_string, copy_string, equal_string},
    [FIELD_BOOL] = {sizeof(bool), NULL, NULL, NULL},
    [FIELD_INT] = {sizeof(int64_t), NULL, NULL, NULL},
    [FIELD_ENUM] = {sizeof(int), NULL, NULL, NULL},
    [FIELD_DURATION] = {sizeof(int64_t), NULL, NULL, NULL},
    [FIELD_BYTES] = {sizeof(int64_t), NULL, NULL, NULL},
    [FIELD_OBJECT] = {0, release_object, copy_object, equal_object},
    [FIELD_POINTER] = {0, release_pointer, copy_pointer, equal_pointer},
    [FIELD_LIST] = {0, release_list, copy_list, equal_list},
    [FIELD_STRINGS] = {0, release_strings, copy_strings, equal_strings},
    [FIELD_MAP] = {0, release_strings, copy_strings, equal_strings},
};

void table_release(const struct table *t, void *object)
{
  for (size_t i = 0; i < t->field_count; i++) {
    const struct field *f = &t->fields[i];
    if (behaviours[f->type].release)
      behaviours[f->type].release(f, field_at(f, object));
  }
  memset(object, 0, t->size);
}

// Leaves what was copied so far in `to` when it fails: the outermost caller releases it.
static int copy_table(const struct table *t, const void *from, void *to)
{
  memset(to, 0, t->size);
  for (size_t i = 0; i < t->field_count; i++) {
    const struct field *f = &t->fields[i];
    const struct behaviour *b = &behaviours[f->type];
    if (!b->copy)
      memcpy(field_at(f, to), field_at(f, from), b->size);
    else if (b->copy(f, field_at(f, from), field_at(f, to)))
      return -1;
  }
  return 0;
}

int table_copy(const struct table *t, const void *from, void *to, struct err *err)
{
  if (copy_table(t, from, to) == 0)
    return 0;
  table_release(t, to);
  return err_set(err, ERR_NO_MEMORY, "out of memory while copying an object");
}

bool table_equal(const struct table *t, const void *a, const void *b)
{
  for (size_t i = 0; i < t->field_count; i++) {
    const struct field *f = &t->fields[i];
    const struct behaviour *be = &behaviours[f->type];
    const void *x = field_at(f, a);
    const void *y = field_at(f, b);
    if (be->equal ? !be->equal(f, x, y) : memcmp(x, y, be->size) != 0)
      return false;
  }
  return true;
}
