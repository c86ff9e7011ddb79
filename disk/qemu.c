// SPDX-License-Identifier: Apache-2.0
#include "disk/qemu_internal.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/command.h"
#include "base/runtime_folder.h"
#include "base/str.h"
#include "disk/copy.h"
#include "disk/reach.h"

#define START_MS    20000
#define MAP_MS      (30 * 60 * 1000)
#define LINE_MAX_   4096
#define TEXT_MAX    4096
#define SHARED_TEXT "32" // connections; more than COPY_LANES_MAX

// prlimit (util-linux) sets the limits and becomes the tool. 8 GiB of addresses: QEMU's threads
// reserve far more than they use. No file may grow: nothing is written but sockets and pipes.
#define LIMITED "prlimit", "--as=8589934592", "--core=0", "--fsize=0", "--nofile=256"

// ---- the graph ------------------------------------------------------------------------------

static json_object *bytes_node(const struct qemu_node *n)
{
  json_object *o = json_object_new_object();
  if (n->socket_path) {
    json_object *server = json_object_new_object();
    json_object_object_add(server, "type", json_object_new_string("unix"));
    json_object_object_add(server, "path", json_object_new_string(n->socket_path));
    json_object_object_add(o, "driver", json_object_new_string("nbd"));
    json_object_object_add(o, "server", server);
  } else {
    const char *driver = n->block_device ? "host_device" : "file";
    json_object_object_add(o, "driver", json_object_new_string(driver));
    json_object_object_add(o, "filename", json_object_new_string(n->file_name));
  }
  json_object_object_add(o, "read-only", json_object_new_boolean(true));
  return o;
}

char *qemu_graph(const struct qemu_node *n)
{
  json_object *o = json_object_new_object();
  const char *driver = disk_format_names[n->format];
  json_object_object_add(o, "driver", json_object_new_string(driver));
  json_object_object_add(o, "read-only", json_object_new_boolean(true));
  json_object_object_add(o, "file", bytes_node(n));
  if (n->format == DISK_FORMAT_QCOW2 || n->format == DISK_FORMAT_VMDK)
    json_object_object_add(o, "backing", NULL);
  char *text = str_printf("json:%s", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
  json_object_put(o);
  return text;
}

// ---- errors ---------------------------------------------------------------------------------

static const struct {
  const char *words;
  enum err_kind kind;
  const char *advice;
} known_errors[] = {
    {"Failed to get", ERR_BUSY, " (in use by a running virtual machine? shut it down first)"},
    {"No such file", ERR_NOT_FOUND, ""},
    {"Permission denied", ERR_DENIED, ""},
    {"Cannot allocate memory", ERR_NO_MEMORY, ""},
    {"Input/output error", ERR_IO, ""},
    {"Failed to connect", ERR_UNREACHABLE, ""},
    {"not supported", ERR_UNSUPPORTED, ""},
    {"Unsupported", ERR_UNSUPPORTED, ""},
};

int qemu_error(const char *tool, char *text, struct err *err)
{
  size_t n = strlen(text);
  while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
    text[--n] = '\0';
  for (size_t i = 0; i < ARRAY_SIZE(known_errors); i++)
    if (strstr(text, known_errors[i].words))
      return err_set(err, known_errors[i].kind, "%s: %.500s%s", tool, text, known_errors[i].advice);
  return err_set(err, ERR_CORRUPT, "%s: %.500s", tool, *text ? text : "failed without a word");
}

static void read_text(int fd, char text[TEXT_MAX])
{
  size_t length = 0;
  ssize_t n;
  while (length < TEXT_MAX - 1 && (n = read(fd, text + length, TEXT_MAX - 1 - length)) > 0)
    length += (size_t)n;
  text[length] = '\0';
}

// ---- qemu-img map ---------------------------------------------------------------------------

struct map {
  qemu_map_fn fn;
  void *arg;
  char line[LINE_MAX_];
  size_t length;
};

static bool get_number(json_object *o, const char *name, uint64_t *ret)
{
  json_object *v;
  if (!json_object_object_get_ex(o, name, &v) || !json_object_is_type(v, json_type_int))
    return false;
  int64_t n = json_object_get_int64(v);
  *ret = (uint64_t)n;
  return n >= 0;
}

static bool get_flag(json_object *o, const char *name)
{
  json_object *v;
  return json_object_object_get_ex(o, name, &v) && json_object_get_boolean(v);
}

static int map_object(struct map *m, json_object *o, struct err *err)
{
  struct qemu_extent e = {0};
  if (!get_number(o, "start", &e.start) || !get_number(o, "length", &e.length))
    return err_set(err, ERR_PROTOCOL, "qemu-img map printed something unknown");
  e.plain = get_number(o, "offset", &e.offset) && get_flag(o, "data");
  e.present = get_flag(o, "present");
  e.zero = get_flag(o, "zero") || !get_flag(o, "data");
  return m->fn(m->arg, &e, err);
}

// One entry a line: "[{ ... }," ... "{ ... }]".
static int map_line(struct map *m, struct err *err)
{
  m->line[m->length] = '\0';
  const char *start = strchr(m->line, '{');
  m->length = 0;
  if (!start)
    return 0;
  json_object *o = json_tokener_parse(start);
  if (!o)
    return err_set(err, ERR_PROTOCOL, "qemu-img map printed something unknown");
  int failed = map_object(m, o, err);
  json_object_put(o);
  return failed;
}

static int map_bytes(struct map *m, const char *bytes, size_t length, struct err *err)
{
  for (size_t i = 0; i < length; i++) {
    if (m->length == LINE_MAX_ - 1)
      return err_set(err, ERR_PROTOCOL, "qemu-img map printed a line without end");
    m->line[m->length++] = bytes[i];
    // json-c reads up to the end of the object and ignores what follows it.
    if (bytes[i] == '\n' && map_line(m, err) != 0)
      return -1;
  }
  return 0;
}

static int map_pump(struct map *m, int fd, const _Atomic bool *stop, struct err *err)
{
  int64_t deadline_ms = clock_ms() + MAP_MS;
  char bytes[65536];
  for (;;) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready = poll(&p, 1, 100);
    if (atomic_load(stop))
      return err_set(err, ERR_CANCELLED, "stopped");
    if (clock_ms() > deadline_ms)
      return err_set(err, ERR_TIMEOUT, "qemu-img map did not end");
    if (ready <= 0)
      continue;
    ssize_t n = read(fd, bytes, sizeof(bytes));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return 0;
    if (map_bytes(m, bytes, (size_t)n, err) != 0)
      return -1;
  }
}

