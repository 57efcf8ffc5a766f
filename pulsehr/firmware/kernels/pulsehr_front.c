/*
 * From samples of the sensors to heart rates: decimation, band-pass, normalisation, one heart rate
 * each stride.
 *
 * A row is one sample of every signal at the rate of the windows. The rings hold the newest
 * N_TIMES + SLACK samples of each signal, at the same position those of the same row; no counter
 * grows with the length of the stream.
 *
 * Rows of missing samples count as all others, and store nothing. After a gap a sensor begins as at
 * the start of the stream, with what is next held for what was before; at its start the rows that
 * await later samples are completed by its last one.
 */
#include "pulsehr.h"

#include <stddef.h>
#include <string.h>

#include "pulsehr_front_tables.h"
#if PULSEHR_KALMAN
#include "pulsehr_kalman.h"
#endif
#include "pulsehr_kernels.h"
#include "pulsehr_network.h"

#define PULSEHR_RING (PULSEHR_N_TIMES + PULSEHR_SLACK)

#if PULSEHR_MAX_GAP > 0
#define PULSEHR_LONG_AGO (PULSEHR_MAX_GAP + 1 + PULSEHR_SLACK) /* rows, up to SLACK of them late */
#endif

#define PULSEHR_PPG_MAX  8388607 /* counts of 24 bits */
#define PULSEHR_PPG_MIN  (-8388608)
#define PULSEHR_TAP_BITS 15

#define PULSEHR_OVER_GAP 2 /* what a window that is ready may be, beside 1 */
#define PULSEHR_MASK     32 /* rows ahead that `missing` tells of; those beyond are missing */
#define PULSEHR_AWAITING 5  /* rows that may await samples after them, at most */

_Static_assert(sizeof(pulsehr_state) == PULSEHR_STATE_BYTES, "size of the state");
_Static_assert((-1 >> 1) == -1, "negative numbers must be shifted arithmetically");

static int32_t pulsehr_saturate(int64_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : (int32_t)value;
}

#if PULSEHR_BANDPASS
#define PULSEHR_SUM_BITS 29 /* after the point of a coefficient */

/*
 * Filter a sample by two sections in direct form I; the remainder of each division is carried to
 * the next sample. Sums stay below 7 * 2^60.
 */
static int32_t pulsehr_filter_step(pulsehr_filter *filter, int32_t sample, int32_t bits)
{
    if (filter->started == 0) {
        filter->started = 1;
        filter->first = sample;
    }

    int32_t value = (sample - filter->first) * ((int32_t)1 << bits);

    for (int32_t i = 0; i < 2; ++i) {
        const int32_t *const section = pulsehr_sections[i];
        int32_t *const x = filter->signals[i];
        const int32_t *const y = filter->signals[i + 1];
        const int64_t sum = (int64_t)section[0] * value + (int64_t)section[1] * x[0] +
                            (int64_t)section[2] * x[1] - (int64_t)section[3] * y[0] -
                            (int64_t)section[4] * y[1] + filter->rest[i];

        x[1] = x[0];
        x[0] = value;
        value = (int32_t)(sum >> PULSEHR_SUM_BITS);
        filter->rest[i] = (int32_t)(sum & (((int64_t)1 << PULSEHR_SUM_BITS) - 1));
    }
    filter->signals[2][1] = filter->signals[2][0];
    filter->signals[2][0] = value;
    return value;
}
#endif

/* The position after `position` in a ring */
static int32_t pulsehr_after(int32_t position, int32_t length)
{
    return position + 1 == length ? 0 : position + 1;
}

/* The position of the next row of a sensor that is `ahead` by at most SLACK rows, if at all */
static int32_t pulsehr_place(const pulsehr_state *state, int32_t ahead)
{
    const int32_t place = state->next + (ahead > 0 ? ahead : 0);

    return place >= PULSEHR_RING ? place - PULSEHR_RING : place;
}

