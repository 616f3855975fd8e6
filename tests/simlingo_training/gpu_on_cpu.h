// What a kernel needs of a GPU, on a CPU: every thread of every block is a coroutine, and whoever waits lets the others run.
//
// Copies into shared memory arrive late, shared memory begins with nonsense, and blocks sleep in turn, so that a kernel that
// does not wait for something computes something else. When nobody gets on, the program ends.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#define ON_HOST
#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(threads, blocks)

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

template <class To, class From>
To bits_as(From from) {
    To to;
    static_assert(sizeof to == sizeof from);
    std::memcpy(&to, &from, sizeof to);
    return to;
}

inline float __uint_as_float(unsigned bits) { return bits_as<float>(bits); }
inline unsigned __float_as_uint(float value) { return bits_as<unsigned>(value); }
inline float __int_as_float(int bits) { return bits_as<float>(bits); }
inline int __float_as_int(float value) { return bits_as<int>(value); }

inline unsigned short nearest(float value) {
    const unsigned bits = __float_as_uint(value);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

struct Place {
    unsigned x;
};

struct Meeting {
    int waiting = 0;
    unsigned generation = 0;
};

struct Block {
    std::vector<unsigned char> memory;
    Meeting all, workers;
    std::map<int, Meeting> warps;
    std::map<int, std::vector<float>> lanes;
};

struct Coroutine {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    Place block, thread;
    bool is_done = false;
};

struct Copy {
    unsigned char *target;
    const unsigned char *source;
    unsigned bytes;
    struct Barrier *barrier;
};

inline ucontext_t scheduler;
inline Coroutine *current;
inline std::vector<Block> blocks;
inline std::deque<Copy> copies;
inline long long steps_forward = 0;

#define threadIdx (current->thread)
#define blockIdx (current->block)

inline void let_others_run() { swapcontext(&current->context, &scheduler); }

inline void meet(Meeting &meeting, int count) {
    ++steps_forward;
    const unsigned generation = meeting.generation;
    if (++meeting.waiting == count) {
        meeting.waiting = 0;
        ++meeting.generation;
    }
    while (meeting.generation == generation) let_others_run();
}

struct Barrier {
    int count, missing;
    unsigned passed;
};

inline void prepare(Barrier *barrier, unsigned count) { *barrier = {int(count), int(count), 0}; }
inline void publish_barriers() {}
inline void __threadfence_block() {}

inline void arrive(Barrier *barrier) {
    ++steps_forward;
    if (--barrier->missing == 0) {
        barrier->missing = barrier->count;
        ++barrier->passed;
    }
}

inline bool has_passed(Barrier *barrier, unsigned parity) {
    if ((barrier->passed & 1) != parity) return true;
    let_others_run();
    return false;
}

inline void copy(unsigned char *target, const unsigned char *source, unsigned bytes, Barrier *barrier) {
    if (bytes % 16 || reinterpret_cast<unsigned long long>(source) % 16) std::abort();
    std::memset(target, 0xff, bytes);
    copies.push_back({target, source, bytes, barrier});
}

inline unsigned char *memory_of_block() {
    void *place = blocks[blockIdx.x].memory.data();
    std::size_t room = blocks[blockIdx.x].memory.size();
    return static_cast<unsigned char *>(std::align(128, room - 128, place, room));
}

inline void meet_in_block() { meet(blocks[blockIdx.x].workers, 32 * WARPS); }
inline void __syncthreads() { meet(blocks[blockIdx.x].all, 32 * WARPS + 32); }
inline void __syncwarp() { meet(blocks[blockIdx.x].warps[threadIdx.x / 32], 32); }

inline void count_up(unsigned *counter) {
    ++steps_forward;
    ++*counter;
}

inline unsigned counted(const unsigned *counter) {
    let_others_run();
    return *counter;
}

inline float exchanged(float value, int distance) {
    auto &lanes = blocks[blockIdx.x].lanes[threadIdx.x / 32];
    lanes.resize(32);
    lanes[threadIdx.x % 32] = value;
    __syncwarp();
    const float other = lanes[(threadIdx.x % 32) ^ distance];
    __syncwarp();
    return other;
}

inline const std::function<void()> *kernel_to_run;

inline void run_coroutine() {
    (*kernel_to_run)();
    current->is_done = true;
    swapcontext(&current->context, &scheduler);
}

inline void run_grid(int grid, int threads, std::size_t shared_bytes, const std::function<void()> &kernel) {
    constexpr std::size_t STACK = 64 * 1024;
    constexpr int NAP = 300;
    kernel_to_run = &kernel;
    blocks.assign(grid, Block());
    std::deque<Coroutine> coroutines(grid * threads);
    for (int number = 0; number < grid * threads; ++number) {
        Coroutine &made = coroutines[number];
        made.block.x = number / threads;
        made.thread.x = number % threads;
        if (made.thread.x == 0) blocks[made.block.x].memory.assign(shared_bytes + 256, 0xff);
        made.stack = std::make_unique<char[]>(STACK);
        getcontext(&made.context);
        made.context.uc_stack.ss_sp = made.stack.get();
        made.context.uc_stack.ss_size = STACK;
        made.context.uc_link = nullptr;
        makecontext(&made.context, run_coroutine, 0);
    }
    long long before = -1;
    for (int quiet = 0, round = 0;; ++round) {
        bool is_done = true;
        for (Coroutine &coroutine : coroutines) {
            if (coroutine.is_done) continue;
            is_done = false;
            if (round / NAP % (grid + 1) == int(coroutine.block.x)) continue;
            current = &coroutine;
            swapcontext(&scheduler, &coroutine.context);
        }
        if (is_done) break;
        if (!copies.empty() && round % 2) {
            const Copy next = copies.front();
            copies.pop_front();
            std::memcpy(next.target, next.source, next.bytes);
            arrive(next.barrier);
        }
        quiet = steps_forward == before ? quiet + 1 : 0;
        before = steps_forward;
        if (quiet > 3 * NAP) {
            std::fprintf(stderr, "all threads wait for each other\n");
            std::abort();
        }
    }
    if (!copies.empty()) {
        std::fprintf(stderr, "a block has ended while copies were on their way\n");
        std::abort();
    }
}
