// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/str.h"
#include "disk/copy.h"
#include "mover/ends.h"
#include "mover/mover.h"

#define SPEC_VERSION  1
#define SECRETS_DEPTH 4

static const struct field object_fields[] = {
    {"store", FIELD_OBJECT, offsetof(struct mover_object, store), .table = &storage_config_table,
     .required = true, .help = "the store and how to reach it"},
    {"key", FIELD_STRING, offsetof(struct mover_object, key), .required = true, .min = 1,
     .max = LIMIT_PATH_BYTES, .help = "key of the image"},
    {"format", FIELD_ENUM, offsetof(struct mover_object, format), .names = disk_format_names,
     .help = "format of the image"},
    {"overwrite", FIELD_BOOL, offsetof(struct mover_object, overwrite),
     .help = "an object of that key is replaced"},
    {"manifest", FIELD_BOOL, offsetof(struct mover_object, manifest),
     .help = "a manifest beside the image is written, or obeyed when there"},
};

static const struct table object_table = TABLE(struct mover_object, object_fields);

static const struct field pattern_fields[] = {
    {"sizeBytes", FIELD_INT, offsetof(struct mover_pattern, size_bytes), .required = true, .min = 0,
     .max = LIMIT_DISK_BYTES, .help = "size of the disk, bytes"},
    {"seed", FIELD_INT, offsetof(struct mover_pattern, seed), .min = 0, .max = INT64_MAX,
     .help = "another seed gives other data"},
    {"dataPercent", FIELD_INT, offsetof(struct mover_pattern, data_percent), .required = true,
     .min = 0, .max = 100, .help = "how much of the disk is data"},
};

static const struct table pattern_table = TABLE(struct mover_pattern, pattern_fields);

static const struct field end_fields[] = {
    {"reach", FIELD_POINTER, offsetof(struct mover_end, reach), .table = &reach_table,
     .help = "a file, device or NBD export"},
    {"object", FIELD_POINTER, offsetof(struct mover_end, object), .table = &object_table,
     .help = "an object in a store"},
    {"pattern", FIELD_POINTER, offsetof(struct mover_end, pattern), .table = &pattern_table,
     .help = "made-up data"},
    {"null", FIELD_BOOL, offsetof(struct mover_end, null), .help = "nothing"},
    {"replace", FIELD_BOOL, offsetof(struct mover_end, replace),
     .help = "a file found at the place of a new one is replaced"},
};

static bool end_is_one(const void *object)
{
  const struct mover_end *e = object;
  return (e->reach != NULL) + (e->object != NULL) + (e->pattern != NULL) + e->null == 1;
}

static const struct rule end_rules[] = {
    {"exactly one of reach, object, pattern and null must be set", end_is_one},
    {NULL, NULL},
};

static const struct table end_table = {
    .name = "struct mover_end",
    .size = sizeof(struct mover_end),
    .fields = end_fields,
    .field_count = ARRAY_SIZE(end_fields),
    .rules = end_rules,
};

