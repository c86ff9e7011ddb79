// SPDX-License-Identifier: Apache-2.0
// Secret bytes: wiped when released, and impossible to print by accident: the type has no %s. Who
// needs the bytes says secret_reveal(), which is what a reviewer greps for.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct secret {
  char *bytes; // NUL-terminated beside its length; NULL while empty
  size_t length;
};

#define SECRET_MAX_BYTES (1u << 20)

// Copies; -1 when too long or no memory (the old value is kept).
int secret_set(struct secret *s, const void *bytes, size_t length);
int secret_set_string(struct secret *s, const char *text); // NULL empties
int secret_copy(struct secret *to, const struct secret *from);
void secret_release(struct secret *s); // wipes
bool secret_empty(const struct secret *s);
const char *secret_reveal(const struct secret *s); // "" while empty; owned by s
// Wipes a plain string that held a secret, then frees it. NULL allowed.
void secret_free_string(char *text);
