/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The policy in force, as the rest of the engine asks for it. */

#include "engine/engine-private.h"
#include "policy/policy.h"

/* The rule for this device as it is now; never NULL, borrowed until the next reload. What must not
 * change under an assignment is taken from its plan, not from here. */
const PolicyRule *engine_rule(Engine *e, const Device *d);
