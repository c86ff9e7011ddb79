// SPDX-License-Identifier: Apache-2.0
// A mover is a process that moves one disk: `drover copy --spec FILE --secrets FILE`. One JSON
// document in (secrets in a second one, on another descriptor), JSON lines out on standard output,
// limits and cancel on standard input. It holds no API token, can be killed at any moment, and ends
// when its standard input ends (its parent died).
//
// in   {"version":1, "source":{...}, "target":{...}, "format":"qcow2", "verify":"Stored", ...}
// out  {"type":"progress","phase":"transferring","totalBytes":..,"dataBytes":..,
//       "transferredBytes":..,"verifiedBytes":..,"resentBytes":..,"bytesPerSecond":..,"etaSeconds":..}
//      {"type":"done","contentDigest":"..","objectSha256":"..","sizeBytes":..,"dataBytes":..,
//       "storedBytes":..,"format":"qcow2","layout":"forward","seconds":..}
//      {"type":"error","kind":"InsufficientSpace","retryable":false,"message":".."}
// stdin {"bytesPerSecond":N} or {"cancel":true}, one object a line
// Exit status: 0 done, 3 failed (an error line came before), 2 wrong use.
#pragma once

#include "base/field.h"
#include "disk/reach.h"
#include "storage/storage.h"

// One end: a reach, or an object in a store. Exactly one of the two pointers is set.
struct mover_end {
  struct reach *reach;
  struct mover_object *object;
};

struct mover_object {
  struct storage_config store;
  char *key;      // the image itself
  int format;     // enum disk_format; ANY only for sources
  bool overwrite; // target: an object of that name is replaced
  bool manifest;  // target: KEY.manifest.json and KEY.chunks are written before commit; source: its
                  // manifest, when there, gives the digest that must come out
};

struct mover_spec {
  int64_t version; // 1
  char *owner;     // mark of everything made: "INSTALLATION/NAMESPACE/NAME/UID"
  char *disk;      // name of the disk, for messages
  int64_t attempt;
  struct mover_end source, target;
  int verify;               // enum copy_verify
  int64_t lanes;            // 0 = default
  int64_t bytes_per_second; // 0 = no limit
  int64_t stall_timeout_ms;
  char *expected_digest; // content digest that must come out, or NULL
  char *expected_sha256; // plain SHA-256 of the stored source object (bare images), or NULL
  char *checkpoint;      // path; NULL = none
  struct strings allowed_endpoints; // CIDRs; empty = all
};

extern const struct table mover_spec_table;
void mover_spec_release(struct mover_spec *s);

// The two documents. The secrets document holds only what the tables mark as secret.
int mover_spec_encode(const struct mover_spec *s, char **ret_spec, char **ret_secrets,
                      struct err *err); // ret_secrets: secret_free_string()
int mover_spec_decode(const char *spec, const char *secrets, struct mover_spec *ret,
                      struct err *err);

// The process: reads its standard input, writes lines, returns the exit status.
int mover_main(const struct mover_spec *s);

// The manifest beside an image, layout v1. Digest and sizes of what was stored.
struct image_manifest {
  int64_t layout_version; // 1
  char *owner;
  char *format;         // "qcow2"
  char *layout;         // "forward"
  char *content_digest; // merkle-sha256-4m:SIZE:HEX
  char *object_sha256;
  int64_t size_bytes, data_bytes, stored_bytes;
  char *created_at; // RFC 3339
};

extern const struct table image_manifest_table;
