// SPDX-License-Identifier: Apache-2.0
// NBD over TLS: what a reach says about certificates, as libnbd wants it. libnbd reads certificates
// from a folder; ours holds links to files in memory (and to the system's CAs), so that a private
// key is never on a disk. One struct serves all connections of a hub and lives as long as it does
// (it is the hub's keeper). Not changed after it was made: any thread.
//
// The server's certificate is verified against the CA of the reach, or the system's, and against
// the host name (libnbd does that only where it makes the connection itself). Sources: NBD
// protocol, NBD_OPT_STARTTLS; nbd_set_tls_certificates(3).
#pragma once

#include <libnbd.h>

#include "disk/reach.h"

struct nbd_tls;

// *ret NULL: the reach has no TLS. ERR_INVALID: its settings make no sense.
int nbd_tls_new(const struct reach *r, struct nbd_tls **ret, struct err *err);
void nbd_tls_free(void *tls); // NULL allowed
// Before the handle is connected.
int nbd_tls_require(const struct nbd_tls *t, struct nbd_handle *nbd, struct err *err);
// An error of the handshake that is about TLS, with what to do about it: sets err and returns true.
// t NULL: the connection has none.
bool nbd_tls_explain(const struct nbd_tls *t, const char *server, const char *text,
                     struct err *err);
