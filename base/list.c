// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/field.h"
#include "base/str.h"

// Arrays grow by doubling: room is made whenever the count is 0 or a power of two.
static bool is_full(size_t count)
{
  return (count & (count - 1)) == 0;
}

void strings_release(struct strings *s)
{
  for (size_t i = 0; i < s->count; i++)
    free(s->items[i]);
  free(s->items);
  *s = (struct strings){0};
}

int strings_add(struct strings *s, const char *text)
{
  if (is_full(s->count)) {
    size_t room = s->count ? s->count * 2 : 1;
    char **items = reallocarray(s->items, room, sizeof(*items));
    if (!items)
      return -1;
    s->items = items;
  }
  char *copy = strdup(text);
  if (!copy)
    return -1;
  s->items[s->count++] = copy;
  return 0;
}

int strings_copy(struct strings *to, const struct strings *from)
{
  strings_release(to);
  for (size_t i = 0; i < from->count; i++)
    if (strings_add(to, from->items[i]) != 0)
      return -1;
  return 0;
}

bool strings_has(const struct strings *s, const char *text)
{
  for (size_t i = 0; i < s->count; i++)
    if (strcmp(s->items[i], text) == 0)
      return true;
  return false;
}

// Index of the pair with that key, or of the one it would stand before.
static size_t map_find(const struct strings *map, const char *key, bool *ret_found)
{
  size_t i = 0;
  int order = 1;
  while (i + 1 < map->count && (order = strcmp(map->items[i], key)) < 0)
    i += 2;
  *ret_found = i + 1 < map->count && order == 0;
  return i;
}

const char *strings_map_get(const struct strings *map, const char *key)
{
  bool found;
  size_t i = map_find(map, key, &found);
  return found ? map->items[i + 1] : NULL;
}

static void map_remove(struct strings *map, size_t i)
{
  free(map->items[i]);
  free(map->items[i + 1]);
  map->count -= 2;
  memmove(map->items + i, map->items + i + 2, (map->count - i) * sizeof(*map->items));
}

static int map_insert(struct strings *map, size_t i, const char *key, const char *value)
{
  char *key_copy cleanup_free = strdup(key);
  char *value_copy cleanup_free = strdup(value);
  char **items = reallocarray(map->items, map->count + 2, sizeof(*items));
  if (items)
    map->items = items;
  if (!items || !key_copy || !value_copy)
    return -1;
  memmove(items + i + 2, items + i, (map->count - i) * sizeof(*items));
  items[i] = TAKE(key_copy);
  items[i + 1] = TAKE(value_copy);
  map->count += 2;
  return 0;
}

int strings_map_set(struct strings *map, const char *key, const char *value)
{
  bool found;
  size_t i = map_find(map, key, &found);
  if (!value) {
    if (found)
      map_remove(map, i);
    return 0;
  }
  if (!found)
    return map_insert(map, i, key, value);
  char *copy = strdup(value);
  if (!copy)
    return -1;
  free(map->items[i + 1]);
  map->items[i + 1] = copy;
  return 0;
}

void *list_add(struct list *l, size_t size, size_t max)
{
  if (max && l->count >= max)
    return NULL;
  if (is_full(l->count)) {
    void *items = reallocarray(l->items, l->count ? l->count * 2 : 1, size);
    if (!items)
      return NULL;
    l->items = items;
  }
  void *item = (char *)l->items + l->count++ * size;
  memset(item, 0, size);
  return item;
}
