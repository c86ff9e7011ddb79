// SPDX-License-Identifier: Apache-2.0
#include "mover/ends.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "mover/url.h"

#define PEM_FILE_BYTES_MAX (256u << 10)

struct parse {
  const char *text;
  const struct mover_end_options *options;
  struct mover_end *end;
  struct url url; // empty for ends that are no URL
  struct err *err;
};

static int no_memory(struct parse *p)
{
  return err_set(p->err, ERR_NO_MEMORY, "no memory for an end");
}

int mover_format_of_name(const char *name, bool target)
{
  static const struct {
    const char *suffix;
    int format;
    bool target_only; // says too little about what is in an existing file
  } rows[] = {
      {".qcow2", DISK_FORMAT_QCOW2, false},     {".raw", DISK_FORMAT_RAW, false},
      {".raw.zst", DISK_FORMAT_RAW_ZST, false}, {".vmdk", DISK_FORMAT_VMDK, false},
      {".vhdx", DISK_FORMAT_VHDX, false},       {".vdi", DISK_FORMAT_VDI, false},
      {".img", DISK_FORMAT_RAW, true},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    if (str_ends(name, rows[i].suffix) && (target || !rows[i].target_only))
      return rows[i].format;
  return DISK_FORMAT_ANY;
}

// The format asked for, or what the name says. A target must come out definite.
static int choose_format(struct parse *p, const char *name, int *ret)
{
  int format = p->options->format;
  if (format == DISK_FORMAT_ANY)
    format = mover_format_of_name(name, p->options->target);
  if (p->options->target && format == DISK_FORMAT_ANY)
    return err_set(p->err, ERR_INVALID,
                   "'%s' does not say its format by a suffix; add --format raw or --format qcow2",
                   p->text);
  bool written = format == DISK_FORMAT_RAW || format == DISK_FORMAT_QCOW2 ||
                 format == DISK_FORMAT_RAW_ZST || format == DISK_FORMAT_VMDK ||
                 format == DISK_FORMAT_ANY;
  if (p->options->target && !written)
    return err_set(p->err, ERR_UNSUPPORTED,
                   "%s cannot be written; formats that can: raw, qcow2, vmdk, raw.zst",
                   disk_format_names[format]);
  *ret = format;
  return 0;
}

static struct reach *new_reach(struct parse *p, int kind)
{
  struct reach *r = calloc(1, sizeof *r);
  if (r)
    r->kind = kind;
  p->end->reach = r;
  return r;
}

static int absolute_path(struct parse *p, const char *path, char **ret)
{
  char folder[PATH_MAX];
  if (!*path)
    return err_set(p->err, ERR_INVALID, "'%s': the path is empty", p->text);
  if (*path != '/' && !getcwd(folder, sizeof folder))
    return err_errno(p->err, errno, "current folder");
  *ret = *path == '/' ? str_dup(path) : str_printf("%s/%s", folder, path);
  return *ret ? 0 : no_memory(p);
}

// "PATH" or "PATH,format=F".
static int add_backing(struct parse *p, struct reach *r, const char *text)
{
  struct reach_backing *b = list_add(&r->backing, sizeof *b, 64);
  if (!b)
    return err_set(p->err, ERR_LIMIT, "too many --backing");
  const char *comma = strstr(text, ",format=");
  char *path cleanup_free = strndup(text, comma ? (size_t)(comma - text) : strlen(text));
  if (!path)
    return no_memory(p);
  for (int f = 0; comma && disk_format_names[f]; f++)
    if (str_eq(disk_format_names[f], comma + strlen(",format=")))
      b->format = f;
  if (comma && !b->format)
    return err_set(p->err, ERR_INVALID, "--backing %s: no such format", text);
  if (!comma)
    b->format = mover_format_of_name(path, false);
  return absolute_path(p, path, &b->path);
}

static int parse_path(struct parse *p, const char *path)
{
  struct reach *r = new_reach(p, REACH_FILE);
  if (!r || absolute_path(p, path, &r->path))
    return r ? -1 : no_memory(p);
  struct stat st;
  bool there = stat(r->path, &st) == 0;
  if (!there && (errno != ENOENT || !p->options->target))
    return err_errno(p->err, errno, "%s", path);
  if (there && S_ISDIR(st.st_mode))
    return err_set(p->err, ERR_INVALID, "%s is a folder, not an image", path);
  if (there && S_ISBLK(st.st_mode) && p->options->format == DISK_FORMAT_ANY) {
    r->format = DISK_FORMAT_RAW;
    return 0;
  }
  r->create = p->options->target && !(there && S_ISBLK(st.st_mode));
  p->end->replace = r->create && p->options->overwrite;
  if (choose_format(p, path, &r->format))
    return -1;
  if (there && r->create && !p->end->replace && !p->options->unfinished)
    return err_set(p->err, ERR_EXISTS, "%s exists; --overwrite replaces it", path);
  for (size_t i = 0; i < p->options->backing.count && !p->options->target; i++)
    if (add_backing(p, r, p->options->backing.items[i]))
      return -1;
  return 0;
}

static int pattern_setting(struct parse *p, const char *text)
{
  struct mover_pattern *pattern = p->end->pattern;
  const char *seed = str_after(text, "seed=");
  const char *data = str_after(text, "data=");
  if (seed && str_int64(seed, &pattern->seed) && pattern->seed >= 0)
    return 0;
  if (data && str_int64(data, &pattern->data_percent) && pattern->data_percent >= 0 &&
      pattern->data_percent <= 100)
    return 0;
  return err_set(p->err, ERR_INVALID,
                 "'%s': after the size come only seed=NUMBER and data=PERCENT, not '%s'", p->text,
                 text);
}

static int parse_pattern(struct parse *p)
{
  if (p->options->target)
    return err_set(p->err, ERR_INVALID, "'%s' can only be read", p->text);
  char *copy cleanup_free = str_dup(str_after(p->text, "pattern:"));
  p->end->pattern = calloc(1, sizeof *p->end->pattern);
  if (!copy || !p->end->pattern)
    return no_memory(p);
  p->end->pattern->data_percent = 100;
  char *rest = copy;
  const char *size = strsep(&rest, ",");
  if (!str_bytes(size, &p->end->pattern->size_bytes) ||
      p->end->pattern->size_bytes > LIMIT_DISK_BYTES)
    return err_set(p->err, ERR_INVALID, "'%s': '%s' is not a size like 1Gi of at most 64 TiB",
                   p->text, size);
  while (rest)
    if (pattern_setting(p, strsep(&rest, ",")))
      return -1;
  return 0;
}

static int want_host(struct parse *p)
{
  if (!str_empty(p->url.host))
    return 0;
  return err_set(p->err, ERR_INVALID, "'%s' names no host", p->text);
}

// Names of a query that mean something here; others are refused rather than dropped.
static int only_query(struct parse *p, const char *const *names, size_t count)
{
  for (size_t i = 0; i < p->url.query.count; i += 2) {
    bool known = false;
    for (size_t j = 0; j < count; j++)
      known |= str_eq(names[j], p->url.query.items[i]);
    if (!known)
      return err_set(p->err, ERR_INVALID, "'%s' is not understood in the query of a %s URL",
                     p->url.query.items[i], p->url.scheme);
  }
  return 0;
}

// A file that holds something in PEM; path NULL: nothing. Yours; it may be a secret.
static int read_pem(struct parse *p, const char *option, const char *path, const char *what,
                    char **ret)
{
  if (!path)
    return 0;
  FILE *f cleanup_fclose = fopen(path, "re");
  if (!f)
    return err_errno(p->err, errno, "%s %s", option, path);
  char *text cleanup_free = calloc(1, PEM_FILE_BYTES_MAX + 1);
  if (!text)
    return no_memory(p);
  size_t length = fread(text, 1, PEM_FILE_BYTES_MAX + 1, f);
  const char *begin = length <= PEM_FILE_BYTES_MAX ? strstr(text, "-----BEGIN ") : NULL;
  *ret = begin && strstr(begin, what) && strlen(text) == length ? str_dup(text) : NULL;
  explicit_bzero(text, length);
  return *ret ? 0
              : err_set(p->err, ERR_INVALID, "%s %s: not a file with a %s in PEM", option, path,
                        what);
}

static int parse_nbd(struct parse *p)
{
  struct reach *r = new_reach(p, REACH_NBD);
  if (!r)
    return no_memory(p);
  if (want_host(p) || only_query(p, NULL, 0))
    return -1;
  r->format = DISK_FORMAT_RAW;
  r->host = str_dup(p->url.host);
  r->port = p->url.port;
  r->export_name = str_dup(*p->url.path ? p->url.path + 1 : "");
  return r->host && r->export_name ? 0 : no_memory(p);
}

static int parse_nbd_unix(struct parse *p)
{
  static const char *const names[] = {"socket"};
  struct reach *r = new_reach(p, REACH_NBD);
  if (!r)
    return no_memory(p);
  const char *socket = strings_map_get(&p->url.query, "socket");
  if (only_query(p, names, ARRAY_SIZE(names)))
    return -1;
  if (!socket || !*socket || *p->url.host)
    return err_set(p->err, ERR_INVALID, "'%s': write nbd+unix:///EXPORT?socket=PATH", p->text);
  r->format = DISK_FORMAT_RAW;
  r->export_name = str_dup(*p->url.path ? p->url.path + 1 : "");
  return r->export_name ? absolute_path(p, socket, &r->path) : no_memory(p);
}

static int parse_nbds(struct parse *p)
{
  const struct mover_end_options *o = p->options;
  if (parse_nbd(p))
    return -1;
  struct reach *r = p->end->reach;
  r->tls = true;
  r->insecure_tls = o->insecure;
  if (!o->client_cert_file != !o->client_key_file)
    return err_set(p->err, ERR_INVALID, "--client-cert and --client-key go together");
  char *key = NULL;
  if (read_pem(p, "--ca", o->ca_file, "CERTIFICATE", &r->ca_pem) ||
      read_pem(p, "--client-cert", o->client_cert_file, "CERTIFICATE", &r->client_cert_pem) ||
      read_pem(p, "--client-key", o->client_key_file, "PRIVATE KEY", &key))
    return -1;
  int full = secret_set_string(&r->tls_key, key);
  secret_free_string(key);
  return full ? no_memory(p) : 0;
}

static int parse_ssh(struct parse *p)
{
  struct reach *r = new_reach(p, REACH_SSH);
  if (!r)
    return no_memory(p);
  if (want_host(p) || only_query(p, NULL, 0))
    return -1;
  if (strlen(p->url.path) < 2)
    return err_set(p->err, ERR_INVALID, "'%s' names no file", p->text);
  r->host = str_dup(p->url.host);
  r->port = p->url.port;
  r->user = str_dup(p->url.user);
  r->path = str_dup(p->url.path);
  r->create = false;
  if (!r->host || !r->path || (p->url.user && !r->user))
    return no_memory(p);
  return choose_format(p, r->path, &r->format);
}

static int read_ca(struct parse *p, struct storage_config *c)
{
  c->insecure_skip_verify = p->options->insecure;
  return read_pem(p, "--ca", p->options->ca_file, "CERTIFICATE", &c->ca_pem);
}

static int new_object(struct parse *p, int type, const char *key)
{
  struct mover_object *o = p->end->object = calloc(1, sizeof *o);
  if (!o)
    return no_memory(p);
  o->store.type = type;
  o->key = str_dup(key);
  o->overwrite = p->options->overwrite && p->options->target;
  o->manifest = true;
  o->credentials_file = str_dup(p->options->credentials_file);
  if (!o->key || (p->options->credentials_file && !o->credentials_file))
    return no_memory(p);
  if (!*key || str_ends(key, "/"))
    return err_set(p->err, ERR_INVALID, "'%s' names a folder, not an image", p->text);
  return choose_format(p, key, &o->format);
}

static const char *variable(const char *option, const char *first, const char *second)
{
  if (!str_empty(option))
    return option;
  const char *value = getenv(first);
  return str_empty(value) ? getenv(second) : value;
}

static int parse_s3(struct parse *p)
{
  const struct mover_end_options *o = p->options;
  if (want_host(p) || only_query(p, NULL, 0) ||
      new_object(p, STORAGE_S3, *p->url.path ? p->url.path + 1 : ""))
    return -1;
  if (p->url.port || p->url.user)
    return err_set(p->err, ERR_INVALID,
                   "'%s': write s3://BUCKET/KEY, and the server with --s3-endpoint", p->text);
  struct storage_config *c = &p->end->object->store;
  const char *region = variable(o->s3_region, "AWS_REGION", "AWS_DEFAULT_REGION");
  const char *endpoint = variable(o->s3_endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
  c->region = str_dup(str_empty(region) ? "us-east-1" : region);
  c->bucket = str_dup(p->url.host);
  // Servers of one's own rarely have a name per bucket; AWS wants one.
  c->path_style = !str_empty(endpoint);
  c->endpoint =
      c->path_style ? str_dup(endpoint) : str_printf("https://s3.%s.amazonaws.com", c->region);
  if (!c->region || !c->bucket || !c->endpoint)
    return no_memory(p);
  return read_ca(p, c) ? -1 : mover_credentials(o->credentials_file, c, p->err);
}

static int parse_http(struct parse *p)
{
  if (want_host(p) || new_object(p, STORAGE_HTTP, *p->url.path ? p->url.path + 1 : ""))
    return -1;
  if (p->url.user)
    return err_set(p->err, ERR_INVALID,
                   "'%s': user names stand in the file of --credentials (username=, password=)",
                   p->text);
  if (p->url.query.count)
    return err_set(p->err, ERR_UNSUPPORTED,
                   "URLs with a query are not supported: it may be a "
                   "secret that must not stand in argv");
  struct storage_config *c = &p->end->object->store;
  const char *colon = strchr(p->url.host, ':') ? "[" : "";
  struct buf endpoint CLEANUP(buf_release) = BUF_INIT(4096);
  buf_printf(&endpoint, "%s://%s%s%s", p->url.scheme, colon, p->url.host, *colon ? "]" : "");
  if (p->url.port)
    buf_printf(&endpoint, ":%lld", (long long)p->url.port);
  c->endpoint = buf_take(&endpoint);
  if (!c->endpoint)
    return no_memory(p);
  return read_ca(p, c) ? -1 : mover_credentials(p->options->credentials_file, c, p->err);
}

static int nfs_numbers(struct parse *p, struct storage_config *c)
{
  static const char *const names[] = {"uid", "gid", "version", "nfsport", "mountport"};
  int64_t *const to[] = {&c->uid, &c->gid, &c->version, &c->nfs_port, &c->mount_port};
  if (only_query(p, names, ARRAY_SIZE(names)))
    return -1;
  c->uid = getuid();
  c->gid = getgid();
  c->version = 3;
  for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
    const char *value = strings_map_get(&p->url.query, names[i]);
    if (value && (!str_int64(value, to[i]) || *to[i] < 0))
      return err_set(p->err, ERR_INVALID, "'%s': %s is not a number", p->text, names[i]);
  }
  return 0;
}

// Where the export ends cannot be seen in nfs://SERVER/EXPORT/PATH; most servers let the folder of
// the image be mounted wherever the export begins. nfs://SERVER/EXPORT//PATH says it.
static int parse_nfs(struct parse *p)
{
  const char *path = p->url.path;
  const char *mark = strstr(path, "//");
  const char *slash = mark ? mark : strrchr(path, '/');
  if (want_host(p) || !slash)
    return err_set(p->err, ERR_INVALID, "'%s': write nfs://SERVER/EXPORT/PATH", p->text);
  if (new_object(p, STORAGE_NFS, slash + (mark ? 2 : 1)))
    return -1;
  struct storage_config *c = &p->end->object->store;
  c->server = str_dup(p->url.host);
  c->export_path = slash == path ? str_dup("/") : strndup(path, (size_t)(slash - path));
  if (!c->server || !c->export_path)
    return no_memory(p);
  if (p->url.port || p->url.user)
    return err_set(p->err, ERR_INVALID,
                   "'%s': ports and users are written ?nfsport=N&mountport=N&uid=N&gid=N", p->text);
  return nfs_numbers(p, c);
}

static const struct {
  const char *scheme;
  int (*parse)(struct parse *p);
} schemes[] = {
    {"nbd", parse_nbd},   {"nbds", parse_nbds},  {"nbd+unix", parse_nbd_unix}, {"s3", parse_s3},
    {"http", parse_http}, {"https", parse_http}, {"nfs", parse_nfs},           {"ssh", parse_ssh},
};

static int parse_url(struct parse *p)
{
  if (url_parse(p->text, &p->url, p->err))
    return -1;
  for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
    if (str_eq(schemes[i].scheme, p->url.scheme))
      return schemes[i].parse(p);
  return err_set(p->err, ERR_INVALID,
                 "'%s://' is not known; ends are PATH, file:, nbd://, nbds://, nbd+unix://, s3://, "
                 "http://, https://, nfs://, ssh://, null: and pattern:",
                 p->url.scheme);
}

static int parse_end(struct parse *p)
{
  if (str_eq(p->text, "null:")) {
    p->end->null = true;
    return 0;
  }
  if (str_starts(p->text, "pattern:"))
    return parse_pattern(p);
  if (str_starts(p->text, "file:"))
    return parse_path(p, str_after(p->text, "file:"));
  // A path may hold anything, "://" too: "./a://b" is one.
  const char *mark = strstr(p->text, "://");
  return mark && !memchr(p->text, '/', (size_t)(mark - p->text)) ? parse_url(p)
                                                                 : parse_path(p, p->text);
}

int mover_end_parse(const char *text, const struct mover_end_options *o, struct mover_end *ret,
                    struct err *err)
{
  struct mover_end end CLEANUP(mover_end_release) = {0};
  struct parse p = {.text = text, .options = o, .end = &end, .err = err};
  int rc = parse_end(&p);
  url_release(&p.url);
  if (rc)
    return -1;
  *ret = end;
  end = (struct mover_end){0};
  return 0;
}
