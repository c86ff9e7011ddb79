// SPDX-License-Identifier: Apache-2.0
#include "storage/storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/storage_internal.h"

#define LIST_FOLDER_ROOT ""

static const struct storage_ops *const kinds[] = {
    [STORAGE_S3] = &storage_s3_ops,
    [STORAGE_HTTP] = &storage_http_ops,
    [STORAGE_NFS] = &storage_nfs_ops,
    [STORAGE_FILE] = &storage_file_ops,
};

DEFINE_CLEANUP(storage_free, struct storage *)
DEFINE_CLEANUP(storage_lane_free, struct storage_lane *)

// ---- store and lanes ----

static int describe(struct storage *s, struct err *err)
{
  struct buf text CLEANUP(buf_release) = BUF_INIT(0);
  s->ops->describe(&s->config, &text);
  if (!str_empty(s->config.prefix))
    buf_printf(&text, " below %s", s->config.prefix);
  s->description = buf_take(&text);
  return s->description ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a store");
}

int storage_open(const struct storage_config *c, const struct address_filter *allowed,
                 struct storage **ret, struct err *err)
{
  if (c->type < 0 || (size_t)c->type >= ARRAY_SIZE(kinds))
    return err_set(err, ERR_INVALID, "the store has no known type");
  if (!str_empty(c->prefix) && storage_key_check(c->prefix, err) < 0)
    return err_prefix(err, "prefix");
  struct storage *s CLEANUP(storage_free_p) = calloc(1, sizeof(*s));
  if (!s)
    return err_set(err, ERR_NO_MEMORY, "no memory for a store");
  s->ops = kinds[c->type];
  if (storage_config_copy(c, &s->config, err) < 0 || describe(s, err) < 0)
    return -1;
  if (s->ops->open(&s->config, allowed, &s->state, err) < 0)
    return err_prefix(err, "%s", s->description);
  *ret = TAKE(s);
  return 0;
}

void storage_free(struct storage *s)
{
  if (!s)
    return;
  if (s->state)
    s->ops->close(s->state);
  storage_config_release(&s->config);
  free(s->description);
  free(s);
}

void storage_renew_with(struct storage *s, storage_renew_fn fn, void *arg)
{
  struct storage_keys *keys = s->ops->keys ? s->ops->keys(s->state) : NULL;
  if (!keys)
    return;
  LOCK_FOR_SCOPE(&keys->lock);
  keys->renew = fn;
  keys->arg = arg;
}

const char *storage_describe(const struct storage *s)
{
  return s->description;
}

enum storage_answer storage_takes_any_length(const struct storage *s)
{
  return s->ops->takes_any_length ? s->ops->takes_any_length(s->state) : STORAGE_YES;
}

bool storage_is_ordered(const struct storage *s)
{
  return s->ops->ordered;
}

bool storage_keeps_owner(const struct storage *s)
{
  return s->ops->keeps_owner;
}

int storage_lane_new(struct storage *s, struct storage_lane **ret, struct err *err)
{
  struct storage_lane *l CLEANUP(storage_lane_free_p) = calloc(1, sizeof(*l));
  if (!l)
    return err_set(err, ERR_NO_MEMORY, "no memory for a lane");
  l->store = s;
  if (s->ops->lane_open(s->state, &l->state, err) < 0)
    return -1;
  *ret = TAKE(l);
  return 0;
}

void storage_lane_free(struct storage_lane *l)
{
  if (l && l->state)
    l->store->ops->lane_close(l->store->state, l->state);
  free(l);
}

void storage_lane_interrupt(struct storage_lane *l)
{
  l->store->ops->interrupt(l->store->state, l->state);
}

// ---- arguments ----

// The key as the store has it, yours; NULL after an error.
static char *full_key(const struct storage *s, const char *key, struct err *err)
{
  if (storage_key_check(key, err) < 0)
    return NULL;
  char *full = storage_key_join(s->config.prefix, key);
  if (!full)
    err_set(err, ERR_NO_MEMORY, "no memory for an object name");
  else if (storage_key_check(full, err) == 0)
    return full;
  free(full);
  return NULL;
}

static int check_writable(const struct storage *s, struct err *err)
{
  if (!s->config.read_only)
    return 0;
  return err_set(err, ERR_DENIED,
                 "%s is set to read only: nothing is written there or removed from there",
                 s->description);
}

static char *writable_key(const struct storage *s, const char *key, struct err *err)
{
  return check_writable(s, err) < 0 ? NULL : full_key(s, key, err);
}

