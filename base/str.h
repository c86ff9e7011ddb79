// SPDX-License-Identifier: Apache-2.0
// Small string questions that C lacks. Nothing here allocates but str_dup, str_set and str_printf.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool str_eq(const char *a, const char *b); // NULL equals only NULL
bool str_empty(const char *s);             // NULL or ""
// Edits (insert, delete, replace a character, letters' case ignored) from a to b; large when either
// is over 64 bytes. For "did you mean".
size_t str_distance(const char *a, const char *b);
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
// What follows the prefix, or NULL when s does not start with it.
const char *str_after(const char *s, const char *prefix);
// Shell-like glob (*, ?, [..]) over the whole string; '*' also matches '/'.
bool str_glob(const char *pattern, const char *s);
char *str_dup(const char *s); // NULL gives NULL
// Replaces *field with a copy of text (NULL: nothing); what it was is freed. text may be *field.
void str_set(char **field, const char *text);
char *str_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Decimal number and nothing else; false when there is anything else or it does not fit.
bool str_int64(const char *s, int64_t *ret);
// "200M", "1.5Gi", "4096": bytes (K/M/G/T/P = powers of 1000, Ki/Mi/... of 1024). False when
// malformed.
bool str_bytes(const char *s, int64_t *ret_bytes);
// "1h2m3s", "90s", "500ms" as Go writes durations: milliseconds. False when malformed or negative.
bool str_duration(const char *s, int64_t *ret_ms);
// What str_duration() reads: "1h30m", "250ms", "0s"; b of at least 48 bytes, returned.
char *str_duration_text(int64_t ms, char b[48]);
// For people: "118 MB/s" is str_human_bytes(118e6, b) + "/s"; b of at least 32 bytes, returned.
char *str_human_bytes(double bytes, char b[32]);
// "6m12s", "3s", "2h5m"; b as above.
char *str_human_duration(int64_t seconds, char b[32]);
