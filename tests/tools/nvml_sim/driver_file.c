#define _GNU_SOURCE
#include "driver_file.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define MAX_LINES 1024
#define SYSTEM (-1) /* `gpu` of a line that names none */
#define EVERY (-2)  /* `gpu *` */

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

struct line lines[MAX_LINES];
int line_count, gpu_count, file_read;
static struct stat seen;

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

void look_at_file(void) {
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

int concerns(const struct line *line, const Handle *device) {
    if (!device) return line->gpu == SYSTEM;
    return line->mig == device->mig && (line->gpu == device->gpu || line->gpu == EVERY);
}

const char *look_up(const Handle *device, const char *key) {
    const char *found = NULL;
    for (int i = 0; i < line_count; i++)
        if (concerns(&lines[i], device) && !strcmp(lines[i].key, key)) found = lines[i].value;
    return found;
}

int mig_exists(int gpu, int mig) {
    for (int i = 0; i < line_count; i++)
        if (lines[i].gpu == gpu && lines[i].mig == mig) return 1;
    return 0;
}

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

int orders(const Handle *device, const char *function, int *wait_ms, int *hang) {
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

double scaled(const char *text) {
    static const struct { const char *name; double factor; } UNITS[] = {
        {"KiB", 1024.}, {"MiB", 1048576.}, {"GiB", 1073741824.}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}};
    char *unit;
    double number = strtod(text, &unit);
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++)
        if (!strcasecmp(unit, UNITS[i].name)) number *= UNITS[i].factor;
    return number;
}

double number_of(const Handle *device, const char *key, double otherwise) {
    const char *text = look_up(device, key);
    if (!text) return otherwise;
    return strcasecmp(text, "na") ? scaled(text) : -1;
}

const char *fault_text(int code) {
    for (size_t i = 0; i < FAULT_COUNT; i++)
        if (FAULTS[i].code == code) return FAULTS[i].text;
    return "Unknown Error";
}
