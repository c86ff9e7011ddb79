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
#include "base/str.h"
#include "crds/manifest_internal.h"
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

int manifests_add(struct manifests *m, struct json_object *json, const char *file, size_t line,
                  struct err *err)
{
  char *name = strdup(file);
  struct manifest *items = reallocarray(m->items, m->count + 1, sizeof(*items));
  if (items)
    m->items = items;
  if (name && items && m->count < MANIFEST_COUNT_MAX) {
    items[m->count++] = (struct manifest){json, name, line};
    return 0;
  }
  json_object_put(json);
  free(name);
  if (m->count >= MANIFEST_COUNT_MAX)
    return err_set(err, ERR_LIMIT, "%s:%zu: more than %d objects", file, line, MANIFEST_COUNT_MAX);
  return err_set(err, ERR_NO_MEMORY, "out of memory while reading %s", file);
}

// ---- JSON -----------------------------------------------------------------------------------

static size_t line_at(const char *text, size_t offset)
{
  size_t line = 1;
  for (size_t i = 0; i < offset; i++)
    line += text[i] == '\n';
  return line;
}

static size_t skip_space(const char *text, size_t length, size_t at)
{
  while (at < length && strchr(" \t\r\n", text[at]) && text[at])
    at++;
  return at;
}

static int parse_values(struct json_tokener *tokener, const char *text, size_t length,
                        const char *name, struct manifests *ret, struct err *err)
{
  for (size_t at = skip_space(text, length, 0); at < length; at = skip_space(text, length, at)) {
    json_tokener_reset(tokener);
    struct json_object *json = json_tokener_parse_ex(tokener, text + at, (int)(length - at));
    enum json_tokener_error fault = json_tokener_get_error(tokener);
    if (fault != json_tokener_success)
      return err_set(err, ERR_INVALID, "%s:%zu: not JSON: %s", name,
                     line_at(text, at + json_tokener_get_parse_end(tokener)),
                     fault == json_tokener_continue ? "ends too early"
                                                    : json_tokener_error_desc(fault));
    if (json && manifests_add(ret, json, name, line_at(text, at), err))
      return -1;
    at += json_tokener_get_parse_end(tokener);
  }
  return 0;
}

int manifests_parse_json(const char *text, size_t length, const char *name, struct manifests *ret,
                         struct err *err)
{
  struct json_tokener *tokener = json_tokener_new_ex(MANIFEST_DEPTH_MAX);
  if (!tokener)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8 | JSON_TOKENER_ALLOW_TRAILING_CHARS);
  int result = parse_values(tokener, text, length, name, ret, err);
  json_tokener_free(tokener);
  return result;
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
                     MANIFEST_FILE_BYTES);
  }
}

static const char *name_of(struct json_object *json)
{
  struct json_object *meta = NULL;
  json_object_object_get_ex(json, "metadata", &meta);
  const char *name = text_of(meta, "name");
  return name ? name : "";
}

static int take(struct manifests *ret, struct json_object *json, const char *file, size_t line,
                struct err *err);

static int take_items(struct manifests *ret, struct json_object *list, const char *file,
                      size_t line, struct err *err)
{
  struct json_object *items = NULL;
  json_object_object_get_ex(list, "items", &items);
  if (!json_object_is_type(items, json_type_array))
    return err_set(err, ERR_INVALID, "%s:%zu: items: must be a list", file, line);
  for (size_t i = 0; i < json_object_array_length(items); i++) {
    struct json_object *item = json_object_array_get_idx(items, i);
    if (is_core(item, "List"))
      return err_set(err, ERR_INVALID, "%s:%zu: a List must not hold a List", file, line);
    if (take(ret, item, file, line, err))
      return -1;
  }
  return 0;
}

static int take(struct manifests *ret, struct json_object *json, const char *file, size_t line,
                struct err *err)
{
  bool ignore;
  if (is_core(json, "List"))
    return take_items(ret, json, file, line, err);
  if (manifest_check(json, &ignore, err))
    return err_prefix(err, "%s:%zu", file, line);
  if (!ignore)
    return manifests_add(ret, json_object_get(json), file, line, err);
  cleanup_free char *note = str_printf("%s:%zu: Namespace %s is left out: there are none here",
                                       file, line, name_of(json));
  return note && strings_add(&ret->notes, note) == 0 ? 0
                                                     : err_set(err, ERR_NO_MEMORY, "out of memory");
}

static int read_text(const struct buf *text, const char *path, struct manifests *ret,
                     struct err *err)
{
  struct manifests documents CLEANUP(manifests_release) = {0};
  bool json = str_ends(path, ".json");
  if ((json ? manifests_parse_json : manifests_parse_yaml)(buf_str(text), text->length, path,
                                                           &documents, err))
    return -1;
  for (size_t i = 0; i < documents.count; i++)
    if (take(ret, documents.items[i].json, path, documents.items[i].line, err))
      return -1;
  return 0;
}

static int read_file(const char *path, struct manifests *ret, struct err *err)
{
  bool standard = str_eq(path, "-");
  const char *name = standard ? "standard input" : path;
  cleanup_close int fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return err_errno(err, errno, "open %s", name);
  struct buf text CLEANUP(buf_release) = BUF_INIT(MANIFEST_FILE_BYTES);
  return read_all(fd, name, &text, err) ? -1 : read_text(&text, name, ret, err);
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
