/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trace.h"

enum trace_verdict trace_compare(const struct trace *before, const struct trace *now)
{
    if (before->length_bytes != now->length_bytes)
        return TRACE_WRITTEN;
    if (before->ctime_ns == now->ctime_ns)
        return TRACE_SAME;
    return before->mtime_ns != 0 && before->mtime_ns == now->mtime_ns ? TRACE_TOUCHED
                                                                      : TRACE_WRITTEN;
}
