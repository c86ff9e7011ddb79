// SPDX-License-Identifier: Apache-2.0
#include "controller/text_table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

#define COLUMNS_MAX 32
#define GAP         3

void text_table_release(struct text_table *t)
{
  strings_release(&t->cells);
}

static bool is_control(const unsigned char *s)
{
  // C0, DEL, and C1 in UTF-8 (U+0080..U+009F), which terminals obey as well.
  return *s < 0x20 || *s == 0x7f || (s[0] == 0xc2 && s[1] >= 0x80 && s[1] <= 0x9f);
}

char *text_harmless(const char *text)
{
  char *copy = str_dup(text ? text : "");
  if (!copy)
    abort();
  for (unsigned char *s = (unsigned char *)copy; *s; s++) {
    if (*s == '\n' || *s == '\t' || *s == '\r') {
      *s = ' ';
    } else if (is_control(s)) {
      if (*s == 0xc2)
        *s++ = '?';
      *s = '?';
    }
  }
  return copy;
}

void text_table_add(struct text_table *t, const char *text)
{
  cleanup_free char *clean = text_harmless(text);
  if (strings_add(&t->cells, clean) != 0)
    abort();
}

size_t text_width(const char *text)
{
  size_t width = 0;
  for (; *text; text++)
    width += ((unsigned char)*text & 0xc0) != 0x80;
  return width;
}

static void pad(size_t count, FILE *to)
{
  for (size_t i = 0; i < count; i++)
    fputc(' ', to);
}

static void print_row(const struct text_table *t, size_t row, const size_t *widths, int indent,
                      FILE *to)
{
  const char *const *cells = (const char *const *)&t->cells.items[row * t->columns];
  size_t last = t->columns - 1;
  while (last > 0 && !*cells[last])
    last--; // no trailing blanks
  pad((size_t)indent, to);
  for (size_t c = 0; c <= last; c++) {
    fputs(cells[c], to);
    if (c < last)
      pad(widths[c] - text_width(cells[c]) + GAP, to);
  }
  fputc('\n', to);
}

void text_table_print(const struct text_table *t, int indent, FILE *to)
{
  size_t rows = t->columns ? t->cells.count / t->columns : 0;
  size_t widths[COLUMNS_MAX] = {0};
  if (rows < 2 || t->columns > COLUMNS_MAX)
    return;
  for (size_t i = 0; i < rows * t->columns; i++) {
    size_t width = text_width(t->cells.items[i]);
    if (width > widths[i % t->columns])
      widths[i % t->columns] = width;
  }
  for (size_t row = 0; row < rows; row++)
    print_row(t, row, widths, indent, to);
}

// ---- ages -----------------------------------------------------------------------------------

// Up to `below` seconds: so many of the larger unit, and of the smaller one unless that is 0.
static const struct {
  int64_t below, large, small;
  char large_name, small_name;
} ages[] = {
    {2 * 60, 1, 0, 's', 0},          {10 * 60, 60, 1, 'm', 's'},
    {3 * 3600, 60, 0, 'm', 0},       {8 * 3600, 3600, 60, 'h', 'm'},
    {48 * 3600, 3600, 0, 'h', 0},    {8 * 86400, 86400, 3600, 'd', 'h'},
    {730 * 86400, 86400, 0, 'd', 0}, {INT64_MAX, 365 * 86400, 86400, 'y', 'd'},
};

char *text_age(int64_t seconds, char b[32])
{
  if (seconds < 0)
    seconds = 0;
  size_t i = 0;
  while (seconds >= ages[i].below && i + 1 < ARRAY_SIZE(ages))
    i++;
  int64_t rest = ages[i].small ? seconds % ages[i].large / ages[i].small : 0;
  int length = snprintf(b, 32, "%" PRId64 "%c", seconds / ages[i].large, ages[i].large_name);
  if (rest > 0)
    snprintf(b + length, 32 - (size_t)length, "%" PRId64 "%c", rest, ages[i].small_name);
  return b;
}
