// SPDX-License-Identifier: Apache-2.0
// Copies of disks (full clones, clones of clones) take as long as they take: each clone's on a
// thread of its own, in a list of the host, asked about by calling clone_make again. The thread
// uses of the host what does not change (its configuration, its ssh files); everything else is the
// job's. A job that ended stays until it was asked about. Files get their names when they are
// whole.
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/str.h"
#include "providers/libvirt/clone_internal.h"

#define JOBS_MAX 16

struct copy_step {
  char *from, *to, *part;
  int format;
  bool flatten; // what the guest sees; else the file as it is
};

struct copy_job {
  struct copy_job *next;
  struct host *h;
  char *uid;
  struct copy_step *steps;
  size_t count;
  pthread_t thread;
  volatile bool cancel;
  atomic_bool ended; // then failed and err may be read
  int failed;
  struct err err;
};

static void job_free(struct copy_job *j)
{
  for (size_t i = 0; j->steps && i < j->count; i++) {
    free(j->steps[i].from);
    free(j->steps[i].to);
    free(j->steps[i].part);
  }
  free(j->steps);
  free(j->uid);
  free(j);
}

// qemu-img takes its lock on the original and writes what the guest sees of the whole chain.
static int run_step(struct copy_job *j, const struct copy_step *s)
{
  const char *copy[] = {"sh",
                        "-c",
                        HOST_PRIVATELY,
                        "cp",
                        "--reflink=auto",
                        "--sparse=always",
                        "--no-preserve=mode",
                        "--",
                        s->from,
                        s->part,
                        NULL};
  const char *convert[] = {"sh",      "-c",    HOST_PRIVATELY, "qemu-img",
                           "convert", "-q",    "-f",           disk_format_names[s->format],
                           "-O",      "qcow2", "--",           s->from,
                           s->part,   NULL};
  const char *rename[] = {"mv", "-f", "--", s->part, s->to, NULL};
  struct command c = {.argv = s->flatten ? convert : copy, .cancel = &j->cancel};
  if (host_remove_file(j->h, s->part, &j->err) != 0)
    return -1;
  if (host_check_command(j->h, &c, &j->err) == 0)
    return host_check_run(j->h, rename, &j->err);
  struct err none = ERR_INIT;
  host_remove_file(j->h, s->part, &none);
  return -1;
}

static void *run(void *arg)
{
  struct copy_job *j = arg;
  for (size_t i = 0; i < j->count && !j->failed; i++)
    j->failed = run_step(j, &j->steps[i]);
  atomic_store(&j->ended, true);
  return NULL;
}

static struct copy_job *job_new(struct making *m)
{
  struct copy_job *j = calloc(1, sizeof(*j));
  if (!j)
    return NULL;
  j->h = m->h;
  j->uid = str_dup(m->c->uid);
  j->steps = calloc(m->disk_count + 1, sizeof(*j->steps));
  bool ok = j->uid && j->steps;
  for (size_t i = 0; ok && i < m->disk_count; i++) {
    struct copy_step *s = &j->steps[j->count++];
    s->from = str_dup(making_base_disk(m, i)->path);
    s->to = str_dup(m->disks[i].path);
    s->part = str_printf("%s.part", m->disks[i].path);
    s->format = making_base_disk(m, i)->format;
    s->flatten = m->mode == CLONE_FULL;
    ok = s->from && s->to && s->part;
  }
  if (ok)
    return j;
  job_free(j);
  return NULL;
}

static int begin(struct making *m, struct err *err)
{
  size_t running = 0;
  for (struct copy_job *j = m->h->copies; j; j = j->next)
    running++;
  if (running >= JOBS_MAX)
    return 0; // its turn comes: the caller asks again
  struct copy_job *j = job_new(m);
  if (!j)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (pthread_create(&j->thread, NULL, run, j) != 0) {
    job_free(j);
    return err_set(err, ERR_NO_MEMORY, "no thread for a copy");
  }
  j->next = m->h->copies;
  m->h->copies = j;
  return 0;
}

static void drop(struct host *h, struct copy_job *j)
{
  struct copy_job **at = &h->copies;
  while (*at != j)
    at = &(*at)->next;
  *at = j->next;
  pthread_join(j->thread, NULL);
  job_free(j);
}

bool copy_job_runs(const struct host *h, const char *uid)
{
  for (const struct copy_job *j = h->copies; j; j = j->next)
    if (str_eq(j->uid, uid))
      return !atomic_load(&j->ended);
  return false;
}

int copy_job(struct making *m, struct err *err)
{
  for (struct copy_job *j = m->h->copies; j; j = j->next) {
    if (!str_eq(j->uid, m->c->uid))
      continue;
    if (!atomic_load(&j->ended))
      return 0;
    int failed = j->failed;
    if (failed && err)
      *err = j->err;
    drop(m->h, j);
    return failed ? -1 : 1;
  }
  return begin(m, err);
}

void copy_job_end(struct host *h, const char *uid)
{
  for (struct copy_job *j = h->copies, *next; j; j = next) {
    next = j->next;
    if (uid && !str_eq(j->uid, uid))
      continue;
    j->cancel = true;
    drop(h, j);
  }
}
