// SPDX-License-Identifier: Apache-2.0
// Commands run with record-output: the daemon keeps both streams in files that are fetched and then
// removed. Standard input is not among what that can do: it goes through a file that a shell inside
// opens and unlinks before it becomes the command; the words are passed as they are.
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define MARK      "DROVER_EXEC"
#define KILL_MS   10000
#define NOT_FOUND 127
#define LINKS_MAX 16
#define FEED      "f=$1; shift; exec <\"$f\"; rm -f \"$f\"; exec \"$@\""
// Whatever the command has started bears the mark in its environment.
#define KILL                                                                                       \
  "for p in /proc/[0-9]*; do if grep -q \"" MARK "=$0\" $p/environ 2>/dev/null; then "             \
  "kill -9 ${p#/proc/}; fi; done"

static int need_running(struct lxd *l, const char *id, struct err *err)
{
  cleanup_json struct json_object *instance = NULL;
  if (lxd_instance_brief(l, id, &instance, err) != 0)
    return -1;
  if (lxd_power_of(instance) != VM_POWER_ON)
    return err_set(err, ERR_BUSY, "instance '%s' does not run", id);
  if (!lxd_is_vm(instance))
    return 0;
  cleanup_json struct json_object *vm = NULL;
  if (lxd_instance(l, id, &vm, err) != 0)
    return -1;
  if (lxd_number(lxd_member(vm, "state"), "processes", -1) < 0)
    return err_set(err, ERR_UNSUPPORTED, "VM '%s' runs no lxd-agent that could run commands", id);
  return 0;
}

static int new_mark(char b[33], struct err *err)
{
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
    return err_set(err, ERR_IO, "no random numbers");
  for (size_t i = 0; i < sizeof(bytes); i++)
    snprintf(b + 2 * i, 3, "%02x", bytes[i]);
  return 0;
}

static void add_words(struct json_object *list, const char *const *words)
{
  for (; *words; words++)
    json_object_array_add(list, json_object_new_string(*words));
}

static int begin(struct lxd *l, const char *id, struct json_object *words, const char *mark,
                 char **ret_operation, struct err *err)
{
  cleanup_json struct json_object *body = json_object_new_object();
  cleanup_free char *path = lxd_instance_path(id, "/exec");
  json_object_object_add(body, "command", words);
  json_object_object_add(body, "record-output", json_object_new_boolean(true));
  json_object_object_add(body, "wait-for-websocket", json_object_new_boolean(false));
  json_object_object_add(body, "interactive", json_object_new_boolean(false));
  if (mark) {
    struct json_object *environment = json_object_new_object();
    json_object_object_add(body, "environment", environment);
    lxd_put(environment, MARK, mark);
  }
  return lxd_call(l, "POST", path, body, NULL, ret_operation, err);
}

// ---- what it wrote -----------------------------------------------------------------------------

struct kept {
  struct buf text;
  bool cut;
};

static int keep(void *arg, const void *data, size_t length, struct err *err)
{
  struct kept *k = arg;
  size_t room = LIMIT_COMMAND_OUTPUT_BYTES - k->text.length;
  buf_add(&k->text, data, length < room ? length : room);
  k->cut = length > room;
  return k->cut ? err_set(err, ERR_LIMIT, "enough") : 0;
}

// path: as the daemon tells it; only one of this instance's logs is fetched.
static int fetch(struct lxd *l, const char *path, char **ret, bool *ret_cut, struct err *err)
{
  struct kept k = {.text = BUF_INIT(LIMIT_COMMAND_OUTPUT_BYTES + 1)};
  cleanup_free char *url = str_printf("%s%s", l->origin, path);
  struct http_response response CLEANUP(http_response_release) = {0};
  struct err failed = ERR_INIT;
  struct http_request request = {.method = "GET",
                                 .url = url,
                                 .sink = keep,
                                 .sink_arg = &k,
                                 .no_redirects = true,
                                 .idle_timeout_ms = l->call_ms};
  buf_adds(&k.text, "");
  int result = http_perform(l->session, &request, &response, &failed);
  if (result == 0 && response.status / 100 != 2)
    result = lxd_status_error(&response, "the output of a command", &failed);
  *ret_cut |= k.cut;
  *ret = result == 0 || k.cut ? str_dup(buf_str(&k.text)) : NULL;
  buf_release(&k.text);
  if (*ret)
    return 0;
  if (err)
    *err = failed;
  return result == 0 ? lxd_no_memory(err) : -1;
}

