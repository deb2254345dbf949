/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stands in for cgwrite.c: writes plain files of a temporary tree, and fails when told to. */
#ifndef MIGPOLICY_FAKE_CGWRITE_H
#define MIGPOLICY_FAKE_CGWRITE_H

struct fake_cgwrite {
    unsigned int writes;    /* attempted so far, in values */
    unsigned int fail_from; /* the first write that fails, from 1; 0: none does */
    unsigned int fail_to;   /* the last one */
    int error;              /* -errno of those */
    void (*before)(void);   /* called before each write, if set */
};

extern struct fake_cgwrite fake_cgwrite;

#endif
