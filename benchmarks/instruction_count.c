/*
 * A plug-in of QEMU that counts the instructions between two functions of the guest.
 *
 * The guest calls count_begin() and count_end(), which are empty and not inlined. For each pair
 * the file of the argument output=... gets a line for each function of the guest that ran between:
 *
 *     region <number> <instructions> <cycles> <function>
 *
 * The instructions of the two functions themselves are left out. Instructions are exact. Cycles
 * are those of a Cortex-M4 as far as its table of instructions tells: see cycles_of().
 *
 * Built into a shared object for the machine that runs QEMU. The few declarations of version 1 of
 * QEMU's interface (QEMU 4.2 to 8) stand here, as distributions do not ship its header. One core
 * only: nothing is locked.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUBLIC __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;

enum { QEMU_PLUGIN_CB_NO_REGS = 0, QEMU_PLUGIN_INLINE_ADD_U64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_inline(
    struct qemu_plugin_insn *instruction, int operation, void *counter, uint64_t step);
void qemu_plugin_register_vcpu_insn_exec_cb(
    struct qemu_plugin_insn *instruction, void (*callback)(unsigned int, void *), int flags,
    void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *block, void (*callback)(unsigned int, void *), int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *instruction);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);
char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *instruction);
void qemu_plugin_register_atexit_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void *), void *data);

PUBLIC int qemu_plugin_version = 1;
PUBLIC int qemu_plugin_install(
    qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv);

enum { MOST_FUNCTIONS = 4096 };

static struct {
    char *name;
    uint64_t count, cycles; /* since the start: QEMU adds to them */
    uint64_t count_before, cycles_before; /* at the last count_begin() */
} functions[MOST_FUNCTIONS];
static size_t n_functions;

/* A function that only marks a place: its first instruction is the one translated first. */
typedef struct {
    const char *name;
    void (*reached)(unsigned int, void *);
    bool known;
    uint64_t address;
} marker;

static FILE *output;
static int region;

static size_t find_function(const char *name)
{
    for (size_t i = 0; i < n_functions; ++i) {
        if (strcmp(functions[i].name, name) == 0) {
            return i;
        }
    }
    if (n_functions == MOST_FUNCTIONS) {
        fprintf(stderr, "instruction_count: more than %d functions\n", MOST_FUNCTIONS);
        exit(1);
    }
    functions[n_functions].name = strdup(name);
    return n_functions++;
}

static void begin(unsigned int cpu, void *data)
{
    (void)cpu;
    (void)data;
    for (size_t i = 0; i < MOST_FUNCTIONS; ++i) {
        functions[i].count_before = functions[i].count;
        functions[i].cycles_before = functions[i].cycles;
    }
}

static void end(unsigned int cpu, void *data);

static marker markers[] = {
    {"count_begin", begin, false, 0},
    {"count_end", end, false, 0},
};
enum { N_MARKERS = sizeof markers / sizeof markers[0] };

static bool is_marker(const char *name)
{
    for (size_t i = 0; i < N_MARKERS; ++i) {
        if (strcmp(name, markers[i].name) == 0) {
            return true;
        }
    }
    return false;
}

static void end(unsigned int cpu, void *data)
{
    (void)cpu;
    (void)data;
    for (size_t i = 0; i < n_functions; ++i) {
        const uint64_t count = functions[i].count - functions[i].count_before;
        const uint64_t cycles = functions[i].cycles - functions[i].cycles_before;

        if (count != 0 && !is_marker(functions[i].name)) {
            fprintf(
                output, "region %d %" PRIu64 " %" PRIu64 " %s\n", region, count, cycles,
                functions[i].name);
        }
    }
    ++region;
}

/* Registers of a list in braces, {r4, r5, lr}; QEMU's disassembler writes no ranges. */
static unsigned int registers_in(const char *text)
{
    unsigned int n = 1;

    for (const char *place = strchr(text, '{'); place != NULL && *place != '\0'; ++place) {
        n += *place == ',';
    }
    return n;
}

