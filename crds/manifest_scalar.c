// SPDX-License-Identifier: Apache-2.0
// Plain YAML scalars, resolved as Kubernetes' reader does (measured with kubectl 1.34): YAML 1.1
// booleans, Go's integer literals with base prefixes and underscores, decimal floats.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "crds/manifest_internal.h"
#include "crds/tables_internal.h"

#define NUMBER_BYTES 64 // longer plain scalars are text

static const struct {
  const char *text;
  json_type type;
  bool value;
} words[] = {
    {"", json_type_null, false},         {"~", json_type_null, false},
    {"null", json_type_null, false},     {"Null", json_type_null, false},
    {"NULL", json_type_null, false},     {"true", json_type_boolean, true},
    {"True", json_type_boolean, true},   {"TRUE", json_type_boolean, true},
    {"yes", json_type_boolean, true},    {"Yes", json_type_boolean, true},
    {"YES", json_type_boolean, true},    {"y", json_type_boolean, true},
    {"Y", json_type_boolean, true},      {"on", json_type_boolean, true},
    {"On", json_type_boolean, true},     {"ON", json_type_boolean, true},
    {"false", json_type_boolean, false}, {"False", json_type_boolean, false},
    {"FALSE", json_type_boolean, false}, {"no", json_type_boolean, false},
    {"No", json_type_boolean, false},    {"NO", json_type_boolean, false},
    {"n", json_type_boolean, false},     {"N", json_type_boolean, false},
    {"off", json_type_boolean, false},   {"Off", json_type_boolean, false},
    {"OFF", json_type_boolean, false},
};

static const struct {
  const char *prefix;
  int base;
  const char *form;
} bases[] = {
    {"0x", 16, "^[0-9A-Fa-f]+$"}, {"0X", 16, "^[0-9A-Fa-f]+$"}, {"0b", 2, "^[01]+$"},
    {"0B", 2, "^[01]+$"},         {"0o", 8, "^[0-7]+$"},        {"0O", 8, "^[0-7]+$"},
    {"0", 8, "^[0-7]+$"},         {"", 10, "^[0-9]+$"},
};

static bool read_int(const char *text, int64_t *ret)
{
  bool negative = *text == '-';
  const char *digits = text + (*text == '-' || *text == '+');
  for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
    const char *rest = str_after(digits, bases[i].prefix);
    if (!rest || !pattern_matches(bases[i].form, rest))
      continue;
    errno = 0;
    long long value = strtoll(rest, NULL, bases[i].base);
    *ret = negative ? -value : value;
    return errno == 0;
  }
  return false;
}

static bool read_float(const char *text, double *ret)
{
  if (!pattern_matches("^[-+]?([.][0-9]+|[0-9]+([.][0-9]*)?)([eE][-+]?[0-9]+)?$", text))
    return false;
  *ret = strtod(text, NULL);
  return isfinite(*ret);
}

static void drop_underscores(char *text)
{
  char *to = text;
  for (const char *from = text; *from; from++)
    if (*from != '_')
      *to++ = *from;
  *to = '\0';
}

// NULL: not a number.
static struct json_object *number(const char *scalar, size_t length)
{
  char text[NUMBER_BYTES];
  int64_t whole;
  double real;
  // Most text cannot be a number; this is cheaper than the patterns.
  if (length == 0 || length >= sizeof(text) || !strchr("0123456789+-.", scalar[0]))
    return NULL;
  memcpy(text, scalar, length);
  text[length] = '\0';
  drop_underscores(text);
  if (read_int(text, &whole))
    return json_object_new_int64(whole);
  if (!read_float(text, &real))
    return NULL;
  // 1e3 is a whole number for who asks for one.
  if (floor(real) == real && fabs(real) < 0x1p53)
    return json_object_new_int64((int64_t)real);
  return json_object_new_double(real);
}

int manifest_plain_scalar(const char *text, size_t length, struct json_object **ret,
                          struct err *err)
{
  *ret = NULL;
  for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
    if (strlen(words[i].text) != length || memcmp(words[i].text, text, length) != 0)
      continue;
    if (words[i].type == json_type_null)
      return 0;
    *ret = json_object_new_boolean(words[i].value);
    return *ret ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
  }
  *ret = number(text, length);
  if (!*ret)
    *ret = json_object_new_string_len(text, (int)length);
  return *ret ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}
