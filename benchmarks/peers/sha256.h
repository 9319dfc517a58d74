/* SHA-256 (FIPS 180-4) and HMAC (RFC 2104) for load and peers; the states of a key's two pads are kept, as
   every fast implementation keeps them. */
#ifndef TRINITY_SHA256_H
#define TRINITY_SHA256_H

#include <stdint.h>
#include <string.h>

struct hmac_key {
    uint32_t inner[8], outer[8];
};

static const uint32_t sha256_rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
static const uint32_t sha256_start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

#define ROTATED(x, n) ((x) >> (n) | (x) << (32 - (n)))

static void sha256_block(uint32_t state[8], const uint8_t *block) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (ROTATED(a, 7) ^ ROTATED(a, 18) ^ a >> 3) + (ROTATED(b, 17) ^ ROTATED(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t one = s[7] + (ROTATED(s[4], 6) ^ ROTATED(s[4], 11) ^ ROTATED(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha256_rounds[i] + w[i];
        uint32_t two = (ROTATED(s[0], 2) ^ ROTATED(s[0], 13) ^ ROTATED(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

/* Finish a digest whose first `before` bytes are in `state`; writes `wanted` bytes of it. */
static void sha256_end(uint32_t state[8], size_t before, const uint8_t *data, size_t size, uint8_t *out, size_t wanted) {
    uint8_t last[128] = {0};
    uint64_t bits = (uint64_t)(before + size) * 8;
    for (; size >= 64; data += 64, size -= 64) sha256_block(state, data);
    memcpy(last, data, size);
    last[size] = 0x80;
    size_t end = size < 56 ? 64 : 128;
    for (int i = 0; i < 8; i++) last[end - 1 - (size_t)i] = (uint8_t)(bits >> (8 * i));
    sha256_block(state, last);
    if (end == 128) sha256_block(state, last + 64);
    for (size_t i = 0; i < wanted; i++) out[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

/* `key` has at most 64 bytes. */
static void hmac_begin(struct hmac_key *made, const uint8_t *key, size_t size) {
    uint8_t pad[64];
    for (int turn = 0; turn < 2; turn++) {
        uint32_t *state = turn ? made->outer : made->inner;
        memset(pad, turn ? 0x5c : 0x36, sizeof pad);
        for (size_t i = 0; i < size && i < sizeof pad; i++) pad[i] ^= key[i];
        memcpy(state, sha256_start, sizeof sha256_start);
        sha256_block(state, pad);
    }
}

/* The first `wanted` bytes of the HMAC of `data`. */
static void hmac_of(const struct hmac_key *key, const uint8_t *data, size_t size, uint8_t *out, size_t wanted) {
    uint8_t digest[32];
    uint32_t state[8];
    memcpy(state, key->inner, sizeof state);
    sha256_end(state, 64, data, size, digest, sizeof digest);
    memcpy(state, key->outer, sizeof state);
    sha256_end(state, 64, digest, sizeof digest, out, wanted);
}

#endif
