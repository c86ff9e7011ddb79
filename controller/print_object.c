// SPDX-License-Identifier: Apache-2.0
#include "controller/print_object.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "base/yaml.h"
#include "controller/json_path.h"
#include "controller/text_table.h"
#include "kube/object.h"

// ---- printer columns ------------------------------------------------------------------------

#define READY(what) ".status.conditions[?(@.type==\"Ready\")]." what
#define AGE_COLUMN                                                                                 \
  {                                                                                                \
    "Age", ".metadata.creationTimestamp", .age = true                                              \
  }

static const struct print_column provider_columns[] = {
    {"Type", ".spec.type"},
    {"Ready", READY("status")},
    {"Reason", READY("reason")},
    {"Version", ".status.version"},
    {"Endpoint", ".spec.endpoint", .wide = true},
    {"Message", READY("message"), .wide = true},
    AGE_COLUMN,
};

static const struct print_column imagestore_columns[] = {
    {"Location", ".status.location"},
    {"Access", ".spec.access"},
    {"Ready", READY("status")},
    {"Reason", READY("reason")},
    {"Message", READY("message"), .wide = true},
    AGE_COLUMN,
};

static const struct print_column vmmigration_columns[] = {
    {"Source", ".status.summary.source"},
    {"Target", ".status.summary.target"},
    {"Phase", ".status.phase"},
    {"Progress", ".status.summary.progress"},
    {"Rate", ".status.summary.rate"},
    {"ETA", ".status.summary.eta"},
    {"Message", ".status.conditions[?(@.type==\"Finished\")].message", .wide = true},
    AGE_COLUMN,
};

static const struct print_column clonebase_columns[] = {
    {"Provider", ".status.summary.provider"},
    {"Source", ".status.summary.source"},
    {"Phase", ".status.phase"},
    {"Progress", ".status.summary.progress"},
    {"Clones", ".status.dependents"},
    {"Revision", ".status.revision", .wide = true},
    {"Message", READY("message"), .wide = true},
    AGE_COLUMN,
};

static const struct print_column clone_columns[] = {
    {"Set", ".status.summary.set"},
    {"Base", ".status.summary.base"},
    {"State", ".status.phase"},
    {"Address", ".status.summary.address"},
    {"Mode", ".status.mode"},
    {"Bytes", ".status.summary.bytes"},
    {"Node", ".status.node", .wide = true},
    {"Message", READY("message"), .wide = true},
    AGE_COLUMN,
};

static const struct print_column cloneset_columns[] = {
    {"Desired", ".spec.replicas"},
    {"Ready", ".status.readyReplicas"},
    {"Updated", ".status.updatedReplicas"},
    {"Base", ".spec.baseRef.name"},
    {"Current", ".status.currentBase", .wide = true},
    {"Message", READY("message"), .wide = true},
    AGE_COLUMN,
};

static const struct {
  const struct print_column *columns;
  size_t count;
} kind_columns[OBJECT_KIND_COUNT] = {
    [OBJECT_PROVIDER] = {provider_columns, ARRAY_SIZE(provider_columns)},
    [OBJECT_IMAGE_STORE] = {imagestore_columns, ARRAY_SIZE(imagestore_columns)},
    [OBJECT_VM_MIGRATION] = {vmmigration_columns, ARRAY_SIZE(vmmigration_columns)},
    [OBJECT_CLONE_BASE] = {clonebase_columns, ARRAY_SIZE(clonebase_columns)},
    [OBJECT_CLONE] = {clone_columns, ARRAY_SIZE(clone_columns)},
    [OBJECT_CLONE_SET] = {cloneset_columns, ARRAY_SIZE(cloneset_columns)},
};

const struct print_column *print_columns(enum object_kind kind, size_t *ret_count)
{
  *ret_count = kind_columns[kind].count;
  return kind_columns[kind].columns;
}

static const char *age_of(const char *time, int64_t now_wall_ms, char b[32])
{
  int64_t then_ms;
  if (!time || !clock_parse_rfc3339(time, &then_ms))
    return "";
  return text_age((now_wall_ms - then_ms) / 1000, b);
}

