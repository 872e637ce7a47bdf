/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "plot.h"

#include "alignment.h"
#include "counters.h"
#include "text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* In pixels. */
enum {
    WIDTH = 960,
    MARGIN = 24,
    CHART_LEFT = 220,
    CHART_RIGHT = WIDTH - 96, /* behind it is room for a bar's duration */
    CHART_TOP = 152,
    ROW = 22,
    BAR = 12,
    BASELINE = 15, /* of a row's text */
    GROUP_GAP = 14,
    BAR_LEAST = 2,
    NAME_CHARACTERS = 90,
};

/* Which colour, by what a step is busy with. */
static const char *const step_classes[MIGFS_STEPS] = {
    [MIGFS_STEP_LOCK] = "lock",           [MIGFS_STEP_TEST] = "lock",
    [MIGFS_STEP_DROP] = "cache",          [MIGFS_STEP_READ_RECORD] = "record",
    [MIGFS_STEP_INVALIDATE] = "cache",    [MIGFS_STEP_VERIFY] = "verify",
    [MIGFS_STEP_WRITE_RECORD] = "record", [MIGFS_STEP_FLUSH] = "store",
    [MIGFS_STEP_DRAIN] = "store",         [MIGFS_STEP_SYNC] = "store",
    [MIGFS_STEP_UNLOCK] = "lock",
};

static const char style[] =
    "<style>\n"
    "text{font:12px system-ui,-apple-system,'DejaVu Sans',sans-serif;fill:#1f2328}\n"
    ".title{font-size:17px;font-weight:600}\n"
    ".pausetext{font-size:13px;font-weight:600;fill:#a40e26}\n"
    ".muted{fill:#59636e}\n"
    ".host{font-weight:600}\n"
    ".end{text-anchor:end}.middle{text-anchor:middle}\n"
    ".page{fill:#ffffff}\n"
    ".grid{stroke:#d1d9e0;stroke-width:1}\n"
    ".pause{fill:#ffebe9}.pauseline{stroke:#cf222e;stroke-width:1.5;fill:none}\n"
    ".lock{fill:#6e7781}.cache{fill:#0969da}.record{fill:#8250df}.verify{fill:#1a7f37}\n"
    ".store{fill:#d4650b}.between{fill:#a8b1ba}\n"
    "@media (prefers-color-scheme:dark){\n"
    "text{fill:#e6edf3}.muted{fill:#9198a1}.pausetext{fill:#ff8f87}\n"
    ".page{fill:#0d1117}.grid{stroke:#4a525c}\n"
    ".pause{fill:#3a1d1f}.pauseline{stroke:#f85149}\n"
    ".lock{fill:#8b949e}.cache{fill:#4493f8}.record{fill:#ab7df8}.verify{fill:#3fb950}\n"
    ".store{fill:#f0883e}.between{fill:#4d565f}\n"
    "}\n"
    "</style>\n";

/* A row: all spans of one step in one kind of transition, of one host. */
struct row {
    const struct migfs_side *side;
    const struct migfs_span *first; /* and those after it that are like it */
};

/* All times in ns by the clock of the release, or of the only side that is known. */
struct plot {
    FILE *stream;
    const struct migfs_timeline *timeline;
    struct alignment alignment;
    bool has_release, has_acquire;
    int64_t release_began_ns, release_ended_ns;
    int64_t acquire_began_ns, acquire_ended_ns;
    int64_t began_ns, ended_ns; /* of the axis */
    struct row rows[2 * MIGFS_TIMELINE_SPANS];
    size_t row_count, release_rows;
    int bottom; /* of the chart */
};

/* ---- arithmetic ---- */

static bool is_like(const struct migfs_span *span, const struct migfs_span *other)
{
    return span->kind == other->kind && span->step == other->step;
}

