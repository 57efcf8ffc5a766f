
        int32_t std_q8 = 0;

        if (@prefix@_std(arena, &std_q8) != @upper@_OK ||
            std_q8 != @prefix@_expected_stds[vector]) {
            return (int)vector + 1;
        }
