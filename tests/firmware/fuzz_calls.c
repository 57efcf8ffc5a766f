/*
 * Any order of calls with any samples: a target for libFuzzer.
 *
 * Bytes become calls. What each call must return is known from how many samples were taken or are
 * missing; a call that fails must leave the state as it was; a heart rate must be that of a second
 * state, which gets the same samples in another order, those that are missing one by one, and is
 * asked in time.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "headers.h"

#if HR_ACC_FACTOR > 0
#define WITH_ACC 1
#else
#define WITH_ACC 0
#endif
#define SAME_RATE (WITH_ACC == 0 || HR_ACC_FACTOR == HR_PPG_FACTOR)

#define MAX_SAMPLES 20000 /* of a sensor, after which a stream starts anew */
#define ARENA_WORDS ((HR_ARENA_BYTES + 3) / 4)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            __builtin_trap();                                                                      \
        }                                                                                          \
    } while (0)

typedef struct {
    const uint8_t *next, *end;
} bytes;

enum { PPG, ACC, N_SENSORS = 1 + WITH_ACC };

typedef struct {
    hr_state *tested, *second;
    hr_state complete; /* the second one when its newest window was complete */
    int64_t n[2], n_second[2];
    int64_t rows[2]; /* complete ones of each sensor */
    int64_t kept[2]; /* the number after the newest of them that is not missing */
    int64_t n_windows, n_windows_second;
    int pending;
    int32_t ppg[MAX_SAMPLES];
    int16_t acc[MAX_SAMPLES][3];
    uint8_t missing[2][MAX_SAMPLES];
} stream;

static const int64_t factors[2] = {HR_PPG_FACTOR, HR_ACC_FACTOR};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t take(bytes *from, int n)
{
    uint32_t value = 0;

    for (; n > 0; --n) {
        value = value << 8 | (from->next < from->end ? *from->next++ : 0u);
    }
    return value;
}