static void add_rows(struct plot *plot, const struct migfs_side *side)
{
    const size_t first_row = plot->row_count;

    for (__u32 i = 0; i < side->span_count; i++) {
        size_t row = first_row;

        while (row < plot->row_count && !is_like(plot->rows[row].first, &side->spans[i]))
            row++;
        if (row == plot->row_count)
            plot->rows[plot->row_count++] = (struct row){side, &side->spans[i]};
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* When the side began, by the plot's clock. */
static int64_t side_began_ns(const struct plot *plot, const struct migfs_side *side)
{
    const bool is_shifted = side == &plot->timeline->acquire && plot->has_release;

    return side->started_ns + (is_shifted ? plot->alignment.shift_ns : 0);
}

static bool has_gap(const struct plot *plot)
{
    return plot->has_release && plot->has_acquire &&
           plot->acquire_began_ns > plot->release_ended_ns;
}

static void plot_init(struct plot *plot, FILE *stream, const struct migfs_timeline *timeline)
{
    const struct migfs_side *release = &timeline->release, *acquire = &timeline->acquire;

    *plot = (struct plot){
        .stream = stream,
        .timeline = timeline,
        .has_release = (release->flags & MIGFS_SIDE_KNOWN) != 0,
        .has_acquire = (acquire->flags & MIGFS_SIDE_KNOWN) != 0,
    };
    if (plot->has_release && plot->has_acquire)
        plot->alignment = alignment_of(release, acquire);
    plot->release_began_ns = side_began_ns(plot, release);
    plot->release_ended_ns = plot->release_began_ns + (int64_t)release->duration_ns;
    plot->acquire_began_ns = side_began_ns(plot, acquire);
    plot->acquire_ended_ns = plot->acquire_began_ns + (int64_t)acquire->duration_ns;
    plot->began_ns = plot->has_release ? plot->release_began_ns : plot->acquire_began_ns;
    plot->ended_ns = plot->has_acquire ? plot->acquire_ended_ns : plot->release_ended_ns;
    if (plot->has_release && plot->has_acquire) {
        plot->began_ns = least(plot->release_began_ns, plot->acquire_began_ns);
        plot->ended_ns = most(plot->release_ended_ns, plot->acquire_ended_ns);
    }
    plot->ended_ns = most(plot->ended_ns, plot->began_ns + 1000);

    add_rows(plot, release);
    plot->release_rows = plot->row_count;
    add_rows(plot, acquire);
    plot->bottom =
        CHART_TOP +
        (int)(plot->row_count + (plot->has_release ? 1 : 0) + (plot->has_acquire ? 1 : 0) +
              (has_gap(plot) ? 1 : 0)) *
            ROW +
        (plot->has_release && plot->has_acquire ? (has_gap(plot) ? 2 : 1) : 0) * GROUP_GAP;
}

static double x_of(const struct plot *plot, int64_t at_ns)
{
    const double part =
        (double)(at_ns - plot->began_ns) / (double)(plot->ended_ns - plot->began_ns);

    return CHART_LEFT + part * (CHART_RIGHT - CHART_LEFT);
}

/* ---- SVG ---- */

static void write_escaped(FILE *stream, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '&')
            fputs("&amp;", stream);
        else if (*text == '<')
            fputs("&lt;", stream);
        else if (*text == '>')
            fputs("&gt;", stream);
        else
            fputc(*text, stream);
    }
}

static void write_text(const struct plot *plot, double x, double y, const char *class,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));

static void write_text(const struct plot *plot, double x, double y, const char *class,
                       const char *format, ...)
{
    va_list arguments;
    char text[512];

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments); /* a longer one is cut */
    va_end(arguments);
    fprintf(plot->stream, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    write_escaped(plot->stream, text);
    fputs("</text>\n", plot->stream);
}

static void write_bar(const struct plot *plot, int y, int64_t began_ns, int64_t ended_ns,
                      const char *class)
{
    const double x = x_of(plot, began_ns), width = x_of(plot, ended_ns) - x;

    fprintf(plot->stream,
            "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"1.5\" "
            "class=\"%s\"/>\n",
            x, y + (ROW - BAR) / 2, width > BAR_LEAST ? width : BAR_LEAST, BAR, class);
}

/* The sum of a row's bars, beside the last one. */
static void write_duration(const struct plot *plot, int y, int64_t ended_ns, int64_t sum_ns)
{
    const double x = x_of(plot, ended_ns) + 6;
    const double least_x = CHART_LEFT + BAR_LEAST + 6;

    write_text(plot, x > least_x ? x : least_x, y + BASELINE, "muted", "%s",
               text_duration((double)sum_ns / 1e3).text);
}

/* ---- the parts of the picture ---- */

static void write_head(const struct plot *plot, const char *name)
{
    const struct migfs_timeline *timeline = plot->timeline;
    const size_t width = text_width(name);
    const char *shown = name;
    char *from = text_printable(plot->has_release ? timeline->release.host : "?");
    char *to = text_printable(plot->has_acquire ? timeline->acquire.host : "?");

    for (size_t skip = width > NAME_CHARACTERS ? width - NAME_CHARACTERS : 0; skip > 0; skip--)
        shown += text_character_length(shown) > 0 ? text_character_length(shown) : 1;
    fputs("<title>Hand-over of ", plot->stream);
    write_escaped(plot->stream, name);
    fputs("</title>\n", plot->stream);
    write_text(plot, MARGIN, 36, "title", "%s%s", shown != name ? "…" : "", shown);
    write_text(plot, MARGIN, 58, "muted", "generation %" PRIu64 ", from %s to %s, %s",
               (uint64_t)timeline->generation, from != NULL ? from : "", to != NULL ? to : "",
               text_time(plot->began_ns).text);
    free(from);
    free(to);
}

