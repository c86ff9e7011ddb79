// SPDX-License-Identifier: Apache-2.0
#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

int secret_set(struct secret *s, const void *bytes, size_t length)
{
  if (length > SECRET_MAX_BYTES)
    return -1;
  char *copy = malloc(length + 1);
  if (!copy)
    return -1;
  if (length)
    memcpy(copy, bytes, length);
  copy[length] = '\0';
  secret_release(s);
  *s = (struct secret){copy, length};
  return 0;
}

int secret_set_string(struct secret *s, const char *text)
{
  if (text)
    return secret_set(s, text, strlen(text));
  secret_release(s);
  return 0;
}

int secret_copy(struct secret *to, const struct secret *from)
{
  if (from->bytes)
    return secret_set(to, from->bytes, from->length);
  secret_release(to);
  return 0;
}

void secret_release(struct secret *s)
{
  if (s->bytes) {
    explicit_bzero(s->bytes, s->length);
    free(s->bytes);
  }
  *s = (struct secret){0};
}

bool secret_empty(const struct secret *s)
{
  return s->length == 0;
}

const char *secret_reveal(const struct secret *s)
{
  return s->bytes ? s->bytes : "";
}

void secret_free_string(char *text)
{
  if (text)
    explicit_bzero(text, strlen(text));
  free(text);
}