static int named(struct storage *s, int result, struct err *err)
{
  return result < 0 ? err_prefix(err, "%s", s->description) : 0;
}

// ---- small calls ----

int storage_stat(struct storage_lane *l, const char *key, struct storage_stat *ret, struct err *err)
{
  struct storage *s = l->store;
  struct storage_stat found = {0};
  char *full cleanup_free = full_key(s, key, err);
  if (!full || named(s, s->ops->stat(s->state, l->state, full, &found, err), err) < 0)
    return -1;
  *ret = found;
  return 0;
}

int storage_remove(struct storage_lane *l, const char *key, struct err *err)
{
  struct storage *s = l->store;
  char *full cleanup_free = writable_key(s, key, err);
  return full ? named(s, s->ops->remove(s->state, l->state, full, err), err) : -1;
}

int storage_remove_partial(struct storage_lane *l, const char *key, const char *owner,
                           struct err *err)
{
  struct storage *s = l->store;
  char *full cleanup_free = writable_key(s, key, err);
  return full ? named(s, s->ops->remove_partial(s->state, l->state, full, owner, err), err) : -1;
}

int storage_free_bytes(struct storage_lane *l, int64_t *ret_bytes, struct err *err)
{
  struct storage *s = l->store;
  int64_t free_bytes = -1;
  if (s->ops->free_bytes &&
      named(s, s->ops->free_bytes(s->state, l->state, &free_bytes, err), err) < 0)
    return -1;
  *ret_bytes = free_bytes;
  return 0;
}

static int compare_names(const void *a, const void *b)
{
  return strcmp(*(char *const *)a, *(char *const *)b);
}

// Takes the prefix off again and leaves out what this interface could not name.
static void tidy_list(const struct storage *s, struct strings *list)
{
  size_t skip = str_empty(s->config.prefix) ? 0 : strlen(s->config.prefix) + 1, kept = 0;
  for (size_t i = 0; i < list->count; i++) {
    char *name = list->items[i];
    bool good = strlen(name) > skip && storage_key_check(name, NULL) == 0;
    if (good) {
      memmove(name, name + skip, strlen(name + skip) + 1);
      list->items[kept++] = name;
    } else {
      free(name);
    }
  }
  list->count = kept;
  if (kept)
    qsort(list->items, kept, sizeof(list->items[0]), compare_names);
}

int storage_list(struct storage_lane *l, const char *folder, size_t max, struct strings *ret,
                 struct err *err)
{
  struct storage *s = l->store;
  struct strings found CLEANUP(strings_release) = {0};
  char *full cleanup_free = str_empty(folder) ? storage_key_join(s->config.prefix, LIST_FOLDER_ROOT)
                                              : full_key(s, folder, err);
  if (!full)
    return str_empty(folder) ? err_set(err, ERR_NO_MEMORY, "no memory for a list") : -1;
  if (named(s, s->ops->list(s->state, l->state, full, max, &found, err), err) < 0)
    return -1;
  tidy_list(s, &found);
  *ret = found;
  found = (struct strings){0};
  return 0;
}

// ---- whole small objects ----

int storage_get(struct storage_lane *l, const char *key, size_t max, char **ret_data,
                size_t *ret_length, struct err *err)
{
  struct storage *s = l->store;
  struct storage_stat stat = {0};
  if (storage_stat(l, key, &stat, err) < 0)
    return -1;
  if (stat.size_bytes > max)
    return err_set(err, ERR_LIMIT, "%s: object '%s' has %llu bytes, more than the %zu allowed",
                   s->description, key, (unsigned long long)stat.size_bytes, max);
  size_t length = (size_t)stat.size_bytes;
  char *data cleanup_free = malloc(length + 1);
  char *full cleanup_free = full_key(s, key, err);
  if (!data || !full)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object of %zu bytes", length);
  if (length &&
      named(s, s->ops->get_range(s->state, l->state, full, stat.identity, data, length, 0, err),
            err) < 0)
    return -1;
  data[length] = '\0';
  *ret_data = TAKE(data);
  *ret_length = length;
  return 0;
}

int storage_put(struct storage_lane *l, const char *key, const void *data, size_t length,
                const char *owner, bool only_new, struct err *err)
{
  struct storage *s = l->store;
  char *full cleanup_free = writable_key(s, key, err);
  if (!full)
    return -1;
  return named(s, s->ops->put(s->state, l->state, full, data, length, owner, only_new, err), err);
}

// ---- probe ----

