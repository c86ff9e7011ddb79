// SPDX-License-Identifier: Apache-2.0
// Commands and files inside, through the QEMU guest agent
// (https://www.qemu.org/docs/master/interop/qemu-ga-ref.html).
#include <json-c/json.h>
#include <libvirt/libvirt-qemu.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "providers/libvirt/clone_internal.h"

#define CALL_TIMEOUT_S  10
#define PING_TIMEOUT_S  1
#define POLL_FIRST_MS   5
#define POLL_MOST_MS    200
#define WRITE_BYTES     (48u << 10)  // the agent reads its orders byte by byte
#define READ_BYTES      (384u << 10) // as base64, well below what the protocol carries
#define BOUND_BYTES     1400000u     // of each stream of a command; two of them, as base64, fit
#define FILE_TIMEOUT_MS 10000

// ---- calling -----------------------------------------------------------------------------------

int agent_state(virDomainPtr domain, struct err *err)
{
  const char *name = virDomainGetName(domain);
  cleanup_free char *text = virDomainGetXMLDesc(domain, 0);
  struct xml x CLEANUP(xml_release) = {0};
  if (!text)
    return host_fail(err, "read the definition of '%s'", name);
  if (xml_parse(&x, text, "domain", err) != 0)
    return -1;
  static const char channel[] = "/domain/devices/channel/target[@name='org.qemu.guest_agent.0']";
  if (!xml_has(&x, NULL, channel))
    return err_set(err, ERR_UNSUPPORTED,
                   "VM '%s' has no channel for the QEMU guest agent (org.qemu.guest_agent.0)",
                   name);
  if (virDomainIsActive(domain) != 1)
    return err_set(err, ERR_BUSY, "VM '%s' does not run", name);
  return xml_is(&x, NULL, "/domain/devices/channel/target[@name='org.qemu.guest_agent.0']/@state",
                "connected");
}

bool agent_pings(virDomainPtr domain)
{
  struct err none = ERR_INIT;
  if (agent_state(domain, &none) != 1)
    return false;
  char *answer =
      virDomainQemuAgentCommand(domain, "{\"execute\":\"guest-ping\"}", PING_TIMEOUT_S, 0);
  free(answer);
  return answer != NULL;
}

static virDomainPtr ready(struct host *h, const char *id, struct err *err)
{
  virDomainPtr domain = host_domain(h, id, err);
  int state = domain ? agent_state(domain, err) : -1;
  if (state == 0)
    err_set(err, ERR_BUSY,
            "no guest agent has connected in VM '%s' (yet): is qemu-guest-agent "
            "installed there?",
            virDomainGetName(domain));
  if (state == 1)
    return domain;
  if (domain)
    virDomainFree(domain);
  return NULL;
}

static int call_failed(struct err *err)
{
  static const struct {
    const char *words;
    enum err_kind kind;
  } kinds[] = {{"No such file", ERR_NOT_FOUND},        {"Permission denied", ERR_DENIED},
               {"has been disabled", ERR_UNSUPPORTED}, {"CommandNotFound", ERR_UNSUPPORTED},
               {"not been found", ERR_UNSUPPORTED},    {"No space left", ERR_NO_SPACE},
               {"s a directory", ERR_INVALID},         {"agent is not connected", ERR_BUSY}};
  struct err failed = ERR_INIT;
  host_fail(&failed, "guest agent");
  for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
    if (strstr(failed.message, kinds[i].words))
      return err_set(err, kinds[i].kind, "%s", failed.message);
  return err_set(err, failed.kind, "%s", failed.message);
}

// arguments is taken. *ret is the "return" of the answer (yours); NULL allowed.
static int call(virDomainPtr domain, const char *command, struct json_object *arguments,
                struct json_object **ret, struct err *err)
{
  struct json_object *o = json_object_new_object(), *value = NULL;
  json_object_object_add(o, "execute", json_object_new_string(command));
  json_object_object_add(o, "arguments", arguments);
  const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
  cleanup_free char *answer = virDomainQemuAgentCommand(domain, text, CALL_TIMEOUT_S, 0);
  json_object_put(o);
  if (!answer)
    return call_failed(err);
  struct json_object *root = json_tokener_parse(answer);
  if (!root || !json_object_object_get_ex(root, "return", &value)) {
    json_object_put(root);
    return err_set(err, ERR_PROTOCOL, "the guest agent answers nonsense to %s", command);
  }
  if (ret)
    *ret = json_object_get(value);
  json_object_put(root);
  return 0;
}

