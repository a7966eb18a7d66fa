// A CUDA driver without a GPU: the functions that we call, on ordinary memory and with emulated kernels. Copies are as
// late as a driver may make them: they wait until a kernel or a host thread needs them.
#include <cstring>
#include <cstdlib>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <mutex>
#include <string>

typedef unsigned long long Address;
typedef void (*Run)(const unsigned*, unsigned, void**);

static std::recursive_mutex lock;
static std::deque<std::function<void()>> queue;
static unsigned long long queued, done;

static void later(std::function<void()> work) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    queue.push_back(std::move(work));
    ++queued;
}

static void drain(unsigned long long until) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    while (done < until) {
        queue.front()();
        queue.pop_front();
        ++done;
    }
}

static void drain() {
    std::lock_guard<std::recursive_mutex> guard(lock);
    drain(queued);
}

// Attributes: compute capability 9.0, allocation in stream order.
static int attribute(int which) { return which == 75 ? 9 : which == 76 ? 0 : 1; }

extern "C" {
int cuDriverGetVersion(int* version) { return *version = EMULATED_VERSION, 0; }
int cuInit(unsigned) { return 0; }
int cuGetErrorString(int, const char** text) { return *text = "emulated", 0; }
int cuDeviceGetCount(int* count) { return *count = 1, 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetAttribute(int* value, int which, int) { return *value = attribute(which), 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = 1ull << 30, 0; }
int cuDeviceGetName(char* name, int, int) { return strcpy(name, "emulated"), 0; }
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &queue, 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxGetCurrent(void** context) { return *context = &queue, 0; }
int cuCtxSetCurrent(void*) { return 0; }
int cuCtxSynchronize() { return drain(), 0; }
int cuStreamCreate(void** stream, unsigned) { return *stream = malloc(1), 0; }
int cuStreamDestroy_v2(void* stream) { return drain(), free(stream), 0; }
int cuStreamSynchronize(void*) { return drain(), 0; }
int cuStreamWaitEvent(void*, void*, unsigned) { return 0; }
int cuEventCreate(void** event, unsigned) { return *event = calloc(1, 8), 0; }
int cuEventDestroy_v2(void* event) { return free(event), 0; }
int cuEventRecord(void* event, void*) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    return memcpy(event, &queued, 8), 0;
}
int cuEventSynchronize(void* event) {
    unsigned long long until;
    memcpy(&until, event, 8);
    return drain(until), 0;
}
int cuMemHostAlloc(void** at, size_t bytes, unsigned) { return *at = aligned_alloc(4096, bytes), 0; }
int cuMemFreeHost(void* at) { return free(at), 0; }
int cuMemAllocAsync(Address* at, size_t bytes, void*) {
    void* memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(memory, 0xff, bytes);
    return *at = reinterpret_cast<Address>(memory), 0;
}
int cuMemFreeAsync(Address at, void*) { return later([=] { free(reinterpret_cast<void*>(at)); }), 0; }
int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void*) {
    return later([=] { memcpy(reinterpret_cast<void*>(to), from, bytes); }), 0;
}
int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void*) {
    return later([=] { memcpy(to, reinterpret_cast<void*>(from), bytes); }), 0;
}
int cuModuleLoadData(void** module, const void*) { return *module = &queue, 0; }
int cuModuleUnload(void*) { return 0; }
int cuModuleGetFunction(void** function, void*, const char* name) {
    Dl_info own;
    dladdr(reinterpret_cast<void*>(cuInit), &own);
    *function = dlsym(dlopen(own.dli_fname, RTLD_NOW), (std::string("run_") + name).c_str());
    return *function ? 0 : 500;
}
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned, unsigned,
                   void*, void** arguments, void**) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    drain();
    const unsigned grid[3] = {x, y, z};
    return reinterpret_cast<Run>(function)(grid, threads, arguments), 0;
}
}