/* Where the pause went, in one line, and what is known of its ends. */
static void write_summary(const struct plot *plot)
{
    const int64_t pause_ns = plot->acquire_ended_ns - plot->release_began_ns;
    const int64_t between_ns = plot->acquire_began_ns - plot->release_ended_ns;
    const struct text_duration release =
        text_duration((double)(plot->release_ended_ns - plot->release_began_ns) / 1e3);
    const struct text_duration acquire =
        text_duration((double)(plot->acquire_ended_ns - plot->acquire_began_ns) / 1e3);

    if (!plot->has_release)
        write_text(plot, MARGIN, 84, "pausetext",
                   "The other host's side is not known: it failed, or there was none");
    else if (!plot->has_acquire)
        write_text(plot, MARGIN, 84, "pausetext", "Not acquired since, as far as is known");
    else
        write_text(plot, MARGIN, 84, "pausetext",
                   "guest paused for %s at least: release %s, %s %s, acquire %s",
                   text_duration((double)pause_ns / 1e3).text, release.text,
                   between_ns >= 0 ? "between the hosts" : "side by side",
                   text_duration((double)llabs(between_ns) / 1e3).text, acquire.text);
}

/* What the colours mean, in the order of a hand-over. */
static void write_legend(const struct plot *plot)
{
    static const struct {
        const char *class;
        const char *text;
        double width;
    } entries[] = {
        {"lock", "locks", 68},
        {"store", "writes to the store", 146},
        {"record", "record", 76},
        {"cache", "drops caches", 110},
        {"verify", "reads again and compares", 0},
    };
    double x = MARGIN;

    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        fprintf(plot->stream,
                "<rect x=\"%.1f\" y=\"99\" width=\"10\" height=\"10\" rx=\"1.5\" class=\"%s\"/>\n",
                x, entries[i].class);
        write_text(plot, x + 16, 108, "muted", "%s", entries[i].text);
        x += entries[i].width;
    }
}

static void write_pause(const struct plot *plot)
{
    const double x = x_of(plot, plot->release_began_ns);
    const double end = x_of(plot, plot->acquire_ended_ns);

    if (!plot->has_release || !plot->has_acquire)
        return;
    fprintf(plot->stream,
            "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" "
            "class=\"pause\"/>\n",
            x, CHART_TOP, end - x, plot->bottom - CHART_TOP);
    fprintf(plot->stream, "<path d=\"M%.1f %dV%dH%.1fV%d\" class=\"pauseline\"/>\n", x, CHART_TOP,
            CHART_TOP - 7, end, CHART_TOP);
    write_text(plot, (x + end) / 2, CHART_TOP - 13, "pausetext middle", "guest paused");
}

/* 1, 2 or 5 times a power of ten, so that there are some eight of them. */
static double tick_of(double whole_ms)
{
    double tick = 0.001;

    for (int i = 0; whole_ms / tick > 8; i++)
        tick *= i % 3 == 1 ? 2.5 : 2;
    return tick;
}

static void write_axis(const struct plot *plot)
{
    const double whole_ms = (double)(plot->ended_ns - plot->began_ns) / 1e6;
    const double tick = tick_of(whole_ms);

    for (unsigned i = 0; i * tick <= whole_ms; i++) {
        const double x = CHART_LEFT + i * tick / whole_ms * (CHART_RIGHT - CHART_LEFT);

        fprintf(plot->stream, "<path d=\"M%.1f %dV%d\" class=\"grid\"/>\n", x, CHART_TOP,
                plot->bottom + 4);
        write_text(plot, x, plot->bottom + 20, "muted middle", "%.6g%s", i * tick,
                   i == 0 ? " ms" : "");
    }
}

/* "acquire: verify"; but "more unlock", which is made of one step of that name. */
static void write_row_name(const struct plot *plot, const struct migfs_span *span, int y)
{
    const char *kind = span->kind < MIGFS_HANDOFF_KINDS ? handoff_names[span->kind] : "unknown";
    const char *step = span->step < MIGFS_STEPS ? step_names[span->step] : "unknown";
    const size_t kind_length = strlen(kind), step_length = strlen(step);
    const bool says_it =
        kind_length >= step_length && strcmp(kind + kind_length - step_length, step) == 0;

    write_text(plot, CHART_LEFT - 10, y + BASELINE, "end", "%s%s%s", kind, says_it ? "" : ": ",
               says_it ? "" : step);
}

static void write_row(const struct plot *plot, const struct row *row, int y)
{
    const struct migfs_side *side = row->side;
    const char *class = row->first->step < MIGFS_STEPS ? step_classes[row->first->step] : "lock";
    int64_t ended_ns = 0, sum_ns = 0;

    write_row_name(plot, row->first, y);
    for (const struct migfs_span *span = row->first; span < side->spans + side->span_count;
         span++) {
        const int64_t began_ns = side_began_ns(plot, side) + span->start_us * INT64_C(1000);

        if (!is_like(span, row->first))
            continue;
        ended_ns = began_ns + span->duration_us * INT64_C(1000);
        sum_ns += ended_ns - began_ns;
        write_bar(plot, y, began_ns, ended_ns, class);
    }
    write_duration(plot, y, ended_ns, sum_ns);
}