static void add_upper(struct text_table *t, const char *text)
{
  char upper[64];
  size_t i = 0;
  for (; text[i] && i + 1 < sizeof(upper); i++)
    upper[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] - 'a' + 'A' : text[i]);
  upper[i] = '\0';
  text_table_add(t, upper);
}

static bool is_shown(const struct print_column *c, const struct print_options *options)
{
  return !c->wide || options->format == PRINT_WIDE;
}

static void add_header(struct text_table *t, enum object_kind kind,
                       const struct print_options *options)
{
  if (options->namespaces)
    text_table_add(t, "NAMESPACE");
  text_table_add(t, "NAME");
  t->columns = options->namespaces ? 2 : 1;
  for (size_t i = 0; i < kind_columns[kind].count; i++)
    if (is_shown(&kind_columns[kind].columns[i], options)) {
      add_upper(t, kind_columns[kind].columns[i].name);
      t->columns++;
    }
}

static void add_row(struct text_table *t, enum object_kind kind, struct json_object *object,
                    const struct print_options *options)
{
  if (options->namespaces)
    text_table_add(t, object_namespace(object));
  text_table_add(t, object_name(object));
  for (size_t i = 0; i < kind_columns[kind].count; i++) {
    const struct print_column *c = &kind_columns[kind].columns[i];
    char b[32];
    const char *text = json_object_get_string(json_path(object, c->path));
    if (is_shown(c, options))
      text_table_add(t, c->age ? age_of(text, options->now_wall_ms, b) : text);
  }
}

static void print_table(enum object_kind kind, struct json_object *objects,
                        const struct print_options *options, FILE *to)
{
  struct text_table t CLEANUP(text_table_release) = {0};
  add_header(&t, kind, options);
  for (size_t i = 0; i < json_object_array_length(objects); i++)
    add_row(&t, kind, json_object_array_get_idx(objects, i), options);
  text_table_print(&t, 0, to);
}

// ---- JSON and YAML --------------------------------------------------------------------------

static int print_json(struct json_object *json, FILE *to, struct err *err)
{
  const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
                                                              JSON_C_TO_STRING_NOSLASHESCAPE);
  if (!text)
    return err_set(err, ERR_NO_MEMORY, "no memory to print");
  fprintf(to, "%s\n", text);
  return 0;
}

static int print_yaml(struct json_object *json, FILE *to, struct err *err)
{
  struct buf text CLEANUP(buf_release) = BUF_INIT(256u << 20);
  if (yaml_write(json, &text, err) != 0)
    return -1;
  if (!buf_ok(&text))
    return err_set(err, ERR_NO_MEMORY, "no memory to print");
  fputs(buf_str(&text), to);
  return 0;
}

static struct json_object *list_of(struct json_object *objects)
{
  struct json_object *list = json_object_new_object();
  if (!list)
    return NULL;
  object_set_string(list, "apiVersion", "v1");
  object_set_string(list, "kind", "List");
  json_object_object_add(list, "items", json_object_get(objects));
  return list;
}

int print_objects(enum object_kind kind, struct json_object *objects,
                  const struct print_options *options, FILE *to, struct err *err)
{
  if (options->format == PRINT_TABLE || options->format == PRINT_WIDE) {
    print_table(kind, objects, options, to);
    return 0;
  }
  bool list = options->list || json_object_array_length(objects) != 1;
  struct json_object *whole cleanup_object =
      list ? list_of(objects) : json_object_get(json_object_array_get_idx(objects, 0));
  if (!whole)
    return err_set(err, ERR_NO_MEMORY, "no memory to print");
  return options->format == PRINT_JSON ? print_json(whole, to, err) : print_yaml(whole, to, err);
}

// ---- describe -------------------------------------------------------------------------------

enum show {
  SHOW_TEXT,
  SHOW_BYTES,
  SHOW_RATE,
  SHOW_AGE,
  SHOW_TIME,
  SHOW_SECONDS,
  SHOW_MILLIS,
  SHOW_WORDS
};

struct shown {
  const char *name, *path;
  enum show show;
};

