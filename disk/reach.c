// SPDX-License-Identifier: Apache-2.0
#include "disk/reach.h"

#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"

#define BACKING_MAX     64
#define KNOWN_HOSTS_MAX (256u << 10)
#define PEM_BYTES_MAX   (256u << 10)

const char *const reach_kind_names[] = {"file", "nbd", "ssh", NULL};
const char *const disk_format_names[] = {"",        "raw",  "qcow2", "vmdk",
                                         "raw.zst", "vhdx", "vdi",   NULL};

static const struct field backing_fields[] = {
    {"path", FIELD_STRING, offsetof(struct reach_backing, path), .required = true,
     .max = LIMIT_PATH_BYTES, .help = "absolute path of a file that the image may lead to"},
    {"format", FIELD_ENUM, offsetof(struct reach_backing, format), .names = disk_format_names,
     .help = "its format"},
};
static const struct table backing_table = TABLE(struct reach_backing, backing_fields);

#define AT(member) offsetof(struct reach, member)

static const struct field reach_fields[] = {
    {"kind", FIELD_ENUM, AT(kind), .names = reach_kind_names, .required = true,
     .help = "how the bytes are reached"},
    {"format", FIELD_ENUM, AT(format), .names = disk_format_names,
     .help = "format of the bytes there"},
    {"sizeBytes", FIELD_BYTES, AT(size_bytes), .max = LIMIT_DISK_BYTES,
     .help = "guest-visible size in bytes, 0 when not known"},
    {"path", FIELD_STRING, AT(path), .max = LIMIT_PATH_BYTES, .help = "file, device or socket"},
    {"host", FIELD_STRING, AT(host), .max = LIMIT_NAME_BYTES, .help = "host name or address"},
    {"address", FIELD_STRING, AT(address), .max = LIMIT_NAME_BYTES,
     .help = "address to connect to instead"},
    {"port", FIELD_INT, AT(port), .max = 65535, .help = "0 is the default of the kind"},
    {"user", FIELD_STRING, AT(user), .max = LIMIT_NAME_BYTES, .help = "ssh user"},
    {"exportName", FIELD_STRING, AT(export_name), .max = LIMIT_PATH_BYTES, .help = "NBD export"},
    {"create", FIELD_BOOL, AT(create), .help = "the mover makes the file"},
    {"insecureHostKey", FIELD_BOOL, AT(insecure_host_key), .help = "accept any ssh host key"},
    {"backing", FIELD_LIST, AT(backing), .table = &backing_table, .max = BACKING_MAX,
     .help = "the chain below path, in order"},
    {"knownHosts", FIELD_STRING, AT(known_hosts), .max = KNOWN_HOSTS_MAX,
     .help = "text of a known_hosts file"},
    {"tls", FIELD_BOOL, AT(tls), .help = "NBD over TLS"},
    {"insecureTls", FIELD_BOOL, AT(insecure_tls), .help = "any certificate will do"},
    {"caPem", FIELD_STRING, AT(ca_pem), .max = PEM_BYTES_MAX,
     .help = "CAs to trust instead of the system's"},
    {"clientCertPem", FIELD_STRING, AT(client_cert_pem), .max = PEM_BYTES_MAX,
     .help = "certificate that says who we are"},
};

const struct table reach_table = TABLE(struct reach, reach_fields);

void reach_release(struct reach *r)
{
  secret_release(&r->ssh_key);
  secret_release(&r->tls_key);
  table_release(&reach_table, r);
  *r = (struct reach){0};
}

char *reach_text(const struct reach *r, char b[256])
{
  const char *path = r->path ? r->path : "";
  const char *host = r->host ? r->host : "";
  if (r->kind == REACH_SSH)
    snprintf(b, 256, "ssh %s%s%.90s %.150s", r->user ? r->user : "", r->user ? "@" : "", host,
             path);
  else if (r->kind == REACH_NBD && r->host)
    snprintf(b, 256, "%s %.90s:%lld %.140s", r->tls ? "nbds" : "nbd", host, (long long)r->port,
             r->export_name ? r->export_name : "");
  else
    snprintf(b, 256, "%s %.230s", reach_kind_names[r->kind], path);
  return b;
}
