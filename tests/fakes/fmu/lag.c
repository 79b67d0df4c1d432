/* A heated body as an FMU, FMI 2.0 and 3.0 from one source, and every way an FMU can go wrong.
   tau dT/dt = T_ambient + R P - T, exact for held inputs. Parameter `fault` chooses what goes wrong. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TOKEN
#define TOKEN "{lag-1}"
#endif
enum { POWER, AMBIENT, TEMPERATURE, TAU, RESISTANCE, FAULT, VALUES };
enum { NONE, HANG, SEGFAULT, MEMORY, CHATTER, ERROR, NO_NUMBER, QUIT, SLEEP };

typedef struct { double value[VALUES]; } Lag;

static void *make(const char *token) {
    if (strcmp(token, TOKEN)) return NULL;
    Lag *lag = calloc(1, sizeof *lag);
    lag->value[AMBIENT] = 20; lag->value[TEMPERATURE] = 20;
    lag->value[TAU] = 100; lag->value[RESISTANCE] = 0.5;
    return lag;
}

static int misbehave(Lag *lag) {
    switch ((int)lag->value[FAULT]) {
    case HANG: for (volatile int i = 0;; i++) {}
    case SEGFAULT: *(volatile int *)8 = 1; break;
    case MEMORY: for (;;) { char *p = malloc(1 << 24); if (!p) abort(); memset(p, 1, 1 << 24); }
    case CHATTER: for (;;) { puts("all is well, all is well, all is well"); }
    case ERROR: return 3;
    case NO_NUMBER: lag->value[TEMPERATURE] = NAN; break;
    case QUIT: _exit(0);
    case SLEEP: for (;;) sleep(1);
    }
    return 0;
}

static int step(Lag *lag, double h) {
    double rest = lag->value[AMBIENT] + lag->value[RESISTANCE] * lag->value[POWER];
    lag->value[TEMPERATURE] = rest + (lag->value[TEMPERATURE] - rest) * exp(-h / lag->value[TAU]);
    return misbehave(lag);
}

static int put(Lag *lag, const unsigned *vr, size_t n, const double *v) {
    for (size_t i = 0; i < n; i++) { if (vr[i] >= VALUES) return 3; lag->value[vr[i]] = v[i]; }
    return 0;
}

static int get(Lag *lag, const unsigned *vr, size_t n, double *v) {
    for (size_t i = 0; i < n; i++) { if (vr[i] >= VALUES) return 3; v[i] = lag->value[vr[i]]; }
    return 0;
}

#ifdef FMI2
#include "fmi2Functions.h"
const char *fmi2GetTypesPlatform(void) { return "default"; }
const char *fmi2GetVersion(void) { return "2.0"; }
fmi2Component fmi2Instantiate(fmi2String n, fmi2Type t, fmi2String token, fmi2String r,
                              const fmi2CallbackFunctions *f, fmi2Boolean v, fmi2Boolean l) {
    return make(token);
}
void fmi2FreeInstance(fmi2Component c) { free(c); }
fmi2Status fmi2SetupExperiment(fmi2Component c, fmi2Boolean d, fmi2Real t, fmi2Real s, fmi2Boolean e,
                               fmi2Real z) { return fmi2OK; }
fmi2Status fmi2EnterInitializationMode(fmi2Component c) { return fmi2OK; }
fmi2Status fmi2ExitInitializationMode(fmi2Component c) { return fmi2OK; }
fmi2Status fmi2SetReal(fmi2Component c, const fmi2ValueReference vr[], size_t n, const fmi2Real v[]) {
    return put(c, vr, n, v);
}
fmi2Status fmi2GetReal(fmi2Component c, const fmi2ValueReference vr[], size_t n, fmi2Real v[]) {
    return get(c, vr, n, v);
}
fmi2Status fmi2DoStep(fmi2Component c, fmi2Real t, fmi2Real h, fmi2Boolean b) { return step(c, h); }
#else
#include "fmi3Functions.h"
const char *fmi3GetVersion(void) { return "3.0"; }
fmi3Instance fmi3InstantiateCoSimulation(
    fmi3String n, fmi3String token, fmi3String r, fmi3Boolean v, fmi3Boolean l, fmi3Boolean e,
    fmi3Boolean early, const fmi3ValueReference need[], size_t count, fmi3InstanceEnvironment env,
    fmi3LogMessageCallback log, fmi3IntermediateUpdateCallback update) { return make(token); }
void fmi3FreeInstance(fmi3Instance c) { free(c); }
fmi3Status fmi3EnterInitializationMode(fmi3Instance c, fmi3Boolean d, fmi3Float64 z, fmi3Float64 t,
                                       fmi3Boolean s, fmi3Float64 e) { return fmi3OK; }
fmi3Status fmi3ExitInitializationMode(fmi3Instance c) { return fmi3OK; }
fmi3Status fmi3SetFloat64(fmi3Instance c, const fmi3ValueReference vr[], size_t n,
                          const fmi3Float64 v[], size_t m) { return put(c, vr, n, v); }
fmi3Status fmi3GetFloat64(fmi3Instance c, const fmi3ValueReference vr[], size_t n, fmi3Float64 v[],
                          size_t m) { return get(c, vr, n, v); }
fmi3Status fmi3DoStep(fmi3Instance c, fmi3Float64 t, fmi3Float64 h, fmi3Boolean b,
                      fmi3Boolean *event, fmi3Boolean *ended, fmi3Boolean *early,
                      fmi3Float64 *last) {
    *event = *ended = *early = 0;
    *last = t + h;
    return step(c, h);
}
#endif
