// SPDX-License-Identifier: Apache-2.0
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/command.h"
#include "base/str.h"
#include "kube/credentials.h"
#include "kube/object.h"

#define ENV_MAX 400

// base64 of the CA, as spec.cluster wants it.
static struct json_object *base64(const char *text)
{
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  struct buf b CLEANUP(buf_release) = BUF_INIT(0);
  const unsigned char *in = (const unsigned char *)text;
  for (size_t left = strlen(text); left > 0; left -= left < 3 ? left : 3, in += 3) {
    uint32_t bits =
        (uint32_t)in[0] << 16 | (left > 1 ? (uint32_t)in[1] << 8 : 0) | (left > 2 ? in[2] : 0);
    for (int i = 0; i < 4; i++)
      buf_addc(&b, (size_t)i > left ? '=' : digits[bits >> (18 - 6 * i) & 63]);
  }
  return json_object_new_string(buf_str(&b));
}

static struct json_object *cluster_info(const struct kube_config *c)
{
  struct json_object *o = json_object_new_object();
  object_set_string(o, "server", c->server);
  object_set_string(o, "tls-server-name", c->tls_server_name);
  object_set_string(o, "proxy-url", c->proxy_url);
  if (c->insecure)
    json_object_object_add(o, "insecure-skip-tls-verify", json_object_new_boolean(true));
  if (c->ca_pem)
    json_object_object_add(o, "certificate-authority-data", base64(c->ca_pem));
  if (c->exec.cluster_extension)
    json_object_object_add(o, "config", json_tokener_parse(c->exec.cluster_extension));
  return o;
}

// KUBERNETES_EXEC_INFO: an ExecCredential with a spec alone. Nothing secret is in it.
static char *exec_info(const struct kube_config *c)
{
  struct json_object *o cleanup_object = json_object_new_object();
  struct json_object *spec = json_object_new_object();
  object_set_string(o, "kind", "ExecCredential");
  object_set_string(o, "apiVersion", c->exec.api_version);
  json_object_object_add(spec, "interactive", json_object_new_boolean(false));
  if (c->exec.provide_cluster_info)
    json_object_object_add(spec, "cluster", cluster_info(c));
  json_object_object_add(o, "spec", spec);
  return str_printf("KUBERNETES_EXEC_INFO=%s",
                    json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
}

// Ours first: getenv() finds the first of two. Plug-ins of cloud providers live on the environment
// (AWS_PROFILE and the like), so all of it is passed on.
static void fill_env(const struct kube_exec *e, const char *info, const char *env[ENV_MAX + 1])
{
  size_t n = 0;
  env[n++] = info;
  for (char **v = e->env; v && *v && n < ENV_MAX; v++)
    env[n++] = *v;
  for (char **v = environ; v && *v && n < ENV_MAX; v++)
    env[n++] = *v;
  env[n] = NULL;
}

static int run(const struct kube_config *c, struct command_result *ret, struct err *err)
{
  const struct kube_exec *e = &c->exec;
  size_t count = 0;
  while (e->args[count])
    count++;
  cleanup_free const char **argv = calloc(count + 2, sizeof(*argv));
  cleanup_free const char **env = calloc(ENV_MAX + 1, sizeof(*env));
  cleanup_free char *info = exec_info(c);
  if (!argv || !env || !info)
    return err_set(err, ERR_NO_MEMORY, "no memory for an exec plug-in");
  argv[0] = e->command;
  for (size_t i = 0; i < count; i++)
    argv[i + 1] = e->args[i];
  fill_env(e, info, env);
  struct command command = {.argv = argv, .env = env, .timeout_ms = CREDENTIALS_EXEC_TIMEOUT_MS};
  struct err why = ERR_INIT;
  if (command_check(&command, ret, &why) == 0)
    return 0;
  return err_set(err, why.kind == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_AUTH, "exec plug-in '%s': %s%s%s",
                 e->command, why.message, e->install_hint ? "; " : "",
                 e->install_hint ? e->install_hint : "");
}

static int take_status(const struct kube_exec *e, struct json_object *o, struct identity *ret,
                       int64_t *ret_expires_wall_ms, struct err *err)
{
  struct json_object *status = object_at(o, "status", NULL);
  const char *token = object_string(status, "token", NULL);
  const char *cert = object_string(status, "clientCertificateData", NULL);
  const char *key = object_string(status, "clientKeyData", NULL);
  const char *expires = object_string(status, "expirationTimestamp", NULL);
  if (!str_eq(object_string(o, "apiVersion", NULL), e->api_version))
    return err_set(err, ERR_AUTH, "exec plug-in '%s' answered with apiVersion '%s', not '%s'",
                   e->command, object_string(o, "apiVersion", NULL), e->api_version);
  if (!*token && !*cert)
    return err_set(err, ERR_AUTH, "exec plug-in '%s' gave neither a token nor a certificate",
                   e->command);
  if (!*cert != !*key)
    return err_set(err, ERR_AUTH,
                   "exec plug-in '%s' gave half a certificate: both "
                   "clientCertificateData and clientKeyData are needed",
                   e->command);
  *ret_expires_wall_ms = 0;
  if (*expires && !clock_parse_rfc3339(expires, ret_expires_wall_ms))
    return err_set(err, ERR_AUTH, "exec plug-in '%s': expirationTimestamp is no time", e->command);
  if (*cert)
    ret->cert_pem = str_dup(cert);
  if ((*token && secret_set_string(&ret->bearer, token) != 0) ||
      (*key && secret_set_string(&ret->key_pem, key) != 0))
    return err_set(err, ERR_NO_MEMORY, "no memory for credentials");
  return 0;
}

int kube_exec_run(const struct kube_config *config, struct identity *ret,
                  int64_t *ret_expires_wall_ms, struct err *err)
{
  struct command_result result = {0};
  int failed = run(config, &result, err);
  if (!failed) {
    struct json_object *o cleanup_object = object_parse(result.output, result.output_length);
    failed = o ? take_status(&config->exec, o, ret, ret_expires_wall_ms, err)
               : err_set(err, ERR_AUTH, "exec plug-in '%s' did not print an ExecCredential",
                         config->exec.command);
  }
  if (result.output)
    explicit_bzero(result.output, result.output_length);
  command_result_release(&result);
  return failed;
}
