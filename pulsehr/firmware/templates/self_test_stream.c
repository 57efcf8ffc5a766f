
/* The signals are centred and scaled so that windows of them neither vanish nor saturate. */
int32_t @prefix@_self_test_ppg(int32_t index)
{
    return @ppg_centre@ + @ppg_gain@ * @prefix@_wave(index, 0, @ppg_period@);
}

#if @upper@_ACC_FACTOR > 0
int16_t @prefix@_self_test_acc(int32_t index, int32_t axis)
{
    static const int16_t centre[3] = {@acc_centre@};
    static const int16_t gain[3] = {@acc_gain@};

    return (int16_t)(centre[axis] + gain[axis] * @prefix@_wave(index, 1 + axis, @acc_period@));
}
#endif

/* Push the signals in the order in which they would have been sampled. */
static int @prefix@_self_test_stream(@prefix@_state *state)
{
    int n = 0;
    int32_t i = 0;
#if @upper@_ACC_FACTOR > 0
    int32_t j = 0;
#endif

    int status = @prefix@_init(state);

    while (n < @n_readings@ && status == @upper@_OK) {
        int32_t bpm_q8 = 0;

#if @upper@_ACC_FACTOR > 0
        if (j * @upper@_PPG_FACTOR <= i * @upper@_ACC_FACTOR) {
            status = @prefix@_push_acc(
                state, @prefix@_self_test_acc(j, 0), @prefix@_self_test_acc(j, 1),
                @prefix@_self_test_acc(j, 2));
            ++j;
        } else
#endif
        {
            status = @prefix@_push_ppg(state, @prefix@_self_test_ppg(i));
            ++i;
        }
        if (status == @upper@_READY) {
            status = @prefix@_heart_rate(state, &bpm_q8);
            if (status == @upper@_OK && bpm_q8 == @prefix@_expected_stream[n]) {
                ++n;
            } else {
                status = @upper@_READY; /* not as expected: the end */
            }
        }
    }
    return n == @n_readings@ ? 0 : @upper@_SELF_TEST_WINDOWS + n + 1;
}
