// SPDX-License-Identifier: Apache-2.0
#include "mover/done.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"

struct number {
  const char *name;
  uint64_t value;
};

static void add_numbers(struct json_object *o, const struct number *numbers, size_t count)
{
  for (size_t i = 0; i < count; i++)
    json_object_object_add(o, numbers[i].name, json_object_new_int64((int64_t)numbers[i].value));
}

static void add_text(struct json_object *o, const char *name, const char *text)
{
  json_object_object_add(o, name, json_object_new_string(text));
}

static struct json_object *fields(const struct tally *t, const struct copy_result *r, int format,
                                  const struct repair_found *found)
{
  const struct number of_all[] = {{"sizeBytes", r->size_bytes},
                                  {"dataBytes", r->data_bytes},
                                  {"storedBytes", r->stored_bytes},
                                  {"resentBytes", atomic_load(&t->resent_bytes)},
                                  {"resumedBytes", atomic_load(&t->resumed_bytes)}};
  struct json_object *o = json_object_new_object();
  char seconds_text[32];
  double seconds = (double)r->elapsed_ms / 1000;
  snprintf(seconds_text, sizeof seconds_text, "%.3f", seconds);
  add_text(o, "contentDigest", r->content_digest);
  add_text(o, "objectSha256", r->object_sha256);
  add_numbers(o, of_all, ARRAY_SIZE(of_all));
  if (found) {
    const struct number of_repair[] = {{"parts", found->parts},
                                       {"repairedParts", found->bad_parts}};
    add_numbers(o, of_repair, ARRAY_SIZE(of_repair));
  }
  add_text(o, "format", disk_format_names[format]);
  add_text(o, "layout", r->layout);
  json_object_object_add(o, "seconds", json_object_new_double_s(seconds, seconds_text));
  return o;
}

static void say_copied(struct buf *text, const struct tally *t, const struct copy_result *r)
{
  uint64_t resumed = atomic_load(&t->resumed_bytes), resent = atomic_load(&t->resent_bytes);
  char a[32], b[32];
  buf_printf(text, "copied    %s of data on a disk of %s in %.1f s\n",
             str_human_bytes((double)r->data_bytes, a), str_human_bytes((double)r->size_bytes, b),
             (double)r->elapsed_ms / 1000);
  if (resumed || resent)
    buf_printf(text, "resumed   %s were there already, %s were sent again\n",
               str_human_bytes((double)resumed, a), str_human_bytes((double)resent, b));
}

static void say_repaired(struct buf *text, const struct tally *t, const struct repair_found *found)
{
  uint64_t sent = atomic_load(&t->resent_bytes);
  char a[32], b[32];
  buf_printf(text,
             "repaired  %" PRIu64 " of %" PRIu64 " parts, %s (%" PRIu64 " bytes) sent again\n",
             found->bad_parts, found->parts, str_human_bytes((double)sent, a), sent);
  if (found->missing_bytes)
    buf_printf(text, "missing   %s at the end\n", str_human_bytes((double)found->missing_bytes, b));
}

void done_say(struct session *s, const struct copy_result *r, int format,
              const struct repair_found *found)
{
  const struct tally *t = &s->tally;
  char a[32];
  struct buf text CLEANUP(buf_release) = BUF_INIT(4096);
  if (found)
    say_repaired(&text, t, found);
  else
    say_copied(&text, t, r);
  if (format)
    buf_printf(&text, "stored    %s as %s\n", str_human_bytes((double)r->stored_bytes, a),
               disk_format_names[format]);
  if (r->content_digest[0])
    buf_printf(&text, "content   %s\n", r->content_digest);
  if (r->object_sha256[0])
    buf_printf(&text, "sha256    %s\n", r->object_sha256);
  report_result(&s->report, fields(t, r, format, found), buf_str(&text));
}
