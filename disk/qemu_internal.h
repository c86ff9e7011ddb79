// SPDX-License-Identifier: Apache-2.0
// QEMU's tools as children: what parses images. They get an explicit block graph of one image
// without what lies below it (JSON: driver and options of every node, backing NULL), are read-only,
// limited in address space and files, and die with the thread that started them: start them from
// one that stays.
//
// Chains are put together by us (places_internal.h): QEMU mixes the backing file name of a header
// into the node that the graph gives it, unless that is a local file (block.c,
// bdrv_open_backing_file), so a chain of NBD nodes cannot even be opened.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct qemu_node {         // one image
  int format;              // enum disk_format
  const char *file_name;   // its bytes: a file or block device,
  const char *socket_path; // or else an NBD server
  bool block_device;
};

// "json:{...}". Yours; NULL: no memory.
char *qemu_graph(const struct qemu_node *n);

struct qemu_extent {
  uint64_t start, length; // guest-visible
  uint64_t offset;        // in the file of the image
  bool present;           // false: the image says nothing here, what lies below it shows
  bool zero;              // reads as zeros
  bool plain;             // offset is valid: the bytes lie there as the guest sees them
};

// What `qemu-img map` says of a graph, in order. *stop ends it (ERR_CANCELLED).
typedef int (*qemu_map_fn)(void *arg, const struct qemu_extent *e, struct err *err);
int qemu_map(const char *graph, qemu_map_fn fn, void *arg, const _Atomic bool *stop,
             struct err *err);

// A qemu-nbd that serves the guest-visible content of a graph on a unix socket in a folder of its
// own.
struct qemu_nbd;
int qemu_nbd_start(const char *graph, struct qemu_nbd **ret, struct err *err);
// The same for writing into an image that we (a provider of ours) have just made: its header is
// trusted. path: absolute.
int qemu_nbd_start_writable(const char *path, int format, struct qemu_nbd **ret, struct err *err);
const char *qemu_nbd_socket(const struct qemu_nbd *q);
void qemu_nbd_free(void *q); // struct qemu_nbd *; ends the process
// Waits until something listens on a unix socket; a child whose standard error is `errors` must
// live that long: what it said goes into err when it does not.
int qemu_wait_socket(const char *socket_path, int errors, int64_t timeout_ms,
                     const _Atomic bool *stop, struct err *err);
// An error from what a QEMU tool printed; the kind follows from the words.
int qemu_error(const char *tool, char *text, struct err *err);
