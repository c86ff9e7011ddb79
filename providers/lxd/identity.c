// SPDX-License-Identifier: Apache-2.0
// A copy is told apart from its base before it is ever started. The daemon gives it a name, an
// instance-id and addresses of cards; what lies in its files is ours to change: /etc/machine-id,
// /etc/hostname, ssh's host keys. The files of a VM cannot be reached while it is off: there
// cloud-init does it, which sees a new instance-id.
//
// Which of these files a base has is found once and noted in its config (LXD_CONFIG_INSIDE), which
// copies inherit: "cloud-init", "dbus-id", and the names of ssh's host keys.
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define SMALL      (64u << 10) // a listing, authorized_keys
#define KEY_PREFIX "ssh_host_"
#define DBUS_ID    "/var/lib/dbus/machine-id"
#define NEW_KEY    KEY_PREFIX "ed25519_key"

bool lxd_inside_has(const char *inside, const char *word)
{
  size_t length = strlen(word);
  for (const char *at = inside; at && (at = strstr(at, word)); at += length)
    if ((at == inside || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
      return true;
  return false;
}

// 0 and *ret; a missing one is no error.
static int is_there(struct lxd *l, const char *name, const char *path, bool *ret, struct err *err)
{
  struct err failed = ERR_INIT;
  enum lxd_file type;
  *ret = lxd_file_get(l, name, path, &type, NULL, SMALL, &failed) == 0;
  if (*ret || failed.kind == ERR_NOT_FOUND)
    return 0;
  if (err)
    *err = failed;
  return -1;
}

static bool key_name_ok(const char *name)
{
  return str_starts(name, KEY_PREFIX) && strlen(name) < 64 &&
         name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0';
}

static int add_keys(struct lxd *l, const char *name, struct buf *words, struct err *err)
{
  struct buf text CLEANUP(buf_release) = {0};
  struct err failed = ERR_INIT;
  enum lxd_file type = LXD_OTHER;
  if (lxd_file_get(l, name, "/etc/ssh", &type, &text, SMALL, &failed) != 0 &&
      failed.kind != ERR_NOT_FOUND) {
    if (err)
      *err = failed;
    return -1;
  }
  cleanup_json struct json_object *answer =
      type == LXD_DIRECTORY ? json_tokener_parse(buf_str(&text)) : NULL;
  struct json_object *list = lxd_member(answer, "metadata");
  for (size_t i = 0;
       json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
    const char *key = json_object_get_string(json_object_array_get_idx(list, i));
    if (key && key_name_ok(key))
      buf_printf(words, " %s", key);
  }
  return 0;
}

int lxd_inside(struct lxd *l, const char *name, bool vm, char **ret, struct err *err)
{
  struct buf words CLEANUP(buf_release) = BUF_INIT(4096);
  bool cloud_init = vm, dbus = false;
  buf_adds(&words, "looked"); // never empty: an empty value of config is no value
  if (!vm && (is_there(l, name, "/etc/cloud/cloud.cfg", &cloud_init, err) != 0 ||
              is_there(l, name, DBUS_ID, &dbus, err) != 0 || add_keys(l, name, &words, err) != 0))
    return -1;
  buf_adds(&words, cloud_init ? " " LXD_INSIDE_CLOUD_INIT : "");
  buf_adds(&words, dbus ? " dbus-id" : "");
  *ret = buf_take(&words);
  return *ret ? 0 : lxd_no_memory(err);
}

static int put(struct lxd *l, const char *name, const char *path, int mode, const char *text,
               struct err *err)
{
  if (lxd_file_put(l, name, path, LXD_FILE, mode, text, strlen(text), err) == 0)
    return 0;
  return err_prefix(err, "give '%s' its identity", name);
}

static int put_line(struct lxd *l, const char *name, const char *path, int mode, const char *text,
                    struct err *err)
{
  cleanup_free char *line = str_printf("%s\n", text);
  return line ? put(l, name, path, mode, line, err) : lxd_no_memory(err);
}

// ---- ssh ---------------------------------------------------------------------------------------

// A public key of the name of the new one is written over; a private one would keep its mode.
static int remove_old_keys(struct lxd *l, const char *name, const char *inside, struct err *err)
{
  bool renewed = lxd_needs_host_key(inside);
  cleanup_free char *words = str_dup(inside);
  char *rest = words, *word;
  while (rest && (word = strsep(&rest, " "))) {
    if (!key_name_ok(word) || (renewed && str_eq(word, NEW_KEY ".pub")))
      continue;
    cleanup_free char *path = str_printf("/etc/ssh/%s", word);
    struct err failed = ERR_INIT;
    if (!path)
      return lxd_no_memory(err);
    if (lxd_file_remove(l, name, path, &failed) != 0 && failed.kind != ERR_NOT_FOUND) {
      if (err)
        *err = failed;
      return err_prefix(err, "take the base's host keys from '%s'", name);
    }
  }
  return 0;
}

bool lxd_needs_host_key(const char *inside)
{
  // cloud-init makes new ones by itself; elsewhere sshd would not start without any.
  return inside && strstr(inside, " " KEY_PREFIX) && !lxd_inside_has(inside, LXD_INSIDE_CLOUD_INIT);
}

static int put_new_key(struct lxd *l, const char *name, const struct lxd_host_key *key,
                       struct err *err)
{
  struct lxd_host_key made CLEANUP(lxd_host_key_release) = {0};
  if (!key->private[0] && lxd_host_key_new(name, &made, err) != 0)
    return -1;
  key = key->private[0] ? key : &made;
  if (put(l, name, "/etc/ssh/" NEW_KEY, 0600, key->private, err) != 0)
    return -1;
  return put(l, name, "/etc/ssh/" NEW_KEY ".pub", 0644, key->public, err);
}

static int authorize(struct lxd *l, const char *name, const struct strings *keys, struct err *err)
{
  static const char path[] = "/root/.ssh/authorized_keys";
  struct buf text CLEANUP(buf_release) = BUF_INIT(SMALL * 4);
  struct buf old CLEANUP(buf_release) = {0};
  enum lxd_file type = LXD_OTHER;
  struct err failed = ERR_INIT;
  if (lxd_file_get(l, name, path, &type, &old, SMALL, &failed) != 0 &&
      failed.kind != ERR_NOT_FOUND) {
    if (err)
      *err = failed;
    return -1;
  }
  if (type == LXD_FILE && old.length) { // those of the base stay
    buf_add(&text, old.data, old.length);
    buf_adds(&text, old.data[old.length - 1] == '\n' ? "" : "\n");
  }
  for (size_t i = 0; i < keys->count; i++)
    if (!strstr(buf_str(&text), keys->items[i]))
      buf_printf(&text, "%s\n", keys->items[i]);
  if (!buf_ok(&text))
    return err_set(err, ERR_LIMIT, "the ssh keys of '%s' are too long", name);
  if (lxd_file_put(l, name, "/root/.ssh", LXD_DIRECTORY, 0700, NULL, 0, err) != 0)
    return err_prefix(err, "a folder for the ssh keys of '%s'", name);
  return put(l, name, path, 0600, buf_str(&text), err);
}

// ------------------------------------------------------------------------------------------------

int lxd_identify(struct lxd *l, const char *inside, const struct lxd_host_key *key,
                 const struct clone_order *c, struct err *err)
{
  const char *name = c->name;
  if (c->machine_id && put_line(l, name, "/etc/machine-id", 0444, c->machine_id, err) != 0)
    return -1;
  if (c->machine_id && lxd_inside_has(inside, "dbus-id") &&
      put_line(l, name, DBUS_ID, 0444, c->machine_id, err) != 0)
    return -1;
  if (put_line(l, name, "/etc/hostname", 0644, c->hostname ? c->hostname : name, err) != 0 ||
      remove_old_keys(l, name, inside, err) != 0 ||
      (lxd_needs_host_key(inside) && put_new_key(l, name, key, err) != 0))
    return -1;
  if (c->ssh_keys.count && !lxd_inside_has(inside, LXD_INSIDE_CLOUD_INIT))
    return authorize(l, name, &c->ssh_keys, err);
  return 0;
}