static bool starts(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/*
 * Cycles of an instruction, without the refill of the pipeline after a branch that is taken:
 * the instruction set summary of Arm's Technical Reference Manual of the Cortex-M4 (also table 3-25
 * of Texas Instruments' SWCU192), and its table of floating point. Memory without wait states; no stalls by unaligned addresses, by addresses
 * that were computed just before, or by results of floating point that are not there yet.
 */
static unsigned int cycles_of(const char *text, bool after_load)
{
    static const struct {
        const char *mnemonic;
        unsigned int cycles;
    } slow[] = {
        {"sdiv", 12}, {"udiv", 12},               /* 2 to 12, by the operands */
        {"vdiv", 14}, {"vsqrt", 14}, {"vmla", 3}, {"vmls", 3}, {"vnmla", 3}, {"vnmls", 3},
        {"vfma", 3},  {"vfms", 3},   {"vfnma", 3}, {"vfnms", 3},
        {"ldrd", 3},  {"strd", 3},   {"tbb", 4},  {"tbh", 4},
    };

    for (size_t i = 0; i < sizeof slow / sizeof slow[0]; ++i) {
        if (starts(text, slow[i].mnemonic)) {
            return slow[i].cycles;
        }
    }
    if (starts(text, "ldm") || starts(text, "stm") || starts(text, "push") ||
        starts(text, "pop") || starts(text, "vldm") || starts(text, "vstm") ||
        starts(text, "vpush") || starts(text, "vpop")) {
        return 1 + registers_in(text);
    }
    if (starts(text, "ldr") || starts(text, "vldr")) {
        return after_load ? 1 : 2; /* neighbours are pipelined */
    }
    if (starts(text, "str") || starts(text, "vstr")) {
        /* the write buffer hides it, unless a register is added to the address */
        const char *address = strchr(text, '[');
        const char *comma = address == NULL ? NULL : strchr(address, ',');

        return comma != NULL && comma[2] != '#' && !after_load ? 2 : 1;
    }
    return 1;
}

/* A run of instructions that ends in a branch, or where QEMU ends it. */
typedef struct {
    uint64_t first, next; /* addresses of its first instruction and of the one after it */
    size_t function;
} stretch;

enum { REFILL = 2 }; /* cycles after a branch that is taken: 1 to 3 */

static void enter(unsigned int cpu, void *data)
{
    static const stretch *before;
    const stretch *now = data;

    (void)cpu;
    if (before != NULL && before->next != now->first) {
        functions[before->function].cycles += REFILL;
    }
    before = now;
}

static void watch_markers(struct qemu_plugin_insn *instruction, const char *name)
{
    const uint64_t address = qemu_plugin_insn_vaddr(instruction);

    for (size_t i = 0; i < N_MARKERS; ++i) {
        marker *place = &markers[i];

        if (strcmp(name, place->name) == 0 && !place->known) {
            place->known = true;
            place->address = address;
        }
        if (place->known && address == place->address) {
            qemu_plugin_register_vcpu_insn_exec_cb(
                instruction, place->reached, QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
    }
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    const size_t n = qemu_plugin_tb_n_insns(block);
    stretch *place = calloc(1, sizeof *place); /* lives as long as QEMU does */
    bool after_load = false;

    (void)id;
    for (size_t i = 0; i < n; ++i) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        const uint64_t address = qemu_plugin_insn_vaddr(instruction);
        const char *symbol = qemu_plugin_insn_symbol(instruction);
        const char *name = symbol == NULL ? "(unknown)" : symbol;
        const size_t function = find_function(name);
        char *text = qemu_plugin_insn_disas(instruction);

        qemu_plugin_register_vcpu_insn_exec_inline(
            instruction, QEMU_PLUGIN_INLINE_ADD_U64, &functions[function].count, 1);
        qemu_plugin_register_vcpu_insn_exec_inline(
            instruction, QEMU_PLUGIN_INLINE_ADD_U64, &functions[function].cycles,
            cycles_of(text, after_load));
        after_load = (starts(text, "ldr") && !starts(text, "ldrd")) || starts(text, "vldr");
        free(text);
        watch_markers(instruction, name);
        place->first = i == 0 ? address : place->first;
        place->next = address + qemu_plugin_insn_size(instruction);
        place->function = function;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(block, enter, QEMU_PLUGIN_CB_NO_REGS, place);
}

static void finish(qemu_plugin_id_t id, void *data)
{
    (void)id;
    (void)data;
    fclose(output);
}

PUBLIC int qemu_plugin_install(
    qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv)
{
    static const char key[] = "output=";

    (void)info;
    if (argc != 1 || strncmp(argv[0], key, sizeof key - 1) != 0) {
        fprintf(stderr, "instruction_count: expected the argument output=FILE\n");
        return 1;
    }
    output = fopen(argv[0] + sizeof key - 1, "w");
    if (output == NULL) {
        perror("instruction_count");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
