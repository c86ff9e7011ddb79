// SPDX-License-Identifier: Apache-2.0
// What only reads: digest, verify, info.
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "mover/open.h"

static void interrupt_source(void *source)
{
  source_interrupt(source);
}

static void add_number(struct json_object *o, const char *name, uint64_t value)
{
  json_object_object_add(o, name, json_object_new_int64((int64_t)value));
}

static void add_text(struct json_object *o, const char *name, const char *value)
{
  json_object_object_add(o, name, json_object_new_string(value));
}

// ---- digest ---------------------------------------------------------------------------------

static void say_digest(struct session *s, const struct copy_result *r)
{
  struct json_object *o = json_object_new_object();
  struct buf text CLEANUP(buf_release) = BUF_INIT(512);
  add_text(o, "contentDigest", r->content_digest);
  add_number(o, "sizeBytes", r->size_bytes);
  add_number(o, "dataBytes", r->data_bytes);
  buf_printf(&text, "%s\n", r->content_digest);
  report_result(&s->report, o, buf_str(&text));
}

static int digest_work(struct session *s, struct err *err)
{
  struct open_end source CLEANUP(open_end_release) = {0};
  struct copy_result r CLEANUP(copy_result_release) = {0};
  if (open_source(s, &s->spec->source, s->spec->expected_sha256, &source, err) ||
      session_enter(s, interrupt_source, source.source, err))
    return -1;
  int rc = digest_source(source.source, (int)s->spec->lanes, &s->tally, &r, err);
  session_leave(s);
  if (rc)
    return -1;
  if (source.expected_digest[0] && !str_eq(source.expected_digest, r.content_digest))
    return err_set(err, ERR_MISMATCH, "the content has digest %s, its manifest says %s",
                   r.content_digest, source.expected_digest);
  say_digest(s, &r);
  return 0;
}

int mover_digest(const struct mover_spec *s, const struct mover_talk *talk)
{
  return session_run("digest", s, talk, digest_work);
}

// ---- verify ---------------------------------------------------------------------------------

struct pair {
  struct open_end a, b;
};

static void pair_release(struct pair *p)
{
  open_end_release(&p->a);
  open_end_release(&p->b);
}

static void interrupt_pair(void *arg)
{
  struct pair *p = arg;
  source_interrupt(p->a.source);
  source_interrupt(p->b.source);
}

static void say_verdict(struct session *s, bool equal, uint64_t offset)
{
  struct json_object *o = json_object_new_object();
  struct buf text CLEANUP(buf_release) = BUF_INIT(512);
  json_object_object_add(o, "equal", json_object_new_boolean(equal));
  if (equal) {
    buf_adds(&text, "the contents are equal\n");
  } else {
    add_number(o, "offset", offset);
    buf_printf(&text, "the contents differ, first at byte %" PRIu64 "\n", offset);
  }
  report_result(&s->report, o, buf_str(&text));
}

static int verify_work(struct session *s, struct err *err)
{
  struct pair p CLEANUP(pair_release) = {0};
  uint64_t offset = 0;
  if (open_source(s, &s->spec->source, NULL, &p.a, err) ||
      open_source(s, &s->spec->target, NULL, &p.b, err) ||
      session_enter(s, interrupt_pair, &p, err))
    return -1;
  int rc = compare_sources(p.a.source, p.b.source, (int)s->spec->lanes, &s->tally, &offset, err);
  session_leave(s);
  if (rc >= 0)
    say_verdict(s, rc == 0, offset);
  return rc;
}

int mover_verify(const struct mover_spec *s, const struct mover_talk *talk)
{
  return session_run("verify", s, talk, verify_work);
}

// ---- info -----------------------------------------------------------------------------------

struct look {
  struct image_info info;
  bool probed; // info is filled: there are stored bytes
  uint64_t size_bytes;
  bool mapped; // the next two are filled
  uint64_t data_bytes;
  size_t data_extents;
};

static void look_release(struct look *l)
{
  image_info_release(&l->info);
}

