// SPDX-License-Identifier: Apache-2.0
// Command lines by tables. A command describes its options in rows; the same rows parse, print
// --help and suggest the nearest name for a typing error. Accepted are `--name VALUE`,
// `--name=VALUE`, `-o VALUE`, `-oVALUE`, bundled flags (`-qw`), operands anywhere, and `--` before
// operands that begin with a dash. An option given twice counts as its last value, unless it is an
// OPTION_LIST.
//
// What each type is in the struct (set the defaults before parsing; values are borrowed from argv):
//     OPTION_FLAG      bool                 also --name=true|false
//     OPTION_STRING    const char *
//     OPTION_LIST      struct option_values repeatable; options_values_release()
//     OPTION_INT       int64_t              within min..max
//     OPTION_BYTES     int64_t, bytes       "200M", "1.5Gi"
//     OPTION_DURATION  int64_t, ms          "90s", "1h30m"
//     OPTION_CHOICE    int                  index into `choices`
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum option_type {
  OPTION_FLAG,
  OPTION_STRING,
  OPTION_LIST,
  OPTION_INT,
  OPTION_BYTES,
  OPTION_DURATION,
  OPTION_CHOICE,
};

struct option_values {
  const char **items; // each borrowed from argv
  size_t count;
};

struct option {
  const char *name; // without dashes
  char letter;      // one-letter form, 0 = none
  enum option_type type;
  size_t offset;              // of the value in the struct given to options_parse()
  const char *argument;       // what help calls the value: "RATE"
  const char *help;           // one line
  const char *const *choices; // OPTION_CHOICE: accepted words, NULL-terminated
  int64_t min, max;           // INT, BYTES, DURATION: bounds; max 0 = none
};

struct options {
  const char *name;    // as typed: "copy"
  const char *usage;   // "[options] SRC DST"
  const char *summary; // a sentence or two for --help
  const struct option *rows;
  size_t row_count;
  size_t operands_min, operands_max;
  const char *details;  // more text for --help after the options; NULL = none
  const char *examples; // lines for --help
};

#define OPTIONS_ROWS(table) .rows = (table), .row_count = sizeof(table) / sizeof((table)[0])

enum { OPTIONS_PARSED = 0, OPTIONS_HELP_SHOWN = 1 };

// argv[0] is the command's own name and is skipped. OPTIONS_PARSED; OPTIONS_HELP_SHOWN when --help
// or -h was there (printed on standard output; the command ends with status 0); -1 and ERR_INVALID
// for wrong use (status 2). ret_operands (may be NULL when operands_max is 0) is released by the
// caller, also after an error.
int options_parse(const struct options *o, int argc, char **argv, void *into,
                  struct option_values *ret_operands, struct err *err);
void options_help(const struct options *o, FILE *to);
void option_values_release(struct option_values *v);

// The candidate that somebody who typed `word` most likely meant, or NULL when none is close.
const char *options_nearest(const char *word, const char *const *candidates, size_t count);
