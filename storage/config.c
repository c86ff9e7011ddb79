// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "storage/storage_internal.h"

#define PEM_BYTES_MAX (256 << 10)
#define ID_MAX        4294967294

const char *const storage_type_names[] = {"s3", "http", "nfs", "file", NULL};

#define AT(member) offsetof(struct storage_config, member)
#define TEXT(name_, member, max_, help_)                                                           \
  {                                                                                                \
    .name = (name_), .type = FIELD_STRING, .offset = AT(member), .max = (max_), .help = (help_)    \
  }
#define FLAG(name_, member, help_)                                                                 \
  {                                                                                                \
    .name = (name_), .type = FIELD_BOOL, .offset = AT(member), .help = (help_)                     \
  }
#define NUMBER(name_, member, max_, help_)                                                         \
  {                                                                                                \
    .name = (name_), .type = FIELD_INT, .offset = AT(member), .max = (max_), .help = (help_)       \
  }

static const struct field fields[] = {
    {.name = "type",
     .type = FIELD_ENUM,
     .offset = AT(type),
     .names = storage_type_names,
     .required = true,
     .help = "kind of the store"},
    TEXT("endpoint", endpoint, 2048, "S3: https://host:port; HTTP: base URL"),
    TEXT("bucket", bucket, 63, "S3: name of the bucket"),
    TEXT("region", region, 64, "S3: region; us-east-1 when absent"),
    FLAG("pathStyle", path_style, "S3: the bucket stands in the path, not in the host name"),
    TEXT("server", server, LIMIT_NAME_BYTES, "NFS: host name or address"),
    TEXT("exportPath", export_path, LIMIT_PATH_BYTES, "NFS: exported folder"),
    TEXT("path", path, LIMIT_PATH_BYTES, "file: absolute folder"),
    TEXT("prefix", prefix, LIMIT_PATH_BYTES, "put before every name"),
    NUMBER("uid", uid, ID_MAX, "NFS: user id of the calls"),
    NUMBER("gid", gid, ID_MAX, "NFS: group id of the calls"),
    NUMBER("version", version, 4, "NFS: 3"),
    NUMBER("nfsPort", nfs_port, 65535, "NFS: 0 asks the portmapper"),
    NUMBER("mountPort", mount_port, 65535, "NFS: 0 asks the portmapper"),
    FLAG("readOnly", read_only, "nothing is written or removed"),
    TEXT("caPem", ca_pem, PEM_BYTES_MAX,
         "CA certificates that are trusted instead of the system's"),
    TEXT("fingerprintSha256", fingerprint_sha256, 95, "SHA-256 of the server's certificate"),
    FLAG("insecureSkipVerify", insecure_skip_verify, "take any certificate"),
    TEXT("username", username, 256, "HTTP: basic authentication"),
};

const struct table storage_config_table = TABLE(struct storage_config, fields);

static const size_t secrets[] = {AT(password), AT(token), AT(access_key_id), AT(secret_access_key),
                                 AT(session_token)};

static struct secret *secret_at(struct storage_config *c, size_t i)
{
  return (struct secret *)(void *)((char *)c + secrets[i]);
}

static const struct secret *secret_in(const struct storage_config *c, size_t i)
{
  return (const struct secret *)(const void *)((const char *)c + secrets[i]);
}

void storage_config_release(struct storage_config *c)
{
  for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
    secret_release(secret_at(c, i));
  table_release(&storage_config_table, c);
  *c = (struct storage_config){0};
}

int storage_config_copy(const struct storage_config *from, struct storage_config *to,
                        struct err *err)
{
  *to = (struct storage_config){0};
  if (table_copy(&storage_config_table, from, to, err) < 0)
    return -1;
  for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
    *secret_at(to, i) = (struct secret){0};
  for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
    if (secret_copy(secret_at(to, i), secret_in(from, i)) < 0) {
      storage_config_release(to);
      return err_set(err, ERR_NO_MEMORY, "no memory for the settings of a store");
    }
  return 0;
}

int storage_credentials_copy(const struct storage_config *from, struct storage_config *to,
                             struct err *err)
{
  char *username = str_dup(from->username);
  bool full = from->username && !username;
  for (size_t i = 0; i < ARRAY_SIZE(secrets) && !full; i++)
    full = secret_copy(secret_at(to, i), secret_in(from, i)) < 0;
  if (full) {
    free(username);
    return err_set(err, ERR_NO_MEMORY, "no memory for credentials");
  }
  free(to->username);
  to->username = username;
  return 0;
}

bool storage_credentials_equal(const struct storage_config *a, const struct storage_config *b)
{
  bool equal = str_eq(a->username ? a->username : "", b->username ? b->username : "");
  for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
    equal &= str_eq(secret_reveal(secret_in(a, i)), secret_reveal(secret_in(b, i)));
  return equal;
}
