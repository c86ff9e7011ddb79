// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/field_internal.h"
#include "base/pattern.h"
#include "base/str.h"

#define SHOWN_MAX 80 // bytes of a wrong value that a message repeats

static size_t add_spot(const struct spot *spot, char *b, size_t n)
{
  if (spot->outer)
    n = add_spot(spot->outer, b, n);
  size_t room = SPOT_MAX_BYTES - n;
  int more;
  if (spot->name)
    more = snprintf(b + n, room, "%s%s", n > 0 && *spot->name ? "." : "", spot->name);
  else
    more = snprintf(b + n, room, "[%zu]", spot->index);
  return more < 0 || (size_t)more >= room ? SPOT_MAX_BYTES - 1 : n + (size_t)more;
}

const char *spot_text(const struct spot *spot, char b[SPOT_MAX_BYTES])
{
  b[0] = '\0';
  add_spot(spot, b, 0);
  return b;
}

int spot_err(const struct spot *spot, struct err *err, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  err_vset(err, ERR_INVALID, format, args);
  va_end(args);
  char where[SPOT_MAX_BYTES];
  if (*spot_text(spot, where))
    err_prefix(err, "%s", where);
  return -1;
}

bool field_check_form(const char *text, const char *form)
{
  return strlen(text) <= FIELD_AMOUNT_BYTES && pattern_matches(form, text);
}

int field_check_string(const struct field *f, const char *text, int64_t max,
                       const struct spot *spot, struct err *err)
{
  int64_t length = (int64_t)strlen(text);
  if (max && length > max)
    return spot_err(spot, err, "is %" PRId64 " bytes long, over the limit of %" PRId64, length,
                    max);
  if (f->type == FIELD_STRING && length < f->min) {
    if (length == 0)
      return spot_err(spot, err, "must not be empty");
    return spot_err(spot, err, "is shorter than %" PRId64 " bytes", f->min);
  }
  if (f->pattern && !pattern_matches(f->pattern, text))
    return spot_err(spot, err, "'%.*s' does not match %s", SHOWN_MAX, text, f->pattern);
  return 0;
}

static const char *number_text(const struct field *f, int64_t value, char b[48])
{
  if (f->type == FIELD_DURATION)
    return str_duration_text(value, b);
  snprintf(b, 48, "%" PRId64, value);
  return b;
}

int field_check_number(const struct field *f, int64_t value, const struct spot *spot,
                       struct err *err)
{
  if (!f->max || (value >= f->min && value <= f->max))
    return 0;
  char b[3][48];
  return spot_err(spot, err, "must be between %s and %s, not %s", number_text(f, f->min, b[1]),
                  number_text(f, f->max, b[2]), number_text(f, value, b[0]));
}

int field_check_count(const struct field *f, size_t count, const struct spot *spot, struct err *err)
{
  if (f->max && count > (uint64_t)f->max)
    return spot_err(spot, err, "has %zu items, over the limit of %" PRId64, count, f->max);
  if (count < (uint64_t)f->min)
    return spot_err(spot, err, "must have at least %" PRId64 " item%s", f->min,
                    f->min == 1 ? "" : "s");
  return 0;
}

int field_check_word(const struct field *f, const char *text, int *ret_index,
                     const struct spot *spot, struct err *err)
{
  struct buf words CLEANUP(buf_release) = BUF_INIT(ERR_MESSAGE_MAX / 2);
  for (int i = 0; f->names[i]; i++) {
    if (str_empty(f->names[i])) // what the program calls "not said" is no word
      continue;
    if (strcmp(f->names[i], text) == 0) {
      *ret_index = i;
      return 0;
    }
    buf_printf(&words, "%s%s", words.length ? ", " : "", f->names[i]);
  }
  return spot_err(spot, err, "'%.*s' is not one of %s", SHOWN_MAX, text, buf_str(&words));
}

// The field whose name is close enough to be what was meant; NULL when none is.
static const char *nearest(const struct table *t, const char *name)
{
  size_t best = strlen(name) / 3 + 1;
  const char *found = NULL;
  for (size_t i = 0; i < t->field_count; i++) {
    size_t distance = str_distance(t->fields[i].name, name);
    if (distance > best || (found && distance == best))
      continue;
    best = distance;
    found = t->fields[i].name;
  }
  return found;
}

static bool is_known(const struct table *t, const char *name)
{
  for (size_t i = 0; i < t->field_count; i++)
    if (strcmp(t->fields[i].name, name) == 0)
      return true;
  return false;
}

int field_check_known(const struct table *t, struct json_object *json, const struct spot *spot,
                      struct err *err)
{
  json_object_object_foreach(json, name, value)
  {
    (void)value;
    if (is_known(t, name))
      continue;
    const char *meant = nearest(t, name);
    if (meant)
      return spot_err(spot, err, "unknown field '%.*s', did you mean '%s'?", SHOWN_MAX, name,
                      meant);
    return spot_err(spot, err, "unknown field '%.*s'", SHOWN_MAX, name);
  }
  return 0;
}
