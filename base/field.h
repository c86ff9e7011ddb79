// SPDX-License-Identifier: Apache-2.0
// JSON by field tables. A struct and a table of its fields replace hand-written decoding: the same
// table decodes, encodes, fills in defaults, checks bounds and frees, and a test compares it with
// the schema in crds/*.yaml.
//
//     struct ssh { char *host; int64_t port; };
//     static const struct field ssh_fields[] = {
//         {"host", FIELD_STRING, offsetof(struct ssh, host), .required = true, .max = 253},
//         {"port", FIELD_INT, offsetof(struct ssh, port), .fallback = "22", .min = 1,
//          .max = 65535},
//     };
//     const struct table ssh_table = TABLE(struct ssh, ssh_fields);
//
// What each type is in the struct:
//     FIELD_STRING    char *                  NULL when absent
//     FIELD_BOOL      bool
//     FIELD_INT       int64_t
//     FIELD_ENUM      int                     index into `names`; absent = 0, so let names[0] be
//                                             the default, or "" for "not said"
//     FIELD_DURATION  int64_t, milliseconds   "90s", "1h30m"; absent = FIELD_DURATION_ABSENT
//     FIELD_BYTES     int64_t, bytes          number, or "2Gi" (Kubernetes quantity); absent = 0
//     FIELD_OBJECT    the struct itself       always there (defaults inside apply)
//     FIELD_POINTER   struct *                NULL when absent
//     FIELD_LIST      struct list             of the nested struct
//     FIELD_STRINGS   struct strings
//     FIELD_MAP       struct strings          alternating key, value, sorted by key
//
// Decoding is strict: an unknown field, a wrong type or a value out of bounds is ERR_INVALID with
// the path: "spec.target.vm.disks[1].format: 'vdi' is not one of raw, qcow2". Rules span fields.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

enum field_type {
  FIELD_STRING,
  FIELD_BOOL,
  FIELD_INT,
  FIELD_ENUM,
  FIELD_DURATION,
  FIELD_BYTES,
  FIELD_OBJECT,
  FIELD_POINTER,
  FIELD_LIST,
  FIELD_STRINGS,
  FIELD_MAP,
};

#define FIELD_DURATION_ABSENT (-1)
#define FIELD_ITEM_BYTES      1024 // one string of STRINGS, one key or value of MAP
#define FIELD_AMOUNT_BYTES    32   // DURATION and BYTES as text
#define FIELD_DURATION_FORM   "^([0-9]+([.][0-9]+)?(h|m|s|ms))+$"
#define FIELD_BYTES_FORM      "^[0-9]+([.][0-9]+)?(k|[KMGTP]i?)?$"

struct strings {
  char **items;
  size_t count;
};

// A list of structs; `items` is cast by the reader: ((struct disk *)list.items)[i].
struct list {
  void *items;
  size_t count;
};

struct table;

struct field {
  const char *name;
  enum field_type type;
  size_t offset;
  const struct table *table; // OBJECT, POINTER, LIST
  const char *const *names;  // ENUM, STRING, STRINGS: accepted words, NULL-terminated
  const char *fallback;      // default, as JSON text: "22", "\"Cold\"", "true"
  const char *pattern;       // STRING(S): POSIX extended and RE2 alike, with its own ^ and $
  // INT, BYTES: value; DURATION: ms; STRING: bytes; LIST, STRINGS, MAP: items. max 0 = no limits
  int64_t min, max;
  int64_t item_max; // STRINGS, MAP: bytes of one item; 0 = FIELD_ITEM_BYTES
  int64_t absent;   // INT without a default: what it is when absent
  // STRING: a JSON number from 0 to this is taken as well, as its text (maxUnavailable: 1); 0:
  // none.
  int64_t number_max;
  bool required;
  bool secret;      // STRING: never encoded by table_encode(), wiped when released
  const char *help; // explain text, one sentence, with the unit
};

