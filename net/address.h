// SPDX-License-Identifier: Apache-2.0
// Which addresses may be connected to (--allowed-endpoints). The check is made on the address of
// the socket that is about to be connected, never on a name, so that a name server cannot talk us
// into another network between check and use.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/err.h"

struct address_filter; // immutable once made, may be shared by threads

// cidrs: "10.0.0.0/8", "2001:db8::/32", single addresses. NULL with count 0 allows everything.
// Copies. ERR_INVALID names the entry that is malformed.
struct address_filter *address_filter_new(const char *const *cidrs, size_t count, struct err *err);
void address_filter_free(struct address_filter *f); // NULL allowed
// An IPv4 address written as IPv6 (::ffff:1.2.3.4) counts as IPv4. f NULL allows everything.
bool address_filter_allows(const struct address_filter *f, const struct sockaddr *address);
// "127.0.0.1" or "::1", without port; "?" for other families. Returns b.
char *address_text(const struct sockaddr *address, char b[64]);
