// SPDX-License-Identifier: Apache-2.0
// Machines that run (see unit.c for hosts with systemd). Each has one systemd-nspawn, in a session
// of its own, which goes on when drover ends. Its pid stands in a file that it wrote before it
// became systemd-nspawn; whether that pid is still its own is seen from its arguments, which name
// the folder. Its first child is the machine's init.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/clock.h"
#include "base/launch.h"
#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define ARGUMENTS_BYTES 4096
#define STOP_MS         10000
#define PID_BYTES       32
#define STATUS_BYTES    4096

// ---- who runs ----------------------------------------------------------------------------------

static bool proc_read(pid_t pid, const char *file, char *b, size_t size, size_t *ret_length)
{
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
  cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, b, size - 1);
  b[got > 0 ? got : 0] = '\0';
  *ret_length = got > 0 ? (size_t)got : 0;
  return got > 0;
}

static bool runs_folder(pid_t pid, const char *folder)
{
  char b[ARGUMENTS_BYTES];
  size_t length;
  cleanup_free char *wanted = str_printf("--directory=%s", folder);
  if (!wanted || !proc_read(pid, "cmdline", b, sizeof(b), &length) ||
      !str_ends(b, "systemd-nspawn"))
    return false;
  for (const char *at = b; at < b + length; at += strlen(at) + 1)
    if (str_eq(at, wanted))
      return true;
  return false;
}

static char *run_path(const struct host *h, const char *name, const char *suffix)
{
  cleanup_free char *file = str_printf("%s.%s", name, suffix);
  return file ? ns_own_path(h, "run", file) : NULL;
}

pid_t ns_monitor_of(const struct host *h, const char *name)
{
  cleanup_free char *path = run_path(h, name, "pid");
  cleanup_free char *folder = ns_machine_path(h, name);
  char *text cleanup_free = NULL;
  int64_t pid = 0;
  if (!path || !folder || ns_file_read(path, PID_BYTES, &text, NULL) != 0)
    return 0;
  if (!str_int64(text, &pid) && ns_systemd_runs())
    pid = ns_unit_pid(h, name); // drover was killed between its start and our note of it
  if (pid <= 1 || pid > INT32_MAX)
    return 0;
  struct launched known = {.pid = (pid_t)pid, .start_ticks = launch_start_ticks((pid_t)pid)};
  return launch_alive(&known) && runs_folder((pid_t)pid, folder) ? (pid_t)pid : 0;
}

static bool same_program(pid_t a, pid_t b)
{
  char path[64];
  struct stat s[2];
  pid_t pids[] = {a, b};
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof(path), "/proc/%d/exe", pids[i]);
    if (stat(path, &s[i]) != 0)
      return true; // going, or not there yet
  }
  return s[0].st_dev == s[1].st_dev && s[0].st_ino == s[1].st_ino;
}

pid_t ns_leader_of(const struct host *h, const char *name)
{
  char file[64], b[256];
  size_t length;
  pid_t monitor = ns_monitor_of(h, name);
  if (!monitor)
    return 0;
  snprintf(file, sizeof(file), "task/%d/children", monitor);
  pid_t child = proc_read(monitor, file, b, sizeof(b), &length) ? atoi(b) : 0;
  if (child <= 0 || same_program(child, monitor))
    return 0;
  return child;
}

// A systemd listens to the signals that ask it to stop once it has blocked them; before, they would
// be lost.
static bool listens(pid_t leader, int number)
{
  char b[STATUS_BYTES];
  size_t length;
  if (!proc_read(leader, "status", b, sizeof(b), &length))
    return false;
  const char *blocked = strstr(b, "\nSigBlk:\t");
  return blocked && (strtoull(blocked + strlen("\nSigBlk:\t"), NULL, 16) >> (number - 1) & 1);
}

static bool is_systemd(pid_t leader)
{
  char b[64];
  size_t length;
  return proc_read(leader, "comm", b, sizeof(b), &length) && str_eq(b, "systemd\n");
}

bool ns_answers(const struct host *h, const char *name)
{
  pid_t leader = ns_leader_of(h, name);
  return leader && (!is_systemd(leader) || listens(leader, SIGRTMIN + 4));
}

