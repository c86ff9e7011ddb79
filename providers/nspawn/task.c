// SPDX-License-Identifier: Apache-2.0
// Copies and removals that take longer than a call may: a program works, and calls look after it.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define SAID_BYTES 512

static struct task *task_find(struct host *h, const char *name)
{
  for (size_t i = 0; i < NSPAWN_TASKS_MAX; i++)
    if (h->tasks[i].name ? str_eq(h->tasks[i].name, name) : !name)
      return &h->tasks[i];
  return NULL;
}

int ns_task_start(struct host *h, const char *name, const char *const *argv, int fd, int *lock,
                  struct err *err)
{
  struct task *t = task_find(h, NULL);
  if (!t)
    return err_set(err, ERR_BUSY, "%d machines are copied or removed already", NSPAWN_TASKS_MAX);
  int fds[] = {fd >= 0 ? fd : *lock, *lock}; // the lock lasts as long as anybody writes
  struct command_start start = {.argv = argv, .fds = fds, .fd_count = 2};
  char *copy = str_dup(name);
  if (!copy)
    return ns_no_memory(err);
  if (command_start(&start, &t->child, err) != 0) {
    free(copy);
    return -1;
  }
  fcntl(t->child.errors, F_SETFL, O_NONBLOCK);
  t->name = copy;
  t->copies = fd >= 0;
  t->lock = TAKE_FD(*lock);
  return 0;
}

static void task_free(struct task *t)
{
  close(t->lock);
  free(t->name);
  *t = (struct task){0};
}

enum task_state ns_task_look(struct host *h, const char *name, struct err *err)
{
  struct task *t = task_find(h, name);
  if (!t)
    return TASK_NONE;
  siginfo_t info = {0};
  if (waitid(P_PID, (id_t)t->child.pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && !info.si_pid)
    return TASK_RUNS;
  char said[SAID_BYTES + 1] = "";
  ssize_t n = read(t->child.errors, said, SAID_BYTES);
  said[n > 0 ? n : 0] = '\0';
  said[strcspn(said, "\n")] = '\0';
  struct command_result done = {0};
  command_reap(&t->child, false, &done);
  bool copies = t->copies;
  task_free(t);
  if (done.exit_status == 0)
    return copies ? TASK_DONE : TASK_NONE;
  err_set(err, strstr(said, "No space left") ? ERR_NO_SPACE : ERR_IO, "%s: %s", name,
          said[0] ? said : "the program was killed");
  return TASK_FAILED;
}

enum task_state ns_task_wait(struct host *h, const char *name, int64_t patience_ms, struct err *err)
{
  struct task *t = task_find(h, name);
  cleanup_close int fd = t ? pidfd_open(t->child.pid, 0) : -1;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  if (fd >= 0)
    poll(&p, 1, (int)patience_ms);
  return ns_task_look(h, name, err);
}

void ns_tasks_end(struct host *h)
{
  for (size_t i = 0; i < NSPAWN_TASKS_MAX; i++) {
    struct command_result done;
    if (!h->tasks[i].name)
      continue;
    command_reap(&h->tasks[i].child, true, &done);
    task_free(&h->tasks[i]);
  }
}
