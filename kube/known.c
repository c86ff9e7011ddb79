// SPDX-License-Identifier: Apache-2.0
#include "kube/known.h"

#include <json-c/linkhash.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

// "ns/name", uid and version behind each other; the first is the key in the table.
struct known {
  uint32_t mark; // of the list that saw it last
  uint16_t uid_at, version_at;
  char text[];
};

struct known_set {
  struct lh_table *table;
  uint32_t mark;
};

static void free_entry(struct lh_entry *e)
{
  free(lh_entry_v(e));
}

struct known_set *known_new(void)
{
  struct known_set *k = calloc(1, sizeof(*k));
  if (k)
    k->table = lh_kchar_table_new(64, free_entry);
  if (k && k->table)
    return k;
  free(k);
  return NULL;
}

void known_free(struct known_set *k)
{
  if (!k)
    return;
  lh_table_free(k->table);
  free(k);
}

size_t known_count(const struct known_set *k)
{
  return (size_t)lh_table_length(k->table);
}

// Names come from the server, which may be anything: absurdly long ones are cut to fit the offsets.
static struct known *make(const struct known_set *k, const char *ns, const char *name,
                          const char *uid, const char *version)
{
  char key[640];
  int key_length = snprintf(key, sizeof(key), "%.256s/%.256s", ns, name);
  size_t uid_length = strnlen(uid, 128), version_length = strnlen(version, 128);
  size_t uid_at = (size_t)key_length + 1, version_at = uid_at + uid_length + 1;
  struct known *e = calloc(1, sizeof(*e) + version_at + version_length + 1);
  if (!e)
    return NULL;
  e->mark = k->mark;
  e->uid_at = (uint16_t)uid_at;
  e->version_at = (uint16_t)version_at;
  memcpy(e->text, key, (size_t)key_length);
  memcpy(e->text + uid_at, uid, uid_length);
  memcpy(e->text + version_at, version, version_length);
  return e;
}

static void tell_gone(const struct known *e, known_gone_fn gone, void *arg)
{
  size_t ns_length = strcspn(e->text, "/");
  cleanup_free char *ns = strndup(e->text, ns_length);
  gone(arg, ns ? ns : "", e->text + ns_length + 1, e->text + e->uid_at);
}

enum known_change known_put(struct known_set *k, const char *ns, const char *name, const char *uid,
                            const char *version, known_gone_fn gone, void *arg)
{
  struct known *fresh = make(k, ns, name, uid, version);
  if (!fresh)
    return KNOWN_NO_MEMORY;
  struct lh_entry *entry = lh_table_lookup_entry(k->table, fresh->text);
  struct known *old = entry ? lh_entry_v(entry) : NULL;
  enum known_change change = KNOWN_NEW;
  if (old && !str_eq(old->text + old->uid_at, fresh->text + fresh->uid_at)) {
    change = KNOWN_REPLACED;
    tell_gone(old, gone, arg);
  } else if (old) {
    change = str_eq(old->text + old->version_at, fresh->text + fresh->version_at) ? KNOWN_SAME
                                                                                  : KNOWN_CHANGED;
  }
  if (entry)
    lh_table_delete_entry(k->table, entry);
  if (lh_table_insert(k->table, fresh->text, fresh) == 0)
    return change;
  free(fresh);
  return KNOWN_NO_MEMORY;
}

void known_remove(struct known_set *k, const char *ns, const char *name, known_gone_fn gone,
                  void *arg)
{
  cleanup_free char *key = str_printf("%.256s/%.256s", ns, name);
  struct lh_entry *entry = key ? lh_table_lookup_entry(k->table, key) : NULL;
  if (!entry)
    return;
  tell_gone(lh_entry_v(entry), gone, arg);
  lh_table_delete_entry(k->table, entry);
}

void known_begin(struct known_set *k)
{
  k->mark++;
}

void known_sweep(struct known_set *k, known_gone_fn gone, void *arg)
{
  struct lh_entry *entry, *next;
  lh_foreach_safe(k->table, entry, next)
  {
    struct known *e = lh_entry_v(entry);
    if (e->mark == k->mark)
      continue;
    tell_gone(e, gone, arg);
    lh_table_delete_entry(k->table, entry);
  }
}
