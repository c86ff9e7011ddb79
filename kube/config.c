// SPDX-License-Identifier: Apache-2.0
#include "kube/config.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "base/yaml.h"
#include "kube/file.h"
#include "kube/object.h"

#define FILES_MAX       32
#define STRINGS_MAX     256
#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

struct kubeconfig_file {
  char *path, *folder;
  struct json_object *json;
};

struct files {
  struct kubeconfig_file files[FILES_MAX];
  size_t count;
};

static void files_release(struct files *f)
{
  for (size_t i = 0; i < f->count; i++) {
    free(f->files[i].path);
    free(f->files[i].folder);
    json_object_put(f->files[i].json);
  }
}

// ---- releasing ------------------------------------------------------------------------------

static void strv_free(char **v)
{
  for (char **s = v; s && *s; s++)
    free(*s);
  free(v);
}

static void exec_release(struct kube_exec *e)
{
  free(e->command);
  strv_free(e->args);
  strv_free(e->env);
  free(e->api_version);
  free(e->install_hint);
  free(e->cluster_extension);
}

void kube_config_release(struct kube_config *c)
{
  char *strings[] = {c->context,         c->server,     c->namespace_name,   c->ca_pem,
                     c->tls_server_name, c->proxy_url,  c->client_cert_file, c->client_key_file,
                     c->client_cert_pem, c->token_file, c->username,         c->as_user,
                     c->as_uid};
  for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
    free(strings[i]);
  strv_free(c->as_groups);
  secret_release(&c->client_key_pem);
  secret_release(&c->token);
  secret_release(&c->password);
  exec_release(&c->exec);
  *c = (struct kube_config){0};
}

// ---- small readers --------------------------------------------------------------------------

static char *dup_member(struct json_object *o, const char *name)
{
  const char *text = object_string(o, name, NULL);
  return *text ? str_dup(text) : NULL;
}

// A path in a kubeconfig is relative to the file it stands in.
static char *dup_path(const struct kubeconfig_file *file, struct json_object *o, const char *name)
{
  const char *path = object_string(o, name, NULL);
  if (!*path)
    return NULL;
  return *path == '/' ? str_dup(path) : str_printf("%s/%s", file->folder, path);
}

static char **dup_strings(struct json_object *list, const char *what, struct err *err)
{
  size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
  if (count > STRINGS_MAX) {
    err_set(err, ERR_LIMIT, "%s: more than %d entries", what, STRINGS_MAX);
    return NULL;
  }
  char **v = calloc(count + 1, sizeof(*v));
  for (size_t i = 0; v && i < count; i++)
    v[i] = str_dup(json_object_get_string(json_object_array_get_idx(list, i)));
  if (!v)
    err_set(err, ERR_NO_MEMORY, "no memory for %s", what);
  return v;
}

// NAME-data in base64, or NAME as a path; neither leaves *ret empty.
static int data_or_file(const struct kubeconfig_file *file, struct json_object *o, const char *name,
                        struct secret *ret, struct err *err)
{
  char data_name[64];
  snprintf(data_name, sizeof(data_name), "%s-data", name);
  const char *data = object_string(o, data_name, NULL);
  if (*data)
    return kube_base64_decode(data, data_name, ret, err);
  cleanup_free char *path = dup_path(file, o, name);
  return path ? kube_file_read(path, ret, err) : 0;
}

// ---- cluster --------------------------------------------------------------------------------

static int read_server(const struct kubeconfig_file *file, struct json_object *o,
                       struct kube_config *c, struct err *err)
{
  c->server = dup_member(o, "server");
  if (!c->server)
    return err_set(err, ERR_INVALID, "%s: the cluster has no server", file->path);
  if (!str_starts(c->server, "https://") && !str_starts(c->server, "http://"))
    return err_set(err, ERR_INVALID, "%s: server '%s' is no http:// or https:// URL", file->path,
                   c->server);
  for (size_t n = strlen(c->server); n && c->server[n - 1] == '/';)
    c->server[--n] = '\0';
  return 0;
}