#if PULSEHR_PPG_FACTOR > 1 || PULSEHR_ACC_FACTOR > 1
/* The tap of past sample `index`, of half a symmetric filter from its middle */
static int32_t pulsehr_tap(const int16_t *taps, int32_t index, int32_t n_taps)
{
    return taps[index < n_taps ? n_taps - 1 - index : index + 1 - n_taps];
}

/* A sum of products with taps, rounded, halves up */
static int64_t pulsehr_rounded(int64_t sum)
{
    return (sum + (1 << (PULSEHR_TAP_BITS - 1))) >> PULSEHR_TAP_BITS;
}
#endif

#if PULSEHR_ACC_FACTOR > 0
#define PULSEHR_PPG_AHEAD(state) ((state)->lead)
#else
#define PULSEHR_PPG_AHEAD(state) 0
#endif

/* Filter a row of the PPG and keep it */
static void pulsehr_keep_ppg(pulsehr_state *state, int32_t row)
{
    int32_t value = row;

#if PULSEHR_BANDPASS
    value = pulsehr_filter_step(&state->filters[0], value, PULSEHR_PPG_BITS);
#endif
    state->ppg[pulsehr_place(state, PULSEHR_PPG_AHEAD(state))] = value;
}

#if PULSEHR_PPG_FACTOR > 1
/* Make a row of the PPG of what its filter sees */
static void pulsehr_decimate_ppg(pulsehr_state *state)
{
    int64_t sum = 0;

    for (int32_t i = 0; i < PULSEHR_PPG_PAST; ++i) {
        sum += (int64_t)pulsehr_tap(pulsehr_ppg_taps, i, PULSEHR_PPG_TAPS) * state->ppg_past[i];
    }
    pulsehr_move_down(
        state->ppg_past, PULSEHR_PPG_FACTOR * (int32_t)sizeof state->ppg_past[0],
        (PULSEHR_PPG_PAST - PULSEHR_PPG_FACTOR) * (int32_t)sizeof state->ppg_past[0]);
    state->ppg_wait = PULSEHR_PPG_FACTOR;
    pulsehr_keep_ppg(
        state, pulsehr_saturate(pulsehr_rounded(sum), PULSEHR_PPG_MIN, PULSEHR_PPG_MAX));
}
#endif

/* Take a sample of the PPG, which completes a row if `complete` */
static void pulsehr_take_ppg(pulsehr_state *state, int32_t sample, int32_t complete)
{
    const int32_t value = pulsehr_saturate(sample, PULSEHR_PPG_MIN, PULSEHR_PPG_MAX);

#if PULSEHR_PPG_FACTOR > 1
    if (state->ppg_wait < 0) { /* the first of a stretch: as if it had lasted forever */
        state->ppg_wait = -state->ppg_wait;
        for (int32_t i = 0; i < PULSEHR_PPG_PAST; ++i) {
            state->ppg_past[i] = value;
        }
    }
    state->ppg_past[PULSEHR_PPG_PAST - state->ppg_wait] = value;
    state->ppg_wait -= 1;
    if (complete != 0) {
        pulsehr_decimate_ppg(state);
    }
#else
    if (complete != 0) {
        pulsehr_keep_ppg(state, value);
    }
#endif
}