static int64_t number_of(struct json_object *o, const char *key)
{
  struct json_object *value;
  return json_object_object_get_ex(o, key, &value) ? json_object_get_int64(value) : 0;
}

static struct json_object *encoded(const void *bytes, size_t length)
{
  cleanup_free char *text = malloc((length + 2) / 3 * 4 + 1);
  if (!text)
    return NULL;
  int n = EVP_EncodeBlock((unsigned char *)text, bytes, (int)length);
  struct json_object *o = json_object_new_string_len(text, n);
  explicit_bzero(text, (size_t)n);
  return o;
}

// Appends what a base64 member of the answer says; false: no such member, or none of base64.
static bool decode(struct json_object *o, const char *key, struct buf *ret)
{
  struct json_object *value;
  if (!json_object_object_get_ex(o, key, &value))
    return false;
  const char *text = json_object_get_string(value);
  size_t length = strlen(text);
  cleanup_free unsigned char *bytes = malloc(length + 1);
  int n = bytes ? EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length) : -1;
  for (size_t i = length; n > 0 && i > 0 && text[i - 1] == '='; i--)
    n--;
  if (n < 0)
    return false;
  buf_add(ret, bytes, (size_t)n);
  return true;
}

// ---- commands ----------------------------------------------------------------------------------

static int exec_begin(virDomainPtr domain, const struct exec_order *e, int64_t *ret_pid,
                      struct err *err)
{
  struct json_object *o = json_object_new_object(), *args = json_object_new_array(), *ret = NULL;
  json_object_object_add(o, "path", json_object_new_string(e->argv.items[0]));
  for (size_t i = 1; i < e->argv.count; i++)
    json_object_array_add(args, json_object_new_string(e->argv.items[i]));
  json_object_object_add(o, "arg", args);
  json_object_object_add(o, "capture-output", json_object_new_boolean(1));
  if (e->input)
    json_object_object_add(o, "input-data", encoded(e->input, strlen(e->input)));
  if (call(domain, "guest-exec", o, &ret, err) != 0)
    return -1;
  *ret_pid = number_of(ret, "pid");
  json_object_put(ret);
  return 0;
}

static void stream(struct json_object *o, const char *key, const char *cut_key, char **ret,
                   bool *ret_cut)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(32u << 20);
  decode(o, key, &b);
  if (number_of(o, cut_key) || b.length > LIMIT_COMMAND_OUTPUT_BYTES)
    *ret_cut = true;
  if (b.length > LIMIT_COMMAND_OUTPUT_BYTES)
    b.data[LIMIT_COMMAND_OUTPUT_BYTES] = '\0';
  *ret = b.length ? buf_take(&b) : str_dup("");
}

