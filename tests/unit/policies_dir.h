/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Policies with a state directory of their own. What fails here fails the test. */
#ifndef MIGPOLICY_POLICIES_DIR_H
#define MIGPOLICY_POLICIES_DIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/rules/policies.h"

#define UUID_A "aaaaaaaa-1111-1111-1111-111111111111"
#define UUID_B "bbbbbbbb-2222-2222-2222-222222222222"

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int set_up(void **state);
int tear_down(void **state);

/* Of the test that runs. */
extern char dir[64];
extern struct policies *p;
extern struct paused *paused;

/* A path in the state directory, until the next call. */
const char *in_dir(const char *name);

struct config config_of(const char *text);

/* What a restarted daemon sees. The warning it gives contains a text; "": it gives none. */
void start(const char *config_text, const char *warning);

/* Stores an override; returns what policies_set() does. */
int set(const char *name, const char *uuid, enum policy_field field, const char *text);

/* The value in force, and where it comes from. */
void expect(const char *name, const char *uuid, enum policy_field field, const char *text,
            const char *source);

/* How many there are. */
size_t overrides(void);

/* Nothing can be stored: a directory stands where the temporary file would be written. */
void block_store(void);

#endif