#if PULSEHR_ACC_FACTOR > 0
/* Make a row of the acceleration of what its filter sees or, without one, of a sample */
static void pulsehr_decimate_acc(pulsehr_state *state, const int16_t sample[3])
{
    const int32_t place = pulsehr_place(state, -state->lead);

    for (int32_t axis = 0; axis < 3; ++axis) {
#if PULSEHR_ACC_FACTOR > 1
        int64_t sum = 0;

        for (int32_t i = 0; i < PULSEHR_ACC_PAST; ++i) {
            sum += pulsehr_tap(pulsehr_acc_taps, i, PULSEHR_ACC_TAPS) * state->acc_past[i][axis];
        }

        int32_t value = pulsehr_saturate(pulsehr_rounded(sum), INT16_MIN, INT16_MAX);
#else
        int32_t value = sample[axis];
#endif
#if PULSEHR_BANDPASS
        const int64_t half = (int64_t)1 << (PULSEHR_ACC_BITS - 1);

        value = pulsehr_filter_step(&state->filters[1 + axis], value, PULSEHR_ACC_BITS);
        value = pulsehr_saturate((value + half) >> PULSEHR_ACC_BITS, INT16_MIN, INT16_MAX);
#endif
        state->acc[axis][place] = (int16_t)value;
    }
#if PULSEHR_ACC_FACTOR > 1
    (void)sample;
    pulsehr_move_down(
        state->acc_past, PULSEHR_ACC_FACTOR * (int32_t)sizeof state->acc_past[0],
        (PULSEHR_ACC_PAST - PULSEHR_ACC_FACTOR) * (int32_t)sizeof state->acc_past[0]);
    state->acc_wait = PULSEHR_ACC_FACTOR;
#endif
}

/* Take a sample of the acceleration, which completes a row if `complete` */
static void pulsehr_take_acc(pulsehr_state *state, const int16_t sample[3], int32_t complete)
{
#if PULSEHR_ACC_FACTOR > 1
    if (state->acc_wait < 0) { /* the first of a stretch: as if it had lasted forever */
        state->acc_wait = -state->acc_wait;
        for (int32_t i = 0; i < PULSEHR_ACC_PAST; ++i) {
            memcpy(state->acc_past[i], sample, 3 * sizeof sample[0]);
        }
    }
    memcpy(state->acc_past[PULSEHR_ACC_PAST - state->acc_wait], sample, 3 * sizeof sample[0]);
    state->acc_wait -= 1;
#endif
    if (complete != 0) {
        pulsehr_decimate_acc(state, sample);
    }
}
#endif

/* Count a complete row; tell whether it is the last of a window */
static int pulsehr_count_row(pulsehr_state *state)
{
#if PULSEHR_ACC_FACTOR > 0
    if ((state->missing & 1u) != 0) {
        state->gap = PULSEHR_N_TIMES + 1;
    }
    state->missing >>= 1;
    if (state->lead >= PULSEHR_MASK || state->lead <= -PULSEHR_MASK) {
        state->missing |= (uint32_t)1 << (PULSEHR_MASK - 1);
    }
#endif
    state->gap -= state->gap > 0 ? 1 : 0;
    state->next = pulsehr_after(state->next, PULSEHR_RING);
    state->age += state->age <= PULSEHR_SLACK ? 1 : 0;
#if PULSEHR_MAX_GAP > 0
    state->since += state->since < PULSEHR_LONG_AGO ? 1 : 0;
#endif
    state->wait -= 1;
    if (state->wait > 0) {
        return PULSEHR_OK;
    }
    state->wait = PULSEHR_STRIDE;
    state->age = 0;
    state->ready = state->gap > 0 ? PULSEHR_OVER_GAP : 1;
    return PULSEHR_READY;
}

/* Take a sample of either sensor or of both (NULL: none), or refuse it */
static int pulsehr_take(pulsehr_state *state, const int32_t *ppg, const int16_t *acc)
{
    if (state == NULL) {
        return PULSEHR_ERROR_NULL;
    }
    if (state->wait <= 0) {
        return PULSEHR_ERROR_NOT_STARTED;
    }

#if PULSEHR_PPG_FACTOR > 1
    const int32_t ppg_complete = ppg != NULL && state->ppg_wait == 1 ? 1 : 0;
#else
    const int32_t ppg_complete = ppg != NULL ? 1 : 0;
#endif
#if PULSEHR_ACC_FACTOR > 0
#if PULSEHR_ACC_FACTOR > 1
    const int32_t acc_complete = acc != NULL && state->acc_wait == 1 ? 1 : 0;
#else
    const int32_t acc_complete = acc != NULL ? 1 : 0;
#endif
    const int32_t step = ppg_complete - acc_complete;

    /* the step is not added before, as the lead may be of INT32_MAX rows that were skipped */
    if ((ppg != NULL && state->lead > PULSEHR_SLACK - step) ||
        (acc != NULL && state->lead < -PULSEHR_SLACK - step)) {
        return PULSEHR_ERROR_AHEAD;
    }

    const int32_t lead = state->lead + step;

    /* rows are complete up to the sensor that is behind */
    const int32_t rows = acc_complete + (lead < 0 ? lead : 0) - (state->lead < 0 ? state->lead : 0);

    if (acc != NULL) {
        pulsehr_take_acc(state, acc, acc_complete);
    }
    if (ppg != NULL) {
        pulsehr_take_ppg(state, *ppg, ppg_complete);
    }
    state->lead = lead;
#else
    const int32_t rows = ppg_complete;

    (void)acc;
    pulsehr_take_ppg(state, *ppg, ppg_complete);
#endif
    return rows > 0 ? pulsehr_count_row(state) : PULSEHR_OK;
}

