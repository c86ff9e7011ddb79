// SPDX-License-Identifier: Apache-2.0
#include "kube/correlator.h"

#include <json-c/linkhash.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "kube/bucket.h"

// Things are remembered under a digest of what they are: fixed size, whatever a message holds.
struct key {
  char text[40];
};

struct spam {
  struct key key;
  struct bucket bucket;
};

struct similar {
  struct key key;
  int64_t last_ms;
  uint64_t messages[CORRELATOR_SIMILAR];
  int count;
};

struct repeated {
  struct key key;
  int64_t count, first_wall_ms;
  char event_name[254]; // "" = never written
};

struct correlator {
  struct lh_table *spam, *similar, *repeated; // oldest first
};

static void free_entry(struct lh_entry *e)
{
  free(lh_entry_v(e));
}

struct correlator *correlator_new(void)
{
  struct correlator *c = calloc(1, sizeof(*c));
  if (!c)
    return NULL;
  c->spam = lh_kchar_table_new(64, free_entry);
  c->similar = lh_kchar_table_new(64, free_entry);
  c->repeated = lh_kchar_table_new(64, free_entry);
  if (c->spam && c->similar && c->repeated)
    return c;
  correlator_free(c);
  return NULL;
}

void correlator_free(struct correlator *c)
{
  if (!c)
    return;
  struct lh_table *tables[] = {c->spam, c->similar, c->repeated};
  for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
    if (tables[i])
      lh_table_free(tables[i]);
  free(c);
}

static void make_key(struct key *key, const char *const *parts)
{
  unsigned char digest[EVP_MAX_MD_SIZE];
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  bool good = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
  for (; good && *parts; parts++)
    good = EVP_DigestUpdate(ctx, *parts, strlen(*parts) + 1);
  if (!good || !EVP_DigestFinal_ex(ctx, digest, NULL))
    memset(digest, 0, sizeof(digest)); // no memory: everything is alike for a moment
  EVP_MD_CTX_free(ctx);
  for (int i = 0; i < 16; i++)
    sprintf(key->text + 2 * i, "%02x", digest[i]);
}

// What is remembered under a key, made (zeroed) when it is new; it becomes the youngest. Each kind
// begins with its key. NULL: no memory.
static void *touch(struct lh_table *table, const struct key *key, size_t size, bool *ret_new)
{
  void *kept = NULL;
  struct lh_entry *entry = lh_table_lookup_entry(table, key->text);
  *ret_new = !entry;
  void *item = calloc(1, size);
  if (!item)
    return NULL;
  if (entry) {
    kept = lh_entry_v(entry);
    memcpy(item, kept, size);
    lh_table_delete_entry(table, entry);
  }
  memcpy(item, key, sizeof(*key));
  if (lh_table_length(table) >= CORRELATOR_MAX)
    lh_table_delete_entry(table, table->head);
  if (lh_table_insert(table, ((struct key *)item)->text, item) == 0)
    return item;
  free(item);
  return NULL;
}

static bool is_spam(struct correlator *c, const char *object, int64_t now_ms)
{
  struct key key;
  bool is_new;
  make_key(&key, (const char *[]){object, NULL});
  struct spam *s = touch(c->spam, &key, sizeof(*s), &is_new);
  if (!s)
    return true;
  if (is_new)
    bucket_init(&s->bucket, 1000.0 / CORRELATOR_REFILL_MS, CORRELATOR_BURST, now_ms);
  return !bucket_try(&s->bucket, now_ms);
}

static uint64_t message_hash(const char *message)
{
  struct key key;
  make_key(&key, (const char *[]){message, NULL});
  key.text[16] = '\0';
  return strtoull(key.text, NULL, 16);
}

// True when there are too many different messages: then they are one.
static bool is_similar(struct correlator *c, const struct key *key, const char *message,
                       int64_t now_ms)
{
  bool is_new;
  struct similar *s = touch(c->similar, key, sizeof(*s), &is_new);
  if (!s)
    return true;
  if (now_ms - s->last_ms > CORRELATOR_SIMILAR_MS)
    s->count = 0;
  s->last_ms = now_ms;
  uint64_t hash = message_hash(message);
  for (int i = 0; i < s->count; i++)
    if (s->messages[i] == hash)
      return false;
  if (s->count == CORRELATOR_SIMILAR)
    return true;
  s->messages[s->count++] = hash;
  return false;
}

// Cut at a character, not within one.
static void set_message(struct correlated *ret, const char *prefix, const char *message)
{
  snprintf(ret->message, sizeof(ret->message), "%s%s", prefix, message);
  size_t length = strlen(ret->message);
  if (length < CORRELATOR_MESSAGE_MAX)
    return;
  while (length && ((unsigned char)ret->message[length - 1] & 0xC0) == 0x80)
    length--;
  if (length && (unsigned char)ret->message[length - 1] >= 0xC0)
    length--;
  ret->message[length] = '\0';
}

void correlator_judge(struct correlator *c, const char *object, const char *type,
                      const char *reason, const char *message, int64_t now_ms, int64_t now_wall_ms,
                      struct correlated *ret)
{
  struct key similar_key, key;
  bool is_new;
  *ret = (struct correlated){.action = CORRELATED_DROP};
  make_key(&similar_key, (const char *[]){object, type, reason, NULL});
  bool combined = is_similar(c, &similar_key, message, now_ms);
  set_message(ret, combined ? "(combined from similar events): " : "", message);
  make_key(&key, combined ? (const char *[]){similar_key.text, NULL}
                          : (const char *[]){similar_key.text, "=", message, NULL});
  struct repeated *r = touch(c->repeated, &key, sizeof(*r), &is_new);
  if (!r || is_spam(c, object, now_ms))
    return;
  if (!*r->event_name) {
    r->count = 0;
    r->first_wall_ms = now_wall_ms;
  }
  ret->count = ++r->count;
  ret->first_wall_ms = r->first_wall_ms;
  ret->action = *r->event_name ? CORRELATED_UPDATE : CORRELATED_CREATE;
  memcpy(ret->event_name, r->event_name, sizeof(ret->event_name));
  snprintf(ret->key, sizeof(ret->key), "%s", key.text);
}

void correlator_written(struct correlator *c, const char *key, const char *event_name)
{
  struct lh_entry *entry = lh_table_lookup_entry(c->repeated, key);
  struct repeated *r = entry ? lh_entry_v(entry) : NULL;
  if (r)
    snprintf(r->event_name, sizeof(r->event_name), "%s", event_name);
}

void correlator_forget(struct correlator *c, const char *key)
{
  struct lh_entry *entry = lh_table_lookup_entry(c->repeated, key);
  if (entry)
    lh_table_delete_entry(c->repeated, entry);
}
