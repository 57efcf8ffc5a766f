/*
 * Semihosting without a C library: the calls and their numbers are those of "Semihosting for
 * AArch32 and AArch64", Arm, https://github.com/ARM-software/abi-aa
 */
#include "semihosting.h"

enum {
    CALL_OPEN = 0x01,
    CALL_WRITE = 0x05,
    CALL_EXIT_EXTENDED = 0x20,
    MODE_WRITE = 4,                /* of the file ":tt": standard output */
    REASON_APPLICATION_EXIT = 0x20026
};

/* r0 holds the number of the call and then its result, r1 the address of its arguments */
static int32_t call(int32_t number, const void *arguments)
{
    register int32_t r0 __asm__("r0") = number;
    register const void *r1 __asm__("r1") = arguments;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void write_bytes(const char *bytes, uint32_t count)
{
    static int32_t output = 0;

    if (output == 0) {
        static const char name[] = ":tt";
        const uintptr_t arguments[] = {(uintptr_t)name, MODE_WRITE, sizeof name - 1};

        output = call(CALL_OPEN, arguments);
    }
    const uintptr_t arguments[] = {(uintptr_t)output, (uintptr_t)bytes, count};

    (void)call(CALL_WRITE, arguments);
}

void semihosting_print(const char *text)
{
    uint32_t count = 0;

    while (text[count] != '\0') {
        ++count;
    }
    write_bytes(text, count);
}

void semihosting_print_integer(int32_t value)
{
    char digits[11]; /* a sign and ten digits */
    uint32_t first = sizeof digits;
    uint32_t left = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;

    do {
        digits[--first] = (char)('0' + left % 10u);
        left /= 10u;
    } while (left != 0u);
    if (value < 0) {
        digits[--first] = '-';
    }
    write_bytes(digits + first, (uint32_t)sizeof digits - first);
}

_Noreturn void semihosting_exit(uint32_t status)
{
    const uintptr_t arguments[] = {REASON_APPLICATION_EXIT, status};

    (void)call(CALL_EXIT_EXTENDED, arguments);
    for (;;) {
    }
}
