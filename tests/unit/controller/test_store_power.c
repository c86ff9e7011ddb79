// SPDX-License-Identifier: Apache-2.0
// What a power cut leaves of a state file. fsync and fdatasync are this program's own: each keeps a
// copy of what has reached the disk, file by file, and a cut puts those copies in place.
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "crds/cloneset.h"
#include "tests/unit/controller/store_help.h"

#define FILE_MAX   (8 << 20)
#define WRITERS    8
#define PER_WRITER 10

static const char *const names[] = {"state.db", "state.db-wal"};

static struct disk {
  char bytes[FILE_MAX];
  ssize_t length; // -1: not there
} disk[ARRAY_SIZE(names)];
static atomic_int syncs; // of the log
static bool frozen;      // what opens the files after the cut keeps nothing
static pthread_mutex_t disk_mutex = PTHREAD_MUTEX_INITIALIZER;

static void keep(int fd)
{
  char link[64], path[256];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof(path) - 1);
  path[n > 0 ? n : 0] = '\0';
  const char *name = strrchr(path, '/');
  for (size_t i = 0; name && !frozen && i < ARRAY_SIZE(names); i++)
    if (str_eq(name + 1, names[i])) {
      pthread_mutex_lock(&disk_mutex);
      disk[i].length = pread(fd, disk[i].bytes, FILE_MAX, 0);
      syncs += i == 1;
      pthread_mutex_unlock(&disk_mutex);
    }
}

int fsync(int fd)
{
  keep(fd);
  return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
  keep(fd);
  return (int)syscall(SYS_fdatasync, fd);
}

// The files as they were synced last, in a place of their own.
static struct place *cut(void)
{
  struct place *p = place_new();
  char deep[96], path[160];
  snprintf(deep, sizeof(deep), "%s/deep", p->folder);
  assert_int_equal(mkdir(deep, 0700), 0);
  for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
    snprintf(path, sizeof(path), "%s/%s", deep, names[i]);
    int fd = disk[i].length < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
      continue;
    assert_true(disk[i].length < FILE_MAX);
    assert_int_equal(write(fd, disk[i].bytes, (size_t)disk[i].length), disk[i].length);
    close(fd);
  }
  return p;
}

static int set_up(void **state)
{
  for (size_t i = 0; i < ARRAY_SIZE(names); i++)
    disk[i].length = -1;
  *state = place_new();
  return 0;
}

static int tear_down(void **state)
{
  place_free(*state);
  return 0;
}

static struct object *make_clone(struct object_store *s, const char *name)
{
  struct err err = ERR_INIT;
  struct object *o = object_new(OBJECT_CLONE);
  struct clone_spec *spec = o->spec;
  table_defaults(object_kind_info(OBJECT_CLONE)->spec, o->spec);
  table_defaults(object_kind_info(OBJECT_CLONE)->status, o->status);
  o->meta.ns = str_dup("default");
  o->meta.name = str_dup(name);
  spec->base = calloc(1, sizeof(*spec->base));
  spec->base->name = str_dup("debian");
  assert_ok(s->ops->create(s, o, &err), &err);
  return o;
}

static void put_phase(struct object_store *s, struct object *o, const char *phase)
{
  struct err err = ERR_INIT;
  struct clone_status *st = o->status;
  free(st->phase);
  st->phase = str_dup(phase);
  assert_ok(s->ops->put_status(s, o, &err), &err);
}

static char *phase_after_cut(const char *name)
{
  struct place *p = cut();
  char *phase = NULL;
  frozen = true;
  {
    struct object_store *s cleanup_store = open_store(p, STORE_RUN);
    struct object *o cleanup_crd = NULL;
    struct err err = ERR_INIT;
    if (store_get(s, OBJECT_CLONE, "default", name, &o, &err) == 0)
      phase = str_dup(((const struct clone_status *)o->status)->phase);
    else
      assert_int_equal(err.kind, ERR_NOT_FOUND);
  }
  frozen = false;
  place_free(p);
  return phase;
}

// ---- tests ----------------------------------------------------------------------------------

static void test_settle(void **state)
{
  struct err err = ERR_INIT;
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct object *o cleanup_crd = make_clone(s, "web-0");
  put_phase(s, o, "Creating");
  assert_ok(s->ops->settle(s, &err), &err);
  int before = syncs;
  assert_ok(s->ops->settle(s, &err), &err);
  assert_int_equal(syncs, before); // nothing was written since
  put_phase(s, o, "Stopped");
  s->ops->event(s, o, "Normal", "Stopped", "off");
  assert_int_equal(syncs, before); // and this waits for nobody
  char *phase = phase_after_cut("web-0");
  assert_string_equal(phase, "Creating");
  free(phase);
}

static void test_end_settles(void **state)
{
  {
    struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
    struct object *o cleanup_crd = make_clone(s, "web-0");
    put_phase(s, o, "Stopped");
  }
  disk[1].length = -1; // the log is removed at the end
  char *phase = phase_after_cut("web-0");
  assert_string_equal(phase, "Stopped");
  free(phase);
}

static void test_wishes_last(void **state)
{
  struct err err = ERR_INIT;
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  assert_int_equal(apply(s, VMM("web", "")), APPLIED_CREATED);
  struct object *o cleanup_crd = get(s, "web");
  int before = syncs;
  struct object_key key = object_key_of(o);
  struct json_object *patch cleanup_object = json_tokener_parse("{\"spec\":{\"cancel\":true}}");
  assert_ok(store_sqlite_patch(s, &key, patch, &err), &err);
  assert_true(syncs > before);
  struct object *again cleanup_crd = get(s, "web");
  before = syncs;
  set_phase(again, "Preparing");
  assert_ok(s->ops->put_status(s, again, &err), &err);
  assert_true(syncs > before); // of a migration always
  before = syncs;
  assert_ok(s->ops->remove(s, again, &err), &err);
  assert_true(syncs > before);
}

struct writer {
  struct object_store *s;
  struct object *o;
};

static void *write_some(void *arg)
{
  struct writer *w = arg;
  struct err err = ERR_INIT;
  char phase[16];
  for (int i = 0; i < PER_WRITER; i++) {
    snprintf(phase, sizeof(phase), "p%d", i);
    put_phase(w->s, w->o, phase);
    assert_ok(w->s->ops->settle(w->s, &err), &err);
  }
  return NULL;
}

// All at once: whoever comes back from settle() finds its write on the disk.
static void test_many_settle(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct writer writers[WRITERS];
  pthread_t threads[WRITERS];
  char name[16];
  for (int i = 0; i < WRITERS; i++) {
    snprintf(name, sizeof(name), "web-%d", i);
    writers[i] = (struct writer){s, make_clone(s, name)};
  }
  for (int i = 0; i < WRITERS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, write_some, &writers[i]), 0);
  for (int i = 0; i < WRITERS; i++)
    pthread_join(threads[i], NULL);
  for (int i = 0; i < WRITERS; i++) {
    char *phase = phase_after_cut(writers[i].o->meta.name);
    assert_string_equal(phase, "p9");
    free(phase);
    object_free(writers[i].o);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_settle, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_end_settles, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_wishes_last, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_many_settle, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