/* Sample of a signal, 0 being the PPG */
static int32_t pulsehr_sample(const pulsehr_state *state, int32_t row, int32_t position)
{
#if PULSEHR_ACC_FACTOR > 0
    if (row > 0) {
        return state->acc[row - 1][position];
    }
#endif
    (void)row;
    return state->ppg[position];
}

#if PULSEHR_NORMALIZE_WINDOW
/* floor(sqrt(value)) */
static uint32_t pulsehr_square_root(uint32_t value)
{
    uint32_t root = 0;

    for (uint32_t bit = (uint32_t)1 << 30; bit > 0; bit >>= 2) {
        const uint32_t trial = root + bit;

        root >>= 1;
        if (value >= trial) {
            value -= trial;
            root += bit;
        }
    }
    return root;
}
#endif

/*
 * Normalise one signal of the window that starts at a position of its ring.
 *
 * Window-wise, a value is N_TIMES * sample - sum of samples, so that the mean needs no division.
 * Samples of the PPG are reduced to 15 bits before, and their values divided by the root of the sum
 * of their squares; a flat PPG is zero.
 */
static void pulsehr_normalize(
    const pulsehr_state *state, int32_t row, int32_t start, int8_t *normalized)
{
    pulsehr_sample_scaling scaling = pulsehr_scalings[row];
    int32_t position = start;

#if PULSEHR_NORMALIZE_WINDOW
    int32_t low = INT32_MAX;
    int32_t high = INT32_MIN;

    for (int32_t i = 0; i < PULSEHR_N_TIMES; ++i) {
        const int32_t sample = pulsehr_sample(state, row, position);

        low = sample < low ? sample : low;
        high = sample > high ? sample : high;
        position = pulsehr_after(position, PULSEHR_RING);
    }

    const uint32_t span = (uint32_t)high - (uint32_t)low;
    uint32_t sum = 0;
    uint64_t squares = 0;
    int32_t down = 0;

    while (row == 0 && (span >> down) >= PULSEHR_SPAN) {
        ++down;
    }
    position = start;
    for (int32_t i = 0; i < PULSEHR_N_TIMES; ++i) {
        const uint32_t above =
            ((uint32_t)pulsehr_sample(state, row, position) - (uint32_t)low) >> down;

        sum += above;
        squares += (uint64_t)above * above;
        position = pulsehr_after(position, PULSEHR_RING);
    }
    if (row == 0) {
        /* N_TIMES^2 times the variance */
        squares = squares * PULSEHR_N_TIMES - (uint64_t)sum * sum;
        if (span <= PULSEHR_RESIDUE) {
            scaling.multiplier = 0;
            scaling.shift = 1;
        } else {
            while ((squares >> 62) == 0) {
                squares <<= 2;
                --scaling.shift;
            }

            const uint32_t root = pulsehr_square_root((uint32_t)(squares >> 32));

            scaling.multiplier = (int32_t)((PULSEHR_SPREAD + root / 2) / root);
        }
        scaling.offset =
            (2 * PULSEHR_INPUT_ZERO_POINT + 1) * ((int64_t)1 << (scaling.shift - 1));
    }
#endif

    position = start;
    for (int32_t i = 0; i < PULSEHR_N_TIMES; ++i) {
        int32_t value = pulsehr_sample(state, row, position);

#if PULSEHR_NORMALIZE_WINDOW
        const uint32_t above = ((uint32_t)value - (uint32_t)low) >> down;

        value = (int32_t)(above * PULSEHR_N_TIMES - sum);
#endif
        const int64_t steps =
            ((int64_t)value * scaling.multiplier + scaling.offset) >> scaling.shift;

        normalized[i] = (int8_t)pulsehr_saturate(steps, INT8_MIN, INT8_MAX);
        position = pulsehr_after(position, PULSEHR_RING);
    }
}