static int exec_end(struct json_object *o, struct exec_result *ret, struct err *err)
{
  int64_t signal = number_of(o, "signal");
  ret->exit_status = signal ? 128 + signal : number_of(o, "exitcode");
  stream(o, "out-data", "out-truncated", &ret->output, &ret->cut);
  stream(o, "err-data", "err-truncated", &ret->errors, &ret->cut);
  return ret->output && ret->errors ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

// 1: it ended; 0: it runs.
static int exec_poll(virDomainPtr domain, int64_t pid, struct exec_result *ret, struct err *err)
{
  struct json_object *o = json_object_new_object(), *status = NULL, *exited;
  json_object_object_add(o, "pid", json_object_new_int64(pid));
  if (call(domain, "guest-exec-status", o, &status, err) != 0)
    return -1;
  int ended =
      json_object_object_get_ex(status, "exited", &exited) && json_object_get_boolean(exited);
  int failed = ended ? exec_end(status, ret, err) : 0;
  json_object_put(status);
  return failed ? -1 : ended;
}

static void kill_inside(virDomainPtr domain, int64_t pid)
{
  char digits[24];
  const char *argv[] = {"kill", "-TERM", digits}; // the shell of ours ends what it runs
  struct exec_order e = {.argv = {(char **)argv, 3}};
  struct err none = ERR_INIT;
  int64_t killer;
  snprintf(digits, sizeof(digits), "%lld", (long long)pid);
  exec_begin(domain, &e, &killer, &none);
}

static int run_inside(virDomainPtr domain, const struct exec_order *e, struct exec_result *ret,
                      struct err *err)
{
  int64_t pid, deadline_ms = clock_ms() + e->timeout_ms, wait_ms = POLL_FIRST_MS;
  if (exec_begin(domain, e, &pid, err) != 0)
    return -1;
  for (;;) {
    int ended = exec_poll(domain, pid, ret, err);
    if (ended)
      return ended < 0 ? -1 : 0;
    if (clock_ms() >= deadline_ms)
      break;
    struct timespec pause = {.tv_nsec = wait_ms * 1000000};
    nanosleep(&pause, NULL);
    wait_ms = wait_ms * 2 < POLL_MOST_MS ? wait_ms * 2 : POLL_MOST_MS;
  }
  kill_inside(domain, pid);
  return err_set(err, ERR_TIMEOUT, "the command did not end within %lld ms; it was killed",
                 (long long)e->timeout_ms);
}

// An answer of the agent must fit into libvirt's message of 4 MiB, as base64, or it is lost
// together with the exit status. So a shell inside bounds what is answered; it passes the words on
// as they are, and its end is the command's. Without a shell inside (Windows) the command is run
// itself.
static const char bounded[] = "command -v -- \"$1\" > /dev/null 2>&1 || exit 127\n"
                              "d=$(mktemp -d) || exit 126\n"
                              "exec 3<&0\n"
                              "\"$@\" <&3 3<&- > \"$d/o\" 2> \"$d/e\" &\n"
                              "trap 'kill -KILL $!' TERM\n"
                              "wait $!\n"
                              "s=$?\n"
                              "head -c 1400001 \"$d/o\"\n"
                              "head -c 1400001 \"$d/e\" >&2\n"
                              "rm -rf \"$d\"\n"
                              "exit $s\n";

static void cut_at(char *text, bool *ret_cut)
{
  if (strlen(text) <= BOUND_BYTES)
    return;
  text[BOUND_BYTES] = '\0';
  *ret_cut = true;
}

static int run_bounded(virDomainPtr domain, const struct exec_order *e, struct exec_result *ret,
                       struct err *err)
{
  cleanup_free char **argv = calloc(e->argv.count + 4, sizeof(*argv));
  const char *head[] = {"sh", "-c", bounded, "drover"};
  if (!argv)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  memcpy(argv, head, sizeof(head));
  memcpy(argv + 4, e->argv.items, e->argv.count * sizeof(*argv));
  struct exec_order through = {{argv, e->argv.count + 4}, e->input, e->timeout_ms};
  if (run_inside(domain, &through, ret, err) != 0)
    return -1;
  cut_at(ret->output, &ret->cut);
  cut_at(ret->errors, &ret->cut);
  if (ret->exit_status == 127 && str_empty(ret->output) && str_empty(ret->errors))
    return err_set(err, ERR_NOT_FOUND, "there is no program '%s' inside", e->argv.items[0]);
  return 0;
}

int host_exec(void *handle, const char *id, const struct exec_order *e, struct exec_result *ret,
              struct err *err)
{
  cleanup_domain virDomainPtr domain = ready(handle, id, err);
  struct err failed = ERR_INIT;
  if (!domain)
    return -1;
  if (run_bounded(domain, e, ret, &failed) == 0)
    return 0;
  if (failed.kind == ERR_NOT_FOUND && strstr(failed.message, "guest agent")) // no shell
    return run_inside(domain, e, ret, err);
  return err_set(err, failed.kind, "%s", failed.message);
}

// ---- files -------------------------------------------------------------------------------------

static int file_open(virDomainPtr domain, const char *path, const char *mode, int64_t *ret_file,
                     struct err *err)
{
  struct json_object *o = json_object_new_object(), *ret = NULL;
  json_object_object_add(o, "path", json_object_new_string(path));
  json_object_object_add(o, "mode", json_object_new_string(mode));
  if (call(domain, "guest-file-open", o, &ret, err) != 0)
    return -1;
  *ret_file = json_object_get_int64(ret);
  json_object_put(ret);
  return 0;
}

static int file_close(virDomainPtr domain, int64_t file, struct err *err)
{
  struct json_object *o = json_object_new_object();
  json_object_object_add(o, "handle", json_object_new_int64(file));
  return call(domain, "guest-file-close", o, NULL, err);
}

static int file_write(virDomainPtr domain, int64_t file, const char *bytes, size_t length,
                      struct err *err)
{
  for (size_t at = 0; at < length;) {
    struct json_object *o = json_object_new_object(), *ret = NULL;
    size_t n = length - at < WRITE_BYTES ? length - at : WRITE_BYTES;
    json_object_object_add(o, "handle", json_object_new_int64(file));
    json_object_object_add(o, "buf-b64", encoded(bytes + at, n));
    if (call(domain, "guest-file-write", o, &ret, err) != 0)
      return -1;
    int64_t written = number_of(ret, "count");
    json_object_put(ret);
    if (written <= 0 || written > (int64_t)n)
      return err_set(err, ERR_IO, "the guest agent wrote %lld bytes", (long long)written);
    at += (size_t)written;
  }
  return 0;
}

static int run_words(virDomainPtr domain, const char **argv, size_t count, struct err *err)
{
  struct exec_order e = {.argv = {(char **)argv, count}, .timeout_ms = FILE_TIMEOUT_MS};
  struct exec_result r CLEANUP(exec_result_release) = {0};
  if (run_inside(domain, &e, &r, err) != 0)
    return err_prefix(err, "%s", argv[0]);
  return r.exit_status == 0 ? 0 : err_set(err, ERR_IO, "%s inside: %.300s", argv[0], r.errors);
}

// Nobody sees half a file, and nobody but its owner what lies in it until it has its mode.
static int push_part(virDomainPtr domain, const char *part, int mode, const void *bytes,
                     size_t length, struct err *err)
{
  int64_t file;
  char digits[8];
  const char *chmod[] = {"chmod", digits, part};
  if (file_open(domain, part, "w", &file, err) != 0)
    return -1;
  snprintf(digits, sizeof(digits), "%04o", (unsigned)mode & 07777);
  int failed = run_words(domain, chmod, 3, err);
  if (!failed)
    failed = file_write(domain, file, bytes, length, err);
  struct err none = ERR_INIT;
  int not_closed = file_close(domain, file, failed ? &none : err);
  return failed ? failed : not_closed;
}

static int path_ok(const char *path, struct err *err)
{
  return path[0] == '/' || (path[0] && path[1] == ':') // C:\...
             ? 0
             : err_set(err, ERR_INVALID, "'%.200s' is no absolute path", path);
}

int host_push(void *handle, const char *id, const char *path, int mode, const void *bytes,
              size_t length, struct err *err)
{
  if (path_ok(path, err) != 0)
    return -1;
  cleanup_domain virDomainPtr domain = ready(handle, id, err);
  cleanup_free char *part = str_printf("%s.drover-part", path);
  if (!domain || !part)
    return domain ? err_set(err, ERR_NO_MEMORY, "out of memory") : -1;
  const char *move[] = {"mv", "-f", "-T", part, path}; // never into a folder
  if (push_part(domain, part, mode, bytes, length, err) == 0 &&
      run_words(domain, move, 5, err) == 0)
    return 0;
  const char *drop[] = {"rm", "-f", part};
  struct err none = ERR_INIT;
  run_words(domain, drop, 3, &none);
  return -1;
}

static int file_read(virDomainPtr domain, int64_t file, struct buf *ret, struct err *err)
{
  for (bool eof = false; !eof;) {
    struct json_object *o = json_object_new_object(), *piece = NULL, *end;
    json_object_object_add(o, "handle", json_object_new_int64(file));
    json_object_object_add(o, "count", json_object_new_int64(READ_BYTES));
    if (call(domain, "guest-file-read", o, &piece, err) != 0)
      return -1;
    int64_t count = number_of(piece, "count");
    eof = json_object_object_get_ex(piece, "eof", &end) && json_object_get_boolean(end);
    bool ok = count == 0 || decode(piece, "buf-b64", ret);
    json_object_put(piece);
    if (!buf_ok(ret))
      return err_set(err, ERR_LIMIT, "the file has more than %lld bytes", CLONE_FILE_BYTES_MAX);
    if (!ok || (count == 0 && !eof))
      return err_set(err, ERR_PROTOCOL, "the guest agent answers nonsense to guest-file-read");
  }
  return 0;
}

int host_pull(void *handle, const char *id, const char *path, void **ret, size_t *ret_length,
              struct err *err)
{
  if (path_ok(path, err) != 0)
    return -1;
  cleanup_domain virDomainPtr domain = ready(handle, id, err);
  struct buf b CLEANUP(buf_release) = BUF_INIT(CLONE_FILE_BYTES_MAX);
  struct err none = ERR_INIT;
  int64_t file;
  if (!domain || file_open(domain, path, "r", &file, err) != 0)
    return -1;
  int failed = file_read(domain, file, &b, err);
  file_close(domain, file, &none);
  if (failed)
    return -1;
  *ret_length = b.length;
  *ret = b.length ? buf_take(&b) : calloc(1, 1);
  return *ret ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}
