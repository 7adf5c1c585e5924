/* A libnvidia-ml.so.1 whose GPUs, MIG devices, faults and hangs stand in a text file.
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
 *   ERR    a word of the table below, or a number; ok takes an earlier line back.
 *
 * A GPU whose call answered `lost` stays lost until the library is shut down and initialised again.
 *
 * Structure layouts are those of nvml.h 12 (nvidia-ml-py 13 has the same). As in the real library the
 * first version of the memory call counts reserved memory as used, the second does not. */
#define _GNU_SOURCE
#include <ctype.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_GPUS 16
#define MAX_MIGS 7
#define MAX_LINES 1024
#define WHOLE (-1)  /* `mig` of a line or handle that means the GPU itself */
#define SYSTEM (-1) /* `gpu` of a line that names none */
#define EVERY (-2)  /* `gpu *` */

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, UNKNOWN = 999
};

static const struct { int code; const char *word, *text; } FAULTS[] = {
    {SUCCESS, "ok", "Success"}, {UNINITIALIZED, "uninitialized", "Uninitialized"},
    {INVALID_ARGUMENT, "invalid_argument", "Invalid Argument"},
    {NOT_SUPPORTED, "not_supported", "Not Supported"}, {4, "no_permission", "Insufficient Permissions"},
    {NOT_FOUND, "not_found", "Not Found"}, {INSUFFICIENT_SIZE, "insufficient_size", "Insufficient Size"},
    {DRIVER_NOT_LOADED, "driver_not_loaded", "Driver Not Loaded"}, {10, "timeout", "Timeout"},
    {11, "irq", "Interrupt Request Issue"}, {13, "function_not_found", "Function Not Found"},
    {GPU_IS_LOST, "lost", "GPU is lost"}, {16, "reset_required", "GPU requires restart"},
    {18, "version_mismatch", "Driver/library version mismatch"}, {20, "memory", "Insufficient Memory"},
    {21, "no_data", "No data"}, {UNKNOWN, "unknown", "Unknown Error"},
};
#define FAULT_COUNT (sizeof FAULTS / sizeof *FAULTS)