#if PULSEHR_CLIP
/* Keep a heart rate, from 0 to the largest, within a tenth of the mean of the ten before it */
static int32_t pulsehr_clip(pulsehr_state *state, int32_t bpm_q8)
{
    int32_t value = pulsehr_saturate(bpm_q8, 0, PULSEHR_CLIP_REACH);

    if (state->n_clipped == PULSEHR_CLIP_LENGTH) {
        int32_t sum = 0;

        for (int32_t i = 0; i < PULSEHR_CLIP_LENGTH; ++i) {
            sum += state->clipped[i];
        }

        const int32_t low = (9 * sum + 50) / 100;
        const int32_t high = (11 * sum + 50) / 100;

        value = value < low ? low : value;
        value = value > high ? high : value;
    } else {
        state->n_clipped += 1;
    }
    state->clipped[state->clipped_next] = value;
    state->clipped_next = pulsehr_after(state->clipped_next, PULSEHR_CLIP_LENGTH);
    return value;
}
#endif

/* Use the order in time of heart rates */
static int32_t pulsehr_tracked(pulsehr_state *state, int32_t bpm_q8)
{
#if PULSEHR_MAX_GAP > 0
    const int32_t rows = state->since - state->age;

    state->since = state->age;
#endif
#if PULSEHR_KALMAN
    return pulsehr_kalman(state, bpm_q8, rows > PULSEHR_MAX_GAP ? 0 : rows);
#elif PULSEHR_CLIP
#if PULSEHR_MAX_GAP > 0
    if (rows > PULSEHR_MAX_GAP) {
        state->n_clipped = 0;
        state->clipped_next = 0;
    }
#endif
    return pulsehr_clip(state, bpm_q8);
#else
    (void)state;
    return bpm_q8;
#endif
}

int pulsehr_init(pulsehr_state *state)
{
    if (state == NULL) {
        return PULSEHR_ERROR_NULL;
    }
    memset(state, 0, sizeof *state);
    state->wait = PULSEHR_N_TIMES;
#if PULSEHR_MAX_GAP > 0
    state->since = PULSEHR_LONG_AGO;
#endif
#if PULSEHR_PPG_FACTOR > 1
    state->ppg_wait = -PULSEHR_PPG_TAPS;
#endif
#if PULSEHR_ACC_FACTOR > 1
    state->acc_wait = -PULSEHR_ACC_TAPS;
#endif
    return PULSEHR_OK;
}

int pulsehr_push_ppg(pulsehr_state *state, int32_t ppg)
{
    return pulsehr_take(state, &ppg, NULL);
}

#if PULSEHR_ACC_FACTOR > 0
int pulsehr_push_acc(pulsehr_state *state, int16_t acc_x, int16_t acc_y, int16_t acc_z)
{
    const int16_t acc[3] = {acc_x, acc_y, acc_z};

    return pulsehr_take(state, NULL, acc);
}
#endif

