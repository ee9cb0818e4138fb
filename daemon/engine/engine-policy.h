/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The policy in force, as the rest of the engine asks for it. */

#include "engine/engine-private.h"
#include "policy/policy.h"

/* The rule for this device as it is now; never NULL, borrowed until the next reload. What must not
 * change under an assignment is taken from its plan, not from here. */
const PolicyRule *engine_rule(Engine *e, const Device *d);
/* What rules see of it. port_path is the caller's to free and may stay NULL. */
void engine_policy_subject(Engine *e, const Device *d, char **ret_port_path, PolicySubject *ret);

/* Requested functions that the asker's (uid, owner) has under this rule. self: only what came before
 * it, so that of two that wait for their facts one gets through; NULL: all. */
uint32_t engine_policy_count_owned(Engine *e, const PolicyRule *rule, const PolicyAsk *ask,
                                   const Assignment *self);
/* { name, file, line, pointer } */
Json *engine_policy_rule_to_json(const PolicyRule *rule);
/* Where the value stands that refuses: rule, file, line and pointer into j. proof: PolicyRule.origins
 * of its key, or NULL. */
void engine_policy_add_origin(const PolicyRule *rule, const char *proof, Json *j);

/* What is built in, until files are read. */
int engine_policy_init(Engine *e);
void engine_policy_done(Engine *e);
/* Compiles aside and swaps in whole; on any error the one in force stays. ERROR_INVALID with all
 * problems in its details, ERROR_FAILED. */
int engine_set_policy(Engine *e, const PolicyText *texts, size_t n, Error *err);
/* At start: what is wrong is told, and then nothing new is assigned until it is mended. -ENOMEM. */
int engine_policy_start(Engine *e);
