// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>

#include "base/limits.h"
#include "base/str.h"
#include "providers/nspawn/host_internal.h"

static const char *const state_names[] = {"Making", "Done", "Removing", NULL};

#define TEXT(json, member)                                                                         \
  {                                                                                                \
    .name = (json), .type = FIELD_STRING, .offset = offsetof(struct record, member)                \
  }
#define NUMBER(json, member)                                                                       \
  {                                                                                                \
    .name = (json), .type = FIELD_INT, .offset = offsetof(struct record, member)                   \
  }
#define STRINGS(json, member)                                                                      \
  {                                                                                                \
    .name = (json), .type = FIELD_STRINGS, .offset = offsetof(struct record, member)               \
  }

// clang-format off
static const struct field record_fields[] = {
    TEXT("kind", kind), TEXT("name", name), TEXT("owner", owner), TEXT("uid", uid),
    {"state", FIELD_ENUM, offsetof(struct record, state), .names = state_names},
    TEXT("base", base), TEXT("source", source),
    {"mode", FIELD_ENUM, offsetof(struct record, mode), .names = clone_mode_names},
    TEXT("vm", vm), TEXT("image", image), TEXT("digest", digest), {"convert", FIELD_BOOL, offsetof(struct record, convert)},
    NUMBER("cpus", cpus), NUMBER("memoryBytes", memory_bytes), TEXT("hostname", hostname),
    TEXT("gateway", gateway), STRINGS("macs", macs), STRINGS("networks", networks),
    STRINGS("addresses", addresses), STRINGS("lineage", lineage), NUMBER("since", since),
    NUMBER("bytes", bytes), TEXT("place", place),
};
// clang-format on
static const struct table record_table = TABLE(struct record, record_fields);

void ns_record_release(struct record *r)
{
  table_release(&record_table, r);
}

int ns_record_load(const struct host *h, const char *name, struct record *ret, struct err *err)
{
  cleanup_free char *path = ns_own_path(h, "records", name);
  char *text cleanup_free = NULL;
  if (!path)
    return ns_no_memory(err);
  if (ns_file_read(path, LIMIT_MANIFEST_BYTES, &text, err) != 0)
    return -1;
  struct json_object *json = json_tokener_parse(text);
  int failed = json ? table_decode_lenient(&record_table, json, name, ret, err)
                    : err_set(err, ERR_CORRUPT, "%s is not what drover wrote there", path);
  json_object_put(json);
  return failed;
}

int ns_record_save(const struct host *h, const struct record *r, struct err *err)
{
  cleanup_free char *path = ns_own_path(h, "records", r->name);
  struct json_object *json = table_encode(&record_table, r);
  const char *text = json ? json_object_to_json_string(json) : NULL;
  int failed = path && text ? ns_file_replace(path, text, 0600, true, err) : ns_no_memory(err);
  json_object_put(json);
  return failed;
}

static void forget(const struct host *h, const char *part, const char *name)
{
  cleanup_free char *path = ns_own_path(h, part, name);
  if (path)
    unlink(path);
}

int ns_record_remove(const struct host *h, const char *name, struct err *err)
{
  cleanup_free char *path = ns_own_path(h, "records", name);
  if (!path)
    return ns_no_memory(err);
  if (unlink(path) != 0 && errno != ENOENT)
    return err_errno(err, errno, "remove %s", path);
  cleanup_free char *log = str_printf("%s.log", name);
  cleanup_free char *pid = str_printf("%s.pid", name);
  if (log && pid) {
    forget(h, "run", log);
    forget(h, "run", pid);
  }
  return 0;
}

int ns_record_names(const struct host *h, struct strings *ret, struct err *err)
{
  cleanup_free char *path = ns_own_path(h, "records", "");
  DIR *dir = path ? opendir(path) : NULL;
  if (!dir)
    return err_errno(err, errno, "open %s", path ? path : h->folder);
  int failed = 0;
  for (struct dirent *e; !failed && (e = readdir(dir));)
    if (ns_name_ok(e->d_name) && !str_ends(e->d_name, ".new") && strings_add(ret, e->d_name) != 0)
      failed = ns_no_memory(err);
  closedir(dir);
  return failed;
}

int ns_record_done(const struct host *h, const char *name, const char *kind, struct record *ret,
                   struct err *err)
{
  if (!ns_name_ok(name))
    return err_set(err, ERR_NOT_FOUND, "there is no machine '%s'", name ? name : "");
  struct err failure = ERR_INIT;
  if (ns_record_load(h, name, ret, &failure) != 0) {
    if (failure.kind == ERR_NOT_FOUND)
      return err_set(err, ERR_NOT_FOUND, "there is no %s '%s' of drover in %s", kind, name,
                     h->folder);
    return err_set(err, failure.kind, "%s", failure.message);
  }
  bool fits = str_eq(ret->kind, kind), done = ret->state == RECORD_DONE;
  if (fits && done)
    return 0;
  ns_record_release(ret);
  if (!fits)
    return err_set(err, ERR_NOT_FOUND, "'%s' is not a %s", name, kind);
  return err_set(err, ERR_BUSY, "'%s' is being made or removed", name);
}