#if PULSEHR_ACC_FACTOR == PULSEHR_PPG_FACTOR
int pulsehr_push(pulsehr_state *state, int32_t ppg, int16_t acc_x, int16_t acc_y, int16_t acc_z)
{
    const int16_t acc[3] = {acc_x, acc_y, acc_z};

    return pulsehr_take(state, &ppg, acc);
}
#elif PULSEHR_ACC_FACTOR == 0
int pulsehr_push(pulsehr_state *state, int32_t ppg)
{
    return pulsehr_push_ppg(state, ppg);
}
#endif

#if PULSEHR_PPG_FACTOR > 1 || PULSEHR_ACC_FACTOR > 1
/*
 * Pass over n missing samples of a sensor with a filter; return how many rows they hold. The next
 * row is taken `wait - taps` samples from here; `wait` is negative until the next sample comes.
 */
static int32_t pulsehr_missing_rows(int32_t *wait, int32_t n, int32_t taps, int32_t factor)
{
    const int32_t before = (*wait < 0 ? -*wait : *wait) - taps;
    const int32_t after = n - before - 1;

    if (after < 0) {
        *wait = -(taps + before - n);
        return 0;
    }
    *wait = -(taps + factor - 1 - after % factor);
    return after / factor + 1;
}

/* Whether a row awaits samples after it */
static int pulsehr_awaits(int32_t wait, int32_t taps)
{
    return wait > 0 && wait < taps ? 1 : 0;
}
#endif

/*
 * Count n rows of one sensor, missing ones if `missing`: of the PPG, with side 1, or of the
 * acceleration, with side -1. Work does not grow with n: whole strides of missing rows change
 * nothing that N_TIMES + STRIDE + MASK of them do not.
 */
static int pulsehr_pass(pulsehr_state *state, int32_t side, int32_t n, uint32_t missing)
{
    int status = PULSEHR_OK;
    int32_t both = n;

#if PULSEHR_ACC_FACTOR > 0
    const int32_t behind = side * state->lead < 0 ? -side * state->lead : 0;
    const int32_t alone = n > behind ? n - behind : 0;

    both -= alone;
#endif
    int32_t far = both - (PULSEHR_N_TIMES + PULSEHR_STRIDE + PULSEHR_MASK);

    if (far > 0) {
        far -= far % PULSEHR_STRIDE;
        both -= far;
        state->next = (state->next + far % PULSEHR_RING) % PULSEHR_RING;
#if PULSEHR_ACC_FACTOR > 0
        state->lead += side * far;
#endif
#if PULSEHR_MAX_GAP > 0
        far = far < PULSEHR_LONG_AGO - state->since ? far : PULSEHR_LONG_AGO - state->since;
        state->since += far;
#endif
    }
    for (; both > 0; --both) {
#if PULSEHR_ACC_FACTOR > 0
        state->missing |= missing;
        state->lead += side;
#else
        state->gap = missing != 0 ? PULSEHR_N_TIMES + 1 : state->gap;
#endif
        status = pulsehr_count_row(state) == PULSEHR_READY ? PULSEHR_READY : status;
    }
#if PULSEHR_ACC_FACTOR > 0
    const int32_t ahead = side * state->lead;

    if (missing != 0 && alone > 0 && ahead < PULSEHR_MASK) {
        state->missing |= (alone < PULSEHR_MASK ? ((uint32_t)1 << alone) - 1 : UINT32_MAX) << ahead;
    }
    state->lead += side * alone;
#else
    (void)side;
#endif
    return status;
}

/*
 * Before a gap: complete a row that awaits samples of the PPG, its last one being held. The row in
 * which the gap begins is missing.
 */
int pulsehr_hold_ppg(pulsehr_state *state);

int pulsehr_hold_ppg(pulsehr_state *state)
{
#if PULSEHR_PPG_FACTOR > 1
    const int32_t wait = state->ppg_wait;

    if (pulsehr_awaits(wait, PULSEHR_PPG_TAPS)) {
        const uint32_t missing = wait > PULSEHR_PPG_TAPS - PULSEHR_PPG_FACTOR ? 1 : 0;

        if (missing == 0) {
            for (int32_t i = PULSEHR_PPG_PAST - 1 - wait; i + 1 < PULSEHR_PPG_PAST; ++i) {
                state->ppg_past[i + 1] = state->ppg_past[i];
            }
            pulsehr_decimate_ppg(state);
        }
        state->ppg_wait = wait + PULSEHR_PPG_FACTOR;
        return pulsehr_pass(state, 1, 1, missing);
    }
#endif
    (void)state;
    return PULSEHR_OK;
}

