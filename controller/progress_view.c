// SPDX-License-Identifier: Apache-2.0
#include "controller/progress_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/print_object.h"
#include "controller/progress_internal.h"
#include "controller/text_table.h"
#include "crds/vmmigration.h"
#include "kube/object.h"

#define REDRAW_MS 200  // bars
#define LINE_MS   2000 // lines and JSON: progress of one object

struct progress_view *progress_view_new(FILE *to, enum progress_mode mode)
{
  struct progress_view *v = calloc(1, sizeof(*v));
  if (!v)
    return NULL;
  *v = (struct progress_view){.to = to, .mode = mode, .columns = 80, .rows = 24};
  return v;
}

static void item_free(struct item *item)
{
  free(item->label);
  free(item->phase);
  free(item->reason);
  free(item->message);
  free(item);
}

void progress_view_free(struct progress_view *v)
{
  if (!v)
    return;
  for (size_t i = 0; i < v->count; i++)
    item_free(v->items[i]);
  free(v->items);
  free(v);
}

void progress_view_size(struct progress_view *v, int columns, int rows)
{
  v->columns = columns < 20 ? 20 : columns > BAR_LINE_MAX ? BAR_LINE_MAX : columns;
  v->rows = rows < 4 ? 4 : rows;
}

// ---- items ----------------------------------------------------------------------------------

static struct item *find(const struct progress_view *v, const struct object_key *key)
{
  for (size_t i = 0; i < v->count; i++)
    if (v->items[i]->key.kind == key->kind && str_eq(v->items[i]->key.ns, key->ns) &&
        str_eq(v->items[i]->key.name, key->name))
      return v->items[i];
  return NULL;
}

bool progress_view_knows(const struct progress_view *v, const struct object_key *key)
{
  return find(v, key) != NULL;
}

static void *must(void *memory)
{
  if (!memory)
    abort(); // nothing is lost: all state is in the store
  return memory;
}

static struct item *find_or_add(struct progress_view *v, const struct object_key *key)
{
  struct item *item = find(v, key);
  if (item)
    return item;
  item = must(calloc(1, sizeof(*item)));
  item->key = *key;
  item->line_ms = -LINE_MS;
  bool plain = str_eq(key->ns, "default");
  item->label = must(str_printf("%s%s%s", plain ? "" : key->ns, plain ? "" : "/", key->name));
  v->items = must(reallocarray(v->items, v->count + 1, sizeof(*v->items)));
  return v->items[v->count++] = item;
}

static void set(char **field, const char *text)
{
  free(*field);
  *field = text_harmless(text);
}

// ---- JSON lines -----------------------------------------------------------------------------

static struct json_object *json_line(const char *type, const struct object_key *key,
                                     int64_t now_wall_ms)
{
  char time[32];
  struct json_object *line = must(json_object_new_object());
  object_set_string(line, "type", type);
  object_set_string(line, "time", clock_rfc3339(now_wall_ms, time));
  if (key) {
    object_set_string(line, "kind", object_kind_info(key->kind)->kind);
    object_set_string(line, "namespace", key->ns);
    object_set_string(line, "name", key->name);
  }
  return line;
}

static void put_line(struct progress_view *v, struct json_object *line)
{
  int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
  fprintf(v->to, "%s\n", json_object_to_json_string_ext(line, flags));
  fflush(v->to);
  json_object_put(line);
}

static void json_phase(struct progress_view *v, const struct item *item, int64_t now_wall_ms)
{
  bool has_end = item->key.kind == OBJECT_VM_MIGRATION;
  struct json_object *line = json_line(has_end ? "phase" : "ready", &item->key, now_wall_ms);
  if (has_end)
    object_set_string(line, "phase", item->phase);
  else
    json_object_object_add(line, "ready", json_object_new_boolean(str_eq(item->phase, "Ready")));
  object_set_string(line, "reason", item->reason);
  object_set_string(line, "message", item->message);
  put_line(v, line);
}

static void json_progress(struct progress_view *v, const struct item *item, int64_t now_wall_ms)
{
  const struct migration_progress *p = &item->progress;
  struct json_object *line = json_line("progress", &item->key, now_wall_ms);
  json_object_object_add(line, "percent", json_object_new_int64(p->percent));
  json_object_object_add(line, "totalBytes", json_object_new_int64(p->total_bytes));
  json_object_object_add(line, "transferredBytes", json_object_new_int64(p->transferred_bytes));
  json_object_object_add(line, "bytesPerSecond", json_object_new_int64(p->bytes_per_second));
  if (p->eta_seconds >= 0)
    json_object_object_add(line, "etaSeconds", json_object_new_int64(p->eta_seconds));
  put_line(v, line);
}

