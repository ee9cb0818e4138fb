/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verbs; each returns an exit code. */

#include "arguments.h"

int verb_list(const Arguments *a);
int verb_show(const Arguments *a);
int verb_tree(const Arguments *a);
int verb_groups(const Arguments *a);
int verb_plan(const Arguments *a);
int verb_assign(const Arguments *a);
int verb_run(const Arguments *a);
int verb_open(const Arguments *a);
int verb_attach(const Arguments *a);
int verb_release(const Arguments *a);
int verb_explain(const Arguments *a);
int verb_policy(const Arguments *a);
int verb_doctor(const Arguments *a);
int verb_jobs(const Arguments *a);
int verb_cancel(const Arguments *a);
int verb_events(const Arguments *a);
int verb_acknowledge(const Arguments *a);
int verb_monitor(const Arguments *a);
int verb_snapshot(const Arguments *a);
int verb_rescan(const Arguments *a);
int verb_settle(const Arguments *a);
int verb_adopt(const Arguments *a);
int verb_reset(const Arguments *a);
int verb_restore(const Arguments *a);
int verb_quarantine(const Arguments *a);
int verb_unquarantine(const Arguments *a);
int verb_vfs(const Arguments *a);
int verb_sim(const Arguments *a);