typedef struct { int gpu, mig; } Handle;
typedef Handle *Device;
struct line { int gpu, mig; char key[24], value[192]; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct line lines[MAX_LINES];
static int line_count, gpu_count, file_read, users;
static struct stat seen;
static int lost[MAX_GPUS];
static Handle handles[MAX_GPUS][MAX_MIGS + 1]; /* [gpu][0] the GPU, [gpu][1 + j] its MIG device j */

/* ---- the file (lock held) ---- */

static void take_line(char *text, int *highest) {
    char *comment = strchr(text, '#'), *rest;
    if (comment) *comment = 0;
    for (char *end = text + strlen(text); end > text && isspace((unsigned char)end[-1]);) *--end = 0;
    char *word = strtok_r(text, " \t", &rest), *device = NULL, *key = word;
    if (!word || line_count == MAX_LINES) return;
    struct line *line = &lines[line_count];
    *line = (struct line){.gpu = SYSTEM, .mig = WHOLE};
    if (!strcmp(word, "gpu") || !strcmp(word, "mig")) {
        device = strtok_r(NULL, " \t", &rest), key = strtok_r(NULL, " \t", &rest);
        if (!device || !key) return;
        line->gpu = *device == '*' ? EVERY : atoi(device);
        if (*word == 'm') {
            char *dot = strchr(device, '.');
            if (!dot) return;
            line->mig = atoi(dot + 1);
            if (line->mig < 0 || line->mig >= MAX_MIGS) return;
        }
        if (line->gpu >= MAX_GPUS) return;
        if (line->gpu > *highest) *highest = line->gpu;
    }
    while (rest && isspace((unsigned char)*rest)) rest++;
    snprintf(line->key, sizeof line->key, "%s", key);
    snprintf(line->value, sizeof line->value, "%s", rest ? rest : "");
    line_count++;
}

static void look_at_file(void) {
    const char *path = getenv("NVML_SIM_FILE");
    struct stat now;
    if (!path || stat(path, &now)) { file_read = 0; return; }
    if (file_read && now.st_ino == seen.st_ino && now.st_size == seen.st_size &&
        now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec) return;
    FILE *file = fopen(path, "re");
    if (!file) { file_read = 0; return; }
    char text[512];
    int highest = -1;
    line_count = 0;
    while (fgets(text, sizeof text, file)) take_line(text, &highest);
    fclose(file);
    seen = now, file_read = 1, gpu_count = highest + 1;
    for (int i = 0; i < line_count; i++)
        if (lines[i].gpu == SYSTEM && !strcmp(lines[i].key, "count")) gpu_count = atoi(lines[i].value);
    if (gpu_count > MAX_GPUS) gpu_count = MAX_GPUS;
}

static int concerns(const struct line *line, const Handle *device) {
    if (!device) return line->gpu == SYSTEM;
    return line->mig == device->mig && (line->gpu == device->gpu || line->gpu == EVERY);
}

/* The last value of a key, or NULL where the file does not name it. */
static const char *look_up(const Handle *device, const char *key) {
    const char *found = NULL;
    for (int i = 0; i < line_count; i++)
        if (concerns(&lines[i], device) && !strcmp(lines[i].key, key)) found = lines[i].value;
    return found;
}

static int mig_exists(int gpu, int mig) {
    for (int i = 0; i < line_count; i++)
        if (lines[i].gpu == gpu && lines[i].mig == mig) return 1;
    return 0;
}

/* ---- entering and leaving a call ---- */

static int names(const char *pattern, const char *function) {
    char bare[96];
    snprintf(bare, sizeof bare, "%s", function);
    char *version = strrchr(bare, '_');
    if (version && version[1] == 'v' && isdigit((unsigned char)version[2])) *version = 0;
    return !fnmatch(pattern, bare, 0) || !fnmatch(pattern, function, 0);
}

static int fault_code(const char *word) {
    for (size_t i = 0; i < FAULT_COUNT; i++)
        if (!strcasecmp(word, FAULTS[i].word)) return FAULTS[i].code;
    return isdigit((unsigned char)*word) ? atoi(word) : UNKNOWN;
}

static int valid(const Handle *device) {
    const Handle *first = &handles[0][0];
    return device >= first && device < first + MAX_GPUS * (MAX_MIGS + 1);
}

/* What the file orders for this call: its status; how long it shall wait; whether it shall hang. */
static int orders(const Handle *device, const char *function, int *wait_ms, int *hang) {
    int status = SUCCESS;
    *wait_ms = *hang = 0;
    for (int i = 0; i < line_count; i++) {
        char pattern[96] = "", value[64] = "";
        if (!(lines[i].gpu == SYSTEM || (device && concerns(&lines[i], device)))) continue;
        sscanf(lines[i].value, "%95s %63s", pattern, value);
        if (!*pattern || !names(pattern, function)) continue;
        if (!strcmp(lines[i].key, "error")) status = fault_code(value);
        else if (!strcmp(lines[i].key, "delay")) *wait_ms = atoi(value);
        else if (!strcmp(lines[i].key, "hang")) *hang = 1;
    }
    return status;
}

/* Takes the lock and keeps it when it answers SUCCESS; waits and hangs without it. */
static int enter(Device device, int needs_device, const char *function) {
    int status, wait_ms, hang, waited = 0;
    if (needs_device && !valid(device)) return INVALID_ARGUMENT;
    for (;;) {
        pthread_mutex_lock(&lock);
        look_at_file();
        if (!file_read) { status = DRIVER_NOT_LOADED; break; }
        if (!users && strncmp(function, "nvmlInit", 8)) { status = UNINITIALIZED; break; }
        status = orders(device, function, &wait_ms, &hang);
        if (!hang && (waited || !wait_ms)) {
            if (device && (device->gpu >= gpu_count || lost[device->gpu])) status = GPU_IS_LOST;
            if (device && status == GPU_IS_LOST && device->gpu < gpu_count) lost[device->gpu] = 1;
            if (status == SUCCESS && device && device->mig != WHOLE && !mig_exists(device->gpu, device->mig))
                status = NOT_FOUND;
            break;
        }
        pthread_mutex_unlock(&lock);
        usleep(hang ? 2000 : (useconds_t)wait_ms * 1000);
        waited = 1;
    }
    if (status) pthread_mutex_unlock(&lock);
    return status;
}
#define CALL(device, needs) do { int status_ = enter(device, needs, __func__); if (status_) return status_; } while (0)
#define SYSTEM_CALL() CALL(NULL, 0)
#define DEVICE_CALL(device) CALL(device, 1)

static int leave(int status) {
    pthread_mutex_unlock(&lock);
    return status;
}

static double scaled(const char *text) {
    static const struct { const char *name; double factor; } UNITS[] = {
        {"KiB", 1024.}, {"MiB", 1048576.}, {"GiB", 1073741824.}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}};
    char *unit;
    double number = strtod(text, &unit);
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++)
        if (!strcasecmp(unit, UNITS[i].name)) number *= UNITS[i].factor;
    return number;
}