// systemd-nspawn locks the folder that it runs in by its inode, wherever it was started.
bool ns_folder_busy(const char *path)
{
  struct stat s;
  char lock[128];
  if (stat(path, &s) != 0)
    return false;
  snprintf(lock, sizeof(lock), "/run/systemd/nspawn/locks/inode-%lu:%lu", (unsigned long)s.st_dev,
           (unsigned long)s.st_ino);
  cleanup_close int fd = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    return false;
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  if (fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK)
    return true;
  return flock(fd, LOCK_EX | LOCK_NB) != 0;
}

// ---- starting ----------------------------------------------------------------------------------

static bool has_init(int root)
{
  static const char *const inits[] = {"/usr/lib/systemd/systemd", "/lib/systemd/systemd",
                                      "/sbin/init"};
  for (size_t i = 0; i < ARRAY_SIZE(inits); i++)
    if (ns_root_has(root, inits[i]))
      return true;
  return false;
}

static int check_init(const struct host *h, const struct record *r, struct err *err)
{
  cleanup_close int root = -1;
  if (ns_root_open(h, r, &root, err) != 0)
    return -1;
  return has_init(root)
             ? 0
             : err_set(err, ERR_UNSUPPORTED, "'%s' has no init to start (/sbin/init)", r->name);
}

struct arguments {
  char *own[4];
  const char *argv[16];
};

static void arguments_release(struct arguments *a)
{
  for (size_t i = 0; i < ARRAY_SIZE(a->own); i++)
    free(a->own[i]);
}

static int arguments_make(const struct host *h, const struct record *r, struct arguments *a,
                          struct err *err)
{
  cleanup_free char *namespace = ns_network_namespace(h, r->name);
  a->own[0] = str_printf("--directory=%s/%s", h->folder, r->name);
  a->own[1] = str_printf("--machine=%s", r->name);
  a->own[2] = str_printf("--hostname=%s", r->hostname ? r->hostname : r->name);
  a->own[3] = str_printf("--network-namespace-path=/run/netns/%s", namespace);
  const char *const plain[] = {"systemd-nspawn",
                               ns_systemd_runs() ? "--register=yes" : "--register=no",
                               "--keep-unit",
                               "--quiet",
                               "--boot",
                               "--settings=no",
                               "--resolv-conf=off",
                               "--timezone=off",
                               "--link-journal=no",
                               "--console=read-only"};
  memcpy(a->argv, plain, sizeof(plain));
  memcpy(a->argv + ARRAY_SIZE(plain), a->own, sizeof(a->own));
  bool all = namespace && a->own[0] && a->own[1] && a->own[2] && a->own[3];
  return all ? 0 : ns_no_memory(err);
}

static int launch_unit(const struct host *h, const struct record *r, const struct arguments *a,
                       struct err *err)
{
  char digits[PID_BYTES];
  pid_t pid;
  cleanup_free char *path = run_path(h, r->name, "pid");
  if (!path)
    return ns_no_memory(err);
  if (ns_unit_start(h, r, a->argv, &pid, err) != 0)
    return -1;
  snprintf(digits, sizeof(digits), "%d", pid);
  return ns_file_replace(path, digits, 0600, false, err);
}

static int launch_nspawn(const struct host *h, const struct record *r, const struct strings *join,
                         struct err *err)
{
  struct arguments a CLEANUP(arguments_release) = {{NULL}, {NULL}};
  cleanup_free char *log = run_path(h, r->name, "log");
  const char *files[8] = {NULL};
  struct launched started;
  for (size_t i = 0; i < join->count && i < ARRAY_SIZE(files) - 1; i++)
    files[i] = join->items[i];
  if (!log || arguments_make(h, r, &a, err) != 0)
    return log ? -1 : ns_no_memory(err);
  if (ns_systemd_runs())
    return launch_unit(h, r, &a, err);
  struct launch l = {.argv = a.argv,
                     .env = (const char *const[]){"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", NULL},
                     .log_path = log,
                     .join = files};
  return launch(&l, &started, err);
}

// The file that its pid goes to must be there, and empty. After a power cut nothing runs.
static int make_pid_file(const struct host *h, const char *name, struct strings *join,
                         struct err *err)
{
  cleanup_free char *path = run_path(h, name, "pid");
  if (!path)
    return ns_no_memory(err);
  if (ns_file_replace(path, "", 0600, false, err) != 0)
    return -1;
  return strings_add(join, path) == 0 ? 0 : ns_no_memory(err);
}

