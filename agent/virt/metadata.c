/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Read with libxml2, which is what libvirt itself reads XML with. */
#include "agent/virt/metadata.h"

#include <ctype.h>
#include <errno.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdio.h>
#include <string.h>

#include "common/alloc.h"
#include "common/cleanup.h"

static void free_doc(xmlDocPtr *doc)
{
    xmlFreeDoc(*doc);
}

static void free_xml_text(xmlChar **text)
{
    if (*text)
        xmlFree(*text);
}

void metadata_refuse(const char *why, struct metadata *ret)
{
    *ret = (struct metadata){0};
    snprintf(ret->error, sizeof(ret->error), "%s", why);
    for (char *c = ret->error; *c; c++) {
        if (!isprint((unsigned char)*c))
            *c = '?';
    }
    ret->layer.set = 1u << POLICY_MODE;
    ret->layer.values.v[POLICY_MODE] = MODE_OBSERVE;
}

static const char *refuse(struct metadata *ret, const char *what, const char *why)
{
    char text[sizeof(ret->error)];

    snprintf(text, sizeof(text), "%.40s: %.100s", what, why);
    metadata_refuse(text, ret);
    return NULL;
}

int metadata_set_labels(struct metadata *metadata, const char *text)
{
    char labels[METADATA_LABELS_MAX] = "";
    size_t used = 0;

    for (size_t len; *(text += strspn(text, " \t\n")); text += len) {
        len = strcspn(text, " \t\n");
        if (!policy_is_label(text, len) || used + len + 2 > sizeof(labels))
            return -EINVAL;
        used += (size_t)snprintf(labels + used, sizeof(labels) - used, "%s%.*s", used ? " " : "",
                                 (int)len, text);
    }
    memcpy(metadata->labels, labels, sizeof(labels));
    return 0;
}

bool metadata_equal(const struct metadata *a, const struct metadata *b)
{
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (a->layer.set & (1u << i) && a->layer.values.v[i] != b->layer.values.v[i])
            return false;
    }
    return a->layer.set == b->layer.set && strcmp(a->labels, b->labels) == 0 &&
           strcmp(a->error, b->error) == 0;
}

bool metadata_has_label(const struct metadata *metadata, const char *label)
{
    size_t len = strlen(label);

    for (const char *at = metadata->labels; *at; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");

        if (word == len && memcmp(at, label, len) == 0)
            return true;
        at += word;
    }
    return false;
}

/* Returns NULL once something was wrong. */
static const char *take_attribute(const struct _xmlNode *element, const struct _xmlAttr *attr,
                                  struct metadata *ret)
{
    xmlChar *value CLEANUP(free_xml_text) = xmlNodeListGetString(element->doc, attr->children, 1);
    const char *name = (const char *)attr->name;
    const char *text = value ? (const char *)value : "";
    const char *expected = "";
    enum policy_field field;

    if (attr->ns)
        return refuse(ret, name, "unknown attribute");
    if (strcmp(name, "label") == 0)
        return metadata_set_labels(ret, text) == 0 ? name
                                                   : refuse(ret, name, "must be " POLICY_LABELS);
    if (strchr(name, '-') || policy_field_find(name, &field) < 0)
        return refuse(ret, name, "unknown attribute");
    if (policy_layer_set(&ret->layer, field, text, &expected) < 0) {
        char why[128];

        snprintf(why, sizeof(why), "must be %s", expected);
        return refuse(ret, name, why);
    }
    return name;
}

static bool is_ours(const struct _xmlNode *root)
{
    return root && strcmp((const char *)root->name, "policy") == 0 &&
           (!root->ns || strcmp((const char *)root->ns->href, METADATA_URI) == 0);
}

void metadata_parse(const char *xml, struct metadata *ret)
{
    xmlDocPtr doc CLEANUP(free_doc) = NULL;
    const struct _xmlNode *root;

    *ret = (struct metadata){0};
    if (!xml)
        return;
    if (strlen(xml) > METADATA_XML_MAX) {
        metadata_refuse("larger than 16 KiB", ret);
        return;
    }
    /* No document type: then there are no entities, and nothing outside is ever asked for. */
    if (strstr(xml, "<!") || strstr(xml, "<?")) {
        metadata_refuse("must be one element and nothing else", ret);
        return;
    }
    doc = xmlReadMemory(xml, (int)strlen(xml), NULL, "UTF-8",
                        XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    root = xmlDocGetRootElement(doc);
    if (!doc || !is_ours(root)) {
        metadata_refuse(doc ? "must be an element \"policy\"" : "not well-formed XML", ret);
        return;
    }
    for (xmlNodePtr child = root->children; child; child = child->next) {
        if (!xmlIsBlankNode(child)) {
            metadata_refuse("the element must be empty", ret);
            return;
        }
    }
    for (const struct _xmlAttr *attr = root->properties; attr; attr = attr->next) {
        if (!take_attribute(root, attr, ret))
            return;
    }
}

int metadata_format(const struct metadata *metadata, char **ret)
{
    char xml[POLICY_FIELDS * 128 + METADATA_LABELS_MAX];
    size_t len = (size_t)snprintf(xml, sizeof(xml), "<policy");
    char *copy = NULL;

    if (metadata->labels[0])
        len += (size_t)snprintf(xml + len, sizeof(xml) - len, " label=\"%s\"", metadata->labels);
    /* No value that can be written needs escaping. */
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        char value[64];

        if (metadata->layer.set & (1u << i))
            len += (size_t)snprintf(xml + len, sizeof(xml) - len, " %s=\"%s\"",
                                    policy_field_info((enum policy_field)i)->name,
                                    policy_value_format((enum policy_field)i,
                                                        metadata->layer.values.v[i], value,
                                                        sizeof(value)));
    }
    snprintf(xml + len, sizeof(xml) - len, "/>");
    if (metadata->layer.set || metadata->labels[0]) {
        copy = alloc_need(strdup(xml));
    }
    *ret = copy;
    return 0;
}