static void json_end(struct progress_view *v, const struct item *item, const struct object *o,
                     int64_t now_wall_ms)
{
  struct json_object *whole cleanup_object = must(object_encode(o));
  struct json_object *line = json_line("end", &item->key, now_wall_ms);
  object_set_string(line, "phase", item->phase);
  object_set_string(line, "reason", item->reason);
  object_set_string(line, "message", item->message);
  static const char *const parts[] = {"result", "preflight"};
  for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
    struct json_object *part = object_at(whole, "status", parts[i], NULL);
    if (part)
      json_object_object_add(line, parts[i], json_object_get(part));
  }
  put_line(v, line);
}

// ---- text lines -----------------------------------------------------------------------------

static void put_text(struct progress_view *v, const char *text)
{
  progress_view_clear(v);
  fprintf(v->to, "%s\n", text);
  fflush(v->to);
}

void progress_view_say(struct progress_view *v, int64_t now_wall_ms, const char *format, ...)
{
  struct buf text CLEANUP(buf_release) = BUF_INIT(0);
  va_list args;
  va_start(args, format);
  buf_vprintf(&text, format, args);
  va_end(args);
  cleanup_free char *clean = text_harmless(buf_str(&text));
  if (v->mode != PROGRESS_JSON) {
    put_text(v, clean);
    return;
  }
  struct json_object *line = json_line("note", NULL, now_wall_ms);
  object_set_string(line, "message", clean);
  put_line(v, line);
}

static void text_phase(struct progress_view *v, const struct item *item)
{
  struct buf text CLEANUP(buf_release) = BUF_INIT(0);
  if (item->key.kind != OBJECT_VM_MIGRATION)
    buf_printf(&text, "%s/", object_kind_info(item->key.kind)->singular);
  buf_printf(&text, "%s: %s", item->label, item->phase);
  bool said = str_eq(item->reason, item->phase) || str_empty(item->reason);
  if (!said)
    buf_printf(&text, " (%s)", item->reason);
  if (!str_empty(item->message))
    buf_printf(&text, ": %s", item->message);
  put_text(v, buf_str(&text));
}

static void text_end(struct progress_view *v, const struct item *item, const struct object *o)
{
  struct buf text CLEANUP(buf_release) = BUF_INIT(0);
  buf_printf(&text, "%s: %s", item->label, item->phase);
  size_t head = text.length;
  buf_adds(&text, ": ");
  if (str_eq(item->reason, "PreflightFailed"))
    buf_adds(&text, item->reason); // the findings below say the rest
  else
    object_outcome(o, &text);
  if (text.length == head + 2)
    text.data[head] = '\0';
  cleanup_free char *clean = text_harmless(buf_str(&text));
  put_text(v, clean);
  const struct vmmigration_spec *spec = o->spec;
  bool checks = spec->dry_run || (str_eq(item->phase, "Failed") && !item->moved);
  struct json_object *whole cleanup_object = checks ? object_encode(o) : NULL;
  if (whole)
    print_preflight(whole, 2, v->to);
  fflush(v->to);
}

// ---- looking at objects -----------------------------------------------------------------------

static void look_at_migration(struct item *item, const struct object *o)
{
  const struct vmmigration_status *st = o->status;
  const struct vmmigration_spec *spec = o->spec;
  bool ended = object_has_ended(o);
  const struct condition *c = condition_find(&st->conditions, ended ? "Finished" : "Progressing");
  item->progress = st->progress;
  item->staged = spec->via != NULL;
  item->moving = str_eq(st->phase, "Transferring") || str_eq(st->phase, "Verifying");
  item->moved = item->moved || item->moving || st->progress.transferred_bytes > 0;
  set(&item->phase, str_empty(st->phase) ? "Pending" : st->phase);
  set(&item->reason, c ? c->reason : "");
  set(&item->message, c ? c->message : "");
}

static void look_at_ready(struct item *item, const struct object *o)
{
  static const char *const words[] = {
      [CONDITION_UNKNOWN] = "Unknown", [CONDITION_TRUE] = "Ready", [CONDITION_FALSE] = "NotReady"};
  const struct condition *ready = object_condition(o, "Ready");
  set(&item->phase, ready ? words[ready->status] : "");
  set(&item->reason, ready ? ready->reason : "");
  set(&item->message, ready ? ready->message : "");
}

// What is said about a thing in one word: a new one is worth a line.
static uint64_t fingerprint(const struct item *item)
{
  uint64_t h = 1469598103934665603u;
  const char *const words[] = {item->phase, item->reason};
  for (size_t i = 0; i < ARRAY_SIZE(words); i++)
    for (const char *c = words[i]; c && *c; c++)
      h = (h ^ (unsigned char)*c) * 1099511628211u;
  return h;
}

