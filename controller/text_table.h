// SPDX-License-Identifier: Apache-2.0
// Text for people: aligned columns as kubectl prints them, ages, and text of foreign origin made
// harmless: what a host or a guest says may hold escape sequences of a terminal.
#pragma once

#include <stdio.h>

#include "base/field.h"

struct text_table {
  size_t columns;
  struct strings cells; // row by row; the first row is the header
};

void text_table_release(struct text_table *t);
// Adds the next cell, made harmless; NULL = empty. The memory of a table that does not fit ends the
// process: there is nothing sensible to print then.
void text_table_add(struct text_table *t, const char *text);
// Rows at that indent; the last column is not padded. Nothing when only a header is there.
void text_table_print(const struct text_table *t, int indent, FILE *to);

// Control characters become '?', or a space for line breaks and tabs. The caller frees; aborts
// without memory.
char *text_harmless(const char *text);
// Characters rather than bytes (UTF-8; wide ones count as one).
size_t text_width(const char *text);
// "42s", "3m12s", "5h", "2d3h", as kubectl tells ages; b is returned.
char *text_age(int64_t seconds, char b[32]);
