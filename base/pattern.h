// SPDX-License-Identifier: Apache-2.0
// Regular expressions that stand in the program (tables, rules), never in what users write: POSIX
// extended, limited to what RE2 means alike, since the API server reads the same ones.
//
// Compiling takes a hundred times as long as matching, so each is compiled once and kept for the
// life of the process. Any thread may call.
#pragma once

#include <stdbool.h>

// False too when text is NULL or the pattern is none. pattern must live for ever.
bool pattern_matches(const char *pattern, const char *text);