static void show_progress(struct progress_view *v, struct item *item, int64_t now_ms,
                          int64_t now_wall_ms)
{
  if (!item->moving || now_ms - item->line_ms < LINE_MS ||
      item->progress.transferred_bytes == item->line_bytes)
    return;
  item->line_ms = now_ms;
  item->line_bytes = item->progress.transferred_bytes;
  if (v->mode == PROGRESS_JSON) {
    json_progress(v, item, now_wall_ms);
  } else if (v->mode == PROGRESS_LINES) {
    struct buf text CLEANUP(buf_release) = BUF_INIT(0);
    progress_line_text(item, &text);
    put_text(v, buf_str(&text));
  }
}

static void show_end(struct progress_view *v, struct item *item, const struct object *o,
                     int64_t now_wall_ms)
{
  if (v->mode == PROGRESS_JSON)
    json_end(v, item, o, now_wall_ms);
  else
    text_end(v, item, o);
}

static void show_phase(struct progress_view *v, struct item *item, int64_t now_wall_ms)
{
  if (v->mode == PROGRESS_JSON)
    json_phase(v, item, now_wall_ms);
  else if (v->mode == PROGRESS_LINES || item->key.kind != OBJECT_VM_MIGRATION)
    text_phase(v, item); // bars say the phase of a migration themselves
}

static void show_migration(struct progress_view *v, struct item *item, const struct object *o,
                           int64_t now_wall_ms)
{
  bool ended = object_has_ended(o);
  uint64_t now = fingerprint(item);
  if (ended && !item->ended)
    show_end(v, item, o, now_wall_ms);
  else if (!ended && now != item->said)
    show_phase(v, item, now_wall_ms);
  item->said = now;
  item->ended = ended;
}

void progress_view_show(struct progress_view *v, const struct object *o, int64_t now_ms,
                        int64_t now_wall_ms)
{
  struct object_key key = object_key_of(o);
  struct item *item = find_or_add(v, &key);
  v->dirty = true;
  if (key.kind == OBJECT_VM_MIGRATION) {
    look_at_migration(item, o);
    show_migration(v, item, o, now_wall_ms);
    show_progress(v, item, now_ms, now_wall_ms);
    return;
  }
  look_at_ready(item, o);
  uint64_t now = fingerprint(item);
  if (now != item->said && *item->phase)
    show_phase(v, item, now_wall_ms);
  item->said = now;
}

void progress_view_gone(struct progress_view *v, const struct object_key *key, int64_t now_wall_ms)
{
  for (size_t i = 0; i < v->count; i++)
    if (v->items[i] == find(v, key)) {
      item_free(v->items[i]);
      memmove(&v->items[i], &v->items[i + 1], (v->count - i - 1) * sizeof(*v->items));
      v->count--;
      break;
    }
  v->dirty = true;
  if (v->mode == PROGRESS_JSON)
    put_line(v, json_line("deleted", key, now_wall_ms));
  else
    progress_view_say(v, now_wall_ms, "%s/%s deleted", object_kind_info(key->kind)->singular,
                      key->name);
}

// ---- bars -----------------------------------------------------------------------------------

void progress_view_clear(struct progress_view *v)
{
  if (v->drawn == 0)
    return;
  // Up so many lines, and clear from there to the end of the screen.
  fprintf(v->to, "\r\x1b[%dA\x1b[J", v->drawn);
  v->drawn = 0;
  v->dirty = true;
}

static int label_width(const struct progress_view *v)
{
  size_t widest = 0;
  for (size_t i = 0; i < v->count; i++)
    if (!v->items[i]->ended && v->items[i]->key.kind == OBJECT_VM_MIGRATION &&
        text_width(v->items[i]->label) > widest)
      widest = text_width(v->items[i]->label);
  return widest > LABEL_MAX ? LABEL_MAX : (int)widest;
}

void progress_view_draw(struct progress_view *v, int64_t now_ms)
{
  if (v->mode != PROGRESS_BARS || !v->dirty || (v->drawn && now_ms - v->drawn_ms < REDRAW_MS))
    return;
  progress_view_clear(v);
  int room = v->rows - 2;
  int width = label_width(v);
  size_t hidden = 0;
  for (size_t i = 0; i < v->count; i++) {
    const struct item *item = v->items[i];
    if (item->ended || item->key.kind != OBJECT_VM_MIGRATION)
      continue;
    if (v->drawn >= room) {
      hidden++;
      continue;
    }
    struct buf text CLEANUP(buf_release) = BUF_INIT(0);
    progress_line_bar(item, width, v->columns - 1, &text);
    fprintf(v->to, "%s\n", buf_str(&text));
    v->drawn++;
  }
  if (hidden) {
    fprintf(v->to, "... and %zu more\n", hidden);
    v->drawn++;
  }
  fflush(v->to);
  v->drawn_ms = now_ms;
  v->dirty = false;
}