/* -1 stands for `na`; nothing that NVML counts here is negative. */
static double number_of(Device device, const char *key, double otherwise) {
    const char *text = look_up(device, key);
    if (!text) return otherwise;
    return strcasecmp(text, "na") ? scaled(text) : -1;
}

static int give_number(unsigned *to, double number) {
    if (number < 0) return NOT_SUPPORTED;
    if (!to) return INVALID_ARGUMENT;
    *to = (unsigned)(number + .5);
    return SUCCESS;
}

static int give_text(char *to, unsigned size, const char *text) {
    if (!strcasecmp(text, "na")) return NOT_SUPPORTED;
    if (!to) return INVALID_ARGUMENT;
    return snprintf(to, size, "%s", text) < (int)size ? SUCCESS : INSUFFICIENT_SIZE;
}

/* ---- the library and the system ---- */

EXPORT const char *nvmlErrorString(int code) {
    for (size_t i = 0; i < FAULT_COUNT; i++)
        if (FAULTS[i].code == code) return FAULTS[i].text;
    return "Unknown Error";
}

static int begin(void) {
    int status = enter(NULL, 0, "nvmlInit");
    if (status) return status;
    for (int gpu = 0; gpu < MAX_GPUS; gpu++)
        for (int j = 0; j <= MAX_MIGS; j++) handles[gpu][j] = (Handle){gpu, j - 1};
    if (!users++) memset(lost, 0, sizeof lost);
    return leave(SUCCESS);
}
EXPORT int nvmlInit(void) { return begin(); }
EXPORT int nvmlInit_v2(void) { return begin(); }
EXPORT int nvmlInitWithFlags(unsigned flags) { (void)flags; return begin(); }
EXPORT int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    int status = users ? SUCCESS : UNINITIALIZED;
    if (users) users--;
    return leave(status);
}

/* For tests only: how many nvmlInit have no nvmlShutdown yet. */
EXPORT int nvml_sim_users(void) { return users; }

#define SYSTEM_TEXT(function, key, otherwise) \
    EXPORT int function(char *to, unsigned size) { \
        SYSTEM_CALL(); const char *text = look_up(NULL, key); return leave(give_text(to, size, text ? text : otherwise)); }
SYSTEM_TEXT(nvmlSystemGetDriverVersion, "driver", "535.104.05")
SYSTEM_TEXT(nvmlSystemGetNVMLVersion, "nvml", "12.535.104.05")
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *to) {
    SYSTEM_CALL();
    const char *text = look_up(NULL, "cuda");
    if (to) *to = text ? atoi(text) : 12020;
    return leave(to ? SUCCESS : INVALID_ARGUMENT);
}
EXPORT int nvmlSystemGetCudaDriverVersion(int *to) { return nvmlSystemGetCudaDriverVersion_v2(to); }
EXPORT int nvmlDeviceGetCount_v2(unsigned *to) { SYSTEM_CALL(); return leave(give_number(to, gpu_count)); }

/* ---- handles ---- */

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *to) {
    if (!to || index >= MAX_GPUS) return INVALID_ARGUMENT;
    SYSTEM_CALL();
    int there = (int)index < gpu_count;
    leave(SUCCESS);
    if (!there) return INVALID_ARGUMENT;
    DEVICE_CALL(&handles[index][0]); /* a lost GPU gives no handle */
    *to = &handles[index][0];
    return leave(SUCCESS);
}

