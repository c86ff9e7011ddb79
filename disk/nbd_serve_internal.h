// SPDX-License-Identifier: Apache-2.0
// A small read-only NBD server on a unix socket: gives QEMU the stored bytes of an image that lies
// in a store. Fixed newstyle, simple replies, NBD_OPT_GO; several connections, each a thread with a
// lane of the reader; a request reads at most 4 MiB (said in the block size constraints). Protocol:
// NetworkBlockDevice/nbd, doc/proto.md.
#pragma once

#include "disk/object.h"

struct nbd_server;

// The reader must outlive the server.
int nbd_server_start(struct object_reader *r, struct nbd_server **ret, struct err *err);
const char *nbd_server_socket(const struct nbd_server *s);
// What the reader said when it first failed: -1 with err set; 0: it has not. QEMU hears only that
// it is an I/O error.
int nbd_server_fault(struct nbd_server *s, struct err *err);
// Ends all connections and threads. A read that hangs in the reader must have been interrupted.
void nbd_server_free(struct nbd_server *s); // NULL allowed
