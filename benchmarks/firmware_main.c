/*
 * Run a network on windows; print for each a line: its result, and the bytes of stack and of heap
 * that it took. The instructions of a run are counted by the plug-in of QEMU.
 *
 * WINDOW_BYTES, N_WINDOWS and windows[] come from windows.h, infer() from the exporter.
 */
#include <stdint.h>

#include "semihosting.h"
#include "windows.h"

enum {
    PAINT = 0x5A17C0DE,
    FRAME_WORDS = 16 /* left for the function that paints: the least that is measured */
};

void count_begin(void);
void count_end(void);
int32_t infer(const void *window);
void *_sbrk(intptr_t step);

/* from the linker script: where a heap may start, and where the stack does */
extern char end, stack_top;

/* not there where only sizes are measured, and nothing runs */
#pragma weak stack_top
#pragma weak semihosting_print
#pragma weak semihosting_exit

static char *heap_end = &end;
static char *heap_peak = &end;

/* The lower half of the free RAM is for a heap, the upper for the stack. */
static char *stack_limit(void)
{
    return &end + (((&stack_top - &end) / 2) & ~7);
}

/* The C library asks here for memory of malloc, which most exporters do not use. */
void *_sbrk(intptr_t step)
{
    char *const before = heap_end;

    if (step > stack_limit() - heap_end) {
        semihosting_print("the heap leaves the RAM of the machine\n");
        semihosting_exit(1);
    }
    heap_end += step;
    if (heap_end > heap_peak) {
        heap_peak = heap_end;
    }
    return before;
}

static volatile uint32_t *stack_pointer(void)
{
    volatile uint32_t *pointer;

    __asm__ volatile("mov %0, sp" : "=r"(pointer));
    return pointer;
}

/* Paint what lies free below the stack. */
static __attribute__((noinline)) void paint(void)
{
    volatile uint32_t *const free_end = stack_pointer() - FRAME_WORDS;

    for (volatile uint32_t *word = (void *)stack_limit(); word < free_end; ++word) {
        *word = PAINT;
    }
}

/* From `top` down to the lowest word that is no longer painted. */
static __attribute__((noinline)) int32_t bytes_below(volatile uint32_t *top)
{
    volatile uint32_t *word = (void *)stack_limit();

    if (*word != PAINT) {
        semihosting_print("the stack leaves the RAM of the machine\n");
        semihosting_exit(1);
    }
    while (word < top && *word == PAINT) {
        ++word;
    }
    return (int32_t)((top - word) * 4);
}

static void print_field(int32_t value, const char *after)
{
    semihosting_print_integer(value);
    semihosting_print(after);
}

int main(void)
{
    volatile uint32_t *const top = stack_pointer();

    for (int32_t i = 0; i < N_WINDOWS; ++i) {
        paint();
        count_begin();
        const int32_t result = infer(windows + i * WINDOW_BYTES);
        count_end();
        const int32_t stack = bytes_below(top);

        print_field(result, " ");
        print_field(stack, " ");
        print_field((int32_t)(heap_peak - &end), "\n");
    }
    return 0;
}
