/*
 * From samples of the sensors to heart rates: decimation, band-pass, normalisation, one heart rate
 * each stride.
 *
 * A row is one sample of every signal at the rate of the windows. The rings hold the newest
 * N_TIMES + SLACK samples of each signal; no counter grows with the length of the stream.
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

/* Take a sample of the PPG, which completes one of the ring's if `complete` */
static void pulsehr_take_ppg(pulsehr_state *state, int32_t sample, int32_t complete)
{
    int32_t value = pulsehr_saturate(sample, PULSEHR_PPG_MIN, PULSEHR_PPG_MAX);

#if PULSEHR_PPG_FACTOR > 1
    if (state->ppg_wait == PULSEHR_PPG_TAPS) { /* the first sample: as if it had lasted forever */
        for (int32_t i = 0; i < PULSEHR_PPG_PAST; ++i) {
            state->ppg_past[i] = value;
        }
    }
    state->ppg_past[PULSEHR_PPG_PAST - state->ppg_wait] = value;
    state->ppg_wait -= 1;
    if (complete == 0) {
        return;
    }

    int64_t sum = 0;

    for (int32_t i = 0; i < PULSEHR_PPG_PAST; ++i) {
        sum += (int64_t)pulsehr_tap(pulsehr_ppg_taps, i, PULSEHR_PPG_TAPS) * state->ppg_past[i];
    }
    pulsehr_move_down(
        state->ppg_past, PULSEHR_PPG_FACTOR * (int32_t)sizeof state->ppg_past[0],
        (PULSEHR_PPG_PAST - PULSEHR_PPG_FACTOR) * (int32_t)sizeof state->ppg_past[0]);
    state->ppg_wait = PULSEHR_PPG_FACTOR;
    value = pulsehr_saturate(pulsehr_rounded(sum), PULSEHR_PPG_MIN, PULSEHR_PPG_MAX);
#else
    (void)complete;
#endif
#if PULSEHR_BANDPASS
    value = pulsehr_filter_step(&state->filters[0], value, PULSEHR_PPG_BITS);
#endif
    state->ppg[state->ppg_next] = value;
    state->ppg_next = pulsehr_after(state->ppg_next, PULSEHR_RING);
}

#if PULSEHR_ACC_FACTOR > 0
/* Take a sample of the acceleration, which completes one of the ring's if `complete` */
static void pulsehr_take_acc(pulsehr_state *state, const int16_t sample[3], int32_t complete)
{
#if PULSEHR_ACC_FACTOR > 1
    if (state->acc_wait == PULSEHR_ACC_TAPS) { /* the first sample: as if it had lasted forever */
        for (int32_t i = 0; i < PULSEHR_ACC_PAST; ++i) {
            memcpy(state->acc_past[i], sample, 3 * sizeof sample[0]);
        }
    }
    memcpy(state->acc_past[PULSEHR_ACC_PAST - state->acc_wait], sample, 3 * sizeof sample[0]);
    state->acc_wait -= 1;
    if (complete == 0) {
        return;
    }
#else
    (void)complete;
#endif

    for (int32_t axis = 0; axis < 3; ++axis) {
        int32_t value = sample[axis];

#if PULSEHR_ACC_FACTOR > 1
        int64_t sum = 0;

        for (int32_t i = 0; i < PULSEHR_ACC_PAST; ++i) {
            sum += pulsehr_tap(pulsehr_acc_taps, i, PULSEHR_ACC_TAPS) * state->acc_past[i][axis];
        }
        value = pulsehr_saturate(pulsehr_rounded(sum), INT16_MIN, INT16_MAX);
#endif
#if PULSEHR_BANDPASS
        const int64_t half = (int64_t)1 << (PULSEHR_ACC_BITS - 1);

        value = pulsehr_filter_step(&state->filters[1 + axis], value, PULSEHR_ACC_BITS);
        value = pulsehr_saturate((value + half) >> PULSEHR_ACC_BITS, INT16_MIN, INT16_MAX);
#endif
        state->acc[axis][state->acc_next] = (int16_t)value;
    }
#if PULSEHR_ACC_FACTOR > 1
    pulsehr_move_down(
        state->acc_past, PULSEHR_ACC_FACTOR * (int32_t)sizeof state->acc_past[0],
        (PULSEHR_ACC_PAST - PULSEHR_ACC_FACTOR) * (int32_t)sizeof state->acc_past[0]);
    state->acc_wait = PULSEHR_ACC_FACTOR;
#endif
    state->acc_next = pulsehr_after(state->acc_next, PULSEHR_RING);
}
#endif

/* Count a complete row; tell whether it is the last of a window */
static int pulsehr_count_row(pulsehr_state *state)
{
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
    state->ready = 1;
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
    const int32_t lead = state->lead + ppg_complete - acc_complete;

    if (lead > PULSEHR_SLACK || lead < -PULSEHR_SLACK) {
        return PULSEHR_ERROR_AHEAD;
    }
    /* rows are complete up to the sensor that is behind */
    const int32_t rows = acc_complete + (lead < 0 ? lead : 0) - (state->lead < 0 ? state->lead : 0);

    state->lead = lead;
    if (acc != NULL) {
        pulsehr_take_acc(state, acc, acc_complete);
    }
    if (ppg != NULL) {
        pulsehr_take_ppg(state, *ppg, ppg_complete);
    }
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
    state->ppg_wait = PULSEHR_PPG_TAPS;
#endif
#if PULSEHR_ACC_FACTOR > 1
    state->acc_wait = PULSEHR_ACC_TAPS;
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

int pulsehr_heart_rate(pulsehr_state *state, int32_t *bpm_q8)
{
    if (state == NULL || bpm_q8 == NULL) {
        return PULSEHR_ERROR_NULL;
    }
    if (state->ready == 0) {
        return PULSEHR_ERROR_NOT_READY;
    }
    state->ready = 0;

    /* rows of each sensor that came after the window, and of the one that is ahead */
#if PULSEHR_ACC_FACTOR > 0
    const int32_t ppg_late = state->age + (state->lead > 0 ? state->lead : 0);
    const int32_t acc_late = ppg_late - state->lead;
    const int32_t late = ppg_late > acc_late ? ppg_late : acc_late;
#else
    const int32_t ppg_late = state->age;
    const int32_t late = ppg_late;
#endif
    if (late > PULSEHR_SLACK) {
        return PULSEHR_ERROR_LATE;
    }

    for (int32_t row = 0; row < PULSEHR_N_CHANNELS; ++row) {
        int32_t start = state->ppg_next + PULSEHR_SLACK - ppg_late;

#if PULSEHR_ACC_FACTOR > 0
        if (row > 0) {
            start = state->acc_next + PULSEHR_SLACK - acc_late;
        }
#endif
        start = start >= PULSEHR_RING ? start - PULSEHR_RING : start;
        pulsehr_normalize(state, row, start, pulsehr_network_input(state->arena));
        pulsehr_network_row(state->arena, row);
    }
    *bpm_q8 = pulsehr_tracked(state, pulsehr_network_result(state->arena));
    return PULSEHR_OK;
}