static int start(const struct host *h, const struct record *r, struct err *err)
{
  struct strings join CLEANUP(strings_release) = {0};
  cleanup_free char *path = ns_machine_path(h, r->name);
  if (!path)
    return ns_no_memory(err);
  if (ns_folder_busy(path))
    return err_set(err, ERR_BUSY, "a systemd-nspawn that drover did not start runs in %s", path);
  if (check_init(h, r, err) != 0 ||
      (ns_is_overlay(h, r) && ns_overlay_mount(h, r->name, r->base, err)))
    return -1;
  if (ns_network_make(h, r, err) != 0)
    return -1;
  ns_cgroup_remove(h, r->name);
  if (make_pid_file(h, r->name, &join, err) == 0 && ns_cgroup_make(h, r, &join, err) == 0 &&
      launch_nspawn(h, r, &join, err) == 0)
    return 0;
  ns_clean_up(h, r, NULL);
  return err_prefix(err, "start '%s'", r->name);
}

// ---- stopping ----------------------------------------------------------------------------------

static bool ends_within(const struct launched *p, int64_t patience_ms)
{
  for (int64_t end_ms = clock_ms() + patience_ms; clock_ms() < end_ms;) {
    if (!launch_alive(p))
      return true;
    struct timespec pause = {.tv_nsec = 5000000};
    nanosleep(&pause, NULL);
  }
  return !launch_alive(p);
}

static struct launched process(pid_t pid)
{
  return (struct launched){.pid = pid, .start_ticks = launch_start_ticks(pid)};
}

// Its init dies, and with that everything inside; then systemd-nspawn ends by itself.
static int stop(const struct host *h, const struct record *r, struct err *err)
{
  struct launched monitor = process(ns_monitor_of(h, r->name));
  struct launched leader = process(ns_leader_of(h, r->name));
  if (launch_signal(&leader, SIGKILL, err) != 0)
    return -1;
  if (leader.pid && ends_within(&monitor, STOP_MS))
    return 0;
  if (launch_signal(&monitor, SIGKILL, err) != 0)
    return -1;
  return ends_within(&monitor, STOP_MS / 2)
             ? 0
             : err_set(err, ERR_TIMEOUT, "'%s' does not end although it was killed", r->name);
}

int ns_clean_up(const struct host *h, const struct record *r, struct err *err)
{
  ns_cgroup_remove(h, r->name);
  if (ns_network_remove(h, r->name, err) != 0)
    return -1;
  return ns_is_overlay(h, r) ? ns_overlay_unmount(h, r->name, err) : 0;
}

// systemd powers off on SIGRTMIN+4 (systemd(1)); other inits have no such word in common.
static int ask(const struct host *h, const struct record *r, struct err *err)
{
  struct launched leader = process(ns_leader_of(h, r->name));
  if (leader.pid && !is_systemd(leader.pid))
    return err_set(err, ERR_UNSUPPORTED,
                   "the init of '%s' is not systemd and cannot be asked to "
                   "stop: use Force",
                   r->name);
  if (!leader.pid || !listens(leader.pid, SIGRTMIN + 4))
    return err_set(err, ERR_BUSY, "'%s' is still starting", r->name);
  return launch_signal(&leader, SIGRTMIN + 4, err);
}

int ns_clone_power(void *handle, const char *id, enum power_action action, struct err *err)
{
  struct host *h = handle;
  struct record r cleanup_record = {0};
  cleanup_close int lock = -1;
  if (ns_record_done(h, id, "Clone", &r, err) != 0 || ns_machine_lock(h, id, &lock, err) != 0)
    return -1;
  struct launched monitor = process(ns_monitor_of(h, id));
  switch (action) {
  case POWER_ON:
    return monitor.pid ? 0 : start(h, &r, err);
  case POWER_OFF:
    return monitor.pid && stop(h, &r, err) != 0 ? -1 : ns_clean_up(h, &r, err);
  case POWER_GUEST_SHUTDOWN:
    return monitor.pid ? ask(h, &r, err) : 0;
  }
  return err_set(err, ERR_UNSUPPORTED, "there is no such power action");
}
