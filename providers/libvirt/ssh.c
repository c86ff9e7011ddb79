// SPDX-License-Identifier: Apache-2.0
#include "providers/libvirt/ssh_internal.h"

#include <string.h>
#include <sys/statvfs.h>

#include "base/buf.h"
#include "base/runtime_folder.h"
#include "base/str.h"

#define SSH_FILE_MAX (1u << 20)

// ssh_config(5). HostKeyAlias keeps the check of the host key on the name although the connection
// goes to an address; a port other than 22 is part of that name in known_hosts.
static void add_end(struct buf *b, const struct ssh_end *end)
{
  buf_printf(b, "Host %s\n  HostName %s\n  Port %lld\n  User %s\n", end->alias, end->address,
             (long long)end->port, end->user ? end->user : "root");
  if (end->port == 22)
    buf_printf(b, "  HostKeyAlias %s\n", end->host);
  else
    buf_printf(b, "  HostKeyAlias [%s]:%lld\n", end->host, (long long)end->port);
}

static void add_common(struct buf *b, const char *dir, bool any_host_key)
{
  buf_adds(b, "Host *\n  BatchMode yes\n  IdentitiesOnly yes\n  IdentityAgent none\n"
              "  PasswordAuthentication no\n  GlobalKnownHostsFile /dev/null\n  ConnectTimeout 5\n"
              "  ServerAliveInterval 5\n  ServerAliveCountMax 3\n  ForwardAgent no\n"
              "  ControlMaster no\n  CheckHostIP no\n  UpdateHostKeys no\n");
  buf_printf(b, "  IdentityFile \"%s/key\"\n  UserKnownHostsFile \"%s/known_hosts\"\n", dir, dir);
  buf_printf(b, "  StrictHostKeyChecking %s\n", any_host_key ? "no" : "yes");
}

static int write_key(const struct provider_config *config, const char *dir, struct err *err)
{
  const struct secret *key = &config->ssh_key;
  // ssh does not read a key whose last line has no end.
  struct secret whole CLEANUP(secret_release) = {0};
  if (secret_reveal(key)[key->length - 1] == '\n')
    return runtime_folder_write(dir, "key", 0600, secret_reveal(key), key->length, err);
  char *text = str_printf("%s\n", secret_reveal(key));
  int failed = !text || secret_set_string(&whole, text) != 0;
  secret_free_string(text);
  if (failed)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  return runtime_folder_write(dir, "key", 0600, secret_reveal(&whole), whole.length, err);
}

// libvirt runs the program in its parameter `command` in ssh's place and passes its own options.
static int write_program(const char *dir, struct err *err)
{
  static const char *const plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+";
  if (dir[strspn(dir, plain)])
    return err_set(err, ERR_INVALID,
                   "the runtime folder %s has special characters in its name; "
                   "set DROVER_RUNTIME_DIR to another",
                   dir);
  struct statvfs fs;
  if (statvfs(dir, &fs) == 0 && (fs.f_flag & ST_NOEXEC))
    return err_set(err, ERR_IO,
                   "the runtime folder %s is mounted noexec, but libvirt must run a "
                   "program there; set DROVER_RUNTIME_DIR to another folder",
                   dir);
  struct buf b CLEANUP(buf_release) = BUF_INIT(SSH_FILE_MAX);
  buf_printf(&b, "#!/bin/sh\nexec ssh -F '%s/config' \"$@\"\n", dir);
  return runtime_folder_write(dir, "ssh", 0700, buf_str(&b), b.length, err);
}

int ssh_write(const struct provider_config *config, const char *dir, const struct ssh_end *ends,
              size_t count, struct err *err)
{
  if (secret_empty(&config->ssh_key))
    return err_set(err, ERR_INVALID, "ssh needs a private key: 'ssh-privatekey' in the secret");
  if (str_empty(config->known_hosts) && !config->insecure_host_key)
    return err_set(err, ERR_INVALID,
                   "ssh needs the host's key: 'known_hosts' in the secret, as "
                   "ssh-keyscan prints it");
  struct buf b CLEANUP(buf_release) = BUF_INIT(SSH_FILE_MAX);
  for (size_t i = 0; i < count; i++)
    add_end(&b, &ends[i]);
  add_common(&b, dir, config->insecure_host_key);
  struct buf hosts CLEANUP(buf_release) = BUF_INIT(SSH_FILE_MAX);
  buf_printf(&hosts, "%s\n", config->known_hosts ? config->known_hosts : "");
  if (!buf_ok(&b) || !buf_ok(&hosts))
    return err_set(err, ERR_LIMIT, "known_hosts is larger than %u bytes", SSH_FILE_MAX);
  if (write_key(config, dir, err) != 0 || write_program(dir, err) != 0)
    return -1;
  if (runtime_folder_write(dir, "config", 0600, buf_str(&b), b.length, err) != 0)
    return -1;
  return runtime_folder_write(dir, "known_hosts", 0600, buf_str(&hosts), hosts.length, err);
}

// Names that libvirt looks for in a pkipath (https://libvirt.org/uri.html).
int pki_write(const struct provider_config *config, const char *dir, struct err *err)
{
  if (config->fingerprint_sha256)
    return err_set(err, ERR_UNSUPPORTED,
                   "libvirt checks the server's certificate itself and knows "
                   "no fingerprints: give the CA certificate instead");
  if (str_empty(config->ca_pem) && !config->insecure_skip_verify)
    return err_set(err, ERR_INVALID,
                   "qemu+tls needs the CA certificate (tls.caConfigMapRef or "
                   "tls.caSecretRef)");
  const struct secret *cert = &config->client_cert_pem, *key = &config->client_key_pem;
  if (secret_empty(cert) != secret_empty(key))
    return err_set(err, ERR_INVALID, "'tls.crt' and 'tls.key' in the secret go together");
  if (!str_empty(config->ca_pem) && runtime_folder_write(dir, "cacert.pem", 0600, config->ca_pem,
                                                         strlen(config->ca_pem), err) != 0)
    return -1;
  if (secret_empty(cert))
    return 0;
  if (runtime_folder_write(dir, "clientcert.pem", 0600, secret_reveal(cert), cert->length, err) !=
      0)
    return -1;
  return runtime_folder_write(dir, "clientkey.pem", 0600, secret_reveal(key), key->length, err);
}
