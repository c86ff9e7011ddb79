// SPDX-License-Identifier: Apache-2.0
#include "storage/s3/answers_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/s3/s3_internal.h"
#include "storage/xml_internal.h"

static void doc_free(struct web_xml_doc **d)
{
  web_xml_doc_free(*d);
}

// ---- errors ----

static void clean(char *text)
{
  for (char *p = text; *p; p++)
    if ((unsigned char)*p < 0x20)
      *p = ' ';
}

void s3_read_error(const struct buf *xml, struct s3_error *ret)
{
  struct web_xml_doc *doc CLEANUP(doc_free) = web_xml_parse(xml->data, xml->length, NULL);
  const struct web_xml_node *error =
      doc && web_xml_is(web_xml_root(doc), "Error") ? web_xml_root(doc) : NULL;
  web_xml_text(web_xml_child(error, "Code"), ret->code, sizeof(ret->code));
  web_xml_text(web_xml_child(error, "Message"), ret->message, sizeof(ret->message));
  web_xml_text(web_xml_child(error, "Region"), ret->region, sizeof(ret->region));
  clean(ret->code);
  clean(ret->message);
  clean(ret->region);
}

// ---- objects ----

static int take_key(struct s3_page *p, const struct web_xml_node *key, bool encoded,
                    struct err *err)
{
  char *text cleanup_free = web_xml_text_dup(key);
  if (!text)
    return err_set(err, ERR_NO_MEMORY, "no memory for a list");
  if (encoded) { // application/x-www-form-urlencoded
    for (char *c = text; *c; c++)
      if (*c == '+')
        *c = ' ';
    web_unescape(text, text, strlen(text) + 1);
  }
  if (p->names->count == p->max)
    return err_set(err, ERR_LIMIT, "there are more than %zu objects", p->max);
  return strings_add(p->names, text) < 0 ? err_set(err, ERR_NO_MEMORY, "no memory for a list") : 0;
}

int s3_read_page(const struct buf *xml, struct s3_page *p, struct err *err)
{
  struct web_xml_doc *doc CLEANUP(doc_free) = web_xml_parse(xml->data, xml->length, err);
  char text[64];
  if (!doc)
    return -1;
  const struct web_xml_node *root = web_xml_root(doc);
  if (!web_xml_is(root, "ListBucketResult"))
    return err_set(err, ERR_PROTOCOL, "the server's answer is not a list of objects");
  bool encoded =
      str_eq(web_xml_text(web_xml_child(root, "EncodingType"), text, sizeof(text)), "url");
  for (const struct web_xml_node *n = web_xml_child(root, "Contents"); n;
       n = web_xml_next(n, "Contents"))
    if (take_key(p, web_xml_child(n, "Key"), encoded, err) < 0)
      return -1;
  if (str_eq(web_xml_text(web_xml_child(root, "IsTruncated"), text, sizeof(text)), "true")) {
    p->next = web_xml_text_dup(web_xml_child(root, "NextContinuationToken"));
    if (!p->next)
      return err_set(err, ERR_PROTOCOL, "the server says that the list goes on, but not where");
  }
  return 0;
}

// ---- uploads ----

int s3_read_upload_id(const struct buf *xml, char id[S3_UPLOAD_ID_MAX], struct err *err)
{
  struct web_xml_doc *doc CLEANUP(doc_free) = web_xml_parse(xml->data, xml->length, err);
  if (!doc)
    return -1;
  char *text cleanup_free = web_xml_text_dup(web_xml_child(web_xml_root(doc), "UploadId"));
  if (str_empty(text) || strlen(text) >= S3_UPLOAD_ID_MAX)
    return err_set(err, ERR_PROTOCOL, "the server gives no usable upload id");
  snprintf(id, S3_UPLOAD_ID_MAX, "%s", text);
  return 0;
}

static void strip_quotes(char *text)
{
  size_t n = strlen(text);
  if (n >= 2 && text[0] == '"' && text[n - 1] == '"') {
    memmove(text, text + 1, n - 2);
    text[n - 2] = '\0';
  }
}

bool s3_read_copied_etag(const struct buf *xml, char etag[S3_ETAG_BYTES])
{
  struct web_xml_doc *doc CLEANUP(doc_free) = web_xml_parse(xml->data, xml->length, NULL);
  if (!doc || !web_xml_is(web_xml_root(doc), "CopyPartResult"))
    return false;
  web_xml_text(web_xml_child(web_xml_root(doc), "ETag"), etag, S3_ETAG_BYTES);
  strip_quotes(etag);
  return etag[0] != '\0';
}

int s3_read_parts(const struct buf *xml, struct s3_parts_page *p, struct err *err)
{
  struct web_xml_doc *doc CLEANUP(doc_free) = web_xml_parse(xml->data, xml->length, err);
  char text[32], etag[S3_ETAG_BYTES];
  if (!doc)
    return -1;
  const struct web_xml_node *root = web_xml_root(doc);
  for (const struct web_xml_node *n = web_xml_child(root, "Part"); n; n = web_xml_next(n, "Part")) {
    int64_t number = 0, length = 0;
    if (!str_int64(web_xml_text(web_xml_child(n, "PartNumber"), text, sizeof(text)), &number) ||
        !str_int64(web_xml_text(web_xml_child(n, "Size"), text, sizeof(text)), &length) ||
        number < 1 || number > S3_PARTS_MAX || length < 0)
      return err_set(err, ERR_PROTOCOL, "the server's list of parts makes no sense");
    web_xml_text(web_xml_child(n, "ETag"), etag, sizeof(etag));
    strip_quotes(etag);
    if (p->fn(p->arg, (uint32_t)number - 1, (uint64_t)length, etag, err) < 0)
      return -1;
  }
  bool more = str_eq(web_xml_text(web_xml_child(root, "IsTruncated"), text, sizeof(text)), "true");
  web_xml_text(more ? web_xml_child(root, "NextPartNumberMarker") : NULL, p->marker,
               sizeof(p->marker));
  return more && !p->marker[0] ? err_set(err, ERR_PROTOCOL,
                                         "the list of parts does not say where "
                                         "it goes on")
                               : 0;
}

int s3_read_uploads(const struct buf *xml, const char *key, struct strings *ids, struct err *err)
{
  struct web_xml_doc *doc CLEANUP(doc_free) = web_xml_parse(xml->data, xml->length, err);
  if (!doc)
    return -1;
  const struct web_xml_node *root = web_xml_root(doc);
  for (const struct web_xml_node *n = web_xml_child(root, "Upload"); n;
       n = web_xml_next(n, "Upload")) {
    char *name cleanup_free = web_xml_text_dup(web_xml_child(n, "Key"));
    char *id cleanup_free = web_xml_text_dup(web_xml_child(n, "UploadId"));
    if (str_eq(name, key) && !str_empty(id) && strings_add(ids, id) < 0)
      return err_set(err, ERR_NO_MEMORY, "no memory for a list of uploads");
  }
  return 0;
}
