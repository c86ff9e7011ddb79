// SPDX-License-Identifier: Apache-2.0
// What the view of progress keeps of each object, and how one is written as a bar or as a line.
#pragma once

#include <stdio.h>

#include "base/buf.h"
#include "controller/progress_view.h"
#include "crds/vmmigration.h"

#define LABEL_MAX    32
#define BAR_LINE_MAX 300

struct item {
  struct object_key key;
  char *label;                    // name, or namespace/name
  char *phase, *reason, *message; // harmless
  struct migration_progress progress;
  bool staged; // bytes move twice, so that "of so many" would be wrong
  bool moving, moved, ended;
  uint64_t said;   // what the last line about it said
  int64_t line_ms; // and when the last one about its progress was written
  int64_t line_bytes;
};

struct progress_view {
  FILE *to;
  enum progress_mode mode;
  int columns, rows;
  struct item **items;
  size_t count;
  int drawn; // lines of bars on the screen
  int64_t drawn_ms;
  bool dirty;
};

// "web: Transferring 42%, 1.2 GB of 2.9 GB, 118 MB/s, 6m12s left"
void progress_line_text(const struct item *item, struct buf *to);
// "web  Transferring [####------]  42%  1.2 GB of 2.9 GB  118 MB/s  6m12s", at most `columns` wide.
void progress_line_bar(const struct item *item, int label_width, int columns, struct buf *to);