static int read_back(struct storage_lane *l, const char *key, const char *text, struct err *err)
{
  struct storage *s = l->store;
  struct storage_stat stat = {0};
  char seen[128] = "";
  size_t length = strlen(text);
  if (s->ops->stat(s->state, l->state, key, &stat, err) < 0 ||
      (stat.size_bytes == length &&
       s->ops->get_range(s->state, l->state, key, stat.identity, seen, length - 1, 1, err) < 0))
    return -1;
  if (stat.size_bytes == length && memcmp(seen, text + 1, length - 1) == 0)
    return 0;
  return err_set(err, ERR_CORRUPT, "the probe object does not come back as it was written");
}

char *storage_probe_key(const char *owner)
{
  char hash[STORAGE_HASH_TEXT];
  return str_printf(".drover-probe-%s", storage_owner_hash(owner, hash));
}

static int probe_write(struct storage_lane *l, const char *owner, struct err *err)
{
  struct storage *s = l->store;
  char *name cleanup_free = storage_probe_key(owner);
  if (!name)
    return err_set(err, ERR_NO_MEMORY, "no memory for a probe");
  char *key cleanup_free = writable_key(s, name, err);
  if (!key)
    return -1;
  int failed = s->ops->put_probe
                   ? s->ops->put_probe(s->state, l->state, key, name, strlen(name), owner, err)
                   : s->ops->put(s->state, l->state, key, name, strlen(name), owner, false, err);
  if (failed)
    return err_prefix(err, "writing a probe object");
  struct err failure = ERR_INIT;
  int result = read_back(l, key, name, &failure);
  if (s->ops->remove(s->state, l->state, key, err) < 0)
    return err_prefix(err, "removing the probe object");
  if (result < 0) {
    *err = failure;
    return err_prefix(err, "reading a probe object");
  }
  return 0;
}

int storage_probe(struct storage_lane *l, bool write, const char *owner, struct err *err)
{
  struct storage *s = l->store;
  struct err failure = ERR_INIT; // err may be NULL
  if ((write && check_writable(s, &failure) < 0) ||
      named(s, s->ops->check(s->state, l->state, &failure), &failure) < 0 ||
      (write && named(s, probe_write(l, owner ? owner : "", &failure), &failure) < 0)) {
    if (err)
      *err = failure;
    return -1;
  }
  return 0;
}

// ---- images ----

static int64_t round_trip_ms(const struct storage *s)
{
  return s->ops->round_trip_ms ? s->ops->round_trip_ms(s->state) : 0;
}

int storage_lane_reader(struct storage_lane *l, const char *key, struct object_reader **ret,
                        struct err *err)
{
  struct storage *s = l->store;
  char *full cleanup_free = full_key(s, key, err);
  struct storage_stat stat = {0};
  if (!full)
    return -1;
  if (s->ops->reader)
    return named(s, s->ops->reader(s->state, full, ret, err), err);
  if (storage_stat(l, key, &stat, err) < 0 || storage_range_reader(s, full, &stat, ret, err) < 0)
    return -1;
  (*ret)->round_trip_ms = round_trip_ms(s);
  return 0;
}

int storage_reader(struct storage *s, const char *key, struct object_reader **ret, struct err *err)
{
  struct storage_lane *l CLEANUP(storage_lane_free_p) = NULL;
  return storage_lane_new(s, &l, err) < 0 ? -1 : storage_lane_reader(l, key, ret, err);
}

int storage_writer(struct storage *s, const char *key, const char *owner, bool overwrite,
                   struct object_writer **ret, struct err *err)
{
  char *full cleanup_free = writable_key(s, key, err);
  if (!full)
    return -1;
  if (named(s, s->ops->writer(s->state, full, owner, overwrite, ret, err), err) < 0)
    return -1;
  (*ret)->round_trip_ms = round_trip_ms(s);
  (*ret)->any_length = storage_takes_any_length(s) != STORAGE_NO;
  return 0;
}

int storage_mender(struct storage *s, const char *key, const char *owner, const char *identity,
                   struct object_writer **ret, struct err *err)
{
  char *full cleanup_free = writable_key(s, key, err);
  if (!full)
    return -1;
  if (!s->ops->mender)
    return err_set(err, ERR_UNSUPPORTED,
                   "%s takes whole objects only, so a damaged one cannot be repaired there: copy "
                   "it again with --overwrite",
                   s->description);
  return named(s, s->ops->mender(s->state, full, owner, identity, ret, err), err);
}