// Rows of plain structs, whose fields have neither bounds nor help: FIELD_ROW(STRING, "name",
// struct, member).
#define FIELD_ROW(kind, json, s, member)                                                           \
  {                                                                                                \
    .name = (json), .type = FIELD_##kind, .offset = offsetof(struct s, member)                     \
  }

// Said of a whole object after its fields are in; `message` is what the API server says too (CEL).
struct rule {
  const char *message;
  bool (*holds)(const void *object);
};

struct table {
  const char *name;
  size_t size;
  const struct field *fields;
  size_t field_count;
  const struct rule *rules; // ends with a NULL message; may be NULL
};

#define TABLE(type, rows)                                                                          \
  {                                                                                                \
    .name = #type, .size = sizeof(type), .fields = (rows), .field_count = ARRAY_SIZE(rows)         \
  }

#define TABLE_WITH_RULES(type, rows, its_rules)                                                    \
  {                                                                                                \
    .name = #type, .size = sizeof(type), .fields = (rows), .field_count = ARRAY_SIZE(rows),        \
    .rules = (its_rules)                                                                           \
  }

// Fills *out, which is overwritten, from a JSON object; path is what messages begin with ("spec").
// On an error *out is left released.
int table_decode(const struct table *t, struct json_object *json, const char *path, void *out,
                 struct err *err);
// For what drover itself wrote, perhaps in another version (status): unknown fields are skipped,
// bounds, patterns, required fields and rules not looked at. Wrong types and unknown words of an
// enum are errors still.
int table_decode_lenient(const struct table *t, struct json_object *json, const char *path,
                         void *out, struct err *err);
// As table_decode, from text.
int table_decode_text(const struct table *t, const char *text, const char *path, void *out,
                      struct err *err);
// Absent values (NULL, absent durations, empty lists and objects) are left out, and so are false, 0
// (or what `absent` says) and names[0] of an enum unless the field is required or has a default:
// what comes out decodes to an equal object. The caller owns the result (json_object_put). NULL: no
// memory.
struct json_object *table_encode(const struct table *t, const void *in);
// As decoding {} would, without required. *out is overwritten.
void table_defaults(const struct table *t, void *out);
void table_release(const struct table *t, void *object);
// Deep copy; *to is overwritten.
int table_copy(const struct table *t, const void *from, void *to, struct err *err);
bool table_equal(const struct table *t, const void *a, const void *b);

// The same in few bytes, for objects that are kept by the thousand: what is zero is left out, equal
// texts stand once. It is of this process alone: whoever reads it has the very same tables.
#define SQUEEZE_SEEN 48 // texts that are looked through for an equal one
struct buf;
struct squeezer {
  struct buf *to; // tells whether there was memory
  size_t room;    // bytes that reading will need beside the outermost struct, so far
  uint32_t seen[SQUEEZE_SEEN];
  size_t seen_count;
};
struct unsqueezer {
  const char *bytes, *at; // all of them, and where to read on
  char *room;             // of so many bytes, aligned as malloc() does
};
void table_squeeze(const struct table *t, const void *from, struct squeezer *s);
// *to is overwritten. Its texts lie in the bytes, lists and structs in the room: both must stay,
// and nothing of it is to be changed or released.
void table_unsqueeze(const struct table *t, void *to, struct unsqueezer *u);
void squeeze_text(struct squeezer *s, const char *text); // not NULL
char *unsqueeze_text(struct unsqueezer *u);

void strings_release(struct strings *s);
int strings_add(struct strings *s, const char *text);
// Replaces what is in `to`, which must not be `from`. -1: no memory, and the last ones are missing.
int strings_copy(struct strings *to, const struct strings *from);
bool strings_has(const struct strings *s, const char *text);
const char *strings_map_get(const struct strings *map, const char *key); // NULL: no such key
// Sets or, with value NULL, removes a key; the map stays sorted. -1: no memory.
int strings_map_set(struct strings *map, const char *key, const char *value);
// Appends a zeroed item and returns it; NULL: no memory or `max` reached. size = sizeof one item.
void *list_add(struct list *l, size_t size, size_t max);
