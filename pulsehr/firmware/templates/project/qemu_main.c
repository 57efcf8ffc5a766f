/* The self-test, then heart rates, printed by semihosting. */
#include "@prefix@_self_test.h"
#include "semihosting.h"

static union {
    uint32_t words[@upper@_SELF_TEST_BYTES / 4 + 1]; /* aligned */
    uint8_t bytes[@upper@_SELF_TEST_BYTES];
@union_state@} memory;

static void print_heart_rate(int32_t milliseconds, int32_t bpm_q8)
{
    const int32_t hundredths = bpm_q8 % 256 * 100 / 256;

    semihosting_print_integer(milliseconds);
    semihosting_print(" ms ");
    semihosting_print_integer(bpm_q8);
    semihosting_print(" / 256 = ");
    semihosting_print_integer(bpm_q8 / 256);
    semihosting_print(hundredths < 10 ? ".0" : ".");
    semihosting_print_integer(hundredths);
    semihosting_print(" bpm\n");
}

@qemu_heart_rates@
int main(void)
{
    const int result = @prefix@_self_test(&memory);

    if (result != 0) {
        semihosting_print("self-test: differs at vector ");
        semihosting_print_integer(result);
        semihosting_print("\n");
        return 1;
    }
    semihosting_print("self-test: as expected\n");
    return print_heart_rates();
}
