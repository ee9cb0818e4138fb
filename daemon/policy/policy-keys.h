/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The keys of a rule that have a value of their own; objects such as "iommu" hold some of them. */

#include "base/cleanup.h"

typedef enum PolicyKey {
        POLICY_KEY_ASSIGN,
        POLICY_KEY_OWNERS,
        POLICY_KEY_LIMIT,
        POLICY_KEY_GROUP,
        POLICY_KEY_DRIVER,
        POLICY_KEY_LIFETIME,
        POLICY_KEY_BAR_0, /* bars.0.size */
        POLICY_KEY_BAR_1,
        POLICY_KEY_BAR_2,
        POLICY_KEY_BAR_3,
        POLICY_KEY_BAR_4,
        POLICY_KEY_BAR_5,
        POLICY_KEY_BARS_UNASSIGNED,
        POLICY_KEY_IOMMU_DOMAIN,
        POLICY_KEY_IOMMU_COHERENT,
        POLICY_KEY_IOMMU_REMAPPING,
        POLICY_KEY_P2P,
        POLICY_KEY_NO_SNOOP,
        POLICY_KEY_ATS,
        POLICY_KEY_D3COLD,
        POLICY_KEY_CLEAN_RESET,
        POLICY_KEY_CLEAN_READY,
        POLICY_KEY_CLEAN_HOOKS,
        POLICY_KEY_CORRECTABLE_RATE,
        POLICY_KEY_CORRECTABLE_THEN,
        POLICY_KEY_NON_FATAL_RATE,
        POLICY_KEY_NON_FATAL_THEN,
        POLICY_KEY_FATAL_RATE,
        POLICY_KEY_FATAL_THEN,
        POLICY_KEY_UNPLUG_GRACE,
        POLICY_KEY_UNPLUG_SURPRISE,
        POLICY_KEY_UNPLUG_THEN,
        POLICY_KEY_RELEASE_GRACE,
        POLICY_KEY_RELEASE_THEN,
        POLICY_KEY_RETURN,
        POLICY_KEY_PRESENT,
        POLICY_KEY_INSERTED,
        _POLICY_KEY_MAX, /* at most 64: a rule has a bit for each */
        _POLICY_KEY_INVALID = -EINVAL,
} PolicyKey;