static const struct field spec_fields[] = {
    {"version", FIELD_INT, offsetof(struct mover_spec, version), .required = true,
     .min = SPEC_VERSION, .max = SPEC_VERSION, .help = "1"},
    {"owner", FIELD_STRING, offsetof(struct mover_spec, owner), .required = true, .min = 1,
     .max = 199, .help = "mark of everything made"},
    {"disk", FIELD_STRING, offsetof(struct mover_spec, disk), .max = LIMIT_NAME_BYTES,
     .help = "name of the disk, for messages"},
    {"attempt", FIELD_INT, offsetof(struct mover_spec, attempt), .min = 0, .max = INT64_MAX,
     .help = "number of the attempt, repeated in every line"},
    {"source", FIELD_OBJECT, offsetof(struct mover_spec, source), .table = &end_table,
     .required = true, .help = "where the disk is"},
    {"target", FIELD_OBJECT, offsetof(struct mover_spec, target), .table = &end_table,
     .required = true, .help = "where it goes"},
    {"verify", FIELD_ENUM, offsetof(struct mover_spec, verify), .names = copy_verify_names,
     .help = "how the result is verified"},
    {"lanes", FIELD_INT, offsetof(struct mover_spec, lanes), .min = 0, .max = COPY_LANES_MAX,
     .help = "connections at a time, 0 = default"},
    {"bytesPerSecond", FIELD_INT, offsetof(struct mover_spec, bytes_per_second), .min = 0,
     .max = INT64_MAX, .help = "limit in bytes per second, 0 = none"},
    {"stallTimeoutMs", FIELD_INT, offsetof(struct mover_spec, stall_timeout_ms), .min = 0,
     .max = 86400000, .help = "milliseconds without a byte before giving up, 0 = default"},
    {"noSparse", FIELD_BOOL, offsetof(struct mover_spec, no_sparse), .help = "zeros are written"},
    {"compress", FIELD_BOOL, offsetof(struct mover_spec, compress),
     .help = "a qcow2 gets compressed clusters (zstd)"},
    {"vmdkAdapter", FIELD_ENUM, offsetof(struct mover_spec, vmdk_adapter),
     .names = vmdk_adapter_names, .help = "adapter type that a vmdk names"},
    {"vmdkHardware", FIELD_INT, offsetof(struct mover_spec, vmdk_hardware), .min = 0,
     .max = VMDK_HARDWARE_MAX, .help = "virtual hardware version that a vmdk names, 0 = default"},
    {"noObjectSha256", FIELD_BOOL, offsetof(struct mover_spec, no_object_sha256),
     .help = "the plain SHA-256 of what is stored is not wanted"},
    {"expectedDigest", FIELD_STRING, offsetof(struct mover_spec, expected_digest), .max = 127,
     .pattern = "^merkle-sha256-4m:[0-9]+:[0-9a-f]{64}$",
     .help = "content digest that must come out"},
    {"checkpoint", FIELD_STRING, offsetof(struct mover_spec, checkpoint), .min = 1,
     .max = LIMIT_PATH_BYTES, .help = "file in which what is finished is noted"},
    {"repair", FIELD_BOOL, offsetof(struct mover_spec, repair),
     .help = "the image is there: only what is damaged is written"},
    {"expectedSha256", FIELD_STRING, offsetof(struct mover_spec, expected_sha256), .max = 64,
     .pattern = "^[0-9a-f]{64}$", .help = "SHA-256 of the stored bytes of the source"},
    {"allowedEndpoints", FIELD_STRINGS, offsetof(struct mover_spec, allowed_endpoints), .max = 256,
     .help = "networks that stores may be in, all when empty"},
};

static bool digest_is_made(const void *object)
{
  const struct mover_spec *s = object;
  return !s->expected_digest || s->verify != COPY_VERIFY_NONE;
}

static bool target_takes_data(const void *object)
{
  const struct mover_spec *s = object;
  return !s->target.pattern;
}

static bool target_format_is_said(const void *object)
{
  const struct mover_spec *s = object;
  return !s->target.object || s->target.object->format != DISK_FORMAT_ANY;
}

static int target_format(const struct mover_end *e)
{
  return e->object ? e->object->format : e->reach ? e->reach->format : DISK_FORMAT_ANY;
}

static bool vmdk_is_written(const void *object)
{
  const struct mover_spec *s = object;
  return (!s->vmdk_adapter && !s->vmdk_hardware) || target_format(&s->target) == DISK_FORMAT_VMDK;
}

static bool vmdk_hardware_exists(const void *object)
{
  const struct mover_spec *s = object;
  return !s->vmdk_hardware || s->vmdk_hardware >= VMDK_HARDWARE_MIN;
}

static bool new_qcow2_is_written(const void *object)
{
  const struct mover_spec *s = object;
  bool new = s->target.object || (s->target.reach && s->target.reach->create);
  return !s->compress || (new &&target_format(&s->target) == DISK_FORMAT_QCOW2);
}

static bool target_can_be_damaged(const void *object)
{
  const struct mover_spec *s = object;
  const struct mover_end *t = &s->target;
  return !s->repair || t->object || (t->reach && t->reach->kind == REACH_FILE && t->reach->create);
}

static bool repair_stands_alone(const void *object)
{
  const struct mover_spec *s = object;
  bool replaces = s->target.replace || (s->target.object && s->target.object->overwrite);
  return !s->repair || (!replaces && !s->checkpoint && s->verify != COPY_VERIFY_NONE);
}

