static int print_heart_rates(void)
{
    static int8_t window[@upper@_INPUT_BYTES];

    for (int32_t vector = 0; vector < @upper@_SELF_TEST_WINDOWS; ++vector) {
        int32_t bpm_q8;

        @prefix@_self_test_window(vector, window);
        if (@prefix@_predict(window, memory.bytes, &bpm_q8) != @upper@_OK) {
            return 2;
        }
        print_heart_rate(0, bpm_q8);
    }
    return 0;
}
