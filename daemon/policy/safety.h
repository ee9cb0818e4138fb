/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The built-in safety rules; no policy turns them off. */

#include "policy/verdict.h"

/* Adds what stands against member i. */
void safety_evaluate(const VerdictQuestion *q, size_t i, Verdict *v);