static const struct rule spec_rules[] = {
    {"repair is for image files and objects in stores: what is written in place is copied again",
     target_can_be_damaged},
    {"repair goes neither with overwriting nor with a checkpoint nor with verify None",
     repair_stands_alone},
    {"compress is for a target that is a new image of format qcow2", new_qcow2_is_written},
    {"vmdkAdapter and vmdkHardware are for a target of format vmdk", vmdk_is_written},
    {"vmdkHardware must be 4 or more", vmdk_hardware_exists},
    {"expectedDigest cannot be checked with verify None", digest_is_made},
    {"target cannot be a pattern", target_takes_data},
    {"target.object.format must be set", target_format_is_said},
    {NULL, NULL},
};

const struct table mover_spec_table = {
    .name = "struct mover_spec",
    .size = sizeof(struct mover_spec),
    .fields = spec_fields,
    .field_count = ARRAY_SIZE(spec_fields),
    .rules = spec_rules,
};

// Every secret that an end can hold, and where. The only list of them.
static const struct secret_row {
  const char *name;
  bool of_reach;
  size_t offset; // in struct reach or struct storage_config
} secret_rows[] = {
    {"sshKey", true, offsetof(struct reach, ssh_key)},
    {"tlsKey", true, offsetof(struct reach, tls_key)},
    {"password", false, offsetof(struct storage_config, password)},
    {"token", false, offsetof(struct storage_config, token)},
    {"accessKeyId", false, offsetof(struct storage_config, access_key_id)},
    {"secretAccessKey", false, offsetof(struct storage_config, secret_access_key)},
    {"sessionToken", false, offsetof(struct storage_config, session_token)},
};

// NULL: an end of that kind has no such secret.
static struct secret *secret_of(const struct mover_end *e, const struct secret_row *row)
{
  char *base = row->of_reach ? (char *)e->reach : e->object ? (char *)&e->object->store : NULL;
  return base ? (struct secret *)(base + row->offset) : NULL;
}

static void release_secrets(struct mover_end *e)
{
  for (size_t i = 0; i < ARRAY_SIZE(secret_rows); i++) {
    struct secret *s = secret_of(e, &secret_rows[i]);
    if (s)
      secret_release(s);
  }
}

static void forget_file(struct mover_end *e)
{
  if (e->object)
    free(e->object->credentials_file);
}

void mover_end_release(struct mover_end *e)
{
  release_secrets(e);
  forget_file(e);
  table_release(&end_table, e);
  *e = (struct mover_end){0};
}

void mover_spec_release(struct mover_spec *s)
{
  release_secrets(&s->source);
  release_secrets(&s->target);
  forget_file(&s->source);
  forget_file(&s->target);
  free(s->secrets_file);
  table_release(&mover_spec_table, s);
  *s = (struct mover_spec){0};
}

// json-c frees strings without wiping them. Whatever the document is: a wrong one may hold secrets
// as well. It is at most SECRETS_DEPTH deep.
static void wipe(struct json_object *o)
{
  if (json_object_is_type(o, json_type_string))
    explicit_bzero((char *)json_object_get_string(o), (size_t)json_object_get_string_len(o));
  for (size_t i = 0; json_object_is_type(o, json_type_array) && i < json_object_array_length(o);
       i++)
    wipe(json_object_array_get_idx(o, i));
  if (!json_object_is_type(o, json_type_object))
    return;
  json_object_object_foreach(o, name, value)
  {
    (void)name;
    wipe(value);
  }
}

static void put_wiped(struct json_object **tree)
{
  wipe(*tree);
  json_object_put(*tree);
}

static struct json_object *encode_secrets_of(const struct mover_end *e)
{
  struct json_object *object = json_object_new_object();
  for (size_t i = 0; object && i < ARRAY_SIZE(secret_rows); i++) {
    const struct secret *s = secret_of(e, &secret_rows[i]);
    if (s && !secret_empty(s))
      json_object_object_add(object, secret_rows[i].name, json_object_new_string(secret_reveal(s)));
  }
  return object;
}

