// SPDX-License-Identifier: Apache-2.0
// The plain data of the seam: released and copied by tables.
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "providers/provider_internal.h"

#include <stdarg.h>
#include <string.h>

const char *const finding_severity_names[] = {"OK", "Warning", "Error", NULL};

// clang-format off
static const struct field config_fields[] = {
    {.name = "type", .type = FIELD_STRING, .offset = offsetof(struct provider_config, type)},
    {.name = "endpoint", .type = FIELD_STRING, .offset = offsetof(struct provider_config, endpoint)},
    {.name = "username", .type = FIELD_STRING, .offset = offsetof(struct provider_config, username)},
    {.name = "caPEM", .type = FIELD_STRING, .offset = offsetof(struct provider_config, ca_pem)},
    {.name = "fingerprintSHA256", .type = FIELD_STRING, .offset = offsetof(struct provider_config, fingerprint_sha256)},
    {.name = "insecureSkipVerify", .type = FIELD_BOOL, .offset = offsetof(struct provider_config, insecure_skip_verify)},
    {.name = "sshHost", .type = FIELD_STRING, .offset = offsetof(struct provider_config, ssh_host)},
    {.name = "sshPort", .type = FIELD_INT, .offset = offsetof(struct provider_config, ssh_port)},
    {.name = "sshUser", .type = FIELD_STRING, .offset = offsetof(struct provider_config, ssh_user)},
    {.name = "knownHosts", .type = FIELD_STRING, .offset = offsetof(struct provider_config, known_hosts)},
    {.name = "insecureHostKey", .type = FIELD_BOOL, .offset = offsetof(struct provider_config, insecure_host_key)},
    {.name = "defaultStorage", .type = FIELD_STRING, .offset = offsetof(struct provider_config, default_storage)},
    {.name = "defaultNetwork", .type = FIELD_STRING, .offset = offsetof(struct provider_config, default_network)},
    {.name = "deadlineMs", .type = FIELD_INT, .offset = offsetof(struct provider_config, deadline_ms)},
};
static const struct field storage_fields[] = {
    {.name = "name", .type = FIELD_STRING, .offset = offsetof(struct provider_storage, name)},
    {.name = "type", .type = FIELD_STRING, .offset = offsetof(struct provider_storage, type)},
    {.name = "path", .type = FIELD_STRING, .offset = offsetof(struct provider_storage, path)},
};
static const struct table storage_table = TABLE(struct provider_storage, storage_fields);
static const struct field info_fields[] = {
    {.name = "version", .type = FIELD_STRING, .offset = offsetof(struct provider_info, version)},
    {.name = "host", .type = FIELD_STRING, .offset = offsetof(struct provider_info, host)},
    {.name = "capabilities", .type = FIELD_STRINGS, .offset = offsetof(struct provider_info, capabilities)},
    {"storages", FIELD_LIST, offsetof(struct provider_info, storages), .table = &storage_table},
    {.name = "networks", .type = FIELD_STRINGS, .offset = offsetof(struct provider_info, networks)},
    {.name = "vms", .type = FIELD_STRINGS, .offset = offsetof(struct provider_info, vms)},
};
static const struct field owned_fields[] = {
    {"kind", FIELD_STRING, offsetof(struct owned, kind), .required = true, .max = 63},
    {"id", FIELD_STRING, offsetof(struct owned, id), .required = true, .max = 4096},
    {"where", FIELD_STRING, offsetof(struct owned, where), .max = 4096},
};
static const struct field target_disk_fields[] = {
    {.name = "storage", .type = FIELD_STRING, .offset = offsetof(struct target_disk, storage)},
    {"format", FIELD_ENUM, offsetof(struct target_disk, format), .names = disk_format_names},
    {.name = "thick", .type = FIELD_BOOL, .offset = offsetof(struct target_disk, thick)},
};
static const struct table target_disk_table = TABLE(struct target_disk, target_disk_fields);
static const struct field target_fields[] = {
    {"disks", FIELD_LIST, offsetof(struct vm_target, disks), .table = &target_disk_table},
    {.name = "owner", .type = FIELD_STRING, .offset = offsetof(struct vm_target, owner)},
    {.name = "uid", .type = FIELD_STRING, .offset = offsetof(struct vm_target, uid)},
};
static const struct field made_fields[] = {
    {.name = "id", .type = FIELD_STRING, .offset = offsetof(struct vm_made, id)},
    {.name = "name", .type = FIELD_STRING, .offset = offsetof(struct vm_made, name)},
    {.name = "adapted", .type = FIELD_STRINGS, .offset = offsetof(struct vm_made, adapted)},
};
// clang-format on
static const struct table config_table = TABLE(struct provider_config, config_fields);
static const struct table info_table = TABLE(struct provider_info, info_fields);
static const struct table target_table = TABLE(struct vm_target, target_fields);
static const struct table made_table = TABLE(struct vm_made, made_fields);
const struct table owned_table = TABLE(struct owned, owned_fields);

