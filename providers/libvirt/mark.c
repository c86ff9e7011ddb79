// SPDX-License-Identifier: Apache-2.0
#include "providers/libvirt/derive_internal.h"

#include "base/str.h"

#define PREFIX "/domain/metadata/drover:owner"

void mark_release(struct mark *m)
{
  free(m->owner);
  free(m->kind);
  free(m->base);
  free(m->revision);
  free(m->mode);
  *m = (struct mark){0};
}

void mark_read(const struct xml *x, struct mark *ret)
{
  ret->owner = xml_get(x, NULL, PREFIX);
  ret->kind = xml_get(x, NULL, PREFIX "/@kind");
  ret->base = xml_get(x, NULL, PREFIX "/@base");
  ret->revision = xml_get(x, NULL, PREFIX "/@revision");
  ret->mode = xml_get(x, NULL, PREFIX "/@mode");
}

xmlNodePtr mark_add(xmlNodePtr metadata, const struct mark *m)
{
  xmlNodePtr node = xml_add(metadata, "owner", m->owner, "kind", m->kind, "base", m->base,
                            "revision", m->revision, "mode", m->mode, NULL);
  xmlNsPtr ns = node ? xmlNewNs(node, BAD_CAST XML_DROVER_NS, BAD_CAST "drover") : NULL;
  if (ns)
    xmlSetNs(node, ns);
  return ns ? node : NULL;
}

// libvirt adds the name space itself: virDomainSetMetadata() takes prefix and URI beside it.
char *mark_text(const struct mark *m)
{
  xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
  xmlNodePtr root = doc ? xmlNewNode(NULL, BAD_CAST "owner") : NULL;
  if (root)
    xmlDocSetRootElement(doc, root);
  bool ok = root && m->owner && xmlNewProp(root, BAD_CAST "kind", BAD_CAST m->kind) &&
            (!m->revision || xmlNewProp(root, BAD_CAST "revision", BAD_CAST m->revision));
  if (ok)
    xmlNodeAddContent(root, BAD_CAST m->owner);
  char *text = ok ? xml_text(doc) : NULL;
  if (doc)
    xmlFreeDoc(doc);
  return text;
}