static int read_cluster(const struct kubeconfig_file *file, struct json_object *o,
                        struct kube_config *c, struct err *err)
{
  struct secret ca CLEANUP(secret_release) = {0};
  if (read_server(file, o, c, err) != 0 ||
      data_or_file(file, o, "certificate-authority", &ca, err) != 0)
    return -1;
  c->insecure = object_bool(o, "insecure-skip-tls-verify", NULL);
  c->tls_server_name = dup_member(o, "tls-server-name");
  c->proxy_url = dup_member(o, "proxy-url");
  if (ca.length)
    c->ca_pem = str_dup(secret_reveal(&ca));
  if (c->insecure && c->ca_pem)
    return err_set(err, ERR_INVALID,
                   "%s: insecure-skip-tls-verify and a certificate-authority exclude each other",
                   file->path);
  if (c->proxy_url && !str_starts(c->proxy_url, "http://") && !str_starts(c->proxy_url, "https://"))
    return err_set(err, ERR_UNSUPPORTED, "%s: proxy-url '%s': only http and https proxies",
                   file->path, c->proxy_url);
  struct json_object *extensions = object_at(o, "extensions", NULL);
  for (size_t i = 0;
       json_object_is_type(extensions, json_type_array) && i < json_object_array_length(extensions);
       i++) {
    struct json_object *e = json_object_array_get_idx(extensions, i);
    struct json_object *value = object_at(e, "extension", NULL);
    if (value && str_eq(object_string(e, "name", NULL), "client.authentication.k8s.io/exec"))
      c->exec.cluster_extension = str_dup(json_object_to_json_string(value));
  }
  return 0;
}

// ---- user -----------------------------------------------------------------------------------

static char **dup_env(struct json_object *list, struct err *err)
{
  size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
  if (count > STRINGS_MAX) {
    err_set(err, ERR_LIMIT, "exec.env: more than %d entries", STRINGS_MAX);
    return NULL;
  }
  char **v = calloc(count + 1, sizeof(*v));
  for (size_t i = 0; v && i < count; i++) {
    struct json_object *e = json_object_array_get_idx(list, i);
    v[i] = str_printf("%s=%s", object_string(e, "name", NULL), object_string(e, "value", NULL));
  }
  if (!v)
    err_set(err, ERR_NO_MEMORY, "no memory for exec.env");
  return v;
}

// A command with a slash is a path relative to the kubeconfig; a bare name is looked up in PATH.
static int read_exec(const struct kubeconfig_file *file, struct json_object *o, struct kube_exec *e,
                     struct err *err)
{
  const char *command = object_string(o, "command", NULL);
  const char *version = object_string(o, "apiVersion", NULL);
  if (!*command)
    return err_set(err, ERR_INVALID, "%s: exec has no command", file->path);
  if (!str_eq(version, "client.authentication.k8s.io/v1") &&
      !str_eq(version, "client.authentication.k8s.io/v1beta1"))
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: exec apiVersion '%s' is not client.authentication.k8s.io/v1 or v1beta1",
                   file->path, version);
  if (str_eq(object_string(o, "interactiveMode", NULL), "Always"))
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: the exec plug-in '%s' wants a terminal (interactiveMode: Always), which "
                   "drover does not give",
                   file->path, command);
  e->command = strchr(command, '/') ? dup_path(file, o, "command") : str_dup(command);
  e->api_version = str_dup(version);
  e->install_hint = dup_member(o, "installHint");
  e->provide_cluster_info = object_bool(o, "provideClusterInfo", NULL);
  e->args = dup_strings(object_at(o, "args", NULL), "exec.args", err);
  e->env = e->args ? dup_env(object_at(o, "env", NULL), err) : NULL;
  return e->env ? 0 : -1;
}

static int read_certificate(const struct kubeconfig_file *file, struct json_object *o,
                            struct kube_config *c, struct err *err)
{
  if (*object_string(o, "client-certificate-data", NULL)) {
    struct secret cert CLEANUP(secret_release) = {0};
    if (data_or_file(file, o, "client-certificate", &cert, err) != 0 ||
        data_or_file(file, o, "client-key", &c->client_key_pem, err) != 0)
      return -1;
    c->client_cert_pem = str_dup(secret_reveal(&cert));
  } else {
    c->client_cert_file = dup_path(file, o, "client-certificate");
    c->client_key_file = dup_path(file, o, "client-key");
    // A key given as data beside a certificate in a file.
    if (c->client_cert_file && *object_string(o, "client-key-data", NULL))
      return data_or_file(file, o, "client-key", &c->client_key_pem, err);
  }
  if (c->client_cert_pem && secret_empty(&c->client_key_pem))
    return err_set(err, ERR_INVALID, "%s: client-certificate-data without a client-key",
                   file->path);
  if (c->client_cert_file && !c->client_key_file)
    return err_set(err, ERR_INVALID, "%s: client-certificate without a client-key", file->path);
  return 0;
}

