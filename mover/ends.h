// SPDX-License-Identifier: Apache-2.0
// Ends as people write them on the command line, turned into struct mover_end:
//
//     PATH, file:PATH                          a file or block device
//     nbd://HOST[:PORT]/EXPORT                 NBD over TCP
//     nbds://HOST[:PORT]/EXPORT                the same over TLS
//     nbd+unix:///EXPORT?socket=PATH           NBD over a unix socket
//     s3://BUCKET/KEY                          S3
//     http://HOST[:PORT]/PATH, https://...     HTTP
//     nfs://SERVER/EXPORT/PATH                 NFS; the folder of the image is mounted, or, where
//                                              '//' stands, what is before it
//     ssh://[USER@]HOST[:PORT]/PATH            a file or device on another host
//     null:                                    nothing
//     pattern:SIZE[,seed=N][,data=PERCENT]     reproducible data (sources)
//
// Nothing is connected to here; local paths are looked at (block device or not, there or not).
// Passwords in URLs are refused: credentials come from files and the usual variables, so that they
// never stand in argv.
#pragma once

#include <stdbool.h>

#include "base/options.h"
#include "mover/mover.h"

struct mover_end_options {
  const char *credentials_file; // --credentials
  const char *s3_endpoint;      // --s3-endpoint
  const char *s3_region;        // --s3-region
  const char *ca_file;          // --ca
  const char *client_cert_file; // --client-cert: nbds:// alone
  const char *client_key_file;  // --client-key
  bool insecure;                // --insecure: any certificate of a server
  struct option_values backing; // --backing PATH[,format=F]: files that a source may lead to
  int format;                   // enum disk_format; ANY = by suffix, else by looking
  bool target;                  // the end is written to
  bool overwrite;               // target: what is there is replaced
  bool unfinished;              // target: what is there may be what a checkpoint speaks of: the
                                // copy will see
};

// The format that a name stands for by its suffix; DISK_FORMAT_ANY when it does not say.
int mover_format_of_name(const char *name, bool target);

int mover_end_parse(const char *text, const struct mover_end_options *o, struct mover_end *ret,
                    struct err *err);
// --credentials FILE, or the usual variables, or the shared credentials file, in that order. Fills
// the secrets of c; nothing found is no error (public buckets).
int mover_credentials(const char *file, struct storage_config *c, struct err *err);
