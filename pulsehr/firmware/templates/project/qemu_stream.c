#ifdef @upper@_RECORDING
/* int32_t recording_ppg[n] and int16_t recording_acc[n][3] */
#include @upper@_RECORDING
#define N_PPG ((int32_t)(sizeof recording_ppg / sizeof recording_ppg[0]))
#define PPG(i) (recording_ppg[i])
#define ACC(j, axis) (recording_acc[j][axis])
#if @upper@_ACC_FACTOR > 0
#define N_ACC ((int32_t)(sizeof recording_acc / sizeof recording_acc[0]))
#endif
#else
/* made-up signals of three heart rates */
#define N_ROWS (@upper@_N_TIMES + 2 * @upper@_STRIDE + @upper@_SLACK)
#define N_PPG (N_ROWS * @upper@_PPG_FACTOR)
#define N_ACC (N_ROWS * @upper@_ACC_FACTOR)
#define PPG(i) @prefix@_self_test_ppg(i)
#define ACC(j, axis) @prefix@_self_test_acc(j, axis)
#endif

/* Push what was sampled next; returns -100 at the end. */
static int push_next(int32_t *i, int32_t *j)
{
#if @upper@_ACC_FACTOR > 0
    if (*j * @upper@_PPG_FACTOR <= *i * @upper@_ACC_FACTOR) {
        const int32_t k = (*j)++;

        return k < N_ACC ? @prefix@_push_acc(&memory.state, ACC(k, 0), ACC(k, 1), ACC(k, 2)) : -100;
    }
#else
    (void)j;
#endif
    const int32_t k = (*i)++;

    return k < N_PPG ? @prefix@_push_ppg(&memory.state, PPG(k)) : -100;
}

static int print_heart_rates(void)
{
    int32_t i = 0;
    int32_t j = 0;
    int32_t milliseconds = @upper@_WINDOW_MS;
    int status = @prefix@_init(&memory.state);

    while (status >= 0) {
        status = push_next(&i, &j);
        if (status == @upper@_READY) {
            int32_t bpm_q8;

            status = @prefix@_heart_rate(&memory.state, &bpm_q8);
            if (status == @upper@_OK) {
                print_heart_rate(milliseconds, bpm_q8);
                milliseconds += @upper@_STRIDE_MS;
            }
        }
    }
    return status == -100 ? 0 : 2;
}