static char *encode_secrets(const struct mover_spec *s)
{
  struct json_object *tree CLEANUP(put_wiped) = json_object_new_object();
  if (!tree)
    return NULL;
  json_object_object_add(tree, "source", encode_secrets_of(&s->source));
  json_object_object_add(tree, "target", encode_secrets_of(&s->target));
  const char *text = json_object_to_json_string_ext(tree, JSON_C_TO_STRING_PLAIN);
  char *copy = str_dup(text);
  if (text)
    explicit_bzero((char *)text, strlen(text));
  return copy;
}

int mover_spec_encode(const struct mover_spec *s, char **ret_spec, char **ret_secrets,
                      struct err *err)
{
  struct json_object *tree = table_encode(&mover_spec_table, s);
  char *spec cleanup_free =
      tree ? str_dup(json_object_to_json_string_ext(tree, JSON_C_TO_STRING_PLAIN)) : NULL;
  json_object_put(tree);
  if (!spec)
    return err_set(err, ERR_NO_MEMORY, "no memory for a mover's document");
  if (strlen(spec) > LIMIT_MANIFEST_BYTES)
    return err_set(err, ERR_LIMIT, "a mover's document would be larger than %u bytes",
                   LIMIT_MANIFEST_BYTES);
  char *secrets = encode_secrets(s);
  if (!secrets)
    return err_set(err, ERR_NO_MEMORY, "no memory for a mover's secrets");
  *ret_spec = TAKE(spec);
  *ret_secrets = secrets;
  return 0;
}

static int decode_secret(const struct mover_end *e, const char *end_name, const char *name,
                         struct json_object *value, struct err *err)
{
  for (size_t i = 0; i < ARRAY_SIZE(secret_rows); i++) {
    struct secret *s = secret_of(e, &secret_rows[i]);
    if (!s || !str_eq(secret_rows[i].name, name))
      continue;
    if (!json_object_is_type(value, json_type_string))
      return err_set(err, ERR_INVALID, "secrets.%s.%s: not a string", end_name, name);
    if (secret_set(s, json_object_get_string(value), (size_t)json_object_get_string_len(value)))
      return err_set(err, ERR_LIMIT, "secrets.%s.%s: too long", end_name, name);
    return 0;
  }
  return err_set(err, ERR_INVALID, "secrets.%s.%s: an end of this kind has no such secret",
                 end_name, name);
}

static int decode_secrets_of(const struct mover_end *e, const char *end_name,
                             struct json_object *values, struct err *err)
{
  if (!json_object_is_type(values, json_type_object))
    return err_set(err, ERR_INVALID, "secrets.%s: not an object", end_name);
  json_object_object_foreach(values, name, value)
  {
    if (decode_secret(e, end_name, name, value, err))
      return -1;
  }
  return 0;
}

static int decode_secrets_tree(struct json_object *tree, struct mover_spec *s, struct err *err)
{
  json_object_object_foreach(tree, name, values)
  {
    const struct mover_end *e = str_eq(name, "source")   ? &s->source
                                : str_eq(name, "target") ? &s->target
                                                         : NULL;
    if (!e)
      return err_set(err, ERR_INVALID, "secrets: neither source nor target");
    if (decode_secrets_of(e, name, values, err))
      return -1;
  }
  return 0;
}

static int decode_secrets(const char *text, struct mover_spec *s, struct err *err)
{
  struct json_tokener *tokener = json_tokener_new_ex(SECRETS_DEPTH);
  if (!tokener)
    return err_set(err, ERR_NO_MEMORY, "no memory for a mover's secrets");
  json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
  struct json_object *tree = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
  json_tokener_free(tokener);
  int rc;
  if (json_object_is_type(tree, json_type_object))
    rc = decode_secrets_tree(tree, s, err);
  else
    rc = err_set(err, ERR_INVALID, "secrets: not a JSON object");
  put_wiped(&tree);
  return rc;
}

int mover_spec_decode(const char *spec, const char *secrets, struct mover_spec *ret,
                      struct err *err)
{
  if (strlen(spec) > LIMIT_MANIFEST_BYTES || (secrets && strlen(secrets) > SECRET_MAX_BYTES))
    return err_set(err, ERR_LIMIT, "the mover's document is too long");
  struct mover_spec s CLEANUP(mover_spec_release) = {0};
  if (table_decode_text(&mover_spec_table, spec, "spec", &s, err))
    return -1;
  if (secrets && decode_secrets(secrets, &s, err))
    return -1;
  *ret = s;
  s = (struct mover_spec){0};
  return 0;
}

