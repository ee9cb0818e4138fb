/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The built-in safety rules; no policy turns them off. */

#include "policy/verdict.h"

/* Adds what stands against member i. */
void safety_evaluate(const VerdictQuestion *q, size_t i, Verdict *v);
/* The same for a bridge, which the kernel passes over unless its driver claims DMA of its own, as
 * shpchp does (no driver_managed_dma; drivers/iommu/iommu.c, iommu_device_use_default_domain()). */
void safety_evaluate_bridge(const VerdictQuestion *q, size_t i, Verdict *v);
