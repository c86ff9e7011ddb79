// SPDX-License-Identifier: Apache-2.0
#include "disk/nbd_tls_internal.h"

#include <errno.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/runtime_folder.h"
#include "base/str.h"

enum { FILE_CA, FILE_CERT, FILE_KEY, FILE_COUNT };
static const char *const file_names[] = {"ca-cert.pem", "client-cert.pem", "client-key.pem"};

struct nbd_tls {
  char *folder;
  int fds[FILE_COUNT]; // -1 = none
  bool insecure;
};

void nbd_tls_free(void *tls)
{
  struct nbd_tls *t = tls;
  if (!t)
    return;
  runtime_folder_remove(t->folder);
  for (int i = 0; i < FILE_COUNT; i++)
    if (t->fds[i] >= 0)
      close(t->fds[i]);
  free(t);
}

static int check(const struct reach *r, struct err *err)
{
  bool key = !secret_empty(&r->tls_key);
  if (!r->tls && (r->ca_pem || r->client_cert_pem || r->insecure_tls || key))
    return err_set(err, ERR_INVALID, "certificates are given for an NBD end without TLS");
  if (r->tls && (!str_empty(r->path) || str_empty(r->host)))
    return err_set(err, ERR_INVALID,
                   "NBD over TLS needs a host, whose name the certificate must bear");
  if (!r->client_cert_pem != !key)
    return err_set(err, ERR_INVALID, "a client certificate and its key go together");
  return 0;
}

// Where OpenSSL, and distributions, keep the CAs of the system.
static const char *system_ca(void)
{
  const char *const places[] = {secure_getenv(X509_get_default_cert_file_env()),
                                X509_get_default_cert_file(),
                                "/etc/ssl/certs/ca-certificates.crt",
                                "/etc/pki/tls/certs/ca-bundle.crt",
                                "/etc/ssl/ca-bundle.pem",
                                "/etc/ssl/cert.pem"};
  for (size_t i = 0; i < ARRAY_SIZE(places); i++)
    if (!str_empty(places[i]) && access(places[i], R_OK) == 0)
      return places[i];
  return NULL;
}

static int link_file(const struct nbd_tls *t, int which, const char *target, struct err *err)
{
  char *path cleanup_free = str_printf("%s/%s", t->folder, file_names[which]);
  if (!path)
    return err_set(err, ERR_NO_MEMORY, "no memory for a certificate");
  return symlink(target, path) == 0 ? 0 : err_errno(err, errno, "%s", path);
}

static int add_file(struct nbd_tls *t, int which, const char *pem, struct err *err)
{
  if (str_empty(pem))
    return 0;
  char target[64];
  size_t length = strlen(pem);
  t->fds[which] = memfd_create(file_names[which], MFD_CLOEXEC);
  if (t->fds[which] < 0 || fchmod(t->fds[which], 0600) != 0)
    return err_errno(err, errno, "memory file for a certificate");
  for (size_t done = 0; done < length;) {
    ssize_t n = write(t->fds[which], pem + done, length - done);
    if (n < 0)
      return err_errno(err, errno, "memory file for a certificate");
    done += (size_t)n;
  }
  snprintf(target, sizeof(target), "/proc/self/fd/%d", t->fds[which]);
  return link_file(t, which, target, err);
}

// libnbd before 1.20.2 verifies nothing where it is given no CA of its own (CVE-2024-7383): it
// always gets one.
static int add_ca(struct nbd_tls *t, const struct reach *r, struct err *err)
{
  if (!str_empty(r->ca_pem))
    return add_file(t, FILE_CA, r->ca_pem, err);
  const char *found = system_ca();
  char *path cleanup_free = found ? realpath(found, NULL) : NULL;
  if (path)
    return link_file(t, FILE_CA, path, err);
  return t->insecure ? 0
                     : err_set(err, ERR_TLS,
                               "there are no CA certificates on this system: name one (--ca)");
}

static int make_folder(struct nbd_tls *t, const struct reach *r, struct err *err)
{
  return runtime_folder_new(&t->folder, err) != 0 || add_ca(t, r, err) != 0 ||
                 add_file(t, FILE_CERT, r->client_cert_pem, err) != 0 ||
                 add_file(t, FILE_KEY, secret_reveal(&r->tls_key), err) != 0
             ? -1
             : 0;
}

int nbd_tls_new(const struct reach *r, struct nbd_tls **ret, struct err *err)
{
  *ret = NULL;
  if (check(r, err) != 0)
    return -1;
  if (!r->tls)
    return 0;
  struct nbd_tls *t = calloc(1, sizeof(*t));
  if (!t)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  t->insecure = r->insecure_tls;
  for (int i = 0; i < FILE_COUNT; i++)
    t->fds[i] = -1;
  if (make_folder(t, r, err) != 0) {
    nbd_tls_free(t);
    return -1;
  }
  *ret = t;
  return 0;
}

int nbd_tls_require(const struct nbd_tls *t, struct nbd_handle *nbd, struct err *err)
{
  char *ca cleanup_free = str_printf("%s/%s", t->folder, file_names[FILE_CA]);
  // A CA that cannot be read would be as good as none to libnbd: see add_ca().
  if (!t->insecure && (!ca || access(ca, R_OK) != 0))
    return err_set(err, ERR_TLS, "the CA certificates cannot be read (is /proc there?)");
  if (nbd_set_tls(nbd, LIBNBD_TLS_REQUIRE) == 0 && nbd_set_tls_certificates(nbd, t->folder) == 0 &&
      nbd_set_tls_verify_peer(nbd, !t->insecure) == 0)
    return 0;
  return err_set(err, ERR_UNSUPPORTED, "TLS: %.300s", nbd_get_error());
}

// libnbd and gnutls tell their errors apart by words alone.
static const struct {
  const char *pattern;
  bool with_tls;
  enum err_kind kind;
  const char *advice;
} rows[] = {
    {"*certificate verification*", true, ERR_TLS,
     "its certificate is not signed by a CA that is trusted (--ca names one), has expired, or is "
     "for another host name"},
    {"*server refused TLS*", true, ERR_TLS, "it offers no TLS; nbd:// would go there unprotected"},
    {"*ertificate is required*", true, ERR_TLS,
     "it wants a client certificate (--client-cert, --client-key)"},
    {"*fatal alert*", true, ERR_TLS,
     "it ended the TLS handshake; it may want a client certificate, or another one"},
    {"*gnutls*", true, ERR_TLS, "TLS failed"},
    {"*requires TLS*", false, ERR_TLS, "it takes only TLS: nbds://"},
    {"*TLS*", false, ERR_TLS, "it takes only TLS: nbds://"},
};

bool nbd_tls_explain(const struct nbd_tls *t, const char *server, const char *text, struct err *err)
{
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    if (rows[i].with_tls == (t != NULL) && str_glob(rows[i].pattern, text)) {
      err_set(err, rows[i].kind, "%s: %s (%.300s)", server, rows[i].advice, text);
      return true;
    }
  return false;
}
