// SPDX-License-Identifier: Apache-2.0
// Files of another host over one ssh connection: qemu-nbd there serves their stored bytes (for
// reading) or an image (for writing) on unix sockets in a private folder, which ssh forwards to
// sockets in a private folder here. The script on the other side lives as long as its standard
// input: when the connection or this process ends, it ends the qemu-nbd's and removes its folder.
//
// Keys never touch a disk: ssh reads them from memory of ours (memfd), which is gone as soon as the
// connection stands.
//
// Counted: each NBD hub on it holds one reference.
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "disk/reach.h"

struct ssh_tunnel;

// One socket for each path. write: one path, an image in `format`; else the raw bytes of each file.
int ssh_tunnel_open(const struct reach *r, const char *const *paths, size_t count, bool write,
                    struct ssh_tunnel **ret, struct err *err);
struct ssh_tunnel *ssh_tunnel_ref(struct ssh_tunnel *t);
void ssh_tunnel_unref(void *t); // struct ssh_tunnel *
// The local socket of the path with that index.
// Which file it is and when it changed last (struct source, identity); NULL: nobody can tell.
const char *ssh_tunnel_identity(const struct ssh_tunnel *t, size_t index);
const char *ssh_tunnel_socket(const struct ssh_tunnel *t, size_t index);
