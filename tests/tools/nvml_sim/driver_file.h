/* What stands in the file of the simulated driver: GPUs, MIG devices, faults and hangs.
 *
 * NVML_SIM_FILE names the file. It is looked at on every call and read again when it changed (inode,
 * size or time), so a test replaces it (write beside, rename) and a running client sees the change.
 * No file: every call answers DRIVER_NOT_LOADED.
 *
 * One statement a line, `#` starts a comment, the last matching line wins:
 *
 *   driver 535.104.05 | nvml 12.535.104.05 | cuda 12020 | count 8
 *   gpu I KEY VALUE          one GPU, or all with I = *
 *   mig I.J KEY VALUE        MIG device J of GPU I; naming it makes it exist (`gpu I mig 1` shows them)
 *   error FUNC ERR           FUNC fails for every caller; behind `gpu I` or `mig I.J` for that device
 *   delay FUNC MS            FUNC answers late; likewise
 *   hang FUNC                FUNC answers only when the file no longer says so; likewise
 *
 *   KEY    name uuid bus_id; mem_total mem_used mem_reserved (KiB MiB GiB KB MB GB); util_gpu util_mem
 *          enc dec fan (%); temp (C); power power_limit (W); mig minor;
 *          proc PID MEMORY [C|G|M [SM%]] adds a process, noproc forgets those above it.
 *          The value na makes the call answer NOT_SUPPORTED.
 *   FUNC   a shell pattern over the NVML name; its _v2, _v3 may be left out.
 *   ERR    a word of the table in driver_file.c, or a number; ok takes an earlier line back.
 *
 * Nothing here locks: callers of the library hold one lock around all of it. */
#ifndef DRIVER_FILE_H
#define DRIVER_FILE_H

#define MAX_GPUS 16
#define MAX_MIGS 7
#define WHOLE (-1) /* `mig` of a line or device that means the GPU itself */

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, UNKNOWN = 999
};

typedef struct { int gpu, mig; } Handle; /* NULL where one is asked for: the system */

struct line { int gpu, mig; char key[24], value[192]; };

extern struct line lines[];
extern int line_count, gpu_count, file_read; /* file_read: 0 when there is no file */

void look_at_file(void);
int concerns(const struct line *line, const Handle *device);
int mig_exists(int gpu, int mig);
const char *fault_text(int code);

/* The last value of a key, or NULL where the file does not name it. */
const char *look_up(const Handle *device, const char *key);

/* The same as a number, units applied; -1 stands for `na`: nothing that NVML counts here is negative. */
double number_of(const Handle *device, const char *key, double otherwise);
double scaled(const char *text);

/* What the file orders for a call: its status; how long it shall wait; whether it shall hang. */
int orders(const Handle *device, const char *function, int *wait_ms, int *hang);

#endif
