/*
 * A plug-in of QEMU that counts the instructions between two functions of the guest.
 *
 * The guest calls count_begin() and count_end(), which are empty and not inlined. For each pair
 * the file of the argument output=... gets a line for each function of the guest that ran between:
 *
 *     region <number> <instructions> <function>
 *
 * The instructions of the two functions themselves are left out. Built into a shared object for
 * the machine that runs QEMU. The few declarations of version 1 of QEMU's interface (QEMU 4.2 to
 * 8) stand here, as distributions do not ship its header. One core only: nothing is locked.
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
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *instruction);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
void qemu_plugin_register_atexit_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void *), void *data);

PUBLIC int qemu_plugin_version = 1;
PUBLIC int qemu_plugin_install(
    qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv);

enum { MOST_FUNCTIONS = 4096 };

static struct {
    char *name;
    uint64_t count; /* since the start: QEMU adds to it */
    uint64_t before; /* at the last count_begin() */
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
        functions[i].before = functions[i].count;
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
        const uint64_t count = functions[i].count - functions[i].before;

        if (count != 0 && !is_marker(functions[i].name)) {
            fprintf(output, "region %d %" PRIu64 " %s\n", region, count, functions[i].name);
        }
    }
    ++region;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    const size_t n = qemu_plugin_tb_n_insns(block);

    (void)id;
    for (size_t i = 0; i < n; ++i) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        const uint64_t address = qemu_plugin_insn_vaddr(instruction);
        const char *symbol = qemu_plugin_insn_symbol(instruction);
        const char *name = symbol == NULL ? "(unknown)" : symbol;

        qemu_plugin_register_vcpu_insn_exec_inline(
            instruction, QEMU_PLUGIN_INLINE_ADD_U64, &functions[find_function(name)].count, 1);
        for (size_t j = 0; j < N_MARKERS; ++j) {
            marker *place = &markers[j];

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
