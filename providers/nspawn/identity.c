// SPDX-License-Identifier: Apache-2.0
// What makes a clone somebody of its own, written into it before it runs for the first time.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define KEY_BYTES_MAX 16384

static int write_text(int root, const char *path, const char *text, int mode, struct err *err)
{
  return ns_root_write(root, path, text, strlen(text), mode, err);
}

static int write_line(int root, const char *path, const char *line, int mode, struct err *err)
{
  cleanup_free char *text = str_printf("%s\n", line);
  return text ? write_text(root, path, text, mode, err) : ns_no_memory(err);
}

// ---- machine-id, host name ---------------------------------------------------------------------

static int write_names(int root, const struct clone_order *c, struct err *err)
{
  static const char *const secrets[] = {"/var/lib/systemd/random-seed",
                                        "/var/lib/systemd/credential.secret"};
  for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
    if (ns_root_unlink(root, secrets[i], err) != 0)
      return -1;
  if (c->machine_id && write_line(root, "/etc/machine-id", c->machine_id, 0444, err) != 0)
    return -1;
  if (c->machine_id && ns_root_has(root, "/var/lib/dbus/machine-id") &&
      write_line(root, "/var/lib/dbus/machine-id", c->machine_id, 0444, err) != 0)
    return -1;
  return write_line(root, "/etc/hostname", c->hostname ? c->hostname : c->name, 0644, err);
}

// ---- ssh ---------------------------------------------------------------------------------------

static int remove_host_key(int root, const char *path, struct err *err)
{
  return strstr(path, "/ssh_host_") ? ns_root_unlink(root, path, err) : 0;
}

static int move_key(int root, const char *from, const char *to, int mode, struct err *err)
{
  char *text = NULL;
  if (ns_file_read(from, KEY_BYTES_MAX, &text, err) != 0)
    return -1;
  unlink(from);
  int failed = write_text(root, to, text, mode, err);
  explicit_bzero(text, strlen(text));
  free(text);
  return failed;
}

// Not every system makes missing host keys when it starts, so it gets one: Ed25519, in 5 ms.
static int make_host_key(const struct host *h, int root, const struct clone_order *c,
                         struct err *err)
{
  cleanup_free char *path = ns_own_path(h, "parts", c->name);
  cleanup_free char *key = path ? str_printf("%s.key", path) : NULL;
  cleanup_free char *public = path ? str_printf("%s.key.pub", path) : NULL;
  cleanup_free char *comment = str_printf("root@%s", c->hostname ? c->hostname : c->name);
  if (!key || !public || !comment)
    return ns_no_memory(err);
  unlink(key);
  unlink(public);
  const char *argv[] = {"ssh-keygen", "-q",    "-t", "ed25519", "-N", "",
                        "-C",         comment, "-f", key,       NULL};
  if (ns_run_program(argv, NULL, err) != 0 ||
      move_key(root, key, "/etc/ssh/ssh_host_ed25519_key", 0600, err) != 0)
    return -1;
  return move_key(root, public, "/etc/ssh/ssh_host_ed25519_key.pub", 0644, err);
}

static int write_keys(int root, const struct clone_order *c, struct err *err)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(0);
  if (c->ssh_keys.count == 0)
    return 0;
  for (size_t i = 0; i < c->ssh_keys.count; i++)
    buf_printf(&b, "%s\n", c->ssh_keys.items[i]);
  if (!buf_ok(&b))
    return ns_no_memory(err);
  if (ns_root_folder(root, "/root", 0700, err) != 0 ||
      ns_root_folder(root, "/root/.ssh", 0700, err) != 0)
    return -1;
  return write_text(root, "/root/.ssh/authorized_keys", buf_str(&b), 0600, err);
}

static int write_ssh(const struct host *h, int root, const struct clone_order *c, struct err *err)
{
  if (ns_root_each(root, "/etc/ssh", remove_host_key, err) != 0)
    return -1;
  if (ns_root_has(root, "/etc/ssh/sshd_config") && make_host_key(h, root, c, err) != 0)
    return -1;
  return write_keys(root, c, err);
}

// ---- network -----------------------------------------------------------------------------------

// For a system that runs systemd-networkd, which would take away what it does not know of.
static int write_network(int root, const struct clone_order *c, struct err *err)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(0);
  if (c->addresses.count == 0 || !ns_root_has(root, "/etc/systemd/network"))
    return 0;
  buf_adds(&b, "[Match]\nName=host0\n\n[Network]\n");
  for (size_t i = 0; i < c->addresses.count; i++)
    buf_printf(&b, "Address=%s\n", c->addresses.items[i]);
  if (c->gateway)
    buf_printf(&b, "Gateway=%s\n", c->gateway);
  for (size_t i = 0; i < c->nameservers.count; i++)
    buf_printf(&b, "DNS=%s\n", c->nameservers.items[i]);
  if (!buf_ok(&b))
    return ns_no_memory(err);
  return write_text(root, "/etc/systemd/network/05-drover.network", buf_str(&b), 0644, err);
}

static int write_nameservers(int root, const struct clone_order *c, struct err *err)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(0);
  for (size_t i = 0; i < c->nameservers.count; i++)
    buf_printf(&b, "nameserver %s\n", c->nameservers.items[i]);
  if (c->nameservers.count == 0)
    return 0;
  return buf_ok(&b) ? write_text(root, "/etc/resolv.conf", buf_str(&b), 0644, err)
                    : ns_no_memory(err);
}

// ---- cloud-init --------------------------------------------------------------------------------

static int write_user_data(int root, const struct clone_order *c, struct err *err)
{
  static const char *const folders[] = {"/var/lib/cloud", "/var/lib/cloud/seed",
                                        "/var/lib/cloud/seed/nocloud"};
  if (!c->user_data)
    return 0;
  for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
    if (ns_root_folder(root, folders[i], 0755, err) != 0)
      return -1;
  cleanup_free char *meta =
      str_printf("instance-id: %s\nlocal-hostname: %s\n", c->machine_id ? c->machine_id : c->uid,
                 c->hostname ? c->hostname : c->name);
  if (!meta)
    return ns_no_memory(err);
  if (write_text(root, "/var/lib/cloud/seed/nocloud/meta-data", meta, 0600, err) != 0)
    return -1;
  return write_text(root, "/var/lib/cloud/seed/nocloud/user-data", c->user_data, 0600, err);
}

int ns_identity_write(const struct host *h, int root, const struct clone_order *c, struct err *err)
{
  if (!ns_root_has(root, "/etc"))
    return err_set(err, ERR_UNSUPPORTED, "base '%s' is no root file system: it has no /etc",
                   c->base ? c->base : c->source);
  if (write_names(root, c, err) != 0 || write_ssh(h, root, c, err) != 0 ||
      write_network(root, c, err) != 0 || write_nameservers(root, c, err) != 0)
    return -1;
  return write_user_data(root, c, err);
}
