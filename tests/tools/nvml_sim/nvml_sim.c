/* A libnvidia-ml.so.1 that answers what a text file says; `driver_file.h` describes the file.
 *
 * A GPU whose call answered `lost` stays lost until the library is shut down and initialised again.
 *
 * Structure layouts are those of nvml.h 12 (nvidia-ml-py 13 has the same). As in the real library the
 * first version of the memory call counts reserved memory as used, the second does not. */
#define _GNU_SOURCE
#include "driver_file.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef Handle *Device;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int users;
static int lost[MAX_GPUS];
static Handle handles[MAX_GPUS][MAX_MIGS + 1]; /* [gpu][0] the GPU, [gpu][1 + j] its MIG device j */

/* ---- entering and leaving a call ---- */

static int valid(const Handle *device) {
    const Handle *first = &handles[0][0];
    return device >= first && device < first + MAX_GPUS * (MAX_MIGS + 1);
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

EXPORT const char *nvmlErrorString(int code) { return fault_text(code); }

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
