// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"
#include "reconcile/cloneset.h"

int64_t set_amount(const char *text, int64_t replicas, bool round_up)
{
  size_t length = text ? strlen(text) : 0;
  bool percent = length > 0 && text[length - 1] == '%';
  char digits[16];
  int64_t value;
  if (length == 0 || length >= sizeof(digits))
    return -1;
  snprintf(digits, sizeof(digits), "%.*s", (int)(length - percent), text);
  if (strspn(digits, "0123456789") != strlen(digits) || !str_int64(digits, &value))
    return -1;
  if (!percent)
    return value <= INT32_MAX ? value : -1;
  if (value > 100 || replicas < 0 || replicas > INT32_MAX)
    return -1;
  return (value * replicas + (round_up ? 99 : 0)) / 100;
}

// Appends to a name of at most LIMIT_NAME_BYTES; false when it does not fit.
static bool append(char *ret, const char *part, size_t length)
{
  size_t used = strlen(ret);
  if (length > LIMIT_NAME_BYTES - used)
    return false;
  memcpy(ret + used, part, length);
  ret[used + length] = 0;
  return true;
}

bool set_clone_name(const char *name_template, const char *set, int64_t ordinal, char ret[254])
{
  char number[24];
  snprintf(number, sizeof(number), "%" PRId64, ordinal);
  bool numbered = false;
  *ret = 0;
  for (const char *at = name_template; *at;) {
    size_t plain = strcspn(at, "{}");
    if (!append(ret, at, plain))
      return false;
    at += plain;
    const char *after_set = str_after(at, "{set}"), *after_ordinal = str_after(at, "{ordinal}");
    if (*at && !after_set && !after_ordinal)
      return false;
    const char *value = after_set ? set : after_ordinal ? number : "";
    if (!append(ret, value, strlen(value)))
      return false;
    numbered = numbered || after_ordinal;
    at = after_set ? after_set : after_ordinal ? after_ordinal : at;
  }
  return numbered && ordinal >= 0;
}
