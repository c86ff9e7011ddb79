// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

bool str_eq(const char *a, const char *b)
{
  return a && b ? strcmp(a, b) == 0 : a == b;
}

bool str_empty(const char *s)
{
  return !s || !*s;
}

const char *str_after(const char *s, const char *prefix)
{
  size_t n = strlen(prefix);
  return s && strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

bool str_starts(const char *s, const char *prefix)
{
  return str_after(s, prefix) != NULL;
}

bool str_ends(const char *s, const char *suffix)
{
  size_t n = s ? strlen(s) : 0;
  size_t m = strlen(suffix);
  return s && n >= m && strcmp(s + n - m, suffix) == 0;
}

#define DISTANCE_MAX 64

size_t str_distance(const char *a, const char *b)
{
  size_t m = strlen(b);
  if (strlen(a) > DISTANCE_MAX || m > DISTANCE_MAX)
    return DISTANCE_MAX;
  // One row of the Levenshtein matrix at a time.
  size_t row[DISTANCE_MAX + 1];
  for (size_t j = 0; j <= m; j++)
    row[j] = j;
  for (size_t i = 1; a[i - 1]; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= m; j++) {
      bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
      size_t best = diagonal + !same;
      diagonal = row[j];
      if (row[j] + 1 < best)
        best = row[j] + 1;
      if (row[j - 1] + 1 < best)
        best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  return row[m];
}

bool str_glob(const char *pattern, const char *s)
{
  return fnmatch(pattern, s, 0) == 0;
}

char *str_dup(const char *s)
{
  return s ? strdup(s) : NULL;
}

void str_set(char **field, const char *text)
{
  char *copy = str_dup(text);
  free(*field);
  *field = copy;
}

char *str_printf(const char *format, ...)
{
  va_list args;
  va_start(args, format);
  char *s = NULL;
  int n = vasprintf(&s, format, args);
  va_end(args);
  return n < 0 ? NULL : s;
}

bool str_int64(const char *s, int64_t *ret)
{
  if (str_empty(s) || isspace((unsigned char)*s))
    return false;
  char *end;
  errno = 0;
  long long value = strtoll(s, &end, 10);
  if (errno || *end)
    return false;
  *ret = value;
  return true;
}

static const struct {
  const char *name;
  double factor;
} byte_units[] = {
    {"", 1},     {"K", 1e3},     {"k", 1e3},     {"M", 1e6},     {"G", 1e9},     {"T", 1e12},
    {"P", 1e15}, {"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}, {"Ti", 0x1p40}, {"Pi", 0x1p50},
};

bool str_bytes(const char *s, int64_t *ret_bytes)
{
  if (str_empty(s) || !isdigit((unsigned char)*s))
    return false;
  int64_t whole;
  if (str_int64(s, &whole)) {
    *ret_bytes = whole;
    return true;
  }
  char *unit;
  double value = strtod(s, &unit);
  for (size_t i = 0; i < ARRAY_SIZE(byte_units); i++) {
    if (strcmp(unit, byte_units[i].name) != 0)
      continue;
    value *= byte_units[i].factor;
    if (!(value < 0x1p63))
      return false;
    *ret_bytes = (int64_t)value;
    return true;
  }
  return false;
}

static const struct {
  const char *name;
  double ms;
} time_units[] = {{"ms", 1}, {"h", 3600e3}, {"m", 60e3}, {"s", 1e3}};

bool str_duration(const char *s, int64_t *ret_ms)
{
  double total = 0;
  if (str_empty(s))
    return false;
  if (strcmp(s, "0") == 0) {
    *ret_ms = 0;
    return true;
  }
  while (*s) {
    if (!isdigit((unsigned char)*s))
      return false;
    char *unit;
    double value = strtod(s, &unit);
    size_t i = 0;
    while (i < ARRAY_SIZE(time_units) && !str_starts(unit, time_units[i].name))
      i++;
    if (i == ARRAY_SIZE(time_units))
      return false;
    total += value * time_units[i].ms;
    s = unit + strlen(time_units[i].name);
  }
  if (!(total < 0x1p53))
    return false;
  *ret_ms = (int64_t)llround(total);
  return true;
}

char *str_duration_text(int64_t ms, char b[48])
{
  static const struct {
    const char *name;
    int64_t ms;
  } parts[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
  size_t n = 0;
  for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
    if (ms / parts[i].ms > 0)
      n += (size_t)snprintf(b + n, 48 - n, "%" PRId64 "%s", ms / parts[i].ms, parts[i].name);
    ms %= parts[i].ms;
  }
  if (n == 0)
    strcpy(b, "0s");
  return b;
}

char *str_human_bytes(double bytes, char b[32])
{
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  size_t i = 0;
  while (bytes >= 999.5 && i + 1 < ARRAY_SIZE(units)) {
    bytes /= 1000;
    i++;
  }
  snprintf(b, 32, bytes < 10 && i > 0 ? "%.1f %s" : "%.0f %s", bytes, units[i]);
  return b;
}

char *str_human_duration(int64_t seconds, char b[32])
{
  int64_t h = seconds / 3600;
  int64_t m = seconds / 60 % 60;
  int64_t s = seconds % 60;
  if (h)
    snprintf(b, 32, "%" PRId64 "h%" PRId64 "m", h, m);
  else if (m)
    snprintf(b, 32, "%" PRId64 "m%" PRId64 "s", m, s);
  else
    snprintf(b, 32, "%" PRId64 "s", s);
  return b;
}
