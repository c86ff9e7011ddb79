// SPDX-License-Identifier: Apache-2.0
#include "controller/json_path.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 128

// Copies up to one of `ends`, which is left at *at; false: too long. A backslash takes the next
// character as it is.
static bool take_word(const char **at, const char *ends, char word[WORD_MAX])
{
  size_t length = 0;
  while (**at && !strchr(ends, **at)) {
    if (**at == '\\' && (*at)[1])
      ++*at;
    if (length == WORD_MAX - 1)
      return false;
    word[length++] = *(*at)++;
  }
  word[length] = '\0';
  return true;
}

static struct json_object *member(struct json_object *json, const char *name)
{
  struct json_object *value = NULL;
  if (json_object_is_type(json, json_type_object))
    json_object_object_get_ex(json, name, &value);
  return value;
}

static bool skip(const char **at, const char *text)
{
  size_t length = strlen(text);
  if (strncmp(*at, text, length) != 0)
    return false;
  *at += length;
  return true;
}

// After "[?(@.": name=="value")]: the first item that has it.
static struct json_object *take_filter(struct json_object *array, const char **at)
{
  char name[WORD_MAX], value[WORD_MAX];
  if (!take_word(at, "=", name) || !skip(at, "==\"") || !take_word(at, "\"", value) ||
      !skip(at, "\")]"))
    return NULL;
  for (size_t i = 0; i < json_object_array_length(array); i++) {
    struct json_object *item = json_object_array_get_idx(array, i);
    const char *found = json_object_get_string(member(item, name));
    if (found && strcmp(found, value) == 0)
      return item;
  }
  return NULL;
}

static struct json_object *take_index(struct json_object *array, const char **at)
{
  char *end;
  unsigned long i = strtoul(*at, &end, 10);
  if (end == *at || *end != ']')
    return NULL;
  *at = end + 1;
  return json_object_array_get_idx(array, i);
}

static struct json_object *take_step(struct json_object *json, const char **at)
{
  char word[WORD_MAX];
  if (skip(at, "."))
    return take_word(at, ".[", word) ? member(json, word) : NULL;
  if (!json_object_is_type(json, json_type_array))
    return NULL;
  if (skip(at, "[?(@."))
    return take_filter(json, at);
  return skip(at, "[") ? take_index(json, at) : NULL;
}

struct json_object *json_path(struct json_object *json, const char *path)
{
  while (json && *path)
    json = take_step(json, &path);
  return json;
}
