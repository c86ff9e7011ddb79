// SPDX-License-Identifier: Apache-2.0
#include "base/runtime_folder.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "tests/unit/unit.h"

static char root[] = "/tmp/drover-unit-XXXXXX";
static char runtime[64];

static bool exists(const char *path)
{
  struct stat st;
  return lstat(path, &st) == 0;
}

// Says what it made, then dies without a word, or lives on until it is killed.
static char *start_child(pid_t *ret, bool survive)
{
  int pair[2];
  assert_int_equal(pipe(pair), 0);
  *ret = fork();
  if (*ret == 0) {
    char *dir = NULL;
    if (runtime_folder_new(&dir, NULL) != 0 ||
        runtime_folder_write(dir, "key", 0600, "secret", 6, NULL) != 0 ||
        write(pair[1], dir, strlen(dir) + 1) < 0)
      _exit(1);
    while (survive)
      pause();
    kill(getpid(), SIGKILL);
  }
  char path[512] = "";
  assert_true(read(pair[0], path, sizeof(path) - 1) > 0);
  close(pair[0]);
  close(pair[1]);
  return str_dup(path);
}

// In a process of its own, which has no folder yet. What `runtime_folder_new` says: NULL = it
// works.
static char *first_of_a_process(const char *drover, const char *session)
{
  int pair[2];
  assert_int_equal(pipe(pair), 0);
  pid_t pid = fork();
  if (pid == 0) {
    char *dir = NULL;
    struct err err = ERR_INIT;
    setenv("DROVER_RUNTIME_DIR", drover, 1);
    setenv("XDG_RUNTIME_DIR", session, 1);
    const char *said = runtime_folder_new(&dir, &err) == 0 ? dir : err.message;
    bool sent = write(pair[1], said, strlen(said) + 1) > 0;
    runtime_folder_remove(dir);
    exit(sent ? 0 : 1);
  }
  char said[512] = "";
  int status;
  assert_true(read(pair[0], said, sizeof(said) - 1) > 0);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  close(pair[0]);
  close(pair[1]);
  return str_dup(said);
}

static void it_lies_where_a_socket_fits(void **state)
{
  (void)state;
  char much[120], path[200];
  memset(much, 'x', sizeof(much) - 1);
  much[sizeof(much) - 1] = '\0';
  snprintf(path, sizeof(path), "%s/%s", root, much);
  cleanup_free char *refused = first_of_a_process(path, "");
  assert_contains(refused, "too long a name");
  assert_contains(refused, "set DROVER_RUNTIME_DIR to one of at most");
  cleanup_free char *session = first_of_a_process("", root);
  assert_contains(session, root);
  assert_contains(session, "/drover/process-");
  // A session that is over, or one with a long name: not an error, another place.
  const char *const elsewhere = geteuid() == 0 ? "/run/drover/process-" : "/tmp/drover-";
  cleanup_free char *over = first_of_a_process("", "/tmp/drover-no-such-session");
  assert_true(str_starts(over, elsewhere));
  mkdir(path, 0700);
  cleanup_free char *lengthy = first_of_a_process("", path);
  assert_true(str_starts(lengthy, elsewhere));
  struct sockaddr_un a;
  assert_true(RUNTIME_FOLDER_MAX + strlen("/object") < sizeof(a.sun_path));
}

// A child is killed and leaves its folder; another was killed before it had a lock. The next
// process removes both, and keeps that of the living.
static void what_the_dead_leave_is_removed(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct stat st;
  pid_t dead, living;
  cleanup_free char *left = start_child(&dead, false);
  waitpid(dead, NULL, 0);
  assert_true(exists(left));
  cleanup_free char *used = start_child(&living, true);
  cleanup_free char *unlocked = str_printf("%s/process-half", runtime);
  assert_int_equal(mkdir(unlocked, 0700), 0);
  char *mine = NULL;
  assert_ok(runtime_folder_new(&mine, &err), &err);
  assert_ok(runtime_folder_write(mine, "key", 0600, "s", 1, &err), &err);
  assert_int_equal(runtime_folder_write(mine, "key", 0600, "s", 1, &err), -1);
  assert_false(exists(left));
  assert_false(exists(unlocked));
  assert_true(exists(used));
  assert_true(strlen(mine) < RUNTIME_FOLDER_MAX);
  assert_int_equal(stat(mine, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0700);
  cleanup_free char *copy = str_dup(mine);
  runtime_folder_remove(mine);
  assert_false(exists(copy));
  kill(living, SIGKILL);
  waitpid(living, NULL, 0);
}

static void an_ordinary_end_leaves_nothing(void **state)
{
  (void)state;
  cleanup_free char *place = str_printf("%s/other", root);
  cleanup_free char *dir = first_of_a_process(place, "");
  assert_contains(dir, place);
  assert_true(exists(place));
  assert_int_equal(rmdir(place), 0); // it is empty
}

static int clean_up(void **state)
{
  (void)state;
  cleanup_free char *command = str_printf("rm -r %s", root);
  return system(command);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_lies_where_a_socket_fits),
      cmocka_unit_test(an_ordinary_end_leaves_nothing),
      cmocka_unit_test(what_the_dead_leave_is_removed), // from here on this process has one
  };
  if (!mkdtemp(root))
    return 1;
  snprintf(runtime, sizeof(runtime), "%s/run", root);
  setenv("DROVER_RUNTIME_DIR", runtime, 1);
  return cmocka_run_group_tests(tests, NULL, clean_up);
}
