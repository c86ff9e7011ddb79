// SPDX-License-Identifier: Apache-2.0
// A mover is a process that moves one disk: `drover copy --spec FILE --secrets FILE`. One JSON
// document in (secrets in a second one, on another descriptor), JSON lines out on standard output,
// limits and cancel on standard input. It holds no API token, can be killed at any moment, and ends
// when its standard input ends (its parent died).
//
// in   {"version":1, "source":{...}, "target":{...}, "verify":"Stored", ...}; "format" of an end is
//      in its reach or object
// out  {"type":"progress","attempt":1,"phase":"transferring","totalBytes":..,"dataBytes":..,
//       "transferredBytes":..,"verifiedBytes":..,"resentBytes":..,"resumedBytes":..,
//       "bytesPerSecond":..,"etaSeconds":..}
//      {"type":"warning","attempt":1,"message":".."}
//      {"type":"done","attempt":1,"contentDigest":"..","objectSha256":"..","sizeBytes":..,
//       "dataBytes":..,"storedBytes":..,"resentBytes":..,"resumedBytes":..,"format":"qcow2","layout":"forward","seconds":..}
//      with "repair" also "parts", "repairedParts"; "resentBytes" is then what was sent of the
//      object
//      {"type":"error","attempt":1,"kind":"InsufficientSpace","retryable":false,"message":".."}
//      etaSeconds and bytesPerSecond are left out while they are not known.
// stdin {"bytesPerSecond":N} (0 = no limit) or {"cancel":true}, one object a line; its end cancels
// Exit status: 0 done, 1 the contents differ (verify), 2 wrong use, 3 failed or cancelled (an error
// line came before).
//
// Cancel (standard input, SIGTERM, SIGINT): within 2 s the process has ended with kind Cancelled,
// and what it had made is gone (with a checkpoint: it stays, for the next try goes on with it);
// where the far side hangs so that it cannot be told, it stays and is found by the owner mark
// (storage_remove_partial). Killed: nothing is visible under a final name.
#pragma once

#include "base/field.h"
#include "disk/reach.h"
#include "storage/storage.h"

// One end. Exactly one of the three pointers is set, or null is true.
struct mover_end {
  struct reach *reach;
  struct mover_object *object;
  struct mover_pattern *pattern; // source: data made up for trials
  bool null;                     // target: swallows everything; source: an empty disk
  bool replace; // target: a file that REACH_FILE with create finds there is replaced
};

struct mover_object {
  struct storage_config store;
  char *key;              // the image itself
  int format;             // enum disk_format; ANY only for sources
  bool overwrite;         // target: an object of that name is replaced
  char *credentials_file; // by hand: where to look again when the credentials have expired; NULL =
                          // in the usual places. Not in the document
  bool manifest; // target: KEY.manifest.json and KEY.chunks are written before commit; source: its
                 // manifest, when there, gives the digest that must come out
};

struct mover_pattern {
  int64_t size_bytes;
  int64_t seed;
  int64_t data_percent; // 0..100
};

struct mover_spec {
  int64_t version; // 1
  char *owner;     // mark of everything made: "INSTALLATION/NAMESPACE/NAME/UID"
  char *disk;      // name of the disk: stands before messages; may be NULL
  int64_t attempt; // repeated in every line, so that lines of an earlier mover can be told apart
  struct mover_end source, target;
  int verify;               // enum copy_verify
  int64_t lanes;            // 0 = default
  int64_t bytes_per_second; // 0 = no limit
  int64_t stall_timeout_ms;
  bool no_sparse;        // zeros are written out
  bool compress;         // target: a new image of format qcow2, with compressed clusters
  int vmdk_adapter;      // enum vmdk_adapter; only of target format vmdk, as the next
  int64_t vmdk_hardware; // virtual hardware version, 0 = default
  bool no_object_sha256; // the plain SHA-256 of what is stored is not wanted
  char *expected_digest; // content digest that must come out, or NULL
  char *checkpoint; // file in which what is finished is noted, and from which to go on; or NULL
  bool repair;      // the image is there and damaged: what differs from the copy that would be made
                    // now is written again, and nothing else
  char *expected_sha256; // plain SHA-256 of the stored bytes of the source, or NULL: they are read
                         // once before (REACH_FILE and objects)
  struct strings allowed_endpoints; // CIDRs for stores; empty = all
  char *secrets_file; // of mover_spec_read(), when it can be read again; else NULL. Not in the
                      // document
};

extern const struct table mover_spec_table;
void mover_end_release(struct mover_end *e);
void mover_spec_release(struct mover_spec *s);

// The two documents. The secrets document holds what struct secret keeps, and nothing else does.
int mover_spec_encode(const struct mover_spec *s, char **ret_spec, char **ret_secrets,
                      struct err *err); // ret_secrets: secret_free_string()
// Strict: anything unknown or out of bounds is ERR_INVALID. secrets may be NULL: none.
int mover_spec_decode(const char *spec, const char *secrets, struct mover_spec *ret,
                      struct err *err);
// The same from files (or /dev/fd/N); secrets_path may be NULL.
int mover_spec_read(const char *spec_path, const char *secrets_path, struct mover_spec *ret,
                    struct err *err);

// What the credentials of the object at one of the ends are now: from the secrets document of
// mover_spec_read(), or from where mover_credentials() looks. Puts them into *fresh, a config of
// that kind without any.
int mover_spec_renew(const struct mover_spec *s, const struct mover_object *object,
                     struct storage_config *fresh, struct err *err);

// Rules and bounds of a document that was filled by hand: as decoding it would.
int mover_spec_check(const struct mover_spec *s, struct err *err);

// How a mover talks.
enum mover_progress { TALK_AUTO, TALK_BAR, TALK_JSON, TALK_NONE, TALK_PLAIN };
extern const char *const mover_progress_names[]; // "auto", "bar", "json", "none", NULL

struct mover_talk {
  int progress;     // enum mover_progress; AUTO = BAR on a terminal, else PLAIN (standard error)
  bool json_result; // the result is one JSON object on standard output
  bool control;     // reads standard input, and its end cancels; and the checkpoint stays in the
                    // end: whoever gave it removes it once it is noted that all is done
  bool restart;     // what the checkpoint says is not looked at
};

// The process of a copy, a digest (spec.source), a comparison (spec.source, spec.target): runs to
// its end, returns the exit status. Signal handling is the process's own: one at a time.
int mover_copy(const struct mover_spec *s, const struct mover_talk *talk);
int mover_digest(const struct mover_spec *s, const struct mover_talk *talk);
int mover_verify(const struct mover_spec *s, const struct mover_talk *talk);
// What an image is, without opening what it refers to. Text or JSON on standard output.
int mover_info(const struct mover_spec *s, const struct mover_talk *talk);

// Says an error that was found before one of those could begin; the exit status (2 for
// ERR_INVALID).
int mover_refuse(const char *command, const struct mover_spec *s, const struct mover_talk *talk,
                 const struct err *err);

// The manifest beside an image, layout v1. Digest and sizes of what was stored.
struct image_manifest {
  int64_t layout_version; // 1
  char *owner;
  char *format;         // "qcow2"
  char *layout;         // "forward", "packed", "head-last", "head-last+zstd"
  char *content_digest; // merkle-sha256-4m:SIZE:HEX
  char *object_sha256;
  int64_t size_bytes, data_bytes, stored_bytes;
  char *created_at; // RFC 3339
};

extern const struct table image_manifest_table;
