// SPDX-License-Identifier: Apache-2.0
// libvirt's errors as ours.
#include <stdarg.h>
#include <string.h>

#include "base/str.h"
#include "providers/libvirt/host_internal.h"

// Words that say more than the code they come with: libvirt passes on what ssh, GnuTLS, QEMU and
// the kernel said, mostly as "internal" or "system" error. Looked at first, in this order.
static const struct {
  const char *words;
  enum err_kind kind;
  const char *sentence; // said instead, where it is clearer
} texts[] = {
    {"REMOTE HOST IDENTIFICATION HAS CHANGED", ERR_TLS,
     "the host's key differs from the one in known_hosts"},
    {"Host key verification failed", ERR_TLS, "the host's key is not in known_hosts"},
    {"Unable to read TLS confirmation", ERR_AUTH,
     "the server does not accept our client certificate ('tls.crt' in the secret)"},
    {"ertificate", ERR_TLS},
    {"The TLS connection was non-properly terminated", ERR_TLS}, // a server that refuses ours
    {"TLS handshake failed", ERR_TLS},
    {"Permission denied (", ERR_AUTH}, // of ssh, with the methods in parentheses
    {"Too many authentication failures", ERR_AUTH},
    {"Load key", ERR_AUTH},
    {"No space left on device", ERR_NO_SPACE},
    {"not enough free space", ERR_NO_SPACE},
    {"Disk quota exceeded", ERR_NO_SPACE},
    {"Could not resolve hostname", ERR_UNREACHABLE},
    {"Connection refused", ERR_UNREACHABLE},
    {"Connection timed out", ERR_UNREACHABLE},
    {"No route to host", ERR_UNREACHABLE},
    {"Network is unreachable", ERR_UNREACHABLE},
    {"Connection reset by peer", ERR_UNREACHABLE},
    {"End of file while reading data", ERR_UNREACHABLE},
    {"client socket is closed", ERR_UNREACHABLE},
    {"connection closed due to keepalive timeout", ERR_UNREACHABLE},
    {"Broken pipe", ERR_UNREACHABLE},
    {"Failed to connect socket to", ERR_UNREACHABLE},
    {"Permission denied", ERR_DENIED},
    {"Failed to get \"write\" lock", ERR_BUSY},
    {"Failed to get shared \"write\" lock", ERR_BUSY},
    {"cannot acquire state change lock", ERR_BUSY},
};

static const struct {
  int code;
  enum err_kind kind;
} codes[] = {
    {VIR_ERR_NO_MEMORY, ERR_NO_MEMORY},
    {VIR_ERR_NO_SUPPORT, ERR_UNSUPPORTED},
    {VIR_ERR_UNKNOWN_HOST, ERR_UNREACHABLE},
    {VIR_ERR_NO_CONNECT, ERR_UNREACHABLE},
    {VIR_ERR_INVALID_CONN, ERR_UNREACHABLE},
    {VIR_ERR_INVALID_ARG, ERR_INVALID},
    {VIR_ERR_OPERATION_FAILED, ERR_IO},
    {VIR_ERR_XML_ERROR, ERR_INVALID},
    {VIR_ERR_XML_DETAIL, ERR_INVALID},
    {VIR_ERR_XML_INVALID_SCHEMA, ERR_INVALID},
    {VIR_ERR_DOM_EXIST, ERR_EXISTS},
    {VIR_ERR_OPERATION_DENIED, ERR_DENIED},
    {VIR_ERR_ACCESS_DENIED, ERR_DENIED},
    {VIR_ERR_AUTH_FAILED, ERR_AUTH},
    {VIR_ERR_AUTH_CANCELLED, ERR_AUTH},
    {VIR_ERR_AUTH_UNAVAILABLE, ERR_AUTH},
    {VIR_ERR_GNUTLS_ERROR, ERR_TLS},
    {VIR_ERR_NO_DOMAIN, ERR_NOT_FOUND},
    {VIR_ERR_NO_NETWORK, ERR_NOT_FOUND},
    {VIR_ERR_NO_STORAGE_POOL, ERR_NOT_FOUND},
    {VIR_ERR_NO_STORAGE_VOL, ERR_NOT_FOUND},
    {VIR_ERR_STORAGE_VOL_EXIST, ERR_EXISTS},
    {VIR_ERR_OPERATION_INVALID, ERR_BUSY}, // not in this state: of a domain that starts or ends
    {VIR_ERR_RESOURCE_BUSY, ERR_BUSY},
    {VIR_ERR_OPERATION_TIMEOUT, ERR_TIMEOUT},
    {VIR_ERR_OPERATION_ABORTED, ERR_CANCELLED},
    {VIR_ERR_OPERATION_UNSUPPORTED, ERR_UNSUPPORTED},
    {VIR_ERR_CONFIG_UNSUPPORTED, ERR_UNSUPPORTED},
    {VIR_ERR_ARGUMENT_UNSUPPORTED, ERR_UNSUPPORTED},
    {VIR_ERR_CPU_INCOMPATIBLE, ERR_UNSUPPORTED},
    {VIR_ERR_AGENT_UNRESPONSIVE, ERR_TIMEOUT},
    {VIR_ERR_RPC, ERR_PROTOCOL},
    {VIR_ERR_SYSTEM_ERROR, ERR_IO},
    {VIR_ERR_INTERNAL_ERROR, ERR_PROTOCOL},
};

const char *host_error_sentence(const char *message)
{
  for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
    if (strstr(message, texts[i].words))
      return texts[i].sentence ? texts[i].sentence : message;
  return message;
}

enum err_kind host_error_kind(int code, const char *message)
{
  for (size_t i = 0; message && i < ARRAY_SIZE(texts); i++)
    if (strstr(message, texts[i].words))
      return texts[i].kind;
  for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
    if (codes[i].code == code)
      return codes[i].kind;
  return ERR_PROTOCOL;
}

int host_fail(struct err *err, const char *format, ...)
{
  virErrorPtr last = virGetLastError();
  int code = last ? last->code : VIR_ERR_INTERNAL_ERROR;
  cleanup_free char *text = str_dup(last && last->message ? last->message : "unknown error");
  for (char *c = text; c && *c; c++) // what ssh says comes in several lines
    if ((unsigned char)*c < 0x20)
      *c = ' ';
  char context[256];
  va_list args;
  va_start(args, format);
  vsnprintf(context, sizeof(context), format, args);
  va_end(args);
  return err_set(err, host_error_kind(code, text), "%s: %s", context,
                 text ? host_error_sentence(text) : "");
}

bool host_last_error_is(int code)
{
  virErrorPtr last = virGetLastError();
  return last && last->code == code;
}
