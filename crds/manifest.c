// SPDX-License-Identifier: Apache-2.0
#include "crds/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "base/yaml.h"
#include "crds/object.h"

void manifests_release(struct manifests *m)
{
  for (size_t i = 0; i < m->count; i++) {
    json_object_put(m->items[i].json);
    free(m->items[i].file);
  }
  free(m->items);
  strings_release(&m->notes);
  *m = (struct manifests){0};
}

// Takes json over, also when it fails.
static int add(struct manifests *m, struct json_object *json, const char *file, int line,
               struct err *err)
{
  char *name = strdup(file);
  struct manifest *items = reallocarray(m->items, m->count + 1, sizeof(*items));
  if (items)
    m->items = items;
  if (name && items && m->count < MANIFEST_COUNT_MAX) {
    items[m->count++] = (struct manifest){json, name, (size_t)line};
    return 0;
  }
  json_object_put(json);
  free(name);
  if (m->count >= MANIFEST_COUNT_MAX)
    return err_set(err, ERR_LIMIT, "%s:%d: more than %d objects", file, line, MANIFEST_COUNT_MAX);
  return err_set(err, ERR_NO_MEMORY, "out of memory while reading %s", file);
}

// ---- kinds ----------------------------------------------------------------------------------

static const char *text_of(struct json_object *json, const char *name)
{
  struct json_object *value;
  if (!json_object_object_get_ex(json, name, &value) ||
      !json_object_is_type(value, json_type_string))
    return NULL;
  return json_object_get_string(value);
}

static bool is_core(struct json_object *json, const char *kind)
{
  return str_eq(text_of(json, "apiVersion"), "v1") && str_eq(text_of(json, "kind"), kind);
}

// Standard base64 of RFC 4648, line breaks allowed as Kubernetes allows them.
static bool is_base64(const char *text)
{
  size_t letters = 0;
  size_t pads = 0;
  for (; *text; text++) {
    if (*text == '\n' || *text == '\r')
      continue;
    bool letter = (*text >= 'A' && *text <= 'Z') || (*text >= 'a' && *text <= 'z') ||
                  (*text >= '0' && *text <= '9') || *text == '+' || *text == '/';
    if (*text == '=')
      pads++;
    else if (!letter || pads > 0)
      return false;
    letters += letter;
  }
  return pads <= 2 && (letters + pads) % 4 == 0;
}

// No value is repeated in a message: it may be a secret.
static int check_data(struct json_object *json, const char *member, bool base64, struct err *err)
{
  struct json_object *data;
  if (!json_object_object_get_ex(json, member, &data) || !data)
    return 0;
  if (!json_object_is_type(data, json_type_object))
    return err_set(err, ERR_INVALID, "%s: must be an object", member);
  json_object_object_foreach(data, key, value)
  {
    if (!json_object_is_type(value, json_type_string))
      return err_set(err, ERR_INVALID, "%s.%.80s: must be a string: quote it", member, key);
    if (base64 && !is_base64(json_object_get_string(value)))
      return err_set(err, ERR_INVALID, "%s.%.80s: is not base64; plain text goes in stringData",
                     member, key);
  }
  return 0;
}

static int check_core_name(struct json_object *json, struct err *err)
{
  struct json_object *meta = NULL;
  json_object_object_get_ex(json, "metadata", &meta);
  if (!json_object_is_type(meta, json_type_object) || str_empty(text_of(meta, "name")))
    return err_set(err, ERR_INVALID, "metadata.name: is required");
  return 0;
}

static int check_core_members(struct json_object *json, const char *const *known, struct err *err)
{
  json_object_object_foreach(json, name, value)
  {
    (void)value;
    bool found = false;
    for (size_t i = 0; known[i] && !found; i++)
      found = strcmp(known[i], name) == 0;
    if (!found)
      return err_set(err, ERR_INVALID, "unknown field '%.80s'", name);
  }
  return 0;
}

static int check_secret(struct json_object *json, struct err *err)
{
  static const char *const known[] = {"apiVersion", "kind", "metadata",  "data",
                                      "stringData", "type", "immutable", NULL};
  if (check_core_name(json, err) || check_core_members(json, known, err) ||
      check_data(json, "data", true, err) || check_data(json, "stringData", false, err))
    return -1;
  return 0;
}

static int check_config_map(struct json_object *json, struct err *err)
{
  static const char *const known[] = {"apiVersion", "kind",      "metadata", "data",
                                      "binaryData", "immutable", NULL};
  if (check_core_name(json, err) || check_core_members(json, known, err) ||
      check_data(json, "data", false, err) || check_data(json, "binaryData", true, err))
    return -1;
  return 0;
}

int manifest_check(struct json_object *json, bool *ret_ignore, struct err *err)
{
  *ret_ignore = false;
  if (!json_object_is_type(json, json_type_object))
    return err_set(err, ERR_INVALID, "an object was expected");
  if (is_core(json, "Secret"))
    return check_secret(json, err);
  if (is_core(json, "ConfigMap"))
    return check_config_map(json, err);
  if (is_core(json, "Namespace")) {
    *ret_ignore = true;
    return check_core_name(json, err);
  }
  struct object *o = NULL;
  if (object_decode_strict(json, &o, err))
    return -1;
  object_free(o);
  return 0;
}