int mover_spec_check(const struct mover_spec *s, struct err *err)
{
  struct mover_spec copy = {0};
  char *text cleanup_free = NULL;
  char *secrets = NULL;
  if (mover_spec_encode(s, &text, &secrets, err))
    return -1;
  int rc = mover_spec_decode(text, secrets, &copy, err);
  secret_free_string(secrets);
  mover_spec_release(&copy);
  return rc;
}

// A whole file, regular or not. Yours: secret_free_string() (it may hold secrets).
static int read_text(const char *path, size_t max, char **ret, struct err *err)
{
  int fd cleanup_close = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return err_errno(err, errno, "open %s", path);
  char *text CLEANUP(cleanup_free_) = calloc(1, max + 1);
  if (!text)
    return err_set(err, ERR_NO_MEMORY, "no memory for %s", path);
  size_t length = 0;
  ssize_t n;
  while ((n = read(fd, text + length, max + 1 - length)) > 0) {
    length += (size_t)n;
    if (length > max) {
      explicit_bzero(text, length);
      return err_set(err, ERR_LIMIT, "%s is longer than %zu bytes", path, max);
    }
  }
  if (n < 0) {
    int number = errno;
    explicit_bzero(text, length);
    return err_errno(err, number, "read %s", path);
  }
  *ret = TAKE(text);
  return 0;
}

static void free_secret_text(char **text)
{
  if (*text)
    secret_free_string(*text);
}

// A pipe can be read once; a file, and memory that was handed over as one, again and again.
static int note_secrets_file(struct mover_spec *s, const char *path, struct err *err)
{
  struct stat st;
  if (!path || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
    return 0;
  s->secrets_file = str_dup(path);
  return s->secrets_file ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a path");
}

int mover_spec_read(const char *spec_path, const char *secrets_path, struct mover_spec *ret,
                    struct err *err)
{
  char *spec cleanup_free = NULL;
  char *secrets CLEANUP(free_secret_text) = NULL;
  if (read_text(spec_path, LIMIT_MANIFEST_BYTES, &spec, err))
    return -1;
  if (secrets_path && read_text(secrets_path, SECRET_MAX_BYTES, &secrets, err))
    return -1;
  if (mover_spec_decode(spec, secrets, ret, err))
    return -1;
  if (note_secrets_file(ret, secrets_path, err) == 0)
    return 0;
  mover_spec_release(ret);
  return -1;
}

// The document with the secrets that its file holds now.
static int read_again(const struct mover_spec *s, struct mover_spec *ret, struct err *err)
{
  char *spec cleanup_free = NULL;
  char *old CLEANUP(free_secret_text) = NULL;
  char *secrets CLEANUP(free_secret_text) = NULL;
  if (mover_spec_encode(s, &spec, &old, err) ||
      read_text(s->secrets_file, SECRET_MAX_BYTES, &secrets, err))
    return -1;
  return mover_spec_decode(spec, secrets, ret, err);
}

int mover_spec_renew(const struct mover_spec *s, const struct mover_object *object,
                     struct storage_config *fresh, struct err *err)
{
  if (!s->secrets_file)
    return mover_credentials(object->credentials_file, fresh, err);
  struct mover_spec again CLEANUP(mover_spec_release) = {0};
  if (read_again(s, &again, err))
    return -1;
  struct mover_end *end = object == s->source.object ? &again.source : &again.target;
  for (size_t i = 0; i < ARRAY_SIZE(secret_rows); i++) {
    const struct secret_row *row = &secret_rows[i];
    struct secret *to = (struct secret *)((char *)fresh + row->offset);
    if (!row->of_reach && secret_copy(to, secret_of(end, row)) < 0)
      return err_set(err, ERR_NO_MEMORY, "no memory for credentials");
  }
  free(fresh->username); // stands in the document itself
  fresh->username = str_dup(end->object->store.username);
  return 0;
}