static const char *log_of(struct json_object *metadata, const char *id, const char *which)
{
  const char *path = lxd_text(lxd_member(metadata, "output"), which);
  cleanup_free char *prefix = lxd_instance_path(id, "/logs/");
  return path && prefix && str_starts(path, prefix) && !strpbrk(path, "?#% \r\n") &&
                 !strstr(path, "..")
             ? path
             : NULL;
}

static void drop_logs(struct lxd *l, struct json_object *metadata, const char *id)
{
  static const char *const both[] = {"1", "2"};
  for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
    const char *path = log_of(metadata, id, both[i]);
    if (path)
      lxd_call(l, "DELETE", path, NULL, NULL, NULL, NULL);
  }
}

static int collect(struct lxd *l, struct json_object *metadata, const char *id,
                   struct exec_result *ret, struct err *err)
{
  const char *output = log_of(metadata, id, "1"), *errors = log_of(metadata, id, "2");
  int64_t status = lxd_number(metadata, "return", -1);
  *ret = (struct exec_result){.exit_status = status};
  if (!output || !errors || status < 0)
    return err_set(err, ERR_PROTOCOL, "the daemon does not tell how a command in '%s' ended", id);
  if (fetch(l, output, &ret->output, &ret->cut, err) == 0 &&
      fetch(l, errors, &ret->errors, &ret->cut, err) == 0)
    return 0;
  exec_result_release(ret);
  return -1;
}

// ---- one command -------------------------------------------------------------------------------

static void kill_all(struct lxd *l, const char *id, const char *mark, const char *operation)
{
  struct json_object *words = json_object_new_array();
  cleanup_json struct json_object *metadata = NULL, *killed = NULL;
  cleanup_free char *killer = NULL;
  add_words(words, (const char *const[]){"/bin/sh", "-c", KILL, mark, NULL});
  if (begin(l, id, words, NULL, &killer, NULL) == 0)
    lxd_wait(l, killer, KILL_MS / 2, &metadata, NULL);
  drop_logs(l, metadata, id);
  lxd_wait(l, operation, KILL_MS / 2, &killed, NULL);
  drop_logs(l, killed, id);
}

static struct json_object *words_of(const struct exec_order *e, const char *input_path)
{
  struct json_object *words = json_object_new_array();
  if (input_path)
    add_words(words, (const char *const[]){"/bin/sh", "-c", FEED, "sh", input_path, NULL});
  for (size_t i = 0; i < e->argv.count; i++)
    json_object_array_add(words, json_object_new_string(e->argv.items[i]));
  return words;
}

static int run(struct lxd *l, const char *id, const struct exec_order *e, const char *mark,
               const char *input_path, struct exec_result *ret, struct err *err)
{
  cleanup_free char *operation = NULL;
  cleanup_json struct json_object *metadata = NULL;
  struct err failed = ERR_INIT;
  int64_t timeout_ms = e->timeout_ms > 0 ? e->timeout_ms : 60000;
  if (begin(l, id, words_of(e, input_path), mark, &operation, err) != 0)
    return -1;
  int waited = lxd_wait(l, operation, timeout_ms, &metadata, &failed);
  if (waited != 0 && failed.kind == ERR_TIMEOUT && !metadata) {
    kill_all(l, id, mark, operation);
    return err_set(err, ERR_TIMEOUT, "'%.80s' did not end within %lld ms and was killed",
                   e->argv.items[0], (long long)timeout_ms);
  }
  int result = waited != 0 ? -1 : collect(l, metadata, id, ret, &failed);
  drop_logs(l, metadata, id);
  if (result == 0 && input_path && ret->exit_status == NOT_FOUND &&
      strstr(ret->errors, "not found")) {
    exec_result_release(ret);
    result = err_set(&failed, ERR_NOT_FOUND, "Command not found");
  }
  if (result == 0)
    return 0;
  return err_set(err, failed.kind, "'%.80s' in '%s': %s", e->argv.items[0], id, failed.message);
}