// Sections of a description, for all kinds: what an object does not have is left out. A section
// with columns is a table over the array at its path.
static const struct shown head[] = {
    {"Name", ".metadata.name", SHOW_TEXT},
    {"Namespace", ".metadata.namespace", SHOW_TEXT},
    {"Kind", ".kind", SHOW_TEXT},
    {"UID", ".metadata.uid", SHOW_TEXT},
    {"Generation", ".metadata.generation", SHOW_TEXT},
    {"Created", ".metadata.creationTimestamp", SHOW_TIME},
    {"Being deleted since", ".metadata.deletionTimestamp", SHOW_TIME},
};

static const struct shown state[] = {
    {"Provider", ".status.summary.provider", SHOW_TEXT},
    {"Set", ".status.summary.set", SHOW_TEXT},
    {"Base", ".status.base", SHOW_TEXT},
    {"Base, so far", ".status.currentBase", SHOW_TEXT},
    {"Base, wanted", ".status.updateBase", SHOW_TEXT},
    {"Source", ".status.summary.source", SHOW_TEXT},
    {"Target", ".status.summary.target", SHOW_TEXT},
    {"Phase", ".status.phase", SHOW_TEXT},
    {"Started", ".status.startTime", SHOW_TIME},
    {"Completed", ".status.completionTime", SHOW_TIME},
    {"Tries again", ".status.runner.nextTryTime", SHOW_TIME},
    {"Retries", ".status.retries", SHOW_TEXT},
    {"Progress", ".status.summary.progress", SHOW_TEXT},
    {"Size of the disks", ".status.progress.totalBytes", SHOW_BYTES},
    {"Data", ".status.progress.dataBytes", SHOW_BYTES},
    {"Moved", ".status.progress.transferredBytes", SHOW_BYTES},
    {"Moved again", ".status.progress.resentBytes", SHOW_BYTES},
    {"Rate", ".status.progress.bytesPerSecond", SHOW_RATE},
    {"Time left", ".status.summary.eta", SHOW_TEXT},
    {"Version", ".status.version", SHOW_TEXT},
    {"Host", ".status.host", SHOW_TEXT},
    {"Capabilities", ".status.capabilities", SHOW_WORDS},
    {"Networks", ".status.inventory.networks", SHOW_WORDS},
    {"VMs", ".status.inventory.vms", SHOW_TEXT},
    {"Location", ".status.location", SHOW_TEXT},
    {"Free", ".status.freeBytes", SHOW_BYTES},
    {"Last probe", ".status.lastProbeTime", SHOW_TIME},
    {"Used by", ".status.dependents", SHOW_TEXT},
    {"Name there", ".status.name", SHOW_TEXT},
    {"Id there", ".status.id", SHOW_TEXT},
    {"Node", ".status.node", SHOW_TEXT},
    {"Addresses", ".status.addresses", SHOW_WORDS},
    {"Mode", ".status.mode", SHOW_TEXT},
    {"Revision", ".status.revision", SHOW_TEXT},
    {"Clones", ".status.replicas", SHOW_TEXT},
    {"Ready", ".status.readyReplicas", SHOW_TEXT},
    {"Available", ".status.availableReplicas", SHOW_TEXT},
    {"Updated", ".status.updatedReplicas", SHOW_TEXT},
    {"Takes", ".status.bytes", SHOW_BYTES},
    {"All of them take", ".status.bytesUsed", SHOW_BYTES},
    {"Saved", ".status.bytesSaved", SHOW_BYTES},
    {"Memory in use", ".status.memoryBytes", SHOW_BYTES},
    {"Made in", ".status.cloneMillis", SHOW_MILLIS},
    {"Ready after", ".status.readyMillis", SHOW_MILLIS},
    {"Made anew", ".status.recreated", SHOW_TEXT},
    {"Result: VM", ".status.result.vm.name", SHOW_TEXT},
    {"Result: id", ".status.result.vm.id", SHOW_TEXT},
    {"Result: node", ".status.result.vm.node", SHOW_TEXT},
};

