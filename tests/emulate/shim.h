// CUDA's execution model on one thread of a processor: enough to run our kernels, step by step and always in the same
// order. Blocks run one after another; the threads of a block are fibers that run until they meet at a barrier.
#pragma once
#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// Shared memory keeps what the block before left in it, as it may on a device.
#define __shared__ static

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, gridDim;

struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

using std::max;
using std::min;
static inline float __int_as_float(int v) { float f; memcpy(&f, &v, 4); return f; }
static inline unsigned __float_as_uint(float v) { unsigned u; memcpy(&u, &v, 4); return u; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline unsigned atomicAdd(unsigned* at, unsigned v) { return std::exchange(*at, *at + v); }

struct Fiber {
    jmp_buf at;
    bool started = false, done = false;
    char* stack = nullptr;
};
struct Barrier {
    unsigned arrived = 0, phase = 0;
};
static const size_t STACK = 256 << 10;
static std::vector<Fiber> fibers;
static std::vector<Barrier> warps;
static std::vector<uint64_t> slots;
static Barrier block;
static unsigned alive, current;
static jmp_buf scheduler;
static std::function<void()> body;

static void yield() {
    if (_setjmp(fibers[current].at) == 0) {
        _longjmp(scheduler, 1);
    }
}

static void meet(Barrier& barrier, unsigned expected) {
    const unsigned phase = barrier.phase;
    if (++barrier.arrived == expected) {
        barrier.arrived = 0;
        ++barrier.phase;
        return;
    }
    while (barrier.phase == phase) {
        yield();
    }
}

static inline void __syncthreads() { meet(block, alive); }

// All lanes take part, as the mask of every call in our kernels says.
template <class T> static T __shfl_down_sync(unsigned, T v, unsigned by) {
    static_assert(sizeof(T) <= 8, "one register, or two");
    memcpy(&slots[current], &v, sizeof(T));
    meet(warps[current / 32], 32);
    T other = v;
    if (current % 32 + by < 32) {
        memcpy(&other, &slots[current + by], sizeof(T));
    }
    meet(warps[current / 32], 32);
    return other;
}

static void enter() {
    body();
    fibers[current].done = true;
    --alive;
    // Those who wait no longer wait for this thread.
    if (alive > 0 && block.arrived == alive) {
        block.arrived = 0;
        ++block.phase;
    }
    _longjmp(scheduler, 1);
}

// Runs thread `t` until it waits or ends.
static void resume(unsigned t) {
    static ucontext_t start;
    Fiber& fiber = fibers[t];
    current = t;
    threadIdx = {t, 0, 0};
    if (_setjmp(scheduler) != 0) {
        return;
    }
    if (fiber.started) {
        _longjmp(fiber.at, 1);
    }
    fiber.started = true;
    getcontext(&start);
    start.uc_stack.ss_sp = fiber.stack;
    start.uc_stack.ss_size = STACK;
    makecontext(&start, enter, 0);
    setcontext(&start);
}

static void run_block(unsigned threads) {
    fibers.resize(std::max<size_t>(fibers.size(), threads));
    for (Fiber& fiber : fibers) {
        fiber.started = fiber.done = false;
        fiber.stack = fiber.stack ? fiber.stack : static_cast<char*>(malloc(STACK));
    }
    warps.assign(threads / 32 + 1, {});
    slots.assign(threads, 0);
    block = {};
    for (alive = threads; alive > 0;) {
        for (unsigned t = 0; t < threads; ++t) {
            if (!fibers[t].done) {
                resume(t);
            }
        }
    }
}

template <class... A, size_t... I> static void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    const std::tuple<A...> values{*static_cast<std::remove_cv_t<A>*>(arguments[I])...};
    body = [=] { kernel(std::get<I>(values)...); };
}

template <class... A> static void run(void (*kernel)(A...), const unsigned* grid, unsigned threads, void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>{});
    gridDim = {grid[0], grid[1], grid[2]};
    for (unsigned z = 0; z < grid[2]; ++z) {
        for (unsigned y = 0; y < grid[1]; ++y) {
            for (unsigned x = 0; x < grid[0]; ++x) {
                blockIdx = {x, y, z};
                run_block(threads);
            }
        }
    }
}

#define KERNEL(name) \
    extern "C" void run_##name(const unsigned* grid, unsigned threads, void** arguments) { \
        run(name, grid, threads, arguments); \
    }