// ---- files ----------------------------------------------------------------------------------

static int read_all(int fd, const char *path, struct buf *b, struct err *err)
{
  char chunk[16384];
  for (;;) {
    ssize_t n = read(fd, chunk, sizeof(chunk));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return err_errno(err, errno, "read %s", path);
    if (n == 0)
      return 0;
    buf_add(b, chunk, (size_t)n);
    if (!buf_ok(b))
      return err_set(err, ERR_LIMIT, "%s: over the limit of %u bytes for a manifest", path,
                     YAML_MAX_BYTES);
  }
}

static const char *name_of(struct json_object *json)
{
  struct json_object *meta = NULL;
  json_object_object_get_ex(json, "metadata", &meta);
  const char *name = text_of(meta, "name");
  return name ? name : "";
}

static int take(struct manifests *ret, struct json_object *json, const char *file, int line,
                struct err *err);

static int take_items(struct manifests *ret, struct json_object *list, const char *file, int line,
                      struct err *err)
{
  struct json_object *items = NULL;
  json_object_object_get_ex(list, "items", &items);
  if (!json_object_is_type(items, json_type_array))
    return err_set(err, ERR_INVALID, "%s:%d: items: must be a list", file, line);
  for (size_t i = 0; i < json_object_array_length(items); i++) {
    struct json_object *item = json_object_array_get_idx(items, i);
    if (is_core(item, "List"))
      return err_set(err, ERR_INVALID, "%s:%d: a List must not hold a List", file, line);
    if (take(ret, item, file, line, err))
      return -1;
  }
  return 0;
}

static int take(struct manifests *ret, struct json_object *json, const char *file, int line,
                struct err *err)
{
  bool ignore;
  if (is_core(json, "List"))
    return take_items(ret, json, file, line, err);
  if (manifest_check(json, &ignore, err))
    return err_prefix(err, "%s:%d", file, line);
  if (!ignore)
    return add(ret, json_object_get(json), file, line, err);
  cleanup_free char *note =
      str_printf("%s:%d: Namespace %s is left out: there are none here", file, line, name_of(json));
  return note && strings_add(&ret->notes, note) == 0 ? 0
                                                     : err_set(err, ERR_NO_MEMORY, "out of memory");
}

static int take_document(struct manifests *ret, struct json_object *json, const char *file,
                         int line, struct err *err)
{
  size_t length;
  json_object_to_json_string_length(json, JSON_C_TO_STRING_PLAIN, &length);
  if (length > LIMIT_MANIFEST_BYTES && !is_core(json, "List"))
    return err_set(err, ERR_LIMIT, "%s:%d: an object of %zu bytes is over the limit of %u", file,
                   line, length, LIMIT_MANIFEST_BYTES);
  return take(ret, json, file, line, err);
}

static int read_documents(struct yaml_reader *reader, const char *file, struct manifests *ret,
                          struct err *err)
{
  struct json_object *json = NULL;
  int line;
  int more;
  while ((more = yaml_next(reader, &json, &line, err)) == 1) {
    int result = json ? take_document(ret, json, file, line, err) : 0;
    json_object_put(json);
    if (result)
      return -1;
  }
  return more < 0 ? err_prefix(err, "%s", file) : 0;
}

static int read_file(const char *path, struct manifests *ret, struct err *err)
{
  bool standard = str_eq(path, "-");
  const char *name = standard ? "standard input" : path;
  cleanup_close int fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return err_errno(err, errno, "open %s", name);
  struct buf text CLEANUP(buf_release) = BUF_INIT(YAML_MAX_BYTES);
  if (read_all(fd, name, &text, err))
    return -1;
  struct yaml_reader *reader = yaml_open(buf_str(&text), text.length, err);
  if (!reader)
    return err_prefix(err, "%s", name);
  int result = read_documents(reader, name, ret, err);
  yaml_close(reader);
  return result;
}

static int is_manifest(const struct dirent *entry)
{
  return entry->d_name[0] != '.' &&
         (str_ends(entry->d_name, ".yaml") || str_ends(entry->d_name, ".yml") ||
          str_ends(entry->d_name, ".json"));
}

static int read_entry(const char *folder, const char *name, struct manifests *ret, struct err *err)
{
  cleanup_free char *path = str_printf("%s/%s", folder, name);
  if (!path)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  return read_file(path, ret, err);
}

static int read_folder(const char *path, struct manifests *ret, struct err *err)
{
  struct dirent **entries;
  int count = scandir(path, &entries, is_manifest, alphasort);
  if (count < 0)
    return err_errno(err, errno, "read folder %s", path);
  int result = 0;
  for (int i = 0; i < count; i++) {
    if (result == 0)
      result = read_entry(path, entries[i]->d_name, ret, err);
    free(entries[i]);
  }
  free(entries);
  if (count == 0)
    return err_set(err, ERR_NOT_FOUND, "folder %s holds no *.yaml, *.yml or *.json", path);
  return result;
}

int manifests_read(const char *path, struct manifests *ret, struct err *err)
{
  struct stat st;
  if (!str_eq(path, "-") && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
    return read_folder(path, ret, err);
  return read_file(path, ret, err);
}