/* rows that n samples complete if none is missing */
static int64_t rows_of(int64_t n, int64_t factor)
{
    const int64_t wait = factor > 1 ? 5 * factor : 1;

    return n < wait ? 0 : (n - wait) / factor + 1;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t rows_of_both(const stream *all)
{
    return WITH_ACC ? least(all->rows[PPG], all->rows[ACC]) : all->rows[PPG];
}

static int64_t lead_of(const stream *all)
{
    return WITH_ACC ? all->rows[PPG] - all->rows[ACC] : 0;
}

static int64_t end_of(int64_t window)
{
    return HR_N_TIMES + (window - 1) * HR_STRIDE;
}

static void start(stream *all)
{
    CHECK(hr_init(all->tested) == HR_OK);
    CHECK(hr_init(all->second) == HR_OK);
    for (int k = 0; k < 2; ++k) {
        all->n[k] = all->n_second[k] = all->rows[k] = all->kept[k] = 0;
    }
    all->n_windows = all->n_windows_second = 0;
    all->pending = 0;
}

/* Hand the next sample of a sensor to the second state. */
static int follow_one(stream *all, int sensor)
{
    const int64_t k = all->n_second[sensor];
    int status = HR_ERROR_AHEAD;

    if (k == all->n[sensor]) {
        return status;
    }
    if (sensor == PPG) {
        status = all->missing[PPG][k] ? hr_skip_ppg(all->second, 1)
                                      : hr_push_ppg(all->second, all->ppg[k]);
    }
#if WITH_ACC
    if (sensor == ACC) {
        const int16_t *const acc = all->acc[k];

        status = all->missing[ACC][k] ? hr_skip_acc(all->second, 1)
                                      : hr_push_acc(all->second, acc[0], acc[1], acc[2]);
    }
#endif
    all->n_second[sensor] += status >= 0;
    return status;
}

/* Hand to the second state all that the first has: the PPG first, until it is refused. */
static void follow(stream *all)
{
    int status = HR_OK;

    while (status >= 0) {
        status = follow_one(all, PPG);
        if (status == HR_ERROR_AHEAD && WITH_ACC) {
            status = follow_one(all, ACC);
        }
        if (status == HR_READY) {
            ++all->n_windows_second;
            all->complete = *all->second;
        }
    }
    for (int k = 0; k < N_SENSORS; ++k) {
        CHECK(all->n_second[k] == all->n[k]);
    }
    CHECK(all->n_windows_second == all->n_windows);
}

/* Check the status of a call that took samples, and let the second state follow. */
static void took(stream *all, int status)
{
    const int64_t rows = rows_of_both(all);
    const int64_t n = rows < HR_N_TIMES ? 0 : (rows - HR_N_TIMES) / HR_STRIDE + 1;

    CHECK(status == (n > all->n_windows ? HR_READY : HR_OK));
    all->pending |= n > all->n_windows;
    all->n_windows = n;
    follow(all);
}

/* Push a sample of either sensor or of both (NULL: none). */
static void push(stream *all, const int32_t *ppg, const int16_t *acc)
{
    static hr_state before;
    const int given[2] = {ppg != NULL, acc != NULL};
    int64_t rows[2];
    int status = HR_ERROR_NULL;

    for (int k = 0; k < N_SENSORS; ++k) {
        rows[k] = all->rows[k];
        if (given[k]) {
            if (all->n[k] + 1 >= MAX_SAMPLES) {
                start(all);
                return;
            }
            rows[k] = most(rows[k], rows_of(all->n[k] + 1, factors[k]));
        }
    }
    before = *all->tested;
    if (ppg != NULL && acc == NULL) {
        status = hr_push_ppg(all->tested, *ppg);
    }
#if WITH_ACC
    if (ppg == NULL && acc != NULL) {
        status = hr_push_acc(all->tested, acc[0], acc[1], acc[2]);
    }
#if SAME_RATE
    if (ppg != NULL && acc != NULL) {
        status = hr_push(all->tested, *ppg, acc[0], acc[1], acc[2]);
    }
#endif
    const int64_t lead = rows[PPG] - rows[ACC];

    if ((given[PPG] && lead > HR_SLACK) || (given[ACC] && lead < -HR_SLACK)) {
        CHECK(status == HR_ERROR_AHEAD);
        CHECK(memcmp(&before, all->tested, sizeof before) == 0);
        return;
    }
#endif
    CHECK(memcmp(before.arena, all->tested->arena, sizeof before.arena) == 0);
    for (int k = 0; k < N_SENSORS; ++k) {
        if (given[k]) {
            all->missing[k][all->n[k]++] = 0;
            all->kept[k] = rows[k] > all->rows[k] ? rows[k] : all->kept[k];
            all->rows[k] = rows[k];
        }
    }
    if (ppg != NULL) {
        all->ppg[all->n[PPG] - 1] = *ppg;
    }
    if (acc != NULL && WITH_ACC) {
        memcpy(all->acc[all->n[ACC] - 1], acc, sizeof all->acc[0]);
    }
    took(all, status);
}

/* Whether rows of a sensor await samples after them */
static int awaits(const stream *all, int sensor)
{
    return all->rows[sensor] * factors[sensor] < all->n[sensor];
}

/* Skip samples of either sensor, or of both if they have the same rate. */
static void skip(stream *all, int with_ppg, int with_acc, int32_t n)
{
    static hr_state before;
    const int given[2] = {with_ppg, with_acc};
    const int64_t lead = lead_of(all);
    int status = HR_ERROR_NULL;

    for (int k = 0; k < N_SENSORS; ++k) {
        if (given[k] && all->n[k] + n >= MAX_SAMPLES) {
            start(all);
            return;
        }
    }
    before = *all->tested;
    if (with_ppg && !with_acc) {
        status = hr_skip_ppg(all->tested, n);
    }
#if WITH_ACC
    if (!with_ppg && with_acc) {
        status = hr_skip_acc(all->tested, n);
    }
#endif
#if SAME_RATE
    if (with_ppg && with_acc) {
        status = hr_skip(all->tested, n);
    }
#endif
    if (n > 0 && ((given[PPG] && awaits(all, PPG) && lead > HR_SLACK - 5) ||
                  (WITH_ACC && given[ACC] && awaits(all, ACC) && -lead > HR_SLACK - 5))) {
        CHECK(status == HR_ERROR_AHEAD);
        CHECK(memcmp(&before, all->tested, sizeof before) == 0);
        return;
    }
    CHECK(memcmp(before.arena, all->tested->arena, sizeof before.arena) == 0);
    if (n <= 0) {
        CHECK(status == HR_OK);
        CHECK(memcmp(&before, all->tested, sizeof before) == 0);
        return;
    }
    for (int k = 0; k < N_SENSORS; ++k) {
        if (given[k]) {
            const int64_t held = all->n[k] / factors[k];

            all->kept[k] = held > all->rows[k] ? held : all->kept[k];
            memset(&all->missing[k][all->n[k]], 1, (size_t)n);
            all->n[k] += n;
            all->rows[k] = (all->n[k] + factors[k] - 1) / factors[k];
        }
    }
    took(all, status);
}

/* Whether a sample of the newest window is missing */
static int over_gap(const stream *all)
{
    const int64_t end = end_of(all->n_windows);

    for (int k = 0; k < N_SENSORS; ++k) {
        for (int64_t i = (end - HR_N_TIMES) * factors[k]; i < end * factors[k]; ++i) {
            if (i < all->n[k] && all->missing[k][i]) {
                return 1;
            }
        }
    }
    return 0;
}

static int is_taken_or_ahead(int status)
{
    return status == HR_OK || status == HR_READY || status == HR_ERROR_AHEAD;
}

/* More samples than are kept here, all that can be skipped at once if `n` is odd; then the stream
   starts anew. */
static void skip_far(stream *all, uint32_t n)
{
    const int32_t far = (n & 1u) != 0 ? INT32_MAX : (int32_t)(n & 0x7FFFFFFFu);

    for (int k = 0; k < 3; ++k) {
        CHECK(is_taken_or_ahead(hr_skip_ppg(all->tested, far)));
        CHECK(is_taken_or_ahead(hr_push_ppg(all->tested, far)));
#if WITH_ACC
        CHECK(is_taken_or_ahead(hr_skip_acc(all->tested, INT32_MAX - (far >> 3))));
        CHECK(is_taken_or_ahead(hr_push_acc(all->tested, 1, 2, 3)));
#endif
    }
    start(all);
}

/* What a state keeps of the heart rates before */
static void copy_history(hr_state *to, const hr_state *from)
{
#ifdef WITH_CLIP
    memcpy(to->clipped, from->clipped, sizeof to->clipped);
    to->n_clipped = from->n_clipped;
    to->clipped_next = from->clipped_next;
#endif
#ifdef WITH_KALMAN
    to->mean = from->mean;
    to->variance = from->variance;
#endif
#ifdef WITH_GAP
    to->since = from->since;
#endif
    (void)to;
    (void)from;
}

static void heart_rate(stream *all, int rubbish)
{
    static hr_state before;
    const int32_t untouched = 0x5EADBEEF;
    const int64_t rows = most(rows_of_both(all), most(all->kept[PPG], all->kept[ACC]));
    const int64_t late = rows - end_of(all->n_windows);
    int32_t bpm_q8 = untouched;

    memset(all->tested->arena, rubbish, sizeof all->tested->arena);
    before = *all->tested;

    const int status = hr_heart_rate(all->tested, &bpm_q8);

    CHECK(status == (!all->pending     ? HR_ERROR_NOT_READY
                     : over_gap(all)   ? HR_ERROR_GAP
                     : late > HR_SLACK ? HR_ERROR_LATE
                                       : HR_OK));
    all->pending = 0;
    if (status == HR_OK) {
        hr_state asked = all->complete;
        int32_t wanted = untouched;

        copy_history(&asked, &before);
#ifdef WITH_GAP
        asked.since = before.since - before.age + asked.age; /* but for the rows after it */
#endif
        memset(asked.arena, ~rubbish, sizeof asked.arena);
        CHECK(hr_heart_rate(&asked, &wanted) == HR_OK);
        CHECK(wanted == bpm_q8);
        copy_history(&before, all->tested);
        memcpy(before.arena, all->tested->arena, sizeof before.arena);
    } else {
        CHECK(bpm_q8 == untouched);
    }
    before.ready = 0;
    CHECK(memcmp(&before, all->tested, sizeof before) == 0);
}

/* Many samples of both sensors in turn, up to a window: a walk, noise, the rails, or a constant. */
static void burst(stream *all, bytes *from)
{
    const uint32_t n = take(from, 1), kind = take(from, 1);
    const uint32_t step = take(from, 1);
    uint32_t noise = take(from, 2);
    const int64_t n_windows = all->n_windows;
    int32_t ppg = 0;

    for (uint32_t i = 0; i < 2 * n && ((kind & 0x40) != 0 || all->n_windows == n_windows); ++i) {
        int16_t acc[3];

        noise = noise * 1664525u + 1013904223u;
        switch (kind % 5) {
        case 0:
            ppg += (int32_t)((noise >> 16) % (step + 1)) - (int32_t)(step / 2);
            break;
        case 1:
            ppg = (int32_t)noise;
            break;
        case 2:
            ppg = i / (step % 16 + 1) % 2 ? INT32_MAX : INT32_MIN;
            break;
        case 3:
            ppg = (int32_t)(step << 16) - (1 << 23);
            break;
        default:
            ppg = i % (step + 1) ? 5 : 6;
            break;
        }
        for (int axis = 0; axis < 3; ++axis) {
            acc[axis] = (int16_t)(uint16_t)((uint32_t)ppg >> axis * 3);
        }
        push(all, &ppg, NULL);
        if (WITH_ACC && (kind & 0x80) == 0) {
            push(all, NULL, acc);
        }
    }
}

/* Windows one after the other, each of them asked for in time */
static void windows_in_time(stream *all, bytes *from)
{
    const uint32_t n = take(from, 1) % 14;
    uint32_t noise = take(from, 2);

    for (uint32_t i = 0; i < n; ++i) {
        const int64_t n_windows = all->n_windows;

        for (int32_t k = 0; k < 8 * HR_N_TIMES && all->n_windows == n_windows; ++k) {
            const int32_t ppg = (int32_t)(noise = noise * 1664525u + 1013904223u);
            const int16_t acc[3] = {(int16_t)k, (int16_t)-k, (int16_t)(ppg % 4096)};

            push(all, &ppg, NULL);
            if (WITH_ACC) {
                push(all, NULL, acc);
            }
        }
        heart_rate(all, (int)n);
    }
}

/* A state of zeros, as a variable is before it was started */
static void calls_before_init(void)
{
    static const hr_state zeros;
    hr_state *const state = calloc(1, sizeof *state);
    int32_t bpm_q8 = 7;

    CHECK(state != NULL);
    CHECK(hr_push_ppg(state, 1) == HR_ERROR_NOT_STARTED);
#if WITH_ACC
    CHECK(hr_push_acc(state, 1, 2, 3) == HR_ERROR_NOT_STARTED);
    CHECK(hr_skip_acc(state, 5) == HR_ERROR_NOT_STARTED);
#endif
    CHECK(hr_skip_ppg(state, 5) == HR_ERROR_NOT_STARTED);
    CHECK(hr_heart_rate(state, &bpm_q8) == HR_ERROR_NOT_READY && bpm_q8 == 7);
    CHECK(memcmp(state, &zeros, sizeof zeros) == 0);
    free(state);
}

static void null_calls(stream *all)
{
    static hr_state before;
    int32_t bpm_q8 = 7;

    before = *all->tested;
    CHECK(hr_init(NULL) == HR_ERROR_NULL);
    CHECK(hr_push_ppg(NULL, 1) == HR_ERROR_NULL);
    CHECK(hr_skip_ppg(NULL, 1) == HR_ERROR_NULL);
#if SAME_RATE
    CHECK(hr_skip(NULL, 1) == HR_ERROR_NULL);
#endif
#if WITH_ACC
    CHECK(hr_skip_acc(NULL, 1) == HR_ERROR_NULL);
    CHECK(hr_push_acc(NULL, 1, 2, 3) == HR_ERROR_NULL);
#if SAME_RATE
    CHECK(hr_push(NULL, 1, 1, 2, 3) == HR_ERROR_NULL);
#endif
#else
    CHECK(hr_push(NULL, 1) == HR_ERROR_NULL);
#endif
    CHECK(hr_heart_rate(NULL, &bpm_q8) == HR_ERROR_NULL);
    CHECK(hr_heart_rate(all->tested, NULL) == HR_ERROR_NULL);
    CHECK(hr_predict(NULL, all->tested->arena, &bpm_q8) == HR_ERROR_NULL);
    CHECK(bpm_q8 == 7);
    CHECK(memcmp(&before, all->tested, sizeof before) == 0);
}

/* A window in an arena of just the bytes needed, at any address. */
static void predict(bytes *from)
{
    static int8_t window[HR_INPUT_BYTES];
    const uint32_t misplaced = take(from, 1) % 5 % HR_ARENA_ALIGNMENT;
    const uint32_t kind = take(from, 1);
    uint32_t noise = take(from, 2);
    uint8_t *const memory = malloc(HR_ARENA_BYTES + misplaced);
    uint8_t *const again = malloc(HR_ARENA_BYTES);
    int32_t bpm_q8 = 1, wanted = 1;

    CHECK(memory != NULL && again != NULL);
    for (int i = 0; i < HR_INPUT_BYTES; ++i) {
        noise = noise * 1664525u + 1013904223u;
        window[i] = (int8_t)(kind & 1 ? (int32_t)(noise >> 24) - 128 : (noise >> 31) ? 127 : -128);
    }
    memset(memory, (int)kind, HR_ARENA_BYTES + misplaced);
    memset(again, (int)~kind & 0xFF, HR_ARENA_BYTES);

    const int status = hr_predict(window, memory + misplaced, &bpm_q8);

    if (misplaced != 0) {
        CHECK(status == HR_ERROR_ALIGNMENT && bpm_q8 == 1);
    } else {
        CHECK(status == HR_OK);
        CHECK(hr_predict(window, again, &wanted) == HR_OK && wanted == bpm_q8);
    }
    free(memory);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static stream all;
    bytes from = {data, data + size};
    int once = 1;

    all.tested = malloc(sizeof *all.tested);
    all.second = malloc(sizeof *all.second);
    CHECK(all.tested != NULL && all.second != NULL);
    start(&all);
    while (from.next < from.end) {
        const uint32_t what = take(&from, 1);
        const int32_t ppg = (int32_t)take(&from, what & 0x80 ? 4 : 1);
        const int16_t acc[3] = {
            (int16_t)(uint16_t)((uint32_t)ppg * 77u), (int16_t)(uint16_t)ppg,
            (int16_t)(uint16_t)((uint32_t)ppg >> 5)};

        switch (what % 19) {
        case 0:
            start(&all);
            break;
        case 1:
            null_calls(&all);
            calls_before_init();
            break;
        case 2:
            predict(&from);
            break;
        case 3:
        case 4:
        case 5:
            burst(&all, &from);
            break;
        case 6:
            if (once) { /* it takes long */
                windows_in_time(&all, &from);
                once = 0;
            }
            break;
        case 7:
        case 8:
        case 9:
        case 10:
            heart_rate(&all, ppg & 0xFF);
            break;
        case 11:
        case 12:
            push(&all, &ppg, NULL);
            break;
        case 13:
        case 14:
            if (WITH_ACC) {
                push(&all, NULL, acc);
            }
            break;
        case 15:
            skip(&all, 1, 0, ppg % 4096);
            break;
        case 16:
            if (WITH_ACC) {
                skip(&all, 0, 1, ppg % 4096);
            }
            break;
        case 17:
            if (SAME_RATE) {
                skip(&all, 1, WITH_ACC, ppg % 4096);
            } else {
                skip_far(&all, (uint32_t)ppg);
            }
            break;
        default:
            if (what & 0x40) {
                skip_far(&all, (uint32_t)ppg);
            } else if (WITH_ACC && SAME_RATE) {
                push(&all, &ppg, acc);
            }
            break;
        }
    }
    free(all.tested);
    free(all.second);
    return 0;
}
