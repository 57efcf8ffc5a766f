/* A recording through @prefix@_push_* and @prefix@_skip_*; compiled on the host alone. */
#include "@prefix@.h"

#include <stddef.h>

/* of @prefix@_front.c */
int @prefix@_hold_ppg(@prefix@_state *state);
int @prefix@_hold_acc(@prefix@_state *state);

/*
 * Push a recording and estimate the heart rate when `ends[k]` rows are complete, for each k; signals
 * stay at their last sample after their end.
 *
 * ppg_missing, acc_missing: whether each sample is missing; NULL: none is.
 * bpm_q8: standard deviations, of a network that tells them, follow the heart rates: n_ends of each.
 * statuses: what @prefix@_heart_rate returned for each: @upper@_OK or @upper@_ERROR_GAP.
 */
int @prefix@_stream(
    @prefix@_state *state, const int32_t *ppg, const uint8_t *ppg_missing, int64_t n_ppg,
    const int16_t (*acc)[3], const uint8_t *acc_missing, int64_t n_acc, const int32_t *ends,
    int64_t n_ends, int32_t *bpm_q8, int32_t *statuses);

/* A step of the PPG: a sample, or a row that awaits samples which are missing. */
static int @prefix@_step_ppg(
    @prefix@_state *state, const int32_t *ppg, const uint8_t *missing, int64_t n, int64_t *at)
{
    const int64_t k = *at < n ? *at : n - 1;

    if (missing == NULL || missing[k] == 0) {
        ++*at;
        return @prefix@_push_ppg(state, ppg[k]);
    }
#if @upper@_PPG_FACTOR > 1
    if (state->ppg_wait > 0 && state->ppg_wait < 5 * @upper@_PPG_FACTOR) {
        return @prefix@_hold_ppg(state);
    }
#endif
    ++*at;
    return @prefix@_skip_ppg(state, 1);
}

#if @upper@_ACC_FACTOR > 0
static int @prefix@_step_acc(
    @prefix@_state *state, const int16_t (*acc)[3], const uint8_t *missing, int64_t n, int64_t *at)
{
    const int64_t k = *at < n ? *at : n - 1;

    if (missing == NULL || missing[k] == 0) {
        ++*at;
        return @prefix@_push_acc(state, acc[k][0], acc[k][1], acc[k][2]);
    }
#if @upper@_ACC_FACTOR > 1
    if (state->acc_wait > 0 && state->acc_wait < 5 * @upper@_ACC_FACTOR) {
        return @prefix@_hold_acc(state);
    }
#endif
    ++*at;
    return @prefix@_skip_acc(state, 1);
}
#endif

int @prefix@_stream(
    @prefix@_state *state, const int32_t *ppg, const uint8_t *ppg_missing, int64_t n_ppg,
    const int16_t (*acc)[3], const uint8_t *acc_missing, int64_t n_acc, const int32_t *ends,
    int64_t n_ends, int32_t *bpm_q8, int32_t *statuses)
{
    int64_t i = 0;
    int64_t j = 0;
    int status = @prefix@_init(state);

    for (int64_t k = 0; k < n_ends && status >= 0; ++k) {
        state->wait = ends[k] - (k > 0 ? ends[k - 1] : 0);
        do {
#if @upper@_ACC_FACTOR > 0
            /* neither far ahead, so that no step completes two rows of both */
            if (state->lead > 0) {
                status = @prefix@_step_acc(state, acc, acc_missing, n_acc, &j);
                continue;
            }
#else
            (void)acc;
            (void)acc_missing;
            (void)n_acc;
            (void)j;
#endif
            status = @prefix@_step_ppg(state, ppg, ppg_missing, n_ppg, &i);
        } while (status == @upper@_OK);
        if (status == @upper@_READY) {
            status = @prefix@_heart_rate(state, &bpm_q8[k]);
            statuses[k] = status;
            if (status == @upper@_ERROR_GAP) {
                status = @upper@_OK;
                continue;
            }
#ifdef @upper@_WITH_STD
            if (status == @upper@_OK) {
                status = @prefix@_std(state, &bpm_q8[n_ends + k]);
            }
#endif
        }
    }
    return status;
}