/* Pass over n missing samples of the PPG */
static int pulsehr_pass_ppg(pulsehr_state *state, int32_t n)
{
    int32_t rows = n;
    int held = PULSEHR_OK;

#if PULSEHR_PPG_FACTOR > 1
    while (pulsehr_awaits(state->ppg_wait, PULSEHR_PPG_TAPS)) {
        held = pulsehr_hold_ppg(state) == PULSEHR_READY ? PULSEHR_READY : held;
    }
    rows = pulsehr_missing_rows(&state->ppg_wait, n, PULSEHR_PPG_TAPS, PULSEHR_PPG_FACTOR);
#endif
#if PULSEHR_BANDPASS
    memset(&state->filters[0], 0, sizeof state->filters[0]);
#endif
    return pulsehr_pass(state, 1, rows, 1) == PULSEHR_READY ? PULSEHR_READY : held;
}

#if PULSEHR_ACC_FACTOR > 0
/* The same of the acceleration */
int pulsehr_hold_acc(pulsehr_state *state);

int pulsehr_hold_acc(pulsehr_state *state)
{
#if PULSEHR_ACC_FACTOR > 1
    const int32_t wait = state->acc_wait;

    if (pulsehr_awaits(wait, PULSEHR_ACC_TAPS)) {
        const uint32_t missing = wait > PULSEHR_ACC_TAPS - PULSEHR_ACC_FACTOR ? 1 : 0;

        if (missing == 0) {
            for (int32_t i = PULSEHR_ACC_PAST - 1 - wait; i + 1 < PULSEHR_ACC_PAST; ++i) {
                memcpy(state->acc_past[i + 1], state->acc_past[i], sizeof state->acc_past[0]);
            }
            pulsehr_decimate_acc(state, NULL);
        }
        state->acc_wait = wait + PULSEHR_ACC_FACTOR;
        return pulsehr_pass(state, -1, 1, missing);
    }
#endif
    (void)state;
    return PULSEHR_OK;
}

static int pulsehr_pass_acc(pulsehr_state *state, int32_t n)
{
    int32_t rows = n;
    int held = PULSEHR_OK;

#if PULSEHR_ACC_FACTOR > 1
    while (pulsehr_awaits(state->acc_wait, PULSEHR_ACC_TAPS)) {
        held = pulsehr_hold_acc(state) == PULSEHR_READY ? PULSEHR_READY : held;
    }
    rows = pulsehr_missing_rows(&state->acc_wait, n, PULSEHR_ACC_TAPS, PULSEHR_ACC_FACTOR);
#endif
#if PULSEHR_BANDPASS
    memset(&state->filters[1], 0, 3 * sizeof state->filters[1]);
#endif
    return pulsehr_pass(state, -1, rows, 1) == PULSEHR_READY ? PULSEHR_READY : held;
}
#endif

/*
 * Whether n samples may be skipped: by neither sensor if it is so far ahead that its ring has no
 * place for rows that await samples, or that the rows between both could not be counted.
 */