static int map_source(struct source *s, struct look *l, struct err *err)
{
  struct extents map CLEANUP(extents_release) = {0};
  l->size_bytes = s->size_bytes;
  if (source_extents(s, &map, err))
    return -1;
  for (size_t i = 0; i < map.count; i++) {
    l->data_extents += map.items[i].data;
    l->data_bytes += map.items[i].data ? map.items[i].length : 0;
  }
  l->mapped = true;
  return 0;
}

static int probe(struct session *s, struct look *l, struct err *err)
{
  const struct mover_end *e = &s->spec->source;
  struct open_end o CLEANUP(open_end_release) = {0};
  int format = e->object ? e->object->format : e->reach ? e->reach->format : DISK_FORMAT_ANY;
  if (open_reader(s, e, &o, err))
    return -1;
  if (!o.reader)
    return 0;
  if (image_probe(o.reader, format, &l->info, err))
    return -1;
  l->probed = true;
  l->size_bytes = l->info.size_bytes;
  return 0;
}

// An image that leads to other files is described, not opened, unless they were allowed.
static bool may_open(const struct session *s, const struct look *l)
{
  const struct reach *r = s->spec->source.reach;
  bool alone = !l->info.backing_path || (r && r->backing.count);
  return !l->probed || (alone && !l->info.encrypted && !l->info.has_data_file);
}

static struct json_object *look_json(const struct look *l)
{
  struct json_object *o = json_object_new_object();
  if (l->probed) {
    add_text(o, "format", disk_format_names[l->info.format]);
    add_number(o, "storedBytes", l->info.stored_bytes);
    json_object_object_add(o, "encrypted", json_object_new_boolean(l->info.encrypted));
    json_object_object_add(o, "compressed", json_object_new_boolean(l->info.compressed));
    json_object_object_add(o, "externalData", json_object_new_boolean(l->info.has_data_file));
    if (l->info.backing_path)
      add_text(o, "backing", l->info.backing_path);
  }
  add_number(o, "sizeBytes", l->size_bytes);
  if (l->mapped) {
    add_number(o, "dataBytes", l->data_bytes);
    add_number(o, "dataExtents", l->data_extents);
  }
  return o;
}

static void add_size(struct buf *b, const char *name, uint64_t bytes)
{
  char human[32];
  buf_printf(b, "%-14s%s (%" PRIu64 " bytes)\n", name, str_human_bytes((double)bytes, human),
             bytes);
}

// A name out of an image may hold what a terminal would obey.
static void add_name(struct buf *b, const char *label, const char *name)
{
  buf_printf(b, "%-14s", label);
  for (const char *c = name; *c; c++)
    buf_addc(b, iscntrl((unsigned char)*c) ? '?' : *c);
  buf_addc(b, '\n');
}

static void look_text(const struct look *l, struct buf *b)
{
  if (l->probed)
    buf_printf(b, "%-14s%s%s%s\n", "format", disk_format_names[l->info.format],
               l->info.encrypted ? ", encrypted" : "", l->info.compressed ? ", compressed" : "");
  add_size(b, "size", l->size_bytes);
  if (l->probed)
    add_size(b, "stored", l->info.stored_bytes);
  if (l->mapped) {
    add_size(b, "data", l->data_bytes);
    buf_printf(b, "%-14s%zu\n", "data extents", l->data_extents);
  }
  if (l->info.backing_path)
    add_name(b, "backing file", l->info.backing_path);
  if (l->info.has_data_file)
    buf_printf(b, "%-14s%s\n", "data file", "external");
}

static int info_work(struct session *s, struct err *err)
{
  struct look l CLEANUP(look_release) = {0};
  struct open_end source CLEANUP(open_end_release) = {0};
  if (probe(s, &l, err))
    return -1;
  if (may_open(s, &l) &&
      (open_source(s, &s->spec->source, NULL, &source, err) || map_source(source.source, &l, err)))
    return -1;
  struct buf text CLEANUP(buf_release) = BUF_INIT(8192);
  look_text(&l, &text);
  report_result(&s->report, look_json(&l), buf_str(&text));
  return 0;
}

int mover_info(const struct mover_spec *s, const struct mover_talk *talk)
{
  return session_run("info", s, talk, info_work);
}
