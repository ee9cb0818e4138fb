/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Settings that a rule asks for: set by the assign plan, taken back by the release. */

#include "engine/engine-private.h"

/* Does the plan (drivers chosen, facts fresh) set anything? Then its members are unbound before any
 * of them is bound again. */
bool engine_settings_wanted(Engine *e, const Plan *plan);
/* Steps between unbinding and binding, for all devices of the plan. 1: added; 0: none;
 * ERROR_NOT_SUPPORTED names what this device or host cannot. */
int engine_settings_add(Engine *e, Plan *plan, Error *err);
/* What `made` set of p, the other way round, in the plan of a release. -ENOMEM. */
int engine_settings_add_back(Engine *e, const Plan *made, Plan *plan, const PlanDevice *p);
/* What could have changed without an event is read again. */
void engine_settings_refresh(Engine *e, const Plan *plan);
