// SPDX-License-Identifier: Apache-2.0
// Programs and files on the machine that has the disks.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/str.h"
#include "providers/libvirt/host_internal.h"

#define RUN_TIMEOUT_MS  10000
#define COMMAND_MAX     (64u << 10)
#define SSH_FAILED      255 // exit status of ssh itself
#define COMMAND_MISSING 127 // of a shell

// Within single quotes a POSIX shell takes everything as it is but the quote itself.
char *shell_quote(const char *const *argv)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(COMMAND_MAX);
  for (size_t i = 0; argv[i]; i++) {
    buf_adds(&b, i ? " '" : "'");
    for (const char *c = argv[i]; *c; c++) {
      if (*c == '\'')
        buf_adds(&b, "'\\''");
      else
        buf_addc(&b, *c);
    }
    buf_addc(&b, '\'');
  }
  return buf_take(&b);
}

int host_need_data(const struct host *h, struct err *err)
{
  if (h->data != DATA_NONE)
    return 0;
  return err_set(err, ERR_UNSUPPORTED,
                 "disks of %s cannot be reached: its libvirt is spoken to by "
                 "TLS, bytes need ssh; set spec.ssh of the Provider",
                 h->config->endpoint);
}

static int ssh_failed(const struct host *h, const struct command_result *r, struct err *err)
{
  cleanup_free char *said = str_dup(r->errors ? r->errors : "");
  for (char *c = said; c && *c; c++)
    if ((unsigned char)*c < 0x20)
      *c = ' ';
  enum err_kind kind = host_error_kind(VIR_ERR_NO_CONNECT, said);
  return err_set(err, kind, "ssh to %s: %.400s", h->data_host,
                 said ? host_error_sentence(said) : "");
}

int host_run_command(struct host *h, const struct command *given, struct command_result *ret,
                     struct err *err)
{
  if (host_need_data(h, err) != 0)
    return -1;
  struct command c = *given;
  if (h->data == DATA_LOCAL)
    return command_run(&c, ret, err);
  cleanup_free char *quoted = shell_quote(given->argv);
  cleanup_free char *line = quoted ? str_printf("LC_ALL=C exec %s", quoted) : NULL;
  cleanup_free char *config = str_printf("%s/config", h->dir);
  if (!line || !config)
    return err_set(err, ERR_LIMIT, "a command line is longer than %u bytes", COMMAND_MAX);
  const char *ssh[] = {"ssh", "-F", config, "-T", "--", "data", line, NULL};
  c.argv = ssh;
  if (command_run(&c, ret, err) != 0)
    return err_prefix(err, "ssh to %s", h->data_host);
  if (ret->exit_status != SSH_FAILED)
    return 0;
  ssh_failed(h, ret, err);
  command_result_release(ret);
  return -1;
}

int host_run(struct host *h, const char *const *argv, struct command_result *ret, struct err *err)
{
  struct command c = {.argv = argv, .timeout_ms = RUN_TIMEOUT_MS};
  return host_run_command(h, &c, ret, err);
}

int host_check_run(struct host *h, const char *const *argv, struct err *err)
{
  struct command c = {.argv = argv, .timeout_ms = RUN_TIMEOUT_MS};
  return host_check_command(h, &c, err);
}

int host_check_command(struct host *h, const struct command *c, struct err *err)
{
  struct command_result r CLEANUP(command_result_release) = {0};
  if (host_run_command(h, c, &r, err) != 0)
    return -1;
  if (r.exit_status == 0)
    return 0;
  const char *where = h->data == DATA_SSH ? h->data_host : "this host";
  if (r.exit_status == COMMAND_MISSING)
    return err_set(err, ERR_UNSUPPORTED, "%s is not installed on %s", c->argv[0], where);
  cleanup_free char *said = str_dup(r.errors ? r.errors : "");
  for (char *at = said; at && *at; at++)
    if ((unsigned char)*at < 0x20)
      *at = ' ';
  enum err_kind kind = host_error_kind(VIR_ERR_SYSTEM_ERROR, said);
  return err_set(err, kind, "%s on %s: %.400s", c->argv[0], where, said ? said : "");
}

// ---- files -------------------------------------------------------------------------------------

static int local_stat(const char *path, struct file_facts *ret, struct err *err)
{
  struct stat st;
  if (stat(path, &st) != 0)
    return errno == ENOENT ? 0 : err_errno(err, errno, "stat %s", path);
  ret->exists = true;
  ret->is_block = S_ISBLK(st.st_mode);
  ret->size_bytes = S_ISREG(st.st_mode) ? st.st_size : 0;
  return 0;
}

int host_stat(struct host *h, const char *path, struct file_facts *ret, struct err *err)
{
  *ret = (struct file_facts){0};
  if (h->data == DATA_LOCAL)
    return local_stat(path, ret, err);
  const char *argv[] = {"stat", "-L", "-c", "%s %F", "--", path, NULL};
  struct command_result r CLEANUP(command_result_release) = {0};
  if (host_run(h, argv, &r, err) != 0)
    return -1;
  if (r.exit_status != 0 && strstr(r.errors, "No such file"))
    return 0;
  long long size = 0;
  if (r.exit_status != 0 || sscanf(r.output, "%lld", &size) != 1)
    return err_set(err, ERR_IO, "stat %s on %s: %.300s", path, h->data_host, r.errors);
  ret->exists = true;
  ret->is_block = strstr(r.output, "block special") != NULL;
  ret->size_bytes = strstr(r.output, "regular") ? size : 0;
  return 0;
}

static int local_head(const char *path, size_t max, char **ret, size_t *ret_length, struct err *err)
{
  cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return err_errno(err, errno, "open %s", path);
  cleanup_free char *bytes = malloc(max + 1);
  size_t length = 0;
  while (bytes && length < max) {
    ssize_t n = pread(fd, bytes + length, max - length, (off_t)length);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return err_errno(err, errno, "read %s", path);
    if (n == 0)
      break;
    length += (size_t)n;
  }
  if (!bytes)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  *ret = TAKE(bytes);
  *ret_length = length;
  return 0;
}

int host_read_head(struct host *h, const char *path, size_t max, char **ret, size_t *ret_length,
                   struct err *err)
{
  if (h->data == DATA_LOCAL)
    return local_head(path, max, ret, ret_length, err);
  char count[24];
  snprintf(count, sizeof(count), "%zu", max);
  const char *argv[] = {"head", "-c", count, "--", path, NULL};
  struct command_result r CLEANUP(command_result_release) = {0};
  if (host_run(h, argv, &r, err) != 0)
    return -1;
  if (r.exit_status != 0)
    return err_set(err, strstr(r.errors, "No such file") ? ERR_NOT_FOUND : ERR_IO,
                   "read %s on %s: %.300s", path, h->data_host, r.errors);
  *ret = TAKE(r.output);
  *ret_length = r.output_length;
  return 0;
}

int host_remove_file(struct host *h, const char *path, struct err *err)
{
  if (h->data == DATA_LOCAL) {
    if (unlink(path) == 0 || errno == ENOENT)
      return 0;
    return err_errno(err, errno, "remove %s", path);
  }
  const char *argv[] = {"rm", "-f", "--", path, NULL};
  return host_check_run(h, argv, err);
}