static int write_side(const struct plot *plot, const struct migfs_side *side, const char *does,
                      size_t first_row, size_t end_row, int y)
{
    char *host = text_printable(side->host);

    write_text(plot, MARGIN, y + BASELINE, "host", "%s %s%s", host != NULL ? host : "", does,
               (side->flags & MIGFS_SIDE_CUT) != 0 ? " (the last steps of it)" : "");
    free(host);
    y += ROW;
    for (size_t row = first_row; row < end_row; row++, y += ROW)
        write_row(plot, &plot->rows[row], y);
    return y;
}

static int write_gap(const struct plot *plot, int y)
{
    if (!has_gap(plot))
        return y;
    write_text(plot, CHART_LEFT - 10, y + BASELINE, "end muted", "neither: the monitors");
    write_bar(plot, y, plot->release_ended_ns, plot->acquire_began_ns, "between");
    write_duration(plot, y, plot->acquire_began_ns,
                   plot->acquire_began_ns - plot->release_ended_ns);
    return y + ROW + GROUP_GAP;
}

static void write_rows(const struct plot *plot)
{
    int y = CHART_TOP;

    if (plot->has_release)
        y = write_side(plot, &plot->timeline->release, "hands over", 0, plot->release_rows, y);
    if (plot->has_release && plot->has_acquire)
        y = write_gap(plot, y + GROUP_GAP);
    if (plot->has_acquire)
        (void)write_side(plot, &plot->timeline->acquire, "takes over", plot->release_rows,
                         plot->row_count, y); /* the end of it is known */
}

/* What is to be known of the clocks, in words. */
static void write_clocks(const struct plot *plot, int y)
{
    const struct alignment *alignment = &plot->alignment;
    const double ahead_us = -(double)(alignment->shift_ns - alignment->moved_ns) / 1e3;
    const char *side = ahead_us < 0 ? "behind" : "ahead of";
    const struct text_duration ahead = text_duration(ahead_us < 0 ? -ahead_us : ahead_us);
    const struct text_duration unsure = text_duration((double)alignment->unsure_ns / 1e3);
    const struct text_duration moved = text_duration((double)alignment->moved_ns / 1e3);
    const char *class = "muted";

    if (!plot->has_release || !plot->has_acquire)
        return;
    switch (alignment->by) {
    case ALIGNED_BY_ONE_CLOCK:
        write_text(plot, MARGIN, y, class, "Both hosts have one clock.");
        break;
    case ALIGNED_BY_BEACONS:
        write_text(plot, MARGIN, y, class,
                   "The acquiring host's clock is %s %s the other's, by their beacons, ± %s; "
                   "corrected here.",
                   ahead.text, side, unsure.text);
        break;
    case ALIGNED_BY_ORDER:
        if (alignment->unsure_ns != 0)
            write_text(plot, MARGIN, y, class,
                       "The acquiring host's clock is %s %s the other's, by their beacons, ± %s; "
                       "corrected, and by %s more: no lock comes before its unlock.",
                       ahead.text, side, unsure.text, moved.text);
        else
            write_text(plot, MARGIN, y, class,
                       "The hosts' clocks were not compared; the acquire is moved by %s: no lock "
                       "comes before its unlock.",
                       moved.text);
        break;
    case ALIGNED_BY_NOTHING:
        write_text(plot, MARGIN, y, class,
                   "The hosts' clocks were not compared: the acquire may have been earlier or "
                   "later.");
        break;
    }
}

static void write_foot(const struct plot *plot)
{
    write_text(
        plot, MARGIN, plot->bottom + 46, "muted",
        "The pause counts from the first unlock to the end of the acquire; what the monitors "
        "do before and after it does not show in locks.");
    write_clocks(plot, plot->bottom + 64);
}

bool plot_write(FILE *stream, const struct migfs_timeline *timeline, const char *name)
{
    struct plot *plot = malloc(sizeof(*plot));
    int height;

    if (plot == NULL)
        return false;
    plot_init(plot, stream, timeline);
    height = plot->bottom + 84;
    fprintf(stream,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" role=\"img\">\n",
            WIDTH, height, WIDTH, height);
    fputs(style, stream);
    fprintf(stream, "<rect width=\"%d\" height=\"%d\" class=\"page\"/>\n", WIDTH, height);
    write_head(plot, name);
    write_summary(plot);
    write_legend(plot);
    write_pause(plot);
    write_axis(plot);
    write_rows(plot);
    write_foot(plot);
    fputs("</svg>\n", stream);
    free(plot);
    return true;
}
