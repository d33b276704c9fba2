/* As much of CUDA's driver as devices/runtimes/_cuda.py calls, on the host's own memory: arguments of the wrong width show here.
   What is enqueued is done at once, or, while a graph is being recorded, when that is launched. Signatures: cuda.h. */
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;
typedef struct { void *to; const void *from; size_t size; } Copy;
static Copy recorded[16];
static int recording, count, spin = 1, synchronised;
static int stream_object;

int cuInit(unsigned flags) { return flags ? 1 : getenv("DRIVER_WITHOUT_GPU") ? 100 : 0; }
int cuGetErrorString(int code, const char **text) { *text = code == 100 ? "no CUDA-capable device is detected" : "invalid value"; return code == 999; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Orin (test)", length); return device; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = which == 75 ? 8 : which == 76 ? 7 : which == 16 ? 16 : -1; return device; }
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { spin = flags; return device; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &spin; return device; }
int cuCtxSetCurrent(void *context) { return context != &spin; }
int cuCtxGetFlags(unsigned *flags) { *flags = spin; return 0; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = &stream_object; return flags != 1; }
int cuMemAlloc_v2(u64 *address, size_t size) { if (size > 1ull << 40) return 2; *address = (u64)malloc(size); return 0; }
int cuMemHostAlloc(void **address, size_t size, unsigned flags) { *address = malloc(size); return flags; }
static int copy(void *to, const void *from, size_t size, void *stream) {
  if (stream != &stream_object) return 1;
  if (recording) { recorded[count++] = (Copy){to, from, size}; return 0; }
  memcpy(to, from, size);
  return 0;
}
int cuMemcpyHtoDAsync_v2(u64 to, const void *from, size_t size, void *stream) { return copy((void *)to, from, size, stream); }
int cuMemcpyDtoHAsync_v2(void *to, u64 from, size_t size, void *stream) { return copy(to, (void *)from, size, stream); }
int cuStreamSynchronize(void *stream) { synchronised++; return stream != &stream_object || recording; }
int cuStreamBeginCapture_v2(void *stream, int mode) { recording = 1; count = 0; return mode != 1 || stream != &stream_object; }
int cuStreamEndCapture(void *stream, void **graph) { recording = 0; *graph = recorded; return stream != &stream_object; }
int cuGraphGetNodes(void *graph, void *nodes, size_t *found) { *found = count; return graph != recorded || nodes; }
int cuGraphInstantiateWithFlags(void **ready, void *graph, u64 flags) { *ready = graph; return flags != 0; }
int cuGraphLaunch(void *ready, void *stream) {
  int n;
  for (n = 0; n < count; n++) memcpy(recorded[n].to, recorded[n].from, recorded[n].size);
  return ready != recorded || stream != &stream_object;
}