int qemu_map(const char *graph, qemu_map_fn fn, void *arg, const _Atomic bool *stop,
             struct err *err)
{
  const char *const argv[] = {LIMITED, "qemu-img", "map", "--output=json", graph, NULL};
  struct command_start start = {.argv = argv};
  struct command_child child;
  if (command_start(&start, &child, err) != 0)
    return -1;
  struct map *m = calloc(1, sizeof(*m));
  int failed = m ? 0 : err_set(err, ERR_NO_MEMORY, "no memory");
  char text[TEXT_MAX] = "";
  if (!failed) {
    m->fn = fn;
    m->arg = arg;
    failed = map_pump(m, child.output, stop, err);
  }
  if (!failed)
    read_text(child.errors, text);
  free(m);
  struct command_result r = {0};
  command_reap(&child, failed, &r);
  if (!failed && r.exit_status != 0)
    return qemu_error("qemu-img map", text, err);
  return failed;
}

// ---- qemu-nbd -------------------------------------------------------------------------------

struct qemu_nbd {
  char *dir;
  struct command_child child; // pid 0 = none
  char socket_path[RUNTIME_FOLDER_MAX + 8];
};

static bool listens(const char *socket_path)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_path);
  cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

int qemu_wait_socket(const char *socket_path, int errors, int64_t timeout_ms,
                     const _Atomic bool *stop, struct err *err)
{
  int64_t deadline_ms = clock_ms() + timeout_ms;
  while (!listens(socket_path)) {
    struct pollfd p = {.fd = errors, .events = POLLIN};
    if (stop && atomic_load(stop))
      return err_set(err, ERR_CANCELLED, "stopped");
    if (clock_ms() > deadline_ms)
      return err_set(err, ERR_TIMEOUT, "qemu-nbd did not start");
    if (poll(&p, 1, 20) <= 0 || !(p.revents & (POLLHUP | POLLIN)))
      continue;
    // It only speaks when it fails, and then ends.
    char text[TEXT_MAX];
    read_text(errors, text);
    return qemu_error("qemu-nbd", text, err);
  }
  return 0;
}

static int start(struct qemu_nbd *q, const char *const *argv, struct err *err)
{
  struct command_start c = {.argv = argv};
  if (command_start(&c, &q->child, err) != 0) {
    q->child.pid = 0;
    return -1;
  }
  return qemu_wait_socket(q->socket_path, q->child.errors, START_MS, NULL, err);
}

static int prepare(struct qemu_nbd **ret, struct err *err)
{
  struct qemu_nbd *q = calloc(1, sizeof(*q));
  if (!q)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  if (runtime_folder_new(&q->dir, err) != 0) {
    free(q);
    return -1;
  }
  snprintf(q->socket_path, sizeof(q->socket_path), "%s/nbd", q->dir);
  *ret = q;
  return 0;
}

static int start_or_free(struct qemu_nbd *q, const char *const *argv, struct qemu_nbd **ret,
                         struct err *err)
{
  if (start(q, argv, err) != 0) {
    qemu_nbd_free(q);
    return -1;
  }
  *ret = q;
  return 0;
}

int qemu_nbd_start(const char *graph, struct qemu_nbd **ret, struct err *err)
{
  struct qemu_nbd *q;
  if (prepare(&q, err) != 0)
    return -1;
  const char *const argv[] = {LIMITED,     "qemu-nbd", "--read-only",  "--persistent", "--shared",
                              SHARED_TEXT, "--socket", q->socket_path, graph,          NULL};
  return start_or_free(q, argv, ret, err);
}

int qemu_nbd_start_writable(const char *path, int format, struct qemu_nbd **ret, struct err *err)
{
  struct qemu_nbd *q;
  if (prepare(&q, err) != 0)
    return -1;
  const char *const argv[] = {"qemu-nbd",
                              "--format",
                              disk_format_names[format],
                              "--discard=unmap",
                              "--detect-zeroes=off",
                              "--cache=writeback",
                              "--persistent",
                              "--shared",
                              SHARED_TEXT,
                              "--socket",
                              q->socket_path,
                              "--",
                              path,
                              NULL};
  return start_or_free(q, argv, ret, err);
}

const char *qemu_nbd_socket(const struct qemu_nbd *q)
{
  return q->socket_path;
}

void qemu_nbd_free(void *arg)
{
  struct qemu_nbd *q = arg;
  struct command_result r;
  if (q->child.pid > 0)
    command_reap(&q->child, true, &r);
  runtime_folder_remove(q->dir);
  free(q);
}