static int read_impersonation(struct json_object *o, struct kube_config *c, struct err *err)
{
  struct json_object *extra = object_at(o, "as-user-extra", NULL);
  if (extra && json_object_object_length(extra) > 0)
    return err_set(err, ERR_UNSUPPORTED, "as-user-extra is not supported");
  c->as_user = dup_member(o, "as");
  c->as_uid = dup_member(o, "as-uid");
  c->as_groups = dup_strings(object_at(o, "as-groups", NULL), "as-groups", err);
  return c->as_groups ? 0 : -1;
}

static int read_user(const struct kubeconfig_file *file, struct json_object *o,
                     struct kube_config *c, struct err *err)
{
  if (object_at(o, "auth-provider", NULL))
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: auth-provider is gone since Kubernetes 1.26: use an exec plug-in",
                   file->path);
  struct json_object *exec = object_at(o, "exec", NULL);
  if (exec && read_exec(file, exec, &c->exec, err) != 0)
    return -1;
  c->token_file = dup_path(file, o, "tokenFile");
  c->username = dup_member(o, "username");
  if (secret_set_string(&c->token, object_string(o, "token", NULL)) != 0 ||
      secret_set_string(&c->password, object_string(o, "password", NULL)) != 0)
    return err_set(err, ERR_LIMIT, "%s: a token that is too long", file->path);
  return read_certificate(file, o, c, err) || read_impersonation(o, c, err) ? -1 : 0;
}

// ---- files ----------------------------------------------------------------------------------

static int add_file(struct files *f, const char *path, bool must_exist, struct err *err)
{
  struct secret text CLEANUP(secret_release) = {0};
  struct err why = ERR_INIT;
  if (kube_file_read(path, &text, &why) != 0) {
    if (why.kind == ERR_NOT_FOUND && !must_exist)
      return 0;
    return err_set(err, why.kind, "kubeconfig: %s", why.message);
  }
  if (f->count == FILES_MAX)
    return err_set(err, ERR_LIMIT, "more than %d kubeconfig files", FILES_MAX);
  struct json_object *json = yaml_parse(secret_reveal(&text), text.length, err);
  if (!json)
    return err_prefix(err, "kubeconfig %s", path);
  const char *slash = strrchr(path, '/');
  f->files[f->count++] = (struct kubeconfig_file){
      .path = str_dup(path),
      .folder = slash ? str_printf("%.*s", (int)(slash - path), path) : str_dup("."),
      .json = json};
  return 0;
}

static int add_listed(struct files *f, const char *list, struct err *err)
{
  while (*list) {
    size_t length = strcspn(list, ":");
    cleanup_free char *path = str_printf("%.*s", (int)length, list);
    if (length && add_file(f, path, false, err) != 0)
      return -1;
    list += length + (list[length] == ':');
  }
  return 0;
}

// The entry of that name in the first file that has one: `list` is "clusters", `member` "cluster".
static struct json_object *find(const struct files *f, const char *list, const char *member,
                                const char *name, const struct kubeconfig_file **ret_file)
{
  for (size_t i = 0; i < f->count; i++) {
    struct json_object *entries = object_at(f->files[i].json, list, NULL);
    size_t count =
        json_object_is_type(entries, json_type_array) ? json_object_array_length(entries) : 0;
    for (size_t k = 0; k < count; k++) {
      struct json_object *entry = json_object_array_get_idx(entries, k);
      struct json_object *value = object_at(entry, member, NULL);
      if (!value || !str_eq(object_string(entry, "name", NULL), name))
        continue;
      *ret_file = &f->files[i];
      return value;
    }
  }
  return NULL;
}

static const char *current_context(const struct files *f)
{
  for (size_t i = 0; i < f->count; i++) {
    const char *name = object_string(f->files[i].json, "current-context", NULL);
    if (*name)
      return name;
  }
  return NULL;
}

