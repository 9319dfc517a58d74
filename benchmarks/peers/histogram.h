/* Latencies in buckets of one part in 128 of their value, as HdrHistogram keeps them; and the clock that they are told by. */
#ifndef TRINITY_HISTOGRAM_H
#define TRINITY_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SUB_BITS 7
#define SUB (1u << SUB_BITS)
#define BUCKETS ((64 - SUB_BITS) * SUB)

struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t total;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void record(struct histogram *into, uint64_t ns) {
    unsigned place;
    if (ns < SUB) {
        place = (unsigned)ns;
    } else {
        unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
        place = (shift + 1) * SUB + (unsigned)((ns >> shift) - SUB);
    }
    into->counts[place]++;
    into->total++;
}

/* The middle of the bucket below which a share of all latencies lies, microseconds. */
static double quantile_us(const struct histogram *of, double share) {
    uint64_t wanted = (uint64_t)(share * (double)of->total), seen = 0;
    for (unsigned place = 0; place < BUCKETS; place++) {
        seen += of->counts[place];
        if (of->counts[place] && seen > wanted) {
            if (place < SUB) return place / 1e3;
            unsigned shift = place / SUB - 1;
            uint64_t low = (uint64_t)(place % SUB + SUB) << shift;
            return ((double)low + (double)(1ull << shift) / 2) / 1e3;
        }
    }
    return 0;
}

/* One line of JSON: what was measured, and beside it how much was answered in all, warming included, for CPU per answer,
   and for what part of the time the load stood still. */
static void report(const struct histogram *of, double per_second, uint64_t all, uint64_t lost, uint64_t checked, double paused) {
    printf("{\"per_second\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
           "\"answers\": %llu, \"lost\": %llu, \"checked\": %llu, \"paused\": %.4f}\n",
           per_second, quantile_us(of, 0.5), quantile_us(of, 0.99), quantile_us(of, 0.999),
           (unsigned long long)all, (unsigned long long)lost, (unsigned long long)checked, paused);
}

#endif
