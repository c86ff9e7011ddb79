// SPDX-License-Identifier: Apache-2.0
// What the commands that take ends (copy, digest, verify, info) have in common: their options, and
// the step from words to a mover's document.
#pragma once

#include "base/options.h"
#include "disk/copy.h"
#include "mover/ends.h"

struct ends_options {
  struct mover_end_options ends;
  int64_t lanes;
  int progress; // enum mover_progress
  int output;   // 0 text, 1 json
  const char *sha256;
};

extern const char *const ends_output_names[]; // "text", "json"
extern const char ends_help[];                // the ends, for --help

// Rows for struct S with a member `common` of struct ends_options.
#define ENDS_AT(S, member) offsetof(struct S, common.member)
#define ENDS_ROWS(S)                                                                               \
  {"credentials",      0,                                                                          \
   OPTION_STRING,      ENDS_AT(S, ends.credentials_file),                                          \
   .argument = "FILE", .help = "credentials (S3, HTTP) in the form of the AWS tools"},             \
      {"s3-endpoint",     0,                                                                       \
       OPTION_STRING,     ENDS_AT(S, ends.s3_endpoint),                                            \
       .argument = "URL", .help = "S3 server; default is that of the variables, else AWS"},        \
      {"s3-region",        0,                                                                      \
       OPTION_STRING,      ENDS_AT(S, ends.s3_region),                                             \
       .argument = "NAME", .help = "S3 region; default us-east-1"},                                \
      {"ca",                                                                                       \
       0,                                                                                          \
       OPTION_STRING,                                                                              \
       ENDS_AT(S, ends.ca_file),                                                                   \
       .argument = "FILE",                                                                         \
       .help = "certificates to trust instead of the system's (PEM)"},                             \
      {"client-cert",      0,                                                                      \
       OPTION_STRING,      ENDS_AT(S, ends.client_cert_file),                                      \
       .argument = "FILE", .help = "certificate to show to an nbds:// server (PEM)"},              \
      {"client-key",       0,                                                                      \
       OPTION_STRING,      ENDS_AT(S, ends.client_key_file),                                       \
       .argument = "FILE", .help = "its private key (PEM)"},                                       \
      {"insecure", 0, OPTION_FLAG, ENDS_AT(S, ends.insecure),                                      \
       .help = "take any certificate of a server (S3, HTTPS, nbds)"},                              \
      {"backing",                                                                                  \
       0,                                                                                          \
       OPTION_LIST,                                                                                \
       ENDS_AT(S, ends.backing),                                                                   \
       .argument = "PATH[,format=F]",                                                              \
       .help = "file that a source image may lead to; repeatable, in order"},                      \
      {"connections",                                                                              \
       0,                                                                                          \
       OPTION_INT,                                                                                 \
       ENDS_AT(S, lanes),                                                                          \
       .argument = "N",                                                                            \
       .min = 1,                                                                                   \
       .max = COPY_LANES_MAX,                                                                      \
       .help = "how many at a time to each end; default 4, more far away"},                        \
      {"progress",                                                                                 \
       0,                                                                                          \
       OPTION_CHOICE,                                                                              \
       ENDS_AT(S, progress),                                                                       \
       .choices = mover_progress_names,                                                            \
       .help = "how progress is shown"},                                                           \
  {                                                                                                \
    "output", 'o', OPTION_CHOICE, ENDS_AT(S, output), .choices = ends_output_names,                \
                                                      .help = "form of the result"                 \
  }

// A source end, with its format (enum disk_format, ANY = see for yourself).
int ends_source(const struct ends_options *o, const char *text, int format, struct mover_end *ret,
                struct err *err);
int ends_target(const struct ends_options *o, const char *text, int format, bool overwrite,
                struct mover_end *ret, struct err *err);
// version, owner and lanes of a document made by hand; ends are filled already.
int ends_complete(const struct ends_options *o, struct mover_spec *s, struct err *err);
struct mover_talk ends_talk(const struct ends_options *o);
