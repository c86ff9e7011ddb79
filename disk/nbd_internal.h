// SPDX-License-Identifier: Apache-2.0
// NBD ends on libnbd. A hub is one export with all its connections: each lane connects for itself,
// and interrupt shuts every socket down, which ends whatever call waits on it. After an interrupt a
// hub is only good for being freed.
//
// What an end needs besides (a qemu-nbd process, an ssh connection) hangs on the hub as a `keeper`:
// freed after the last connection is closed.
#pragma once

#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>

#include "disk/nbd_tls_internal.h"
#include "disk/object.h"
#include "disk/source.h"
#include "disk/target.h"

struct nbd_address {
  const char *socket_path; // unix; or
  const char *host;
  int64_t port;              // 0 = 10809
  const char *export_name;   // NULL = ""
  const struct nbd_tls *tls; // with a host; NULL = none. Outlives the hub, or is its keeper
};

struct nbd_keeper {
  void (*free)(void *arg); // NULL: nothing to keep
  void *arg;
};

struct nbd_hub;
struct nbd_lane {
  struct nbd_handle *nbd;
  int slot; // in the hub
};

// The address is copied. The keeper is the hub's from here on, also after an error.
int nbd_hub_new(const struct nbd_address *a, struct nbd_keeper keeper, struct nbd_hub **ret,
                struct err *err);
void nbd_hub_free(struct nbd_hub *h); // all lanes are closed
void nbd_hub_interrupt(struct nbd_hub *h);
const char *nbd_hub_name(const struct nbd_hub *h);   // for messages
const char *nbd_hub_socket(const struct nbd_hub *h); // NULL when it is not a unix socket
// map: negotiates base:allocation.
int nbd_hub_connect(struct nbd_hub *h, bool map, struct nbd_lane **ret, struct err *err);
void nbd_hub_close(struct nbd_hub *h, struct nbd_lane *lane);
// The last error of libnbd on this thread.
int nbd_hub_error(const struct nbd_hub *h, const char *doing, struct err *err);
// The zeros of the whole export, through a connection of its own. *ret_exact false: the server
// cannot say, everything is data.
int nbd_hub_extents(struct nbd_hub *h, uint64_t size_bytes, struct extents *ret, bool *ret_exact,
                    struct err *err);

// The hub is theirs from here on, also after an error.
int source_open_nbd(struct nbd_hub *h, struct source **ret, struct err *err);
int object_reader_nbd(struct nbd_hub *h, const char *name, struct object_reader **ret,
                      struct err *err);
int target_open_nbd(struct nbd_hub *h, struct target **ret, struct err *err);
// The unix socket that an object_reader_nbd() reads from, or NULL: QEMU can read it there itself.
const char *object_reader_nbd_socket(const struct object_reader *r);