static void uuid_text(Device device, char *to, size_t size) {
    const char *text = look_up(device, "uuid");
    if (text) snprintf(to, size, "%s", text);
    else if (device->mig == WHOLE) snprintf(to, size, "GPU-51a80000-0000-4000-8000-%012d", device->gpu);
    else snprintf(to, size, "MIG-51a80000-0000-4000-8001-%06d%06d", device->gpu, device->mig);
}
static void bus_id_text(Device device, char *to, size_t size) {
    const char *text = look_up(device, "bus_id");
    if (text) snprintf(to, size, "%s", text);
    else snprintf(to, size, "00000000:%02X:00.0", 0x0e + 0x0b * device->gpu);
}
static int find(Device *to, const char *wanted, void (*text)(Device, char *, size_t)) {
    char have[96];
    if (!to || !wanted) return INVALID_ARGUMENT;
    for (int gpu = 0; gpu < gpu_count; gpu++)
        for (int j = 0; j <= (text == uuid_text ? MAX_MIGS : 0); j++) {
            if (j && !mig_exists(gpu, j - 1)) continue;
            text(&handles[gpu][j], have, sizeof have);
            if (!strcasecmp(have, wanted)) { *to = &handles[gpu][j]; return SUCCESS; }
        }
    return NOT_FOUND;
}
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, Device *to) { SYSTEM_CALL(); return leave(find(to, uuid, uuid_text)); }
EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *id, Device *to) { SYSTEM_CALL(); return leave(find(to, id, bus_id_text)); }

/* ---- plain values of a device ---- */

EXPORT int nvmlDeviceGetUUID(Device device, char *to, unsigned size) {
    DEVICE_CALL(device);
    char text[96];
    uuid_text(device, text, sizeof text);
    return leave(give_text(to, size, text));
}
EXPORT int nvmlDeviceGetName(Device device, char *to, unsigned size) {
    DEVICE_CALL(device);
    const char *text = look_up(device, "name");
    return leave(give_text(to, size, text ? text : device->mig == WHOLE ? "NVIDIA A800-SXM4-80GB" : "NVIDIA A800 MIG 1g.10gb"));
}
EXPORT int nvmlDeviceGetSerial(Device device, char *to, unsigned size) { DEVICE_CALL(device); return leave(give_text(to, size, "na")); }
EXPORT int nvmlDeviceGetIndex(Device device, unsigned *to) {
    DEVICE_CALL(device);
    return leave(give_number(to, device->mig == WHOLE ? device->gpu : device->mig));
}

/* A MIG device answers only for memory and processes, as the real one. */
#define WHOLE_NUMBER(function, key, factor, otherwise) \
    EXPORT int function(Device device, unsigned *to) { \
        DEVICE_CALL(device); \
        double number = device->mig == WHOLE ? number_of(device, key, otherwise) : -1; \
        return leave(give_number(to, number < 0 ? number : number * (factor))); }
WHOLE_NUMBER(nvmlDeviceGetMinorNumber, "minor", 1, device->gpu)
WHOLE_NUMBER(nvmlDeviceGetFanSpeed, "fan", 1, -1)
WHOLE_NUMBER(nvmlDeviceGetPowerUsage, "power", 1000, 60)
WHOLE_NUMBER(nvmlDeviceGetEnforcedPowerLimit, "power_limit", 1000, 400)
WHOLE_NUMBER(nvmlDeviceGetPowerManagementLimit, "power_limit", 1000, 400)

static double temperature(Device device) { return device->mig == WHOLE ? number_of(device, "temp", 35) : -1; }
EXPORT int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *to) {
    DEVICE_CALL(device);
    return leave(sensor ? INVALID_ARGUMENT : give_number(to, temperature(device)));
}
struct temperature { unsigned version; int sensor, celsius; };
EXPORT int nvmlDeviceGetTemperatureV(Device device, struct temperature *to) {
    DEVICE_CALL(device);
    return leave(to ? give_number((unsigned *)&to->celsius, temperature(device)) : INVALID_ARGUMENT);
}

