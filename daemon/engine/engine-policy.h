/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The policy in force, as the rest of the engine asks for it. */

#include "base/dropins.h"
#include "engine/engine-private.h"
#include "policy/policy.h"

#define POLICY_FOLDER "policy.d"
#define POLICY_SUFFIX ".json"

/* The rule for this device as it is now; never NULL, borrowed until the next reload. What must not
 * change under an assignment is taken from its plan, not from here. */
const PolicyRule *engine_rule(Engine *e, const Device *d);
/* What rules see of it. port_path is the caller's to free and may stay NULL. */
void engine_policy_subject(Engine *e, const Device *d, char **ret_port_path, PolicySubject *ret);

/* Requested functions that the asker's (uid, owner) has under this rule. self: only what came
 * before it, so that of two that wait for their facts one gets through; NULL: all. */
uint32_t engine_policy_count_owned(Engine *e, const PolicyRule *rule, const PolicyAsk *ask,
                                   const Assignment *self);
/* { name, file, line, pointer } */
Json *engine_policy_rule_to_json(const PolicyRule *rule);
/* The settings that hold for it, each with value, origin and force. */
Json *engine_policy_settings_to_json(Engine *e, const Device *d, const PolicyAsk *ask);
/* The walk over the rules for it (policy_explain()). */
Json *engine_policy_explain(Engine *e, const Device *d, const PolicyAsk *ask);
/* [{ devices, rule, settings: { KEY: value } }] of what is asked for: what a plan is made by.
 * Settings are those that somebody wrote. */
Json *engine_policy_of(Engine *e, const AskedFor *asked);
/* Remembers that with the assignment. -ENOMEM. */
int engine_policy_keep(Engine *e, const AskedFor *asked, Assignment *a);
#define POLICY_KEPT_MAX 60000U /* bytes */
/* Where the value stands that refuses: rule, file, line and pointer into j. proof:
 * PolicyRule.origins of its key, or NULL. */
void engine_policy_add_origin(const PolicyRule *rule, const char *proof, Json *j);

/* What is built in, until files are read. */
int engine_policy_init(Engine *e);
void engine_policy_done(Engine *e);
/* Compiles aside and swaps in whole; on any error the one in force stays. ERROR_INVALID with all
 * problems in its details, ERROR_FAILED. */
int engine_set_policy(Engine *e, const PolicyText *texts, size_t n, Error *err);
/* Compiles these, or says what is wrong with them: { valid, problems, dropped, rules, changed }.
 * in_force may be NULL: then nothing is compared. 0, -ENOMEM. */
int engine_policy_check(const PolicyText *texts, size_t n, const Policy *in_force, Json **ret);
/* Borrows from files; malloc'd. NULL on OOM. */
PolicyText *engine_policy_texts(const DropIns *files);
/* At start: what is wrong is told, and then nothing new is assigned until it is mended. -ENOMEM. */
int engine_policy_start(Engine *e);
