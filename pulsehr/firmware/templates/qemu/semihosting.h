/* Text and exit status to the machine that runs QEMU (or a debugger), by Arm's semihosting. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

/* Write text, which ends with 0, to standard output. */
void semihosting_print(const char *text);

/* Write a number in decimal to standard output. */
void semihosting_print_integer(int32_t value);

/* End the run; `status` becomes that of QEMU. */
_Noreturn void semihosting_exit(uint32_t status);

#endif