static int read_context(const struct files *f, const char *name, struct kube_config *c,
                        struct err *err)
{
  const struct kubeconfig_file *file;
  struct json_object *context = find(f, "contexts", "context", name, &file);
  if (!context)
    return err_set(err, ERR_NOT_FOUND, "kubeconfig: there is no context '%s'", name);
  const char *cluster_name = object_string(context, "cluster", NULL);
  const char *user_name = object_string(context, "user", NULL);
  const char *namespace_name = object_string(context, "namespace", NULL);
  c->context = str_dup(name);
  c->namespace_name = str_dup(*namespace_name ? namespace_name : "default");
  struct json_object *cluster = find(f, "clusters", "cluster", cluster_name, &file);
  if (!cluster)
    return err_set(err, ERR_NOT_FOUND, "kubeconfig: there is no cluster '%s' (context '%s')",
                   cluster_name, name);
  if (read_cluster(file, cluster, c, err) != 0)
    return -1;
  if (!*user_name)
    return 0;
  struct json_object *user = find(f, "users", "user", user_name, &file);
  if (!user)
    return err_set(err, ERR_NOT_FOUND, "kubeconfig: there is no user '%s' (context '%s')",
                   user_name, name);
  return read_user(file, user, c, err);
}

static int load_files(const struct files *f, const char *context, struct kube_config *ret,
                      struct err *err)
{
  if (!context)
    context = current_context(f);
  if (!context)
    return err_set(err, ERR_INVALID,
                   "kubeconfig: no current-context (kubectl config use-context NAME)");
  struct kube_config c CLEANUP(kube_config_release) = {0};
  if (read_context(f, context, &c, err) != 0)
    return -1;
  *ret = c;
  c = (struct kube_config){0};
  return 0;
}

int kube_config_load(const char *path, const char *context, struct kube_config *ret,
                     struct err *err)
{
  struct files files CLEANUP(files_release) = {0};
  const char *listed = getenv("KUBECONFIG");
  const char *home = getenv("HOME");
  if (path) {
    if (add_file(&files, path, true, err) != 0)
      return -1;
  } else if (!str_empty(listed)) {
    if (add_listed(&files, listed, err) != 0)
      return -1;
  } else if (!context && getenv("KUBERNETES_SERVICE_HOST") &&
             access(SERVICE_ACCOUNT "/token", F_OK) == 0) {
    return kube_config_in_cluster(NULL, ret, err);
  } else if (home) {
    cleanup_free char *usual = str_printf("%s/.kube/config", home);
    if (add_file(&files, usual, false, err) != 0)
      return -1;
  }
  if (!files.count)
    return err_set(err, ERR_NOT_FOUND,
                   "no cluster: there is no kubeconfig (--kubeconfig, $KUBECONFIG, "
                   "~/.kube/config), and this is not a pod");
  return load_files(&files, context, ret, err);
}

// ---- in a pod -------------------------------------------------------------------------------

static char *read_text(const char *folder, const char *name, struct err *err)
{
  struct secret bytes CLEANUP(secret_release) = {0};
  cleanup_free char *path = str_printf("%s/%s", folder, name);
  return kube_file_read_token(path, &bytes, err) == 0 ? str_dup(secret_reveal(&bytes)) : NULL;
}

int kube_config_in_cluster(const char *folder, struct kube_config *ret, struct err *err)
{
  const char *host = getenv("KUBERNETES_SERVICE_HOST");
  const char *port = getenv("KUBERNETES_SERVICE_PORT");
  struct kube_config c CLEANUP(kube_config_release) = {0};
  if (!folder)
    folder = SERVICE_ACCOUNT;
  if (str_empty(host) || str_empty(port))
    return err_set(err, ERR_NOT_FOUND,
                   "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
  c.context = str_dup("");
  c.server = str_printf(strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
  c.token_file = str_printf("%s/token", folder);
  c.ca_pem = read_text(folder, "ca.crt", err);
  if (!c.ca_pem)
    return err_prefix(err, "service account");
  c.namespace_name = read_text(folder, "namespace", NULL);
  if (!c.namespace_name)
    c.namespace_name = str_dup("default");
  if (access(c.token_file, R_OK) != 0)
    return err_set(err, ERR_NOT_FOUND, "service account: %s cannot be read", c.token_file);
  *ret = c;
  c = (struct kube_config){0};
  return 0;
}
