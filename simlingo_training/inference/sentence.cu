// A whole sentence in one kernel: greedy decoding that stays on the GPU until the end token.
//
// One block of threads runs on every multiprocessor for as long as the sentence takes. A layer has five phases, and all
// blocks meet between two of them:
//
//     norm, query/key/value product | rotary positions, cache, attention | merge, output product | norm, gate and up | down
//
// The rows of every matrix are shared out evenly among the blocks, so a block knows from the beginning which weights it
// will read, in which order, for all tokens to come. One warp does nothing but have them copied into a ring in shared memory,
// as far ahead as the ring is long; while the blocks meet, memory goes on working, and reading every weight once per token is
// what bounds the time. The other warps multiply: a row of a matrix belongs to one warp, only the long rows of `down` are
// divided among all. Roundings are those of `CachedDecoder`, so that only the order of sums differs.
//
// Sizes come as macros: NARROW (bfloat16, else float32), HAS_BIAS, WIDTH, HEADS, GROUPS, SIZE, INNER, PLACES, LAYERS,
// VOCABULARY, EPS_BITS (of the norms' float32), GRID (blocks), WARPS (that multiply), SPLITS (blocks that share a head's
// places), SLOTS and SLOT (of the ring, bytes). The first section is what the chip does; everything behind it is plain C++.

using Word = unsigned int;
using Bytes = unsigned char;

#ifndef ON_HOST

struct Barrier {
    unsigned long long state;
};

__device__ __forceinline__ Word address(const void *pointer) {
    return static_cast<Word>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void prepare(Barrier *barrier, Word count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(barrier)), "r"(count) : "memory");
}

__device__ __forceinline__ void publish_barriers() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void arrive(Barrier *barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(barrier)) : "memory");
}

__device__ __forceinline__ bool has_passed(Barrier *barrier, Word parity) {
    Word passed;
    asm volatile(
        "{\n"
        ".reg .pred ready;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ready, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ready;\n"
        "}"
        : "=r"(passed)
        : "r"(address(barrier)), "r"(parity)
        : "memory");
    return passed != 0;
}

// Copies memory into the ring; the barrier passes when all of it is there. What was read once is not wanted in the cache.
__device__ __forceinline__ void copy(Bytes *target, const Bytes *source, Word bytes, Barrier *barrier) {
    asm volatile(
        "{\n"
        ".reg .b64 once;\n"
        "createpolicy.fractional.L2::evict_first.b64 once, 1.0;\n"
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%3], %2;\n"
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], once;\n"
        "}" ::"r"(address(target)),
        "l"(source), "r"(bytes), "r"(address(barrier))
        : "memory");
}

__device__ __forceinline__ Bytes *memory_of_block() {
    extern __shared__ __align__(128) Bytes memory[];
    return memory;
}

// All warps that multiply.
__device__ __forceinline__ void meet_in_block() {
    asm volatile("bar.sync 1, %0;" ::"n"(32 * WARPS) : "memory");
}

__device__ __forceinline__ void count_up(Word *counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

__device__ __forceinline__ Word counted(const Word *counter) {
    Word count;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(count) : "l"(counter) : "memory");
    return count;
}

__device__ __forceinline__ float exchanged(float value, int distance) {
    return __shfl_xor_sync(0xffffffffu, value, distance);
}