static int give_pair(Device device, unsigned *first, double one, unsigned *second, double two) {
    if (device->mig != WHOLE) return NOT_SUPPORTED;
    int status = give_number(first, one);
    return status ? status : give_number(second, two);
}
struct rates { unsigned gpu, memory; };
EXPORT int nvmlDeviceGetUtilizationRates(Device device, struct rates *to) {
    DEVICE_CALL(device);
    if (!to) return leave(INVALID_ARGUMENT);
    double mig_mode = number_of(device, "mig", 0);
    double gpu = mig_mode > 0 ? -1 : number_of(device, "util_gpu", 0);
    return leave(give_pair(device, &to->gpu, gpu, &to->memory, number_of(device, "util_mem", 0)));
}
#define WHOLE_PAIR(function, one, two) \
    EXPORT int function(Device device, unsigned *first, unsigned *second) { \
        DEVICE_CALL(device); return leave(give_pair(device, first, one, second, two)); }
WHOLE_PAIR(nvmlDeviceGetEncoderUtilization, number_of(device, "enc", 0), 167000)
WHOLE_PAIR(nvmlDeviceGetDecoderUtilization, number_of(device, "dec", 0), 167000)
WHOLE_PAIR(nvmlDeviceGetMigMode, number_of(device, "mig", 0), number_of(device, "mig", 0))

struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
static int memory_of(Device device, struct memory_v2 *to) {
    double total = number_of(device, "mem_total", device->mig == WHOLE ? 80. * 1073741824. : 9.75 * 1073741824.);
    double used = number_of(device, "mem_used", 0), reserved = number_of(device, "mem_reserved", 0);
    if (total < 0 || used < 0) return NOT_SUPPORTED;
    double rest = total - used - reserved;
    to->total = (unsigned long long)(total + .5), to->used = (unsigned long long)(used + .5);
    to->reserved = (unsigned long long)(reserved + .5), to->free = rest > 0 ? (unsigned long long)(rest + .5) : 0;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetMemoryInfo(Device device, struct memory *to) {
    DEVICE_CALL(device);
    struct memory_v2 all = {0};
    int status = to ? memory_of(device, &all) : INVALID_ARGUMENT;
    if (!status) *to = (struct memory){all.total, all.free, all.used + all.reserved};
    return leave(status);
}
EXPORT int nvmlDeviceGetMemoryInfo_v2(Device device, struct memory_v2 *to) {
    DEVICE_CALL(device);
    return leave(to ? memory_of(device, to) : INVALID_ARGUMENT);
}

EXPORT int nvmlDeviceGetBAR1MemoryInfo(Device device, struct memory *to) {
    DEVICE_CALL(device);
    if (to) *to = (struct memory){256ull << 20, 255ull << 20, 1ull << 20};
    return leave(to ? SUCCESS : INVALID_ARGUMENT);
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
EXPORT int nvmlDeviceGetPciInfo_v3(Device device, struct pci *to) {
    DEVICE_CALL(device);
    if (!to) return leave(INVALID_ARGUMENT);
    memset(to, 0, sizeof *to);
    bus_id_text(device, to->bus_id, sizeof to->bus_id);
    snprintf(to->legacy, sizeof to->legacy, "%.15s", strlen(to->bus_id) > 4 ? to->bus_id + 4 : to->bus_id);
    sscanf(to->bus_id, "%x:%x:%x", &to->domain, &to->bus, &to->device);
    return leave(SUCCESS);
}

/* ---- MIG devices ---- */

EXPORT int nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned *to) {
    DEVICE_CALL(device);
    return leave(give_number(to, number_of(device, "mig", 0) >= 0 ? MAX_MIGS : 0));
}
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned index, Device *to) {
    DEVICE_CALL(device);
    if (!to || index >= MAX_MIGS || device->mig != WHOLE) return leave(INVALID_ARGUMENT);
    if (number_of(device, "mig", 0) < 1 || !mig_exists(device->gpu, (int)index)) return leave(NOT_FOUND);
    *to = &handles[device->gpu][1 + index];
    return leave(SUCCESS);
}
EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device device, Device *to) {
    DEVICE_CALL(device);
    if (!to || device->mig == WHOLE) return leave(INVALID_ARGUMENT);
    *to = &handles[device->gpu][0];
    return leave(SUCCESS);
}
EXPORT int nvmlDeviceIsMigDeviceHandle(Device device, unsigned *to) { DEVICE_CALL(device); return leave(give_number(to, device->mig != WHOLE)); }
#define INSTANCE(function, value) \
    EXPORT int function(Device device, unsigned *to) { \
        DEVICE_CALL(device); return leave(device->mig == WHOLE ? NOT_SUPPORTED : give_number(to, value)); }
