// SPDX-License-Identifier: Apache-2.0
// The shape that the tables of clone.c and base.c share: rows are read from the top, the first one
// whose facts fit decides. Plain constants, any thread. Tests see the tables themselves, so that
// each row is walked and none can stand below one that always takes its place.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROW_ON_EVENT (-1) // after_ms: when something changes

struct row {
  uint64_t must, must_not;
  int action;
  int phase; // the kind's PHASE_COUNT: as the facts say
  bool ready;
  int64_t after_ms;
  const char *reason, *message; // NULL: the error's
};

extern const struct row clone_rows[], base_rows[];
extern const size_t clone_row_count, base_row_count;

// Index of the row that decides; the last row of each table fits everything.
static inline size_t row_of(const struct row *rows, size_t count, uint64_t facts)
{
  size_t i = 0;
  while (i + 1 < count && ((facts & rows[i].must) != rows[i].must || facts & rows[i].must_not))
    i++;
  return i;
}
