/* A recording through @prefix@_push_*, sample by sample; compiled on the host alone. */
#include "@prefix@.h"

/*
 * Push samples in the order in which they were taken, signals staying at their last sample after
 * their end, and estimate the heart rate when `ends[k]` rows are complete, for each k. Standard
 * deviations, of a network that tells them, follow the heart rates: n_ends of each.
 */
int @prefix@_stream(
    @prefix@_state *state, const int32_t *ppg, int64_t n_ppg, const int16_t (*acc)[3], int64_t n_acc,
    const int32_t *ends, int64_t n_ends, int32_t *bpm_q8);

int @prefix@_stream(
    @prefix@_state *state, const int32_t *ppg, int64_t n_ppg, const int16_t (*acc)[3], int64_t n_acc,
    const int32_t *ends, int64_t n_ends, int32_t *bpm_q8)
{
    int64_t i = 0;
    int64_t j = 0;
    int status = @prefix@_init(state);

    for (int64_t k = 0; k < n_ends && status >= 0; ++k) {
        state->wait = ends[k] - (k > 0 ? ends[k - 1] : 0);
        do {
#if @upper@_ACC_FACTOR > 0
            if (j * @upper@_PPG_FACTOR <= i * @upper@_ACC_FACTOR) {
                const int16_t *const sample = acc[j < n_acc ? j : n_acc - 1];

                ++j;
                status = @prefix@_push_acc(state, sample[0], sample[1], sample[2]);
                continue;
            }
#else
            (void)acc;
            (void)n_acc;
            (void)j;
#endif
            status = @prefix@_push_ppg(state, ppg[i < n_ppg ? i : n_ppg - 1]);
            ++i;
        } while (status == @upper@_OK);
        if (status == @upper@_READY) {
            status = @prefix@_heart_rate(state, &bpm_q8[k]);
#ifdef @upper@_WITH_STD
            if (status == @upper@_OK) {
                status = @prefix@_std(state, &bpm_q8[n_ends + k]);
            }
#endif
        }
    }
    return status;
}
