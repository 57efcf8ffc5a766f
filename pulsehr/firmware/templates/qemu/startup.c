/* Vector table and start of a Cortex-M under QEMU. */
#include <stdint.h>

#include "semihosting.h"

enum {
    STATUS_OF_A_FAULT = 99,
    FULL_ACCESS_TO_THE_FPU = 0xF << 20 /* coprocessors 10 and 11: floating point and Helium */
};

/* Coprocessor access control register, Armv7-M and Armv8-M Architecture Reference Manuals */
#define CPACR (*(volatile uint32_t *)0xE000ED88u)

/* from the linker script */
extern uint32_t stack_top, data_image, data_start, data_end, bss_start, bss_end;

int main(void);
_Noreturn void Reset_Handler(void);

/* Any exception ends the run. */
static void fault(void)
{
    uint32_t exception;

    __asm__ volatile("mrs %0, ipsr" : "=r"(exception));
    semihosting_print("stopped by exception ");
    semihosting_print_integer((int32_t)exception);
    semihosting_print("\n");
    semihosting_exit(STATUS_OF_A_FAULT);
}

_Noreturn static __attribute__((noinline, used)) void start(void)
{
    const volatile uint32_t *image = &data_image;

    /* volatile: else the compiler calls memcpy and memset, which this needs not have */
    for (volatile uint32_t *word = &data_start; word < &data_end; ++word) {
        *word = *image++;
    }
    for (volatile uint32_t *word = &bss_start; word < &bss_end; ++word) {
        *word = 0;
    }
    semihosting_exit((uint32_t)main());
}

_Noreturn void Reset_Handler(void)
{
    CPACR |= FULL_ACCESS_TO_THE_FPU; /* before any code that may use it; no such unit: ignored */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    start();
}

/* Stack, reset, and the fourteen exceptions of the core; no interrupts. */
__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)&stack_top, (uintptr_t)Reset_Handler,
    (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault,
};
