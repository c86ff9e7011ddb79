// SPDX-License-Identifier: Apache-2.0
// Where a libvirt is. The four forms that people may write, and nothing else: no query string, as
// libvirt's can run programs and turn TLS off (https://libvirt.org/uri.html).
//
//     qemu:///system                       the socket of this host
//     unix:///ABSOLUTE/PATH                another socket of this host
//     qemu+ssh://[USER@]HOST[:PORT]/system
//     qemu+tls://HOST[:PORT]/system
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "net/address.h"

enum endpoint_transport { ENDPOINT_LOCAL, ENDPOINT_SSH, ENDPOINT_TLS };

struct endpoint {
  enum endpoint_transport transport;
  char *socket; // LOCAL: NULL = libvirt's default
  char *user;   // SSH, NULL = not said
  char *host;   // SSH, TLS; an IPv6 address without its brackets
  int64_t port; // 22, 16514 when not said
};

int endpoint_parse(const char *text, struct endpoint *ret, struct err *err);
void endpoint_release(struct endpoint *e);
bool endpoint_host_ok(const char *host); // a name or address of harmless characters
bool endpoint_user_ok(const char *user);

#define ENDPOINT_ADDRESS_MAX 64
// Resolves the host and connects to see that somebody listens: the first address that `allowed`
// (may be NULL) lets us use and that accepts within 5 s. ERR_DENIED when none is allowed,
// ERR_UNREACHABLE when none answers.
int endpoint_resolve(const char *host, int64_t port, const struct address_filter *allowed,
                     char ret[ENDPOINT_ADDRESS_MAX], struct err *err);
