// SPDX-License-Identifier: Apache-2.0
// Takes URLs of the command line apart (RFC 3986): scheme://[user@]host[:port]/path[?query]. Parts
// come out percent-decoded. A password, a fragment, control characters and malformed escapes are
// ERR_INVALID; so is a NUL however it is written.
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/field.h"

struct url {
  char *scheme;         // lower case
  char *user;           // NULL = none
  char *host;           // "" = none; IPv6 without brackets
  int64_t port;         // 0 = none
  char *path;           // begins with '/', or ""
  struct strings query; // map of name to value
};

int url_parse(const char *text, struct url *ret, struct err *err);
void url_release(struct url *u);
