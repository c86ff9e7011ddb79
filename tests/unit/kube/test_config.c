// SPDX-License-Identifier: Apache-2.0
// Kubeconfigs: a table of files and what comes out of them, or the sentence they are refused with.
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/command.h"
#include "base/str.h"
#include "kube/config.h"
#include "kube/credentials.h"
#include "tests/unit/unit.h"

#define HEAD                                                                                       \
  "apiVersion: v1\nkind: Config\ncurrent-context: c\n"                                             \
  "contexts:\n- {name: c, context: {cluster: k, user: u, namespace: work}}\n"                      \
  "- {name: other, context: {cluster: k, user: nobody}}\n"
#define CLUSTER    "clusters:\n- {name: k, cluster: {server: 'https://10.0.0.1:6443/'}}\n"
#define USER(text) "users:\n- name: u\n  user: {" text "}\n"

static char folder[] = "/tmp/kube-config-XXXXXX";

static const char *in_folder(const char *name)
{
  static char path[4][200];
  static int turn;
  char *p = path[turn++ % 4];
  snprintf(p, 200, "%s/%s", folder, name);
  return p;
}

static void write_file(const char *name, const char *text)
{
  FILE *f = fopen(in_folder(name), "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

// One line for all that a config says.
static const char *text_of(const struct kube_config *c)
{
  static struct buf b;
  buf_release(&b);
  b = (struct buf)BUF_INIT(8192);
  buf_printf(&b, "%s ns=%s", c->server, c->namespace_name);
  const struct {
    const char *name, *value;
  } parts[] = {
      {"ca", c->ca_pem},
      {"name", c->tls_server_name},
      {"proxy", c->proxy_url},
      {"certfile", c->client_cert_file},
      {"keyfile", c->client_key_file},
      {"cert", c->client_cert_pem},
      {"key", secret_reveal(&c->client_key_pem)},
      {"token", secret_reveal(&c->token)},
      {"tokenfile", c->token_file},
      {"user", c->username},
      {"password", secret_reveal(&c->password)},
      {"exec", c->exec.command},
      {"arg", c->exec.args ? c->exec.args[0] : NULL},
      {"env", c->exec.env ? c->exec.env[0] : NULL},
      {"as", c->as_user},
      {"group", c->as_groups ? c->as_groups[0] : NULL},
  };
  for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
    if (!str_empty(parts[i].value)) {
      const char *rest = str_after(parts[i].value, folder);
      buf_printf(&b, " %s=%s%s", parts[i].name, rest ? "DIR" : "", rest ? rest : parts[i].value);
    }
  if (c->insecure)
    buf_adds(&b, " insecure");
  return buf_str(&b);
}

// clang-format off
static const struct {
  const char *text;
  const char *context;
  const char *want;          // what text_of() says, or what the message holds
  enum err_kind kind;        // ERR_NONE: it must be taken
} rows[] = {
    {HEAD CLUSTER USER("token: abc"), NULL, "https://10.0.0.1:6443 ns=work token=abc", ERR_NONE},
    {HEAD CLUSTER USER("tokenFile: tok, token: abc"), NULL, "https://10.0.0.1:6443 ns=work token=abc tokenfile=DIR/tok", ERR_NONE},
    {HEAD CLUSTER USER("tokenFile: /x/tok"), NULL, "https://10.0.0.1:6443 ns=work tokenfile=/x/tok", ERR_NONE},
    {HEAD CLUSTER USER("client-certificate: c.crt, client-key: c.key"), NULL, "https://10.0.0.1:6443 ns=work certfile=DIR/c.crt keyfile=DIR/c.key", ERR_NONE},
    {HEAD CLUSTER USER("client-certificate-data: Q0VSVA==, client-key-data: S0VZ"), NULL, "https://10.0.0.1:6443 ns=work cert=CERT key=KEY", ERR_NONE},
    {HEAD CLUSTER USER("username: me, password: secret"), NULL, "https://10.0.0.1:6443 ns=work user=me password=secret", ERR_NONE},
    {HEAD CLUSTER USER("token: t, as: boss, as-groups: [g1, g2]"), NULL, "https://10.0.0.1:6443 ns=work token=t as=boss group=g1", ERR_NONE},
    {HEAD CLUSTER USER("exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plug, args: [a], env: [{name: NAME, value: v}], interactiveMode: Never}"), NULL,
     "https://10.0.0.1:6443 ns=work exec=DIR/./plug arg=a env=NAME=v", ERR_NONE},
    {HEAD CLUSTER USER("exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: plug}"), NULL, "https://10.0.0.1:6443 ns=work exec=plug", ERR_NONE},
    {HEAD "clusters: [{name: k, cluster: {server: 'https://h', certificate-authority-data: Q0E=, tls-server-name: api, proxy-url: 'http://p:3128'}}]\n" USER("token: t"), NULL,
     "https://h ns=work ca=CA name=api proxy=http://p:3128 token=t", ERR_NONE},
    {HEAD "clusters: [{name: k, cluster: {server: 'https://h', certificate-authority: ca.pem}}]\n" USER("token: t"), NULL, "https://h ns=work ca=FROM FILE token=t", ERR_NONE},
    {HEAD "clusters: [{name: k, cluster: {server: 'https://h', insecure-skip-tls-verify: true}}]\n" USER("token: t"), NULL, "https://h ns=work token=t insecure", ERR_NONE},
    {"{\"current-context\":\"c\",\"contexts\":[{\"name\":\"c\",\"context\":{\"cluster\":\"k\"}}],\"clusters\":[{\"name\":\"k\",\"cluster\":{\"server\":\"http://127.0.0.1:8001\"}}]}", NULL,
     "http://127.0.0.1:8001 ns=default", ERR_NONE},
    {"{\"current-context\":\"c\\ud83d\\ude00\",\"contexts\":[{\"name\":\"c\\ud83d\\ude00\",\"context\":{\"cluster\":\"k\"}}],\n\t\"clusters\":[{\"name\":\"k\",\"cluster\":{\"server\":\"http://x\"}}]}", NULL, "http://x ns=default", ERR_NONE},
    // refused
    {HEAD CLUSTER USER("token: abc"), "missing", "no context 'missing'", ERR_NOT_FOUND},
    {HEAD CLUSTER USER("token: abc"), "other", "no user 'nobody'", ERR_NOT_FOUND},
    {HEAD USER("token: abc"), NULL, "no cluster 'k'", ERR_NOT_FOUND},
    {CLUSTER USER("token: abc"), NULL, "current-context", ERR_INVALID},
    {HEAD "clusters: [{name: k, cluster: {}}]\n", NULL, "no server", ERR_INVALID},
    {HEAD "clusters: [{name: k, cluster: {server: 'ftp://x'}}]\n", NULL, "'ftp://x'", ERR_INVALID},
    {HEAD "clusters: [{name: k, cluster: {server: 'https://h', insecure-skip-tls-verify: true, certificate-authority-data: Q0E=}}]\n" USER(""), NULL, "exclude each other", ERR_INVALID},
    {HEAD "clusters: [{name: k, cluster: {server: 'https://h', certificate-authority-data: '***'}}]\n" USER(""), NULL, "certificate-authority-data is not base64", ERR_INVALID},
    {HEAD "clusters: [{name: k, cluster: {server: 'https://h', certificate-authority: none.pem}}]\n" USER(""), NULL, "none.pem", ERR_NOT_FOUND},
    {HEAD "clusters: [{name: k, cluster: {server: 'https://h', proxy-url: 'socks5://p'}}]\n" USER(""), NULL, "only http and https proxies", ERR_UNSUPPORTED},
    {HEAD CLUSTER USER("auth-provider: {name: gcp}"), NULL, "use an exec plug-in", ERR_UNSUPPORTED},
    {HEAD CLUSTER USER("client-certificate: c.crt"), NULL, "without a client-key", ERR_INVALID},
    {HEAD CLUSTER USER("client-certificate-data: Q0VSVA=="), NULL, "without a client-key", ERR_INVALID},
    {HEAD CLUSTER USER("exec: {apiVersion: client.authentication.k8s.io/v1}"), NULL, "no command", ERR_INVALID},
    {HEAD CLUSTER USER("exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}"), NULL, "v1alpha1", ERR_UNSUPPORTED},
    {HEAD CLUSTER USER("exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Always}"), NULL, "wants a terminal", ERR_UNSUPPORTED},
    {"a: [", NULL, "line ", ERR_INVALID},
    {"a: 1\na: 2\n", NULL, "'a' is given twice", ERR_INVALID},
    {"a: &x [1,2]\n---\nb: 1\n", NULL, "more than one document", ERR_INVALID},
    {"", NULL, "empty", ERR_INVALID},
};
// clang-format on

static void test_table(void **state)
{
  (void)state;
  write_file("ca.pem", "FROM FILE");
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct kube_config c CLEANUP(kube_config_release) = {0};
    struct err err = ERR_INIT;
    write_file("config", rows[i].text);
    int failed = kube_config_load(in_folder("config"), rows[i].context, &c, &err);
    if (rows[i].kind == ERR_NONE && (failed || !str_eq(text_of(&c), rows[i].want)))
      fail_msg("row %zu: %s / %s", i, failed ? err.message : text_of(&c), rows[i].want);
    if (rows[i].kind != ERR_NONE &&
        (!failed || err.kind != rows[i].kind || !strstr(err.message, rows[i].want)))
      fail_msg("row %zu: %s: %s / %s", i, err_reason(err.kind), err.message, rows[i].want);
  }
}

// The first file that names something wins; paths are relative to the file they stand in; a file
// that is not there is skipped.
static void test_several_files(void **state)
{
  (void)state;
  struct kube_config c CLEANUP(kube_config_release) = {0};
  struct err err = ERR_INIT;
  mkdir(in_folder("sub"), 0700);
  write_file("one", "current-context: c\nusers: [{name: u, user: {tokenFile: tok}}]\n");
  write_file("sub/two", HEAD CLUSTER USER("tokenFile: tok") "preferences: {}\n");
  cleanup_free char *list =
      str_printf("%s:%s:%s", in_folder("missing"), in_folder("one"), in_folder("sub/two"));
  setenv("KUBECONFIG", list, 1);
  assert_int_equal(kube_config_load(NULL, NULL, &c, &err), 0);
  assert_string_equal(text_of(&c), "https://10.0.0.1:6443 ns=work tokenfile=DIR/tok");
  setenv("KUBECONFIG", in_folder("missing"), 1);
  assert_int_equal(kube_config_load(NULL, NULL, &c, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  unsetenv("KUBECONFIG");
}

static void test_in_cluster(void **state)
{
  (void)state;
  struct kube_config c CLEANUP(kube_config_release) = {0};
  struct err err = ERR_INIT;
  unsetenv("KUBERNETES_SERVICE_HOST");
  assert_int_equal(kube_config_in_cluster(folder, &c, &err), -1);
  setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  write_file("token", "tok\n");
  write_file("ca.crt", "CA\n");
  write_file("namespace", "mine");
  assert_int_equal(kube_config_in_cluster(folder, &c, &err), 0);
  assert_string_equal(text_of(&c), "https://[fd00::1]:443 ns=mine ca=CA tokenfile=DIR/token");
}

// ---- credentials ----------------------------------------------------------------------------

static void expect_token(struct credentials *c, uint64_t refused, const char *token,
                         uint64_t *ret_version)
{
  struct identity i CLEANUP(identity_release) = {0};
  struct err err = ERR_INIT;
  if (credentials_get(c, refused, &i, &err) != 0)
    fail_msg("%s", err.message);
  assert_string_equal(secret_reveal(&i.bearer), token);
  *ret_version = i.version;
}

// Not read again at once; but when the server has refused it; and what was read stays when the file
// is missing for a moment.
static void test_token_file(void **state)
{
  (void)state;
  uint64_t first, second, third;
  struct kube_config config CLEANUP(kube_config_release) = {.token_file = str_dup(in_folder("t"))};
  struct credentials *c = credentials_new(&config);
  write_file("t", "one\n");
  expect_token(c, 0, "one", &first);
  write_file("t", "two\n");
  expect_token(c, 0, "one", &second);
  assert_int_equal(first, second);
  expect_token(c, first, "two", &second);
  assert_true(second > first);
  expect_token(c, first, "two", &third); // somebody else has renewed it already
  assert_int_equal(second, third);
  unlink(in_folder("t"));
  expect_token(c, second, "two", &third);
  credentials_free(c);
}

struct plugin {
  int runs;
  int64_t lives_ms; // 0 = for ever
  const char *output;
  char info[2000];
};

static int fake_plugin(void *arg, const struct command *command, struct command_result *ret,
                       struct err *err)
{
  struct plugin *p = arg;
  char expires[32] = "";
  (void)err;
  p->runs++;
  for (const char *const *e = command->env; *e; e++)
    if (str_starts(*e, "KUBERNETES_EXEC_INFO="))
      snprintf(p->info, sizeof(p->info), "%s", *e);
  if (p->lives_ms)
    clock_rfc3339(clock_wall_ms() + p->lives_ms, expires);
  *ret = (struct command_result){0};
  ret->output = p->output ? str_dup(p->output)
                          : str_printf("{\"apiVersion\":\"client.authentication.k8s.io/v1\","
                                       "\"kind\":\"ExecCredential\",\"status\":{\"token\":"
                                       "\"run%d\",\"expirationTimestamp\":\"%s\"}}",
                                       p->runs, expires);
  ret->output_length = strlen(ret->output);
  return 0;
}

static struct kube_config exec_config(void)
{
  struct kube_config c = {.server = str_dup("https://h"), .ca_pem = str_dup("CA\n")};
  c.exec.command = str_dup("plug");
  c.exec.api_version = str_dup("client.authentication.k8s.io/v1");
  c.exec.args = calloc(1, sizeof(char *));
  c.exec.env = calloc(1, sizeof(char *));
  c.exec.provide_cluster_info = true;
  return c;
}

static void test_exec(void **state)
{
  (void)state;
  uint64_t version;
  struct plugin p = {0};
  struct kube_config config CLEANUP(kube_config_release) = exec_config();
  struct credentials *c = credentials_new(&config);
  command_set_fake(fake_plugin, &p);
  expect_token(c, 0, "run1", &version);
  expect_token(c, 0, "run1", &version); // kept
  assert_non_null(strstr(p.info, "\"server\":\"https:"));
  assert_non_null(strstr(p.info, "\"certificate-authority-data\":\"Q0EK\""));
  expect_token(c, version, "run2", &version); // refused
  p.lives_ms = -1000;
  expect_token(c, version, "run3", &version);
  expect_token(c, 0, "run4", &version); // run out
  p.lives_ms = 3600000;
  expect_token(c, 0, "run5", &version);
  expect_token(c, 0, "run5", &version);
  command_set_fake(NULL, NULL);
  credentials_free(c);
}

static const struct {
  const char *output, *message;
} bad_outputs[] = {
    {"", "did not print"},
    {"nonsense", "did not print"},
    {"{\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"status\":{\"token\":\"x\"}}",
     "answered with apiVersion"},
    {"{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{}}", "neither a token"},
    {"{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{\"clientCertificateData\":"
     "\"x\"}}",
     "half a certificate"},
    {"{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{\"token\":\"x\","
     "\"expirationTimestamp\":\"soon\"}}",
     "is no time"},
};

static void test_exec_bad(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(bad_outputs); i++) {
    struct plugin p = {.output = bad_outputs[i].output};
    struct kube_config config CLEANUP(kube_config_release) = exec_config();
    struct credentials *c = credentials_new(&config);
    struct identity got;
    struct err err = ERR_INIT;
    command_set_fake(fake_plugin, &p);
    assert_int_equal(credentials_get(c, 0, &got, &err), -1);
    assert_int_equal(err.kind, ERR_AUTH);
    if (!strstr(err.message, bad_outputs[i].message))
      fail_msg("row %zu: %s", i, err.message);
    command_set_fake(NULL, NULL);
    credentials_free(c);
  }
}

static void test_exec_missing(void **state)
{
  (void)state;
  struct kube_config config CLEANUP(kube_config_release) = exec_config();
  struct identity got;
  struct err err = ERR_INIT;
  free(config.exec.command);
  config.exec.command = str_dup("no-such-program-anywhere");
  config.exec.install_hint = str_dup("Install it from the moon.");
  struct credentials *c = credentials_new(&config);
  assert_int_equal(credentials_get(c, 0, &got, &err), -1);
  assert_int_equal(err.kind, ERR_AUTH);
  assert_non_null(strstr(err.message, "Install it from the moon."));
  credentials_free(c);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),        cmocka_unit_test(test_several_files),
      cmocka_unit_test(test_in_cluster),   cmocka_unit_test(test_token_file),
      cmocka_unit_test(test_exec),         cmocka_unit_test(test_exec_bad),
      cmocka_unit_test(test_exec_missing),
  };
  if (!mkdtemp(folder))
    return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  const char *made[] = {"config", "ca.pem", "one",       "sub/two", "sub",
                        "token",  "ca.crt", "namespace", "t",       ""};
  for (size_t i = 0; i < ARRAY_SIZE(made); i++)
    remove(in_folder(made[i]));
  return failed;
}
