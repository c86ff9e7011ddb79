// SPDX-License-Identifier: Apache-2.0
// ImageStore (istore): where disk images are kept.
#pragma once

#include "crds/common.h"

enum store_access { STORE_READ_WRITE, STORE_READ_ONLY };

struct imagestore_spec {
  struct imagestore_s3 {
    char *endpoint, *bucket, *region, *prefix;
    bool path_style;
  } * s3;
  struct imagestore_http {
    char *url;
  } * http;
  struct imagestore_nfs {
    char *server, *export_path, *path; // "export"
    int64_t uid, gid;
    int64_t version;          // 3
    int64_t port, mount_port; // 0 = ask the portmapper
  } * nfs;
  struct imagestore_file {
    char *path;
  } * file;
  int access;                   // "ReadWrite" (default), "ReadOnly"
  int64_t probe_interval_ms;    // default 5m
  struct name_ref *credentials; // "credentialsSecretRef"
  struct tls_spec *tls;
  struct allowed_namespaces allowed_namespaces;
  bool suspend;
};

struct imagestore_status {
  int64_t observed_generation;
  char *location;     // "s3 bucket b at https://...", for people
  int64_t free_bytes; // 0 = unknown
  int64_t dependents;
  char *last_probe_time;
  struct list conditions;
};

extern const struct table imagestore_spec_table, imagestore_status_table;
