/*
 * A Kalman filter of heart rate as a random walk. Heart rates and variances have 16 bits after the
 * point, gains 15; a reading that lies far off counts as one of a larger variance.
 */
#include "pulsehr_kalman.h"

static int32_t pulsehr_limit(int64_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : (int32_t)value;
}

int32_t pulsehr_kalman(pulsehr_state *state, int32_t bpm_q8, int32_t rows)
{
    const int32_t reading = pulsehr_limit(bpm_q8, 0, PULSEHR_KALMAN_REACH) * 256;
    int32_t noise = PULSEHR_KALMAN_NOISE;

#if PULSEHR_KALMAN_BY_STD
    int32_t std_q8 = 0;

    (void)pulsehr_std(state, &std_q8);
    std_q8 = pulsehr_limit(std_q8, 0, PULSEHR_KALMAN_MAX_STD);
    noise = pulsehr_limit(
        ((int64_t)std_q8 * std_q8 * PULSEHR_KALMAN_NOISE) >> 16, 1, PULSEHR_KALMAN_MAX);
#endif
    if (rows == 0) {
        state->mean = reading;
        state->variance = PULSEHR_KALMAN_START;
    } else {
        const int64_t growth = ((int64_t)PULSEHR_KALMAN_DRIFT * rows) >> 8;
        const int64_t innovation = (int64_t)reading - state->mean;
        const int64_t far = (((innovation * innovation) >> 16) * PULSEHR_KALMAN_GATE) >> 16;
        int32_t part = pulsehr_limit(state->variance + growth, 0, PULSEHR_KALMAN_MAX);
        int64_t whole = (int64_t)part + noise;

        state->variance = part;
        whole = far > whole ? far : whole;
        while (whole > UINT16_MAX) {
            whole >>= 1;
            part >>= 1;
        }

        const int64_t gain = ((uint32_t)part << 15) / (uint32_t)whole;

        state->mean += (int32_t)((gain * innovation + (1 << 14)) >> 15);
        state->variance -= (int32_t)((gain * state->variance) >> 15);
    }
    return (state->mean + (1 << 7)) >> 8;
}