int lxd_exec(void *h, const char *id, const struct exec_order *e, struct exec_result *ret,
             struct err *err)
{
  struct lxd *l = h;
  char mark[33];
  if (need_running(l, id, err) != 0 || new_mark(mark, err) != 0)
    return -1;
  if (!e->input)
    return run(l, id, e, mark, NULL, ret, err);
  cleanup_free char *path = str_printf("/tmp/.drover-%s", mark);
  if (!path)
    return lxd_no_memory(err);
  if (lxd_file_put(l, id, path, LXD_FILE, 0600, e->input, strlen(e->input), err) != 0)
    return err_prefix(err, "standard input of a command in '%s'", id);
  int result = run(l, id, e, mark, path, ret, err);
  if (result != 0) // perhaps nobody has opened it
    lxd_file_remove(l, id, path, NULL);
  return result;
}

// ---- files and the console ---------------------------------------------------------------------

static int need_instance(struct lxd *l, const char *id, const char *path, struct err *err)
{
  cleanup_json struct json_object *instance = NULL;
  if (path && path[0] != '/')
    return err_set(err, ERR_INVALID, "'%.80s' is no absolute path", path);
  return lxd_instance_brief(l, id, &instance, err);
}

int lxd_push(void *h, const char *id, const char *path, int mode, const void *bytes, size_t length,
             struct err *err)
{
  if (need_instance(h, id, path, err) != 0)
    return -1;
  return lxd_file_put(h, id, path, LXD_FILE, mode, bytes, length, err);
}

// Where the link at `path` leads, as seen from inside; what `..` means there the daemon decides.
static char *link_target(const char *path, const char *target)
{
  const char *slash = strrchr(path, '/');
  return target[0] == '/' ? str_dup(target)
                          : str_printf("%.*s/%s", (int)(slash - path), path, target);
}

// The API gives a link for what it is, so links are followed here.
static int read_through(struct lxd *l, const char *id, const char *path, enum lxd_file *ret_type,
                        struct buf *ret, struct err *err)
{
  cleanup_free char *at = str_dup(path);
  for (int links = 0; at && links < LINKS_MAX; links++) {
    buf_release(ret);
    *ret = (struct buf){0};
    if (lxd_file_get(l, id, at, ret_type, ret, CLONE_FILE_BYTES_MAX, err) != 0)
      return -1;
    if (*ret_type != LXD_LINK)
      return 0;
    char *next = link_target(at, buf_str(ret));
    free(at);
    at = next;
  }
  return at ? err_set(err, ERR_INVALID, "%s in '%s': too many links", path, id)
            : lxd_no_memory(err);
}

int lxd_pull(void *h, const char *id, const char *path, void **ret, size_t *ret_length,
             struct err *err)
{
  struct buf bytes CLEANUP(buf_release) = {0};
  enum lxd_file type;
  if (need_instance(h, id, path, err) != 0 || read_through(h, id, path, &type, &bytes, err) != 0)
    return -1;
  if (type != LXD_FILE)
    return err_set(err, ERR_INVALID, "%s in '%s' is not a regular file", path, id);
  *ret = bytes.data ? bytes.data : calloc(1, 1);
  *ret_length = bytes.length;
  bytes = (struct buf){0};
  return *ret ? 0 : lxd_no_memory(err);
}

int lxd_console(void *h, const char *id, struct strings *ret, struct err *err)
{
  struct lxd *l = h;
  const char *client = l->incus ? "incus" : "lxc";
  if (need_instance(l, id, NULL, err) != 0)
    return -1;
  if (!l->socket)
    return err_set(err, ERR_UNSUPPORTED,
                   "a console needs the client %s, which knows %s only as a remote of its own: run "
                   "`%s console REMOTE:%s`",
                   client, l->endpoint, client, id);
  cleanup_free char *socket =
      str_printf("%s=%s", l->incus ? "INCUS_SOCKET" : "LXD_SOCKET", l->socket);
  cleanup_free char *name = str_printf("local:%s", id);
  const char *words[] = {"env", socket, client, "console", name};
  *ret = (struct strings){0};
  for (size_t i = 0; i < ARRAY_SIZE(words); i++)
    if (!words[i] || strings_add(ret, words[i]) != 0) {
      strings_release(ret);
      return lxd_no_memory(err);
    }
  return 0;
}