INSTANCE(nvmlDeviceGetGpuInstanceId, device->mig + 1)
INSTANCE(nvmlDeviceGetComputeInstanceId, 0)

/* ---- processes ---- */

struct process { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; };
struct sample { unsigned pid; unsigned long long time; unsigned sm, memory, enc, dec; };

/* Copies the processes of a device out and counts them all; on a GPU its MIG devices' processes count as its own. */
static int processes(Device device, char kind, int capacity, struct process *to, struct sample *samples) {
    int first = 0, found = 0;
    for (int i = 0; i < line_count; i++)
        if (concerns(&lines[i], device) && !strcmp(lines[i].key, "noproc")) first = i + 1;
    for (int i = first; i < line_count; i++) {
        int own = concerns(&lines[i], device), below = device->mig == WHOLE && lines[i].gpu == device->gpu;
        unsigned pid, sm = 0;
        char memory[64], type = 'C';
        if (!(own || below) || strcmp(lines[i].key, "proc")) continue;
        if (sscanf(lines[i].value, "%u %63s %c %u", &pid, memory, &type, &sm) < 2) continue;
        if (kind && toupper((unsigned char)type) != kind) continue;
        if (found < capacity && to)
            to[found] = (struct process){pid, strcasecmp(memory, "na") ? (unsigned long long)(scaled(memory) + .5) : ~0ull,
                                         lines[i].mig == WHOLE ? ~0u : (unsigned)lines[i].mig + 1, lines[i].mig == WHOLE ? ~0u : 0};
        if (found < capacity && samples) samples[found] = (struct sample){pid, 1, sm, 0, 0, 0};
        found++;
    }
    return found;
}
static int running(Device device, char kind, unsigned *count, struct process *to) {
    if (!count) return INVALID_ARGUMENT;
    unsigned capacity = to ? *count : 0;
    *count = (unsigned)processes(device, kind, (int)capacity, to, NULL);
    return *count > capacity ? INSUFFICIENT_SIZE : SUCCESS;
}
#define RUNNING(function, kind) \
    EXPORT int function##_v2(Device device, unsigned *count, struct process *to) { DEVICE_CALL(device); return leave(running(device, kind, count, to)); } \
    EXPORT int function##_v3(Device device, unsigned *count, struct process *to) { DEVICE_CALL(device); return leave(running(device, kind, count, to)); }
RUNNING(nvmlDeviceGetComputeRunningProcesses, 'C')
RUNNING(nvmlDeviceGetGraphicsRunningProcesses, 'G')
RUNNING(nvmlDeviceGetMPSComputeRunningProcesses, 'M')

EXPORT int nvmlDeviceGetProcessUtilization(Device device, struct sample *to, unsigned *count, unsigned long long since) {
    (void)since;
    DEVICE_CALL(device);
    if (!count) return leave(INVALID_ARGUMENT);
    unsigned capacity = to ? *count : 0;
    *count = (unsigned)processes(device, 0, (int)capacity, NULL, to);
    return leave(!*count ? NOT_FOUND : *count > capacity ? INSUFFICIENT_SIZE : SUCCESS);
}

/* ---- found by clients that ask for more than hitui does, and not supported ---- */

#define ABSENT(function) EXPORT int function(Device device) { DEVICE_CALL(device); return leave(NOT_SUPPORTED); }
ABSENT(nvmlDeviceGetComputeMode)
ABSENT(nvmlDeviceGetDisplayActive)
ABSENT(nvmlDeviceGetDisplayMode)
ABSENT(nvmlDeviceGetDriverModel)
ABSENT(nvmlDeviceGetDriverModel_v2)
ABSENT(nvmlDeviceGetPerformanceState)
ABSENT(nvmlDeviceGetPersistenceMode)
ABSENT(nvmlDeviceGetTotalEccErrors)