#define COLUMNS_OF_SECTION 10
struct section {
  const char *title, *path;
  struct shown columns[COLUMNS_OF_SECTION]; // ends with a NULL name
};

static const struct section sections[] = {
    {"Conditions",
     ".status.conditions",
     {{"TYPE", ".type", SHOW_TEXT},
      {"STATUS", ".status", SHOW_TEXT},
      {"REASON", ".reason", SHOW_TEXT},
      {"SINCE", ".lastTransitionTime", SHOW_AGE},
      {"MESSAGE", ".message", SHOW_TEXT}}},
    {"Storages",
     ".status.inventory.storages",
     {{"NAME", ".name", SHOW_TEXT},
      {"TYPE", ".type", SHOW_TEXT},
      {"FREE", ".freeBytes", SHOW_BYTES},
      {"CAPACITY", ".capacityBytes", SHOW_BYTES}}},
    {"Disks",
     ".status.disks",
     {{"NAME", ".name", SHOW_TEXT},
      {"PHASE", ".phase", SHOW_TEXT},
      {"FORMAT", ".format", SHOW_TEXT},
      {"SIZE", ".capacityBytes", SHOW_BYTES},
      {"DATA", ".dataBytes", SHOW_BYTES},
      {"MOVED", ".transferredBytes", SHOW_BYTES},
      {"VERIFIED", ".verifiedBytes", SHOW_BYTES},
      {"TRIES", ".attempts", SHOW_TEXT},
      {"MESSAGE", ".message", SHOW_TEXT}}},
    {"Where the disks go",
     ".status.disks",
     {{"NAME", ".name", SHOW_TEXT},
      {"SOURCE", ".source", SHOW_TEXT},
      {"TARGET", ".target", SHOW_TEXT},
      {"CONTENT DIGEST", ".contentDigest", SHOW_TEXT}}},
    {"Clones that are not as they shall be",
     ".status.failures",
     {{"CLONE", ".clone", SHOW_TEXT},
      {"REASON", ".reason", SHOW_TEXT},
      {"MESSAGE", ".message", SHOW_TEXT}}},
    {"Preflight",
     ".status.preflight",
     {{"CHECK", ".check", SHOW_TEXT},
      {"SEVERITY", ".severity", SHOW_TEXT},
      {"MESSAGE", ".message", SHOW_TEXT},
      {"SUGGESTION", ".suggestion", SHOW_TEXT}}},
    {"Owned (what drover takes back if this does not succeed)",
     ".status.owned",
     {{"KIND", ".kind", SHOW_TEXT},
      {"ROLE", ".role", SHOW_TEXT},
      {"DISK", ".disk", SHOW_TEXT},
      {"WHERE", ".where", SHOW_TEXT},
      {"ID", ".id", SHOW_TEXT}}},
    {"Result: images",
     ".status.result.images",
     {{"STORE", ".store", SHOW_TEXT},
      {"PATH", ".path", SHOW_TEXT},
      {"DIGEST", ".digest", SHOW_TEXT}}},
};

static const struct section events_section = {"Events",
                                              "",
                                              {{"LAST", ".last", SHOW_AGE},
                                               {"TYPE", ".type", SHOW_TEXT},
                                               {"REASON", ".reason", SHOW_TEXT},
                                               {"COUNT", ".count", SHOW_TEXT},
                                               {"MESSAGE", ".message", SHOW_TEXT}}};

static void show_words(struct json_object *array, struct buf *to)
{
  for (size_t i = 0; i < json_object_array_length(array); i++)
    buf_printf(to, "%s%s", i ? ", " : "",
               json_object_get_string(json_object_array_get_idx(array, i)));
}

