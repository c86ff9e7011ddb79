// SPDX-License-Identifier: Apache-2.0
// How a mover gets at the bytes of one disk: what a provider answers instead of moving bytes
// itself. A closed set of kinds; a new hypervisor that fits one of them needs nothing new in the
// mover. Plain data: it crosses to the mover as JSON (secrets on their own channel).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/field.h"
#include "base/secret.h"

enum reach_kind {
  REACH_FILE, // a file or block device that this host can open
  REACH_NBD,  // an NBD server: unix socket or host and port
  REACH_SSH,  // a file or block device on another host, through ssh and qemu-nbd there
};

extern const char *const reach_kind_names[];  // "file", "nbd", "ssh", NULL
extern const char *const disk_format_names[]; // index = enum disk_format, ends with NULL

enum disk_format {
  DISK_FORMAT_ANY, // "" not said: look at the content (only for images that people name by hand)
  DISK_FORMAT_RAW,
  DISK_FORMAT_QCOW2,
  DISK_FORMAT_VMDK,
  DISK_FORMAT_RAW_ZST,
  DISK_FORMAT_VHDX,
  DISK_FORMAT_VDI,
};

// A file that an image may lead to. What is not listed is never opened.
struct reach_backing {
  char *path;
  int format; // enum disk_format
};

struct reach {
  int kind;           // enum reach_kind
  int format;         // enum disk_format of the bytes there (source), or to lay down there (target)
  int64_t size_bytes; // guest-visible; 0 = find out (source)
  char *path;         // FILE and SSH: absolute path; NBD: unix socket path or NULL
  char *host;         // NBD over TCP, SSH
  char *address;      // SSH: connect to this one, already checked; the host key is still looked up
                      // by `host`. NULL = the same
  int64_t port;       // 0 = default
  char *user;         // SSH
  char *export_name;  // NBD, "" is the default export
  bool create;        // target FILE: the mover makes the file (and must not find a foreign one)
  bool insecure_host_key; // SSH: accept any host key (the manifest said so)
  struct list backing;    // of struct reach_backing: the chain below path, in order
  struct secret ssh_key;  // SSH: private key, PEM or OpenSSH
  char *known_hosts;      // SSH: text of a known_hosts file
  bool tls;               // NBD over TCP: TLS, and nothing without
  bool insecure_tls;      // TLS: any certificate will do (the user said so)
  char *ca_pem;           // TLS: CAs that are trusted; NULL = the system's
  char *client_cert_pem;  // TLS: who we are, with tls_key and ca_pem; NULL = nobody
  struct secret tls_key;  // TLS: private key of client_cert_pem
};

extern const struct table reach_table; // secrets are encoded apart
void reach_release(struct reach *r);
// "file /var/lib/x.qcow2", "ssh root@host /x": for messages; b is returned.
char *reach_text(const struct reach *r, char b[256]);