// The nearest bfloat16, of two the even one.
__device__ __forceinline__ unsigned short nearest(float value) {
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

#endif

#if NARROW
using Number = unsigned short;

__device__ __forceinline__ float wide(Number number) { return __uint_as_float(static_cast<Word>(number) << 16); }

__device__ __forceinline__ Number narrow(float value) { return nearest(value); }
#else
using Number = float;

__device__ __forceinline__ float wide(Number number) { return number; }

__device__ __forceinline__ Number narrow(float value) { return value; }
#endif

__device__ __forceinline__ float rounded(float value) { return wide(narrow(value)); }

constexpr float NOTHING = -3.4e38f;        // less than any score
constexpr int PIECE = 16 / sizeof(Number);  // numbers that one load brings
constexpr int THREADS = 32 * WARPS;         // that multiply
constexpr int ATTENDED = HEADS * SIZE;
constexpr int ALL = (HEADS + 2 * GROUPS) * SIZE;
constexpr int DIMS = SIZE / 32;  // of a head, in one lane

__host__ __device__ constexpr int share(int rows) { return (rows + GRID - 1) / GRID; }

__host__ __device__ constexpr int pieces(int columns) { return (columns / PIECE + 31) / 32 * PIECE; }

static_assert(SIZE % 64 == 0 && WIDTH % PIECE == 0 && INNER % PIECE == 0, "sizes that this kernel does not know");
static_assert(SLOT % 128 == 0 && SLOT >= INNER * int(sizeof(Number)), "a slot holds at least one row");

struct Shared {
    Bytes ring[SLOTS][SLOT];
    float attended[ATTENDED];
    float partial[share(WIDTH)][WARPS];
    float own[share(WIDTH)];  // hidden states that this block keeps up to date
    float gates[share(INNER)];
    float biases[LAYERS][share(ALL)];
    float mixed[WARPS][SIZE];
    float tops[WARPS], sums[WARPS];
    int words[WARPS];
    Barrier full[SLOTS], empty[SLOTS];
    int token;
    Word taken;
    int stop;
};

struct Weights {
    const Number *embedding, *attention_norms, *qkv, *qkv_biases, *output, *mlp_norms, *gate_up, *down, *final_norm, *vocabulary;
};

// Rows of a matrix that belong to this block.
struct Rows {
    int first, count;

    __device__ Rows(int block, int rows) {
        const int each = share(rows);
        first = block * each < rows ? block * each : rows;
        count = rows - first < each ? rows - first : each;
    }
};

__device__ __forceinline__ float lane_sum(float value) {
#pragma unroll
    for (int distance = 16; distance; distance /= 2) value += exchanged(value, distance);
    return value;
}

__device__ __forceinline__ void unpack(const uint4 &piece, float *numbers) {
    const Word words[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
    for (int word = 0; word < 4; ++word) {
#if NARROW
        numbers[2 * word] = __uint_as_float(words[word] << 16);
        numbers[2 * word + 1] = __uint_as_float(words[word] & 0xffff0000u);
#else
        numbers[word] = __uint_as_float(words[word]);
#endif
    }
}

__device__ __forceinline__ void unpack(const void *place, float *numbers) {
    unpack(*static_cast<const uint4 *>(place), numbers);
}

// ---------------------------------------------------------------- the warp that has weights copied

struct Sender {
    Shared &shared;
    Word sent;

    // False when the sentence is over.
    __device__ __noinline__ bool send(const Number *matrix, Rows rows, int columns) {
        const int bytes = columns * int(sizeof(Number)), most = SLOT / bytes;
        const Bytes *source = reinterpret_cast<const Bytes *>(matrix) + static_cast<long long>(rows.first) * bytes;
        for (int row = 0; row < rows.count; row += most) {
            const int slot = sent % SLOTS;
            const Word round = sent / SLOTS;
            while (round > 0 && !has_passed(&shared.empty[slot], (round - 1) & 1))
                if (*static_cast<volatile int *>(&shared.stop)) return false;
            const int count = rows.count - row < most ? rows.count - row : most;
            copy(shared.ring[slot], source + static_cast<long long>(row) * bytes, count * bytes, &shared.full[slot]);
            ++sent;
        }
        return !*static_cast<volatile int *>(&shared.stop);
    }

    __device__ bool send_token(const Weights &weights, int block) {
        const Rows qkv(block, ALL), out(block, WIDTH), gate(block, INNER), words(block, VOCABULARY);
        for (long long layer = 0; layer < LAYERS; ++layer) {
            const Number *gates = weights.gate_up + layer * 2 * INNER * WIDTH;
            if (!send(weights.qkv + layer * ALL * WIDTH, qkv, WIDTH)) return false;
            if (!send(weights.output + layer * WIDTH * ATTENDED, out, ATTENDED)) return false;
            if (!send(gates, gate, WIDTH) || !send(gates + static_cast<long long>(INNER) * WIDTH, gate, WIDTH)) return false;
            if (!send(weights.down + layer * WIDTH * INNER, out, INNER)) return false;
        }
        return send(weights.vocabulary, words, WIDTH);
    }

    // Copies must not arrive after the block has ended.
    __device__ void finish() {
        for (Word chunk = *static_cast<volatile Word *>(&shared.taken); chunk < sent; ++chunk)
            while (!has_passed(&shared.full[chunk % SLOTS], chunk / SLOTS & 1)) {
            }
    }
};

// ---------------------------------------------------------------- the warps that multiply

struct Worker {
    Shared &shared;
    const int block, warp, lane;
    Word taken, target;
    Word *const counter;

    __device__ const Bytes *take() {
        while (!has_passed(&shared.full[taken % SLOTS], taken / SLOTS & 1)) {
        }
        return shared.ring[taken % SLOTS];
    }

    __device__ void give() {
        __syncwarp();
        if (lane == 0) arrive(&shared.empty[taken % SLOTS]);
        ++taken;
    }

    // All blocks have come here, and what they stored is seen.
    __device__ void meet() {
        meet_in_block();
        target += GRID;
        if (threadIdx.x == 0) {
            count_up(counter);
            while (counted(counter) < target) {
            }
        }
        meet_in_block();
    }

    // This lane's numbers of a vector in memory, divided by the root mean square of all and scaled.
    __device__ __forceinline__ void normed(const Number *hidden, const Number *norm, float eps, float *fragment) {
        uint4 gains[pieces(WIDTH) / PIECE] = {};
#pragma unroll
        for (int step = 0; step < pieces(WIDTH); step += PIECE) {
            const int column = 32 * step + lane * PIECE;
            if (column < WIDTH) gains[step / PIECE] = *reinterpret_cast<const uint4 *>(norm + column);
        }
        float squares = 0;
#pragma unroll
        for (int step = 0; step < pieces(WIDTH); step += PIECE) {
            const int column = 32 * step + lane * PIECE;
            if (column < WIDTH) unpack(hidden + column, fragment + step);
#pragma unroll
            for (int number = step; number < step + PIECE; ++number) {
                if (column >= WIDTH) fragment[number] = 0;
                squares += fragment[number] * fragment[number];
            }
        }
        const float scale = 1 / sqrtf(lane_sum(squares) / WIDTH + eps);
#pragma unroll
        for (int step = 0; step < pieces(WIDTH); step += PIECE) {
            float gain[PIECE];
            unpack(gains[step / PIECE], gain);
#pragma unroll
            for (int number = 0; number < PIECE; ++number)
                fragment[step + number] = rounded(rounded(fragment[step + number] * scale) * gain[number]);
        }
    }

    // Calls use(row, product) in all lanes for this warp's rows of the next matrix, counted within the block's.
    template <int COLUMNS, class Use>
    __device__ __forceinline__ void multiply(int rows, const float *fragment, Use use) {
        constexpr int BYTES = COLUMNS * int(sizeof(Number)), MOST = SLOT / BYTES;
        for (int first = 0; first < rows; first += MOST) {
            const Bytes *chunk = take();
            const int end = rows - first < MOST ? rows - first : MOST;
#pragma unroll 1
            for (int row = (warp + WARPS - first % WARPS) % WARPS; row < end; row += WARPS) {
                float even = 0, odd = 0;
#pragma unroll
                for (int step = 0; step < pieces(COLUMNS); step += PIECE) {
                    const int column = 32 * step + lane * PIECE;
                    if (column < COLUMNS) {
                        float numbers[PIECE];
                        unpack(chunk + row * BYTES + column * int(sizeof(Number)), numbers);
#pragma unroll
                        for (int number = 0; number < PIECE; number += 2) {
                            even += numbers[number] * fragment[step + number];
                            odd += numbers[number + 1] * fragment[step + number + 1];
                        }
                    }
                }
                use(first + row, lane_sum(even + odd));
            }
            give();
        }
    }

    __device__ void add(Number *hidden, Rows rows, int row, float product) {
        shared.own[row] = rounded(shared.own[row] + rounded(product));
        hidden[rows.first + row] = narrow(shared.own[row]);
    }

    // The longest rows, divided among all threads.
    __device__ void multiply_down(Number *hidden, Rows rows, const Number *active) {
        constexpr int EACH = (INNER / PIECE + THREADS - 1) / THREADS * PIECE;
        constexpr int BYTES = INNER * int(sizeof(Number)), MOST = SLOT / BYTES;
        float mine[EACH];
#pragma unroll
        for (int step = 0; step < EACH; step += PIECE) {
            const int column = THREADS * step + static_cast<int>(threadIdx.x) * PIECE;
            if (column < INNER) unpack(active + column, mine + step);
        }
        for (int first = 0; first < rows.count; first += MOST) {
            const Bytes *chunk = take();
            const int end = rows.count - first < MOST ? rows.count - first : MOST;
#pragma unroll 1
            for (int row = 0; row < end; ++row) {
                float sum = 0;
#pragma unroll
                for (int step = 0; step < EACH; step += PIECE) {
                    const int column = THREADS * step + static_cast<int>(threadIdx.x) * PIECE;
                    if (column < INNER) {
                        float numbers[PIECE];
                        unpack(chunk + row * BYTES + column * int(sizeof(Number)), numbers);
#pragma unroll
                        for (int number = 0; number < PIECE; ++number) sum += numbers[number] * mine[step + number];
                    }
                }
                sum = lane_sum(sum);
                if (lane == 0) shared.partial[first + row][warp] = sum;
            }
            give();
        }
        meet_in_block();
        for (int row = warp; row < rows.count; row += WARPS) {
            const float sum = lane_sum(lane < WARPS ? shared.partial[row][lane] : 0);
            if (lane == 0) add(hidden, rows, row, sum);
        }
    }
};

// ---------------------------------------------------------------- attention

// Rotary positions of one head, halves paired; a lane holds every 32nd dimension.
__device__ __forceinline__ void turned(const Number *vector, const Number *cos, const Number *sin, int lane, float *result) {
    float numbers[DIMS];
#pragma unroll
    for (int dim = 0; dim < DIMS; ++dim) numbers[dim] = wide(vector[lane + 32 * dim]);
#pragma unroll
    for (int dim = 0; dim < DIMS; ++dim) {
        const float other = dim < DIMS / 2 ? -numbers[(dim + DIMS / 2) % DIMS] : numbers[(dim + DIMS / 2) % DIMS];
        const int place = lane + 32 * dim;
        result[dim] = rounded(rounded(numbers[dim] * wide(cos[place])) + rounded(other * wide(sin[place])));
    }
}

// Attention of one head over some of the places.
struct Attention {
    static constexpr int KEYS = ((PLACES + SPLITS - 1) / SPLITS + WARPS - 1) / WARPS;  // of a warp
    const Worker &worker;
    const int head, group, place;
    int first, last;
    Number keys[KEYS][DIMS], values[KEYS][DIMS];

    __device__ Attention(const Worker &worker, int place)
        : worker(worker), head(worker.block / SPLITS), group(head / (HEADS / GROUPS)), place(place) {
        const int each = (place + SPLITS) / SPLITS;
        first = worker.block % SPLITS * each;
        last = first + each < place + 1 ? first + each : place + 1;
        if (head >= HEADS) last = first;
    }

    // What earlier tokens left behind does not have to wait for this one.
    __device__ __forceinline__ void remember(const Number *old_keys, const Number *old_values) {
#pragma unroll
        for (int key = 0; key < KEYS; ++key) {
            const int seen = first + worker.warp + WARPS * key;
#pragma unroll
            for (int dim = 0; dim < DIMS; ++dim) {
                const int offset = (group * PLACES + seen) * SIZE + worker.lane + 32 * dim;
                const bool known = seen < last && seen < place;
                keys[key][dim] = known ? old_keys[offset] : Number(0);
                values[key][dim] = known ? old_values[offset] : Number(0);
            }
        }
    }

    // Puts the new key and value where they belong.
    __device__ __forceinline__ void learn(
        const Number *qkv, const Number *cos, const Number *sin, Number *all_keys, Number *all_values) {
        float turned_key[DIMS];
        turned(qkv + (HEADS + group) * SIZE, cos, sin, worker.lane, turned_key);
#pragma unroll
        for (int key = 0; key < KEYS; ++key)
            if (first + worker.warp + WARPS * key == place && place < last) {
#pragma unroll
                for (int dim = 0; dim < DIMS; ++dim) {
                    keys[key][dim] = narrow(turned_key[dim]);
                    values[key][dim] = qkv[(HEADS + GROUPS + group) * SIZE + worker.lane + 32 * dim];
                    if (head % (HEADS / GROUPS) == 0) {
                        const int offset = (group * PLACES + place) * SIZE + worker.lane + 32 * dim;
                        all_keys[offset] = keys[key][dim];
                        all_values[offset] = values[key][dim];
                    }
                }
            }
    }

    __device__ __forceinline__ void attend(const float *query) {
        float scores[KEYS], top = -1e30f, sum = 0, mixed[DIMS] = {};
#pragma unroll
        for (int key = 0; key < KEYS; ++key) {
            float score = 0;
#pragma unroll
            for (int dim = 0; dim < DIMS; ++dim) score += query[dim] * wide(keys[key][dim]);
            scores[key] = lane_sum(score) / sqrtf(float(SIZE));
            if (first + worker.warp + WARPS * key < last) top = fmaxf(top, scores[key]);
        }
#pragma unroll
        for (int key = 0; key < KEYS; ++key) {
            const float part = first + worker.warp + WARPS * key < last ? expf(scores[key] - top) : 0;
            sum += part;
#pragma unroll
            for (int dim = 0; dim < DIMS; ++dim) mixed[dim] += part * wide(values[key][dim]);
        }
#pragma unroll
        for (int dim = 0; dim < DIMS; ++dim) worker.shared.mixed[worker.warp][worker.lane + 32 * dim] = mixed[dim];
        if (worker.lane == 0) {
            worker.shared.tops[worker.warp] = top;
            worker.shared.sums[worker.warp] = sum;
        }
    }

    // Joins the warps' parts.
    __device__ __forceinline__ void tell(float *mixed, float *tops, float *sums) const {
        meet_in_block();
        if (head >= HEADS || static_cast<int>(threadIdx.x) >= SIZE) return;
        float top = -1e30f, sum = 0, value = 0;
#pragma unroll
        for (int warp = 0; warp < WARPS; ++warp) top = fmaxf(top, worker.shared.tops[warp]);
#pragma unroll 5
        for (int warp = 0; warp < WARPS; ++warp) {
            const float part = expf(worker.shared.tops[warp] - top);
            sum += part * worker.shared.sums[warp];
            value += part * worker.shared.mixed[warp][threadIdx.x];
        }
        mixed[worker.block * SIZE + threadIdx.x] = value;
        if (threadIdx.x == 0) {
            tops[worker.block] = top;
            sums[worker.block] = sum;
        }
    }
};

// Joins the blocks' parts to the attention of all heads.
__device__ __forceinline__ void merge(Shared &shared, const float *mixed, const float *tops, const float *sums) {
#pragma unroll 1
    for (int place = threadIdx.x; place < ATTENDED; place += THREADS) {
        const int head = place / SIZE;
        float top = -1e30f, sum = 0, value = 0;
#pragma unroll
        for (int split = 0; split < SPLITS; ++split) top = fmaxf(top, tops[head * SPLITS + split]);
#pragma unroll
        for (int split = 0; split < SPLITS; ++split) {
            const int number = head * SPLITS + split;
            const float part = expf(tops[number] - top);
            sum += part * sums[number];
            value += part * mixed[number * SIZE + place % SIZE];
        }
        shared.attended[place] = rounded(value / sum);
    }
    meet_in_block();
}

// ---------------------------------------------------------------- the most likely word

// Of two words the likelier, of equally likely ones the first.
__device__ __forceinline__ void prefer(float value, int word, float &best, int &best_word) {
    if (value > best || (value == best && word < best_word)) {
        best = value;
        best_word = word;
    }
}

__device__ __forceinline__ void best_of_lanes(float &best, int &word) {
#pragma unroll
    for (int distance = 16; distance; distance /= 2) {
        const float other = exchanged(best, distance);
        prefer(other, __float_as_int(exchanged(__int_as_float(word), distance)), best, word);
    }
}

__device__ __forceinline__ int choose(Worker &worker, const float *fragment, float *best_values, int *best_words) {
    Shared &shared = worker.shared;
    const Rows rows(worker.block, VOCABULARY);
    float best = NOTHING;
    int word = VOCABULARY;
    worker.multiply<WIDTH>(rows.count, fragment, [&](int row, float product) {
        prefer(rounded(product), rows.first + row, best, word);
    });
    if (worker.lane == 0) {
        shared.tops[worker.warp] = best;
        shared.words[worker.warp] = word;
    }
    meet_in_block();
    if (worker.warp == 0) {
        best = worker.lane < WARPS ? shared.tops[worker.lane] : NOTHING;
        word = worker.lane < WARPS ? shared.words[worker.lane] : VOCABULARY;
        best_of_lanes(best, word);
        if (worker.lane == 0) {
            best_values[worker.block] = best;
            best_words[worker.block] = word;
        }
    }
    worker.meet();
    if (worker.warp == 0) {
        best = NOTHING;
        word = VOCABULARY;
#pragma unroll 1
        for (int block = worker.lane; block < GRID; block += 32) prefer(best_values[block], best_words[block], best, word);
        best_of_lanes(best, word);
        if (worker.lane == 0) shared.token = word < VOCABULARY ? word : 0;
    }
    meet_in_block();
    return shared.token;
}

// ----------------------------------------------------------------

// Arrays that blocks exchange results in.
struct Exchange {
    Number *hidden, *qkv, *active;
    float *mixed, *tops, *sums, *best_values;
    int *best_words;
};

__device__ __forceinline__ void run_layer(
    Worker &worker, const Weights &weights, const Exchange &exchange, int layer, const Number *source, int place,
    Number *keys, Number *values, const Number *cos, const Number *sin, float eps) {
    Shared &shared = worker.shared;
    const Rows qkv(worker.block, ALL), out(worker.block, WIDTH), gate(worker.block, INNER);
    float fragment[pieces(WIDTH) > pieces(ATTENDED) ? pieces(WIDTH) : pieces(ATTENDED)];

    worker.normed(source, weights.attention_norms + layer * WIDTH, eps, fragment);
    worker.multiply<WIDTH>(qkv.count, fragment, [&](int row, float product) {
        if (worker.lane) return;
        const int number = qkv.first + row;
        product = rounded(product);
        if (HAS_BIAS) product += shared.biases[layer][row];
        exchange.qkv[number] = narrow(product);
    });

    Attention attention(worker, place);
    attention.remember(keys, values);
    worker.meet();
    if (attention.head < HEADS) {
        float query[DIMS];
        turned(exchange.qkv + attention.head * SIZE, cos + place * SIZE, sin + place * SIZE, worker.lane, query);
        attention.learn(exchange.qkv, cos + place * SIZE, sin + place * SIZE, keys, values);
        attention.attend(query);
    }
    attention.tell(exchange.mixed, exchange.tops, exchange.sums);

    worker.meet();
    merge(shared, exchange.mixed, exchange.tops, exchange.sums);
#pragma unroll
    for (int step = 0; step < pieces(ATTENDED); step += PIECE)
#pragma unroll
        for (int number = 0; number < PIECE; ++number) {
            const int column = 32 * step + worker.lane * PIECE + number;
            fragment[step + number] = column < ATTENDED ? shared.attended[column] : 0;
        }
    worker.multiply<ATTENDED>(out.count, fragment, [&](int row, float product) {
        if (worker.lane == 0) worker.add(exchange.hidden, out, row, product);
    });

    worker.meet();
    worker.normed(exchange.hidden, weights.mlp_norms + layer * WIDTH, eps, fragment);
    worker.multiply<WIDTH>(gate.count, fragment, [&](int row, float product) {
        if (worker.lane == 0) shared.gates[row] = rounded(product);
    });
    worker.multiply<WIDTH>(gate.count, fragment, [&](int row, float product) {
        if (worker.lane) return;
        const float open = shared.gates[row];
        exchange.active[gate.first + row] = narrow(rounded(open / (1 + expf(-open))) * rounded(product));
    });

    worker.meet();
    worker.multiply_down(exchange.hidden, out, exchange.active);
    worker.meet();
}

__device__ void speak(
    Worker &worker, const Weights &weights, const Exchange &exchange, const int *start, int *said, Number *keys,
    Number *values, const Number *cos, const Number *sin, float eps, int end_token, int layer_step) {
    const Rows out(worker.block, WIDTH), qkv(worker.block, ALL);
    for (int number = threadIdx.x; HAS_BIAS && number < LAYERS * qkv.count; number += THREADS) {
        const int layer = number / qkv.count, row = number % qkv.count;
        worker.shared.biases[layer][row] = wide(weights.qkv_biases[layer * ALL + qkv.first + row]);
    }
    meet_in_block();
    const int first_place = start[1], most = start[2];
    int token = start[0];
    bool is_over = most <= 0;
    if (is_over && worker.block == 0 && threadIdx.x == 0) said[0] = 0;
    for (int count = 0; !is_over; ++count) {
        const Number *source = weights.embedding + static_cast<long long>(token) * WIDTH;
        for (int row = threadIdx.x; row < out.count; row += THREADS) worker.shared.own[row] = wide(source[out.first + row]);
        for (int layer = 0; layer < LAYERS; ++layer) {
            const long long offset = static_cast<long long>(layer) * layer_step;
            run_layer(
                worker, weights, exchange, layer, layer ? exchange.hidden : source, first_place + count, keys + offset,
                values + offset, cos, sin, eps);
        }
        float fragment[pieces(WIDTH)];
        worker.normed(exchange.hidden, weights.final_norm, eps, fragment);
        token = choose(worker, fragment, exchange.best_values, exchange.best_words);
        if (worker.block == 0 && threadIdx.x == 0) {
            said[1 + count] = token;
            said[0] = count + 1;
        }
        is_over = token == end_token || count + 1 >= most;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS + 32, 1) sentence(
    const int *start, int *said, Word *counter, Number *hidden, Number *qkv, Number *active, float *mixed, float *tops,
    float *sums, float *best_values, int *best_words, const Number *embedding, const Number *attention_norms,
    const Number *qkv_weights, const Number *qkv_biases, const Number *output_weights, const Number *mlp_norms,
    const Number *gate_weights, const Number *down_weights, const Number *final_norm, const Number *vocabulary_weights,
    Number *keys, Number *values, const Number *cos, const Number *sin, int end_token, int layer_step) {
    Shared &shared = *reinterpret_cast<Shared *>(memory_of_block());
    const Weights weights = {
        embedding,    attention_norms, qkv_weights,  qkv_biases, output_weights, mlp_norms,
        gate_weights, down_weights,    final_norm, vocabulary_weights};
    const Exchange exchange = {hidden, qkv, active, mixed, tops, sums, best_values, best_words};
    const int block = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x == 0) {
        for (int slot = 0; slot < SLOTS; ++slot) {
            prepare(&shared.full[slot], 1);
            prepare(&shared.empty[slot], WARPS);
        }
        publish_barriers();
        shared.stop = 0;
    }
    __syncthreads();
    if (warp == WARPS) {
        Sender sender = {shared, 0};
        if (lane == 0) {
            while (sender.send_token(weights, block)) {
            }
            sender.finish();
        }
        return;
    }
    Worker worker = {shared, block, warp, lane, 0, 0, counter};
    speak(worker, weights, exchange, start, said, keys, values, cos, sin, __uint_as_float(EPS_BITS), end_token, layer_step);
    meet_in_block();
    if (threadIdx.x == 0) {
        shared.taken = worker.taken;
        __threadfence_block();
        *static_cast<volatile int *>(&shared.stop) = 1;
    }
}