// Appends the value in the form that is asked for; nothing when there is none to show.
static void show_value(const struct shown *s, struct json_object *value, int64_t now_wall_ms,
                       struct buf *to)
{
  char b[32];
  const char *text = json_object_get_string(value);
  if (!value || str_empty(text))
    return;
  double number = json_object_get_double(value);
  switch (s->show) {
  case SHOW_TEXT:
    buf_adds(to, text);
    break;
  case SHOW_BYTES:
  case SHOW_RATE:
    if (number > 0)
      buf_printf(to, "%s%s", str_human_bytes(number, b), s->show == SHOW_RATE ? "/s" : "");
    break;
  case SHOW_SECONDS:
    buf_adds(to, str_human_duration((int64_t)number, b));
    break;
  case SHOW_MILLIS:
    buf_printf(to, "%s ms", text);
    break;
  case SHOW_AGE:
    buf_adds(to, age_of(text, now_wall_ms, b));
    break;
  case SHOW_TIME:
    buf_printf(to, "%s (%s ago)", text, age_of(text, now_wall_ms, b));
    break;
  case SHOW_WORDS:
    if (json_object_is_type(value, json_type_array))
      show_words(value, to);
    break;
  }
}

static void print_fields(const struct shown *fields, size_t count, struct json_object *object,
                         int64_t now_wall_ms, FILE *to)
{
  for (size_t i = 0; i < count; i++) {
    struct buf text CLEANUP(buf_release) = BUF_INIT(LIMIT_MANIFEST_BYTES);
    show_value(&fields[i], json_path(object, fields[i].path), now_wall_ms, &text);
    cleanup_free char *clean = text_harmless(buf_str(&text));
    if (*clean)
      fprintf(to, "%s:%*s%s\n", fields[i].name, (int)(21 - strlen(fields[i].name)), "", clean);
  }
}

static void print_section(const struct section *s, struct json_object *array, int indent,
                          int64_t now_wall_ms, FILE *to)
{
  struct text_table t CLEANUP(text_table_release) = {0};
  if (!json_object_is_type(array, json_type_array) || json_object_array_length(array) == 0)
    return;
  while (t.columns < COLUMNS_OF_SECTION && s->columns[t.columns].name)
    text_table_add(&t, s->columns[t.columns++].name);
  for (size_t row = 0; row < json_object_array_length(array); row++)
    for (size_t c = 0; c < t.columns; c++) {
      struct buf text CLEANUP(buf_release) = BUF_INIT(LIMIT_MANIFEST_BYTES);
      show_value(&s->columns[c],
                 json_path(json_object_array_get_idx(array, row), s->columns[c].path), now_wall_ms,
                 &text);
      text_table_add(&t, buf_str(&text));
    }
  if (s->title)
    fprintf(to, "\n%s:\n", s->title);
  text_table_print(&t, indent, to);
}

void print_preflight(struct json_object *object, int indent, FILE *to)
{
  for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
    if (str_eq(sections[i].title, "Preflight")) {
      struct section untitled = sections[i];
      untitled.title = NULL;
      print_section(&untitled, json_path(object, untitled.path), indent, 0, to);
    }
}

// The user's own words, as YAML.
static int print_part(struct json_object *object, const char *title, const char *path, FILE *to,
                      struct err *err)
{
  struct json_object *part = json_path(object, path);
  struct buf text CLEANUP(buf_release) = BUF_INIT(16 * LIMIT_MANIFEST_BYTES);
  if (!json_object_is_type(part, json_type_object) || json_object_object_length(part) == 0)
    return 0;
  if (yaml_write(part, &text, err) != 0)
    return -1;
  fprintf(to, "\n%s:\n", title);
  char *rest = NULL;
  for (char *line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    cleanup_free char *clean = text_harmless(line);
    fprintf(to, "  %s\n", clean);
  }
  return 0;
}

int print_description(struct json_object *object, struct json_object *events, int64_t now_wall_ms,
                      FILE *to, struct err *err)
{
  print_fields(head, ARRAY_SIZE(head), object, now_wall_ms, to);
  print_fields(state, ARRAY_SIZE(state), object, now_wall_ms, to);
  if (print_part(object, "Labels", ".metadata.labels", to, err) != 0 ||
      print_part(object, "Annotations", ".metadata.annotations", to, err) != 0 ||
      print_part(object, "Spec", ".spec", to, err) != 0)
    return -1;
  for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
    print_section(&sections[i], json_path(object, sections[i].path), 2, now_wall_ms, to);
  print_section(&events_section, events, 2, now_wall_ms, to);
  return 0;
}