static int pulsehr_may_skip(
    const pulsehr_state *state, int32_t n, int32_t with_ppg, int32_t with_acc)
{
    if (state == NULL) {
        return PULSEHR_ERROR_NULL;
    }
    if (state->wait <= 0) {
        return PULSEHR_ERROR_NOT_STARTED;
    }
#if PULSEHR_ACC_FACTOR > 0
    const int32_t ahead = with_ppg != 0 && state->lead > 0   ? state->lead
                          : with_acc != 0 && state->lead < 0 ? -state->lead
                                                             : 0;
    int32_t most = INT32_MAX - PULSEHR_SLACK - (n > 0 ? n : 0);

#if PULSEHR_PPG_FACTOR > 1
    if (state->lead > 0 && pulsehr_awaits(state->ppg_wait, PULSEHR_PPG_TAPS)) {
        most = PULSEHR_SLACK - PULSEHR_AWAITING;
    }
#endif
#if PULSEHR_ACC_FACTOR > 1
    if (state->lead < 0 && pulsehr_awaits(state->acc_wait, PULSEHR_ACC_TAPS)) {
        most = PULSEHR_SLACK - PULSEHR_AWAITING;
    }
#endif
    if (n > 0 && ahead > 0 && ahead > most) {
        return PULSEHR_ERROR_AHEAD;
    }
#endif
    (void)n;
    (void)with_ppg;
    (void)with_acc;
    return PULSEHR_OK;
}

int pulsehr_skip_ppg(pulsehr_state *state, int32_t n)
{
    const int status = pulsehr_may_skip(state, n, 1, 0);

    return status == PULSEHR_OK && n > 0 ? pulsehr_pass_ppg(state, n) : status;
}

#if PULSEHR_ACC_FACTOR > 0
int pulsehr_skip_acc(pulsehr_state *state, int32_t n)
{
    const int status = pulsehr_may_skip(state, n, 0, 1);

    return status == PULSEHR_OK && n > 0 ? pulsehr_pass_acc(state, n) : status;
}
#endif

#if PULSEHR_ACC_FACTOR == PULSEHR_PPG_FACTOR
int pulsehr_skip(pulsehr_state *state, int32_t n)
{
    const int status = pulsehr_may_skip(state, n, 1, 1);

    if (status != PULSEHR_OK || n < 1) {
        return status;
    }

    /* the one that is behind first, lest the other be too far ahead */
    const int ppg_first = state->lead < 0 ? 1 : 0;
    const int first = ppg_first != 0 ? pulsehr_pass_ppg(state, n) : pulsehr_pass_acc(state, n);
    const int second = ppg_first != 0 ? pulsehr_pass_acc(state, n) : pulsehr_pass_ppg(state, n);

    return first == PULSEHR_READY ? first : second;
}
#elif PULSEHR_ACC_FACTOR == 0
int pulsehr_skip(pulsehr_state *state, int32_t n)
{
    return pulsehr_skip_ppg(state, n);
}
#endif

int pulsehr_heart_rate(pulsehr_state *state, int32_t *bpm_q8)
{
    if (state == NULL || bpm_q8 == NULL) {
        return PULSEHR_ERROR_NULL;
    }
    if (state->ready == 0) {
        return PULSEHR_ERROR_NOT_READY;
    }
    const int32_t ready = state->ready;

    state->ready = 0;
    if (ready == PULSEHR_OVER_GAP) {
        return PULSEHR_ERROR_GAP;
    }

    /* rows that came after the window, and those of the sensor that is ahead, up to its gap */
    int32_t late = state->age;

#if PULSEHR_ACC_FACTOR > 0
    int32_t ahead = state->lead < 0 ? -state->lead : state->lead;

    ahead = ahead > PULSEHR_MASK ? PULSEHR_MASK : ahead;
    while (ahead > 0 && (state->missing >> (ahead - 1) & 1u) != 0) {
        --ahead;
    }
    late += ahead;
#endif
    if (late > PULSEHR_SLACK) {
        return PULSEHR_ERROR_LATE;
    }

    int32_t start = state->next + PULSEHR_SLACK - state->age;

    start = start >= PULSEHR_RING ? start - PULSEHR_RING : start;
    for (int32_t row = 0; row < PULSEHR_N_CHANNELS; ++row) {
        pulsehr_normalize(state, row, start, pulsehr_network_input(state->arena));
        pulsehr_network_row(state->arena, row);
    }
    *bpm_q8 = pulsehr_tracked(state, pulsehr_network_result(state->arena));
    return PULSEHR_OK;
}