void provider_config_release(struct provider_config *c)
{
  secret_release(&c->password);
  secret_release(&c->client_cert_pem);
  secret_release(&c->client_key_pem);
  secret_release(&c->ssh_key);
  table_release(&config_table, c);
}

int provider_config_copy(const struct provider_config *from, struct provider_config *to,
                         struct err *err)
{
  if (table_copy(&config_table, from, to, err) != 0)
    return -1;
  to->password = to->client_cert_pem = to->client_key_pem = to->ssh_key = (struct secret){0};
  if (secret_copy(&to->password, &from->password) == 0 &&
      secret_copy(&to->client_cert_pem, &from->client_cert_pem) == 0 &&
      secret_copy(&to->client_key_pem, &from->client_key_pem) == 0 &&
      secret_copy(&to->ssh_key, &from->ssh_key) == 0)
    return 0;
  provider_config_release(to);
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

void provider_info_release(struct provider_info *i)
{
  table_release(&info_table, i);
}

void owned_release(struct owned *o)
{
  table_release(&owned_table, o);
}

void vm_target_release(struct vm_target *t)
{
  vm_release(&t->vm);
  table_release(&target_table, t);
}

int vm_target_copy(const struct vm_target *from, struct vm_target *to, struct err *err)
{
  if (table_copy(&target_table, from, to, err) != 0)
    return -1;
  to->vm = (struct vm){0};
  if (vm_copy(&from->vm, &to->vm, err) == 0)
    return 0;
  table_release(&target_table, to);
  return -1;
}

void vm_made_release(struct vm_made *m)
{
  table_release(&made_table, m);
}

void findings_release(struct findings *f)
{
  for (size_t i = 0; i < f->count; i++) {
    free(f->items[i].check);
    free(f->items[i].message);
    free(f->items[i].suggestion);
  }
  free(f->items);
  *f = (struct findings){0};
}

int findings_add(struct findings *f, const char *check, int severity, const char *suggestion,
                 const char *format, ...)
{
  struct finding *items = reallocarray(f->items, f->count + 1, sizeof(*items));
  if (!items)
    return -1;
  f->items = items;
  struct finding *item = &items[f->count];
  va_list args;
  va_start(args, format);
  if (vasprintf(&item->message, format, args) < 0)
    item->message = NULL;
  va_end(args);
  item->check = str_dup(check);
  item->severity = severity;
  item->suggestion = str_dup(suggestion);
  f->count++;
  return item->message && item->check && (item->suggestion || !suggestion) ? 0 : -1;
}

int findings_append(struct findings *to, struct findings *from, struct err *err)
{
  if (from->count == 0)
    return 0;
  struct finding *items = reallocarray(to->items, to->count + from->count, sizeof(*items));
  if (!items) {
    findings_release(from);
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  }
  memcpy(items + to->count, from->items, from->count * sizeof(*items));
  to->items = items;
  to->count += from->count;
  free(from->items);
  *from = (struct findings){0};
  return 0;
}

// INSTALLATION/NAMESPACE/NAME/UID/HASH: the end of the fourth part, or NULL.
static const char *owner_head_end(const char *owner)
{
  const char *at = owner;
  for (int slashes = 0; at && *at; at++)
    if (*at == '/' && ++slashes == 4)
      return at;
  return NULL;
}

bool owner_same(const char *a, const char *b)
{
  const char *end_a = a ? owner_head_end(a) : NULL;
  const char *end_b = b ? owner_head_end(b) : NULL;
  return end_a && end_b && end_a - a == end_b - b && memcmp(a, b, (size_t)(end_a - a)) == 0;
}

char *owner_uid(const char *owner)
{
  const char *end = owner ? owner_head_end(owner) : NULL;
  if (!end)
    return NULL;
  const char *start = end;
  while (start > owner && start[-1] != '/')
    start--;
  return end > start ? strndup(start, (size_t)(end - start)) : NULL;
}
